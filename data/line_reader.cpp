// SPDX-License-Identifier: Apache-2.0
#include "data/line_reader.h"

#include "base/error.h"

namespace orthant {
namespace {

constexpr size_t kMaxLineBytes = size_t{1} << 28;
constexpr size_t kChunkBytes = size_t{1} << 16;

}  // namespace

std::string LineReader::where() const { return concat(path_, ":", number_); }

int64_t count_lines(const std::string& path) {
  LineReader lines(path);
  std::string line;
  int64_t count = 0;
  while (lines.next(line)) ++count;
  return count;
}

bool LineReader::next(std::string& line) {
  while (take(line)) {
    ++number_;
    if (line.find_first_not_of(" \t\r") != std::string::npos) return true;
  }
  return false;
}

bool LineReader::take(std::string& line) {
  size_t end;
  while ((end = buffer_.find('\n', begin_)) == std::string::npos && fill()) {
  }
  if (begin_ == buffer_.size()) return false;
  line = buffer_.substr(begin_, end == std::string::npos ? end : end - begin_);
  begin_ = end == std::string::npos ? buffer_.size() : end + 1;
  return true;
}

bool LineReader::fill() {
  buffer_.erase(0, begin_);
  begin_ = 0;
  ORTHANT_CHECK(buffer_.size() < kMaxLineBytes, kData, path_, ":", number_ + 1,
                ": want a line of at most ", kMaxLineBytes, " bytes, got a longer one");
  const size_t had = buffer_.size();
  buffer_.resize(had + kChunkBytes);
  const size_t got = bytes_.read(buffer_.data() + had, buffer_.size() - had);
  buffer_.resize(had + got);
  return got > 0;
}

}  // namespace orthant
