// SPDX-License-Identifier: Apache-2.0
// Weights of narrow types, as types that are computed with.
#pragma once

#include <optional>
#include <string>

#include "checkpoint/tensor_source.h"
#include "trainer/hub/hub_config.h"

namespace orthant {

// The dtype that a folder's weights are kept in; none of whole numbers.
std::optional<DType> kept_dtype(DType in_folder);
// IEEE half precision; every value has its like.
std::string f32_of_f16(const std::string& bytes);
// OCP E4M3 (arXiv:2209.05433) times the factor of its block, rounded to the nearest, ties to even.
// scale: the tensor with the factors.  Error(kData) where it is missing or of another shape.
std::string bf16_of_fp8(const std::string& bytes, const Shape& shape, const Fp8Blocks& blocks,
                        const TensorSource& source, const std::string& scale);

// Where the first NaN or infinity is among floating-point elements; -1: nowhere.
int64_t first_not_finite(const std::string& bytes, DType dtype);

}  // namespace orthant
