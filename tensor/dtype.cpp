// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include <array>

namespace orthant {
namespace {

struct Info {
  std::string_view name;
  int64_t bytes;
  bool floating;
};
constexpr std::array<Info, 9> kInfo = {{{"f64", 8, true},
                                        {"f32", 4, true},
                                        {"bf16", 2, true},
                                        {"f16", 2, true},
                                        {"f8e4m3", 1, true},
                                        {"i64", 8, false},
                                        {"i32", 4, false},
                                        {"i8", 1, false},
                                        {"u8", 1, false}}};

const Info& info(DType dtype) { return kInfo[static_cast<size_t>(dtype)]; }

}  // namespace

int64_t size_of(DType dtype) { return info(dtype).bytes; }
std::string_view name_of(DType dtype) { return info(dtype).name; }
bool is_floating(DType dtype) { return info(dtype).floating; }

}  // namespace orthant
