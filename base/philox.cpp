// SPDX-License-Identifier: Apache-2.0
#include "base/philox.h"

#include <cmath>
#include <numbers>

#include "base/checksum.h"

namespace orthant {

PhiloxKey make_key(uint64_t seed, RandomPurpose purpose, std::string_view name) {
  const uint64_t mixed = seed * 0x9E3779B97F4A7C15ull + static_cast<uint64_t>(purpose);
  const uint64_t hash = xxh3_64(name.data(), name.size(), mixed);
  return {static_cast<uint32_t>(hash), static_cast<uint32_t>(hash >> 32)};
}

double philox_normal(PhiloxKey key, uint64_t step, uint64_t index) {
  const Philox4 bits = philox(key, step, index);
  const double radius = std::sqrt(-2.0 * std::log(uniform_from(bits.x[0])));
  return radius * std::cos(2.0 * std::numbers::pi * uniform_from(bits.x[1]));
}

double philox_uniform(PhiloxKey key, uint64_t step, uint64_t index) {
  return uniform_from(philox(key, step, index).x[0]);
}

}  // namespace orthant
