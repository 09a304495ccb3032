// SPDX-License-Identifier: Apache-2.0
// How GGUF files hold numbers: types of tensors, and blocks of quantised ones as fp32.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/dtype.h"

namespace orthant {

// A type of tensors: blocks of `elems` numbers in `bytes` bytes.
struct GgufFormat {
  uint32_t id = 0;
  const char* name = "";
  int64_t elems = 1, bytes = 0;
  DType dtype = DType::kF32;                               // that the numbers are read as
  void (*unpack)(const unsigned char*, float*) = nullptr;  // one block; null: they are that
};

// Null for a type that is not read.
const GgufFormat* find_gguf_format(uint32_t id);
// "Q5_K (13)"; of a number that nobody has given a name to, the number.
std::string gguf_format_name(uint32_t id);
// "F32, F16, ...": those that are read.
std::string gguf_formats_text();

// Blocks of a quantised type as fp32: the values of the reference implementation to the bit.
void unpack_blocks(const GgufFormat& format, const unsigned char* blocks, int64_t count, float* to);

}  // namespace orthant
