// SPDX-License-Identifier: Apache-2.0
#include "data/byte_reader.h"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/error.h"

namespace orthant {

struct ByteReader::Impl {
  std::string path;
  std::FILE* file = nullptr;
  int64_t file_bytes = 0;
  bool gzip = false;
  // Of a gzip file.
  z_stream stream{};
  std::vector<Bytef> input;
  bool in_member = false, any_member = false, finished = false;
  int64_t taken = 0;  // from the file, also what still waits in `input`
  int64_t trailing = 0;

  ~Impl() {
    if (file) std::fclose(file);
    if (gzip) inflateEnd(&stream);
  }
  int64_t position() const { return taken - static_cast<int64_t>(stream.avail_in); }
  size_t read_file(char* out, size_t size);
  bool fill(uInt want);
  bool begin_member();
  size_t inflate_some(char* out, size_t size);
};

size_t ByteReader::Impl::read_file(char* out, size_t size) {
  const size_t n = std::fread(out, 1, size, file);
  ORTHANT_CHECK(n > 0 || !std::ferror(file), kData, path,
                ": cannot be read: ", std::strerror(errno));
  return n;
}

// Until `want` bytes of input wait; false when the file ends before.
bool ByteReader::Impl::fill(uInt want) {
  while (stream.avail_in < want) {
    std::memmove(input.data(), stream.next_in, stream.avail_in);
    stream.next_in = input.data();
    const size_t n = read_file(reinterpret_cast<char*>(input.data()) + stream.avail_in,
                               input.size() - stream.avail_in);
    if (n == 0) return false;
    stream.avail_in += static_cast<uInt>(n);
    taken += static_cast<int64_t>(n);
  }
  return true;
}

// At the beginning of the file or behind a member: false when no other one follows.
bool ByteReader::Impl::begin_member() {
  const bool signed_so = fill(2) && stream.next_in[0] == 0x1f && stream.next_in[1] == 0x8b;
  ORTHANT_CHECK(signed_so || any_member, kData, path, ": is not a gzip file");
  if (!signed_so) {
    trailing = std::max(file_bytes - position(), static_cast<int64_t>(stream.avail_in));
    finished = true;
    return false;
  }
  inflateReset(&stream);
  return any_member = in_member = true;
}

size_t ByteReader::Impl::inflate_some(char* out, size_t size) {
  constexpr size_t kMost = size_t{1} << 30;  // avail_out has 32 bits
  const uInt wanted = static_cast<uInt>(std::min(size, kMost));
  stream.next_out = reinterpret_cast<Bytef*>(out);
  stream.avail_out = wanted;
  while (!finished && stream.avail_out == wanted) {
    if (!in_member && !begin_member()) break;
    const bool more = fill(1);
    const int status = inflate(&stream, Z_NO_FLUSH);
    if (status == Z_STREAM_END) in_member = false;
    const bool cut = !more && in_member && stream.avail_out == wanted;
    ORTHANT_CHECK((status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR) && !cut,
                  kData, path, ": damaged or truncated gzip file, at byte ", position(), ": ",
                  cut          ? "it ends inside of a member"
                  : stream.msg ? stream.msg
                               : "cannot be unpacked");
  }
  return wanted - stream.avail_out;
}

ByteReader::ByteReader(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  struct stat status {};
  const bool found = ::stat(path.c_str(), &status) == 0;
  ORTHANT_CHECK(found || (errno != ENOENT && errno != ENOTDIR), kMissingInput, path,
                ": no such file");
  ORTHANT_CHECK(found && S_ISREG(status.st_mode), kData, path, ": is not a regular file");
  impl_->file_bytes = status.st_size;
  impl_->file = std::fopen(path.c_str(), "rb");
  ORTHANT_CHECK(impl_->file, kData, path, ": cannot be opened: ", std::strerror(errno));
  if (!path.ends_with(".gz")) return;
  ORTHANT_CHECK(inflateInit2(&impl_->stream, 16 + 15) == Z_OK, kMemory, path,
                ": cannot start to unpack it");
  impl_->gzip = true;
  impl_->input.resize(size_t{1} << 17);
  impl_->stream.next_in = impl_->input.data();
}

ByteReader::~ByteReader() = default;

size_t ByteReader::read(char* out, size_t size) {
  return impl_->gzip ? impl_->inflate_some(out, size) : impl_->read_file(out, size);
}

int64_t ByteReader::consumed_bytes() const {
  return impl_->gzip ? impl_->position() : std::ftell(impl_->file);
}

int64_t ByteReader::trailing_bytes() const { return impl_->trailing; }

std::string read_whole_file(const std::string& path) {
  { ByteReader check(path); }  // the same errors
  std::ifstream in(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(in), {}};
  ORTHANT_CHECK(in.good() || in.eof(), kData, path, ": cannot be read");
  return content;
}

}  // namespace orthant
