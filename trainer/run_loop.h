// SPDX-License-Identifier: Apache-2.0
// Parts that the loops over steps have in common.
#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "base/config/config.h"
#include "data/tokenizer.h"
#include "trainer/agree.h"
#include "trainer/role.h"
#include "trainer/run/pipeline_record.h"
#include "trainer/run/session.h"
#include "trainer/run_config.h"

namespace orthant {

SessionOptions session_options(const RunConfig& config, const std::atomic<bool>* stop,
                               double start_seconds);

// That all ranks have one configuration; the message says which keys differ.  Collective.
template <ConfigRoot Root>
void agree_on_configuration(const std::string& yaml, const Group& world) {
  check_same_everywhere(world, "the configuration", yaml,
                        [](const std::string& theirs, const std::string& others) {
                          std::string text;
                          for (const ConfigDifference& d : differences<Root>(others, theirs))
                            text += (text.empty() ? "" : "; ") + d.text;
                          return text;
                        });
}

// MoeLayer::check_routing of every stage, told in the log.  Collective.
void check_routing(const RunConfig& config, const Role& role);
// Operations a second of all ranks, as given or measured.  Collective.
double peak_of_all(const RunConfig& config, Device device, const Group& world);
// The tokenizer's files, into the run directory; of the first rank.
void keep_tokenizer(const RunSession& session, const Tokenizer& tokenizer);

// Whether a step's timeline is recorded: the last step's is kept, and until then one that is not
// the first of this job.
bool records_step(const RunConfig& config, const RunSession& session, int64_t step);
// Writes it, on the first rank.  A picture is no reason to end a run.
std::optional<PipelineRecord> keep_timeline(const PipelineRecord& record,
                                            const RunSession& session);

}  // namespace orthant
