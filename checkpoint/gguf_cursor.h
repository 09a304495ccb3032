// SPDX-License-Identifier: Apache-2.0
// Reads the header of a GGUF file from front to back, never beyond its end.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <string>

#include "base/error.h"
#include "checkpoint/gguf.h"

namespace orthant {

class GgufCursor {
 public:
  explicit GgufCursor(const InputFile& file)
      : file_(file), end_(std::min(file.bytes(), kMaxGgufHeaderBytes)) {}

  int64_t at() const { return at_; }
  int64_t left() const { return end_ - at_; }

  // what: of messages, "metadata general.name".
  template <class T>
  T number(const std::string& what) {
    static_assert(std::endian::native == std::endian::little);
    T value;
    take(&value, sizeof(T), what);
    return value;
  }

  // A count of things that take at least so many bytes each.
  int64_t count(int64_t least_bytes, const std::string& what) {
    const auto value = number<uint64_t>(what);
    ORTHANT_CHECK(value <= static_cast<uint64_t>(left() / least_bytes), kData, file_.path(), ": ",
                  what, ": ", value, " of at least ", least_bytes, " bytes each, but ", left(),
                  " are left of the ", end_, " that a header may have here", cut_hint());
    return static_cast<int64_t>(value);
  }

  std::string text(const std::string& what) {
    std::string text(static_cast<size_t>(count(1, what)), '\0');
    take(text.data(), std::ssize(text), what);
    ORTHANT_CHECK(utf8_prefix(text) == text.size(), kData, file_.path(), ": ", what,
                  ": want UTF-8, got '", valid_utf8(text.substr(0, 40)), "'");
    return text;
  }

 private:
  // Where it is the file that ends.
  const char* cut_hint() const {
    return end_ == file_.bytes() ? "; if the file was cut, fetch it again" : "";
  }
  void take(void* to, int64_t bytes, const std::string& what) {
    ORTHANT_CHECK(bytes <= left(), kData, file_.path(), ": ", what, ": want ", bytes,
                  " bytes, but the header ends after ", left(), cut_hint());
    auto* out = static_cast<char*>(to);
    while (bytes > 0) {
      if (at_ < begin_ || at_ >= begin_ + filled_) fill();
      const int64_t here = std::min(bytes, begin_ + filled_ - at_);
      std::memcpy(out, buffer_.data() + (at_ - begin_), static_cast<size_t>(here));
      out += here, at_ += here, bytes -= here;
    }
  }
  void fill() {
    begin_ = at_;
    filled_ = std::min<int64_t>(std::ssize(buffer_), end_ - at_);
    file_.read(begin_, buffer_.data(), filled_);
  }

  const InputFile& file_;
  int64_t end_, at_ = 0;
  int64_t begin_ = 0, filled_ = 0;  // of the file, in the buffer
  std::array<char, 1 << 16> buffer_;
};

}  // namespace orthant
