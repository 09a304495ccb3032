// SPDX-License-Identifier: Apache-2.0
// cuDNN's fused attention in the table of the plugin.
#pragma once

#include "tensor/backend.h"

namespace orthant::cuda::cudnn {

// Puts cuDNN in front of the attention functions that `table` has, which stay for what it does not
// take (problem.h) and for what it has no engine for on a device; that is said once in the log.
// Plans are made, and the libraries behind libcudnn.so opened, when a call first wants them.
void fill_attention(Backend& table);

}  // namespace orthant::cuda::cudnn
