// SPDX-License-Identifier: Apache-2.0
#include "trainer/loop_state.h"

#include "base/config/config.h"
#include "base/log.h"
#include "trainer/run/progress.h"

namespace orthant {

RunPlan going_on(const RunPlan& plan, const LoopState& stored) {
  const ScheduleConfig& schedule = plan.config().schedule;
  const int64_t end = stored.total_steps;
  if (plan.schedule_end_is_given() || end == 0 || end == schedule.total_steps) return plan;
  if (plan.config().run.max_steps > end && schedule.min_learning_rate == 0.0) {
    log::warn("schedule.total_steps: ", schedule.total_steps, " (run.max_steps); it was ", end,
              ", behind which the learning rate would be 0: it rises again; "
              "give the key, or schedule.min_learning_rate, for another curve");
    return plan;
  }
  log::info("schedule.total_steps: ", end, ", as when the run began; give the key to change it");
  return plan.with_schedule_end(end);
}

BatchSizes settle_sizes(const RunConfig& config, const Manifest* manifest,
                        const LoopState& stored) {
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

std::vector<std::string> run_changes(const RunPlan& plan, const LoopState& stored,
                                     const std::vector<ConfigDifference>& differences,
                                     const std::string& data, const std::string& tokenizer) {
  constexpr const char* kEnd = "schedule.total_steps";
  const int64_t end = plan.config().schedule.total_steps;
  std::vector<std::string> result;
  for (const ConfigDifference& difference : differences) {
    if (!difference.may_change && !difference.text.starts_with(concat(kEnd, ":")))
      result.push_back(difference.text);
  }
  if (plan.schedule_end_is_given() && stored.total_steps != end)
    result.push_back(concat(kEnd, ": ", stored.total_steps, " -> ", end));
  if (stored.tokenizer != tokenizer)
    result.push_back(concat("data.tokenizer: ", stored.tokenizer, " -> ", tokenizer));
  if (stored.data_fingerprint != data) result.push_back("the training data is not the same");
  return result;
}

}  // namespace orthant
