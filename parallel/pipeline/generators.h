// SPDX-License-Identifier: Apache-2.0
// The orders of pipeline schedules (docs/pipeline.md): pure functions of their sizes.
//
//   gpipe        all forwards, then all backwards; with several chunks chunk by chunk.
//                Huang et al., arXiv:1811.06965; chunks: Lamy-Poirier, arXiv:2211.05953
//   1f1b         one forward, one backward.  Narayanan et al., arXiv:2104.04473, section 2.2
//   interleaved  the same with several chunks on a rank; stage s on rank s mod ranks.  Section 2.2
//   zb_h1        1f1b with weight gradients put off into its gaps.  Qi et al., arXiv:2401.10241
//   dualpipev    stages r and 2 ranks - 1 - r on rank r: two flows that meet.  DeepSeek-AI,
//                arXiv:2412.19437, section 3.2.1, cut in half along its symmetry
#pragma once

#include <string>
#include <vector>

#include "parallel/pipeline/schedule.h"

namespace orthant::pipeline {

const std::vector<std::string>& schedule_names();

// The chunks of a schedule, where `chunks` may be 0: as many as it has by itself (interleaved and
// dualpipev 2, others 1).  Error(kConfig), saying what fits, when the sizes do not fit the
// schedule.
int settle_chunks(const std::string& name, int ranks, int micro_batches, int chunks = 0);

// The computations of a schedule; sizes as in settle_chunks.
Schedule generate_schedule(const std::string& name, int ranks, int micro_batches, int chunks = 0);

// The same with messages, checked (check.h): what run_schedule takes.
Schedule make_schedule(const std::string& name, int ranks, int micro_batches, int chunks = 0);

// Every micro-batch (any number, also 0) forward through the stages of `like` and no further, for
// evaluation; with messages, checked.  A rank takes its forwards in the order in which they would
// begin if stages took a unit of time: it is idle for ranks - 1 of them, on a map that folds for
// 2 (ranks - 1), where chunks divide the groups of `ranks` micro-batches.
Schedule make_forward_schedule(const Schedule& like, int micro_batches);

}  // namespace orthant::pipeline
