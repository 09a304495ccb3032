// SPDX-License-Identifier: Apache-2.0
#include "data/text_reader.h"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "data/jsonl.h"

namespace orthant {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr size_t kReadBytes = size_t{1} << 16;

// Where to end a piece of text that goes on.
size_t piece_end(std::string_view text) {
  const size_t newline = text.rfind('\n');
  if (newline != std::string_view::npos) return newline + 1;
  return whole_characters(text);
}

}  // namespace

TextFormat text_format(const std::string& path, const std::string& format) {
  if (format == "text") return TextFormat::kText;
  if (format == "jsonl") return TextFormat::kJsonl;
  ORTHANT_CHECK(format == "auto", kConfig, path, ": format: want auto, text or jsonl, got '",
                format, "'");
  const std::string_view name =
      path.ends_with(".gz") ? std::string_view(path).substr(0, path.size() - 3) : path;
  if (name.ends_with(".txt")) return TextFormat::kText;
  if (name.ends_with(".jsonl")) return TextFormat::kJsonl;
  throw_error(
      ErrorKind::kConfig,
      concat(path,
             ": unknown kind of file: want .txt, .jsonl, .txt.gz or .jsonl.gz, or its format, "
             "text or jsonl"));
}

struct ByteReader::Impl {
  std::string path;
  std::FILE* plain = nullptr;
  gzFile gzip = nullptr;
  ~Impl() {
    if (plain) std::fclose(plain);
    if (gzip) gzclose_r(gzip);
  }
};

ByteReader::ByteReader(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  struct stat status {};
  const bool found = ::stat(path.c_str(), &status) == 0;
  ORTHANT_CHECK(found || (errno != ENOENT && errno != ENOTDIR), kMissingInput, path,
                ": no such file");
  ORTHANT_CHECK(found && S_ISREG(status.st_mode), kData, path, ": is not a regular file");
  if (path.ends_with(".gz")) {
    impl_->gzip = gzopen(path.c_str(), "rb");
    if (impl_->gzip) gzbuffer(impl_->gzip, 1u << 17);
  } else {
    impl_->plain = std::fopen(path.c_str(), "rb");
  }
  ORTHANT_CHECK(impl_->gzip || impl_->plain, kData, path,
                ": cannot be opened: ", std::strerror(errno));
}

ByteReader::~ByteReader() = default;

size_t ByteReader::read(char* out, size_t size) {
  if (impl_->plain) {
    const size_t n = std::fread(out, 1, size, impl_->plain);
    ORTHANT_CHECK(n > 0 || !std::ferror(impl_->plain), kData, impl_->path,
                  ": cannot be read: ", std::strerror(errno));
    return n;
  }
  const int n = gzread(impl_->gzip, out, static_cast<unsigned>(size));
  int code = Z_OK;
  const char* reason = gzerror(impl_->gzip, &code);
  ORTHANT_CHECK(n >= 0 && (code == Z_OK || code == Z_STREAM_END), kData, impl_->path,
                ": damaged or truncated gzip file: ", reason);
  // zlib would hand out a file without gzip's signature as it is.
  ORTHANT_CHECK(gzdirect(impl_->gzip) == 0, kData, impl_->path, ": is not a gzip file");
  return static_cast<size_t>(n);
}

int64_t ByteReader::consumed_bytes() const {
  return impl_->plain ? std::ftell(impl_->plain) : gzoffset(impl_->gzip);
}

TextReader::TextReader(const std::string& path, TextFormat format)
    : path_(path), format_(format), bytes_(path) {}

// Reads until `want` bytes wait in the buffer; false when the file ends before.
bool TextReader::fill(size_t want) {
  while (!at_end_ && buffer_.size() - begin_ < want) {
    if (begin_ > 0) {
      buffer_.erase(0, begin_);
      begin_ = 0;
    }
    const size_t size = buffer_.size();
    const size_t more = std::max(kReadBytes, want - size);
    buffer_.resize(size + more);
    const size_t n = bytes_.read(buffer_.data() + size, more);
    buffer_.resize(size + n);
    at_end_ = n == 0;
  }
  return buffer_.size() - begin_ >= want;
}

bool TextReader::next(Piece& piece) {
  return format_ == TextFormat::kText ? next_text(piece) : next_line(piece);
}

bool TextReader::next_text(Piece& piece) {
  if (finished_) return false;
  const bool more = fill(kPieceBytes + 1);
  const std::string_view rest = std::string_view(buffer_).substr(begin_);
  piece.text = more ? rest.substr(0, piece_end(rest.substr(0, kPieceBytes))) : rest;
  begin_ += piece.text.size();
  finished_ = piece.ends_document = !more;
  return !piece.text.empty();
}

bool TextReader::next_line(Piece& piece) {
  for (;;) {
    size_t searched = 0, end = std::string::npos;
    for (;;) {
      end = buffer_.find('\n', begin_ + searched);
      if (end != std::string::npos) break;
      searched = buffer_.size() - begin_;
      ORTHANT_CHECK(searched <= static_cast<size_t>(kMaxLineBytes), kData, path_, ":", line_ + 1,
                    ": the line is longer than ", kMaxLineBytes, " bytes");
      if (!fill(searched + 1)) break;
    }
    if (end == std::string::npos) {
      if (searched == 0) return false;
      end = buffer_.size();  // a last line without a newline
    }
    const std::string_view line = std::string_view(buffer_).substr(begin_, end - begin_);
    begin_ = std::min(end + 1, buffer_.size());
    ++line_;
    ORTHANT_CHECK(line.size() <= static_cast<size_t>(kMaxLineBytes), kData, path_, ":", line_,
                  ": the line is longer than ", kMaxLineBytes, " bytes");
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    document_ = json_text(line, concat(path_, ":", line_));
    piece = {document_, true};
    return true;
  }
}

}  // namespace orthant
