// SPDX-License-Identifier: Apache-2.0
// Tokens on their way into a corpus, as they are stored there, in a file without a name beside it:
// gone when it is closed, whatever happens.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace orthant {

class TokenSpool {
 public:
  // token_bytes: 2 or 4.  Error(kCannotWrite), from all functions, names the output.
  TokenSpool(std::string output, int64_t token_bytes);
  ~TokenSpool();
  TokenSpool(TokenSpool&& other) noexcept;
  TokenSpool& operator=(TokenSpool&&) = delete;

  int64_t num_tokens() const { return num_tokens_; }
  void append(std::span<const int32_t> tokens);
  // Before read().
  void flush();
  // The stored bytes of `count` tokens from `begin` on.
  void read(int64_t begin, int64_t count, unsigned char* out) const;

 private:
  std::string output_;
  int64_t token_bytes_;
  int fd_ = -1;
  int64_t num_tokens_ = 0;
  std::vector<unsigned char> pending_;
};

}  // namespace orthant
