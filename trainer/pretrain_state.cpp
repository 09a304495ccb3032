// SPDX-License-Identifier: Apache-2.0
#include "trainer/pretrain_state.h"

#include "base/config/config.h"
#include "base/log.h"
#include "trainer/run/progress.h"

namespace orthant {

void settle_schedule(RunConfig& config, const PretrainState& stored) {
  ScheduleConfig& schedule = config.schedule;
  if (!schedule.follows_max_steps || stored.total_steps == 0 ||
      stored.total_steps == schedule.total_steps)
    return;
  ScheduleConfig kept = schedule;
  kept.total_steps = stored.total_steps;
  if (config.run.max_steps > kept.total_steps && kept.min_learning_rate == 0.0) {
    log::warn("schedule.total_steps: ", schedule.total_steps, " (run.max_steps); it was ",
              kept.total_steps,
              ", behind which the learning rate would be 0: it rises again; "
              "give the key, or schedule.min_learning_rate, for another curve");
    return;
  }
  schedule = kept;
  log::info("schedule.total_steps: ", kept.total_steps,
            ", as when the run began; give the key to change it");
}

BatchSizes settle_sizes(const RunConfig& config, const Manifest* manifest,
                        const PretrainState& stored) {
  BatchSizes sizes = config.batch.sizes();
  if (!manifest) return sizes;
  sizes.steps_before = manifest->step;
  sizes.samples_before = manifest->samples;
  const int64_t length = config.batch.sequence_length;
  if (stored.sequence_length > 0 && stored.sequence_length != length) {
    sizes.samples_before = manifest->samples * stored.sequence_length / length;
    log::info("data: goes on behind the ", with_thousands(manifest->samples), " samples of ",
              stored.sequence_length, " tokens, as if they had been ",
              with_thousands(sizes.samples_before), " of ", length,
              "; windows of another length come in another order");
  }
  return sizes;
}

std::vector<std::string> run_changes(const RunConfig& config, const PretrainState& stored,
                                     const std::string& stored_yaml, const std::string& data) {
  constexpr const char* kEnd = "schedule.total_steps";
  const ScheduleConfig& schedule = config.schedule;
  std::vector<std::string> result;
  for (const ConfigDifference& difference : differences<RunConfig>(stored_yaml, config.yaml())) {
    if (!difference.may_change && !difference.text.starts_with(concat(kEnd, ":")))
      result.push_back(difference.text);
  }
  if (!schedule.follows_max_steps && stored.total_steps != schedule.total_steps)
    result.push_back(concat(kEnd, ": ", stored.total_steps, " -> ", schedule.total_steps));
  if (stored.data_fingerprint != data) result.push_back("the training data is not the same");
  return result;
}

}  // namespace orthant
