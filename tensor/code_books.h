// SPDX-License-Identifier: Apache-2.0
// What codes of quantised matrices stand for: the same numbers in every backend.
#pragma once

#include <cstdint>

namespace orthant {

inline constexpr int64_t kNf4Block = 64;    // columns of a row that share their largest element
inline constexpr int64_t kNf4Nested = 256;  // of such blocks that share a factor

// Dettmers et al., "QLoRA", arXiv:2305.14314, appendix E.
struct Nf4Levels {
  float values[16] = {-1.0f,
                      -0.6961928009986877f,
                      -0.5250730514526367f,
                      -0.39491748809814453f,
                      -0.28444138169288635f,
                      -0.18477343022823334f,
                      -0.09105003625154495f,
                      0.0f,
                      0.07958029955625534f,
                      0.16093020141124725f,
                      0.24611230194568634f,
                      0.33791524171829224f,
                      0.44070982933044434f,
                      0.5626170039176941f,
                      0.7229568362236023f,
                      1.0f};
};

// Ascending: 127 negative numbers, 0, the same 127 positive ones, 1.  Of a decade 10^(e - 6), e = 0
// to 6, there are 2^e, in the middles of equal parts of [0.1, 1].  Dettmers, "8-bit approximations
// for parallelism in deep learning", arXiv:1511.04561, as bitsandbytes has it.
struct DynamicMap {
  float values[256] = {};
  constexpr DynamicMap() {
    constexpr double kDecades[] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0};
    int at = 128;
    for (int e = 0; e < 7; ++e) {
      for (int i = 0; i < 1 << e; ++i, ++at) {
        values[at] = static_cast<float>((0.1 + 0.9 * (i + 0.5) / (1 << e)) * kDecades[e]);
        values[254 - at] = -values[at];
      }
    }
    values[255] = 1.0f;
  }
};

}  // namespace orthant
