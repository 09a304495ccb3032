// SPDX-License-Identifier: Apache-2.0
// The checkpoint of step 0 of a run that begins with weights from elsewhere.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "tensor/shape.h"
#include "trainer/run/run_dir.h"

namespace orthant {

struct FirstTensor {
  std::string name;
  DType dtype;
  Shape shape;
  std::function<std::string()> read;  // its bytes, when they are written

  int64_t bytes() const { return shape.numel() * size_of(dtype); }
};

// Error(kCannotWrite): paths is a run already.
void check_new_run(const RunPaths& paths);
// The files of a run beside its checkpoints: the tokenizer, and what was published with the model.
void keep_run_files(const RunPaths& from, const RunPaths& to);
// manifest: run_id, configuration, layout and extra; the rest is filled in.  In the order of the
// tensors, as many to a file as it may hold.  Memory: the largest tensor.  command: in messages.
Manifest write_first_checkpoint(const std::string& command, const RunPaths& paths,
                                Manifest manifest, std::vector<FirstTensor> tensors,
                                int64_t shard_bytes);

}  // namespace orthant
