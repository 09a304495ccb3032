// SPDX-License-Identifier: Apache-2.0
#include "data/token_spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/durable_file.h"
#include "base/text.h"

namespace orthant {
namespace {

constexpr size_t kPendingBytes = size_t{1} << 20;

int open_unnamed(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  // Not every file system knows O_TMPFILE.
  std::string name = concat(folder, "/.orthant-spool-XXXXXX");
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named < 0) throw_cannot_write(folder, "make a file there", errno);
  ::unlink(name.c_str());
  return named;
}

template <class Stored>
void store(std::span<const int32_t> tokens, std::vector<unsigned char>& out) {
  const size_t begin = out.size();
  out.resize(begin + tokens.size() * sizeof(Stored));
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Stored value = static_cast<Stored>(tokens[i]);
    std::memcpy(out.data() + begin + i * sizeof(Stored), &value, sizeof(Stored));
  }
}

}  // namespace

TokenSpool::TokenSpool(std::string output, int64_t token_bytes)
    : output_(std::move(output)),
      token_bytes_(token_bytes),
      fd_(open_unnamed(folder_of(output_))) {}

TokenSpool::~TokenSpool() {
  if (fd_ >= 0) ::close(fd_);
}

TokenSpool::TokenSpool(TokenSpool&& other) noexcept
    : output_(std::move(other.output_)),
      token_bytes_(other.token_bytes_),
      fd_(std::exchange(other.fd_, -1)),
      num_tokens_(other.num_tokens_),
      pending_(std::move(other.pending_)) {}

void TokenSpool::append(std::span<const int32_t> tokens) {
  if (token_bytes_ == 2)
    store<uint16_t>(tokens, pending_);
  else
    store<int32_t>(tokens, pending_);
  num_tokens_ += static_cast<int64_t>(tokens.size());
  if (pending_.size() >= kPendingBytes) flush();
}

void TokenSpool::flush() {
  size_t done = 0;
  while (done < pending_.size()) {
    const ssize_t n = ::write(fd_, pending_.data() + done, pending_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw_cannot_write(output_, "write tokens beside it", errno);
    done += static_cast<size_t>(n);
  }
  pending_.clear();
}

void TokenSpool::read(int64_t begin, int64_t count, unsigned char* out) const {
  const auto size = static_cast<size_t>(count * token_bytes_);
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(fd_, out + done, size - done,
                              static_cast<off_t>(begin * token_bytes_) + static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw_cannot_write(output_, "read back tokens", n < 0 ? errno : EIO);
    done += static_cast<size_t>(n);
  }
}

}  // namespace orthant
