// SPDX-License-Identifier: Apache-2.0
// What the error of an op says: op, operands, device, and then the words of whoever failed.
#pragma once

#include "tensor/backend.h"

namespace orthant::cuda {

// Wraps every op of the table: "op: what" in call->error becomes
//   matmul(a bf16 [64, 32], b bf16 [16, 32], c f32 [64, 16]) on cuda:0: what
// and an exception becomes such an error, so that none crosses the table.  Once per process.
void report_errors(Backend& table, int (*current_device)());

}  // namespace orthant::cuda
