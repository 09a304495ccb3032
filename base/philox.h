// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10, a counter-based random generator: the n-th number of a stream is a pure function
// of its key and n.
//
// Keys are made of (seed, purpose, logical name); counters of (step, logical index).  Never of a
// rank: initialisation, dropout, sampling and data order therefore do not change with the layout,
// and there is no generator state to save. Source: Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011.
#pragma once

#include <cstdint>
#include <string_view>

#ifdef __CUDACC__
#define ORTHANT_HD __host__ __device__
#else
#define ORTHANT_HD
#endif

namespace orthant {

enum class RandomPurpose : uint32_t {
  kInit = 1,
  kDropout = 2,
  kSampling = 3,
  kDataOrder = 4,
  kTest = 5
};

struct PhiloxKey {
  uint32_t k0 = 0, k1 = 0;
};

struct Philox4 {
  uint32_t x[4];
};

// A key that no other (seed, purpose, name) has but by chance of 2^-64.
PhiloxKey make_key(uint64_t seed, RandomPurpose purpose, std::string_view name);

ORTHANT_HD inline Philox4 philox(PhiloxKey key, uint64_t step, uint64_t index) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
  uint32_t c2 = static_cast<uint32_t>(step), c3 = static_cast<uint32_t>(step >> 32);
  uint32_t k0 = key.k0, k1 = key.k1;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// In (0, 1), never 0 or 1; 32 bits of resolution.
ORTHANT_HD inline double uniform_from(uint32_t bits) {
  return (static_cast<double>(bits) + 0.5) * 0x1p-32;
}

// The standard normal number of (step, index).  Host only: the device draws initial values on the
// host.
double philox_normal(PhiloxKey key, uint64_t step, uint64_t index);
double philox_uniform(PhiloxKey key, uint64_t step, uint64_t index);

}  // namespace orthant
