// SPDX-License-Identifier: Apache-2.0
// Names and sizes of element types: the plugin links no Orthant library, so not those of
// tensor/dtype.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/dtype.h"

namespace orthant::cuda {

inline const char* text_of(DType dtype) {
  static const char* const names[] = {"f64", "f32", "bf16", "f16", "f8e4m3",
                                      "i64", "i32", "i8",   "u8"};
  const int index = static_cast<int>(dtype);
  return index >= 0 && index < 9 ? names[index] : "an unknown type";
}

inline std::string refusal_of(DType dtype) {
  return std::string("the cuda backend does not compute in ") + text_of(dtype);
}

// Bytes of an element; 0 for a type that this backend does not know.
constexpr int64_t element_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kF8E4M3:
    case DType::kI8:
    case DType::kU8:
      return 1;
  }
  return 0;
}

}  // namespace orthant::cuda
