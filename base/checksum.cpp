// SPDX-License-Identifier: Apache-2.0
#include "base/checksum.h"

#include <xxhash.h>

#include <array>
#include <cstdio>

namespace orthant {
namespace {

std::string to_hex(XXH128_hash_t hash) {
  std::array<char, 33> text;
  std::snprintf(text.data(), text.size(), "%016llx%016llx",
                static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text.data();
}

XXH3_state_t* cast(void* state) { return static_cast<XXH3_state_t*>(state); }

}  // namespace

uint64_t xxh3_64(const void* data, size_t size, uint64_t seed) {
  return XXH3_64bits_withSeed(data, size, seed);
}

std::string xxh3_128_hex(const void* data, size_t size) { return to_hex(XXH3_128bits(data, size)); }

Checksum::Checksum() : state_(XXH3_createState()) { XXH3_128bits_reset(cast(state_)); }
Checksum::~Checksum() { XXH3_freeState(cast(state_)); }
void Checksum::update(const void* data, size_t size) {
  XXH3_128bits_update(cast(state_), data, size);
}
std::string Checksum::hex() const { return to_hex(XXH3_128bits_digest(cast(state_))); }

}  // namespace orthant
