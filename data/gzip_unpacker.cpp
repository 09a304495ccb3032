// SPDX-License-Identifier: Apache-2.0
#include <zlib.h>

#include <algorithm>

#include "base/error.h"
#include "data/unpacker.h"

namespace orthant {
namespace {

class GzipUnpacker final : public Unpacker {
 public:
  explicit GzipUnpacker(FileBytes& file) : Unpacker(file) {
    ORTHANT_CHECK(inflateInit2(&stream_, 16 + 15) == Z_OK, kMemory, file.path(),
                  ": cannot start to unpack it");
  }
  ~GzipUnpacker() override { inflateEnd(&stream_); }

  size_t read(char* out, size_t size) override {
    constexpr size_t kMost = size_t{1} << 30;  // avail_out has 32 bits
    const uInt wanted = static_cast<uInt>(std::min(size, kMost));
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = wanted;
    while (!finished_ && stream_.avail_out == wanted) {
      if (!in_member_ && !begin_member()) break;
      const bool more = input_.fill(1);
      const int status = inflate_some();
      if (status == Z_STREAM_END) in_member_ = false;
      const bool cut = !more && in_member_ && stream_.avail_out == wanted;
      const bool good = status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR;
      ORTHANT_CHECK(good && !cut, kData, input_.file().path(),
                    ": damaged or truncated gzip file, at byte ", input_.position(), ": ",
                    cut           ? "it ends inside of a member"
                    : stream_.msg ? stream_.msg
                                  : "cannot be unpacked");
    }
    return wanted - stream_.avail_out;
  }
  int64_t trailing_bytes() const override { return trailing_; }

 private:
  int inflate_some() {
    stream_.next_in = const_cast<Bytef*>(input_.data());
    stream_.avail_in = static_cast<uInt>(input_.size());
    const int status = inflate(&stream_, Z_NO_FLUSH);
    input_.take(input_.size() - stream_.avail_in);
    return status;
  }

  // At the beginning of the file or behind a member: false when no other one follows.
  bool begin_member() {
    const bool is_one = input_.fill(2) && input_.data()[0] == 0x1f && input_.data()[1] == 0x8b;
    ORTHANT_CHECK(is_one || any_member_, kData, input_.file().path(), ": is not a gzip file");
    if (!is_one) {
      trailing_ =
          std::max(input_.file().size() - input_.position(), static_cast<int64_t>(input_.size()));
      finished_ = true;
      return false;
    }
    inflateReset(&stream_);
    return any_member_ = in_member_ = true;
  }

  z_stream stream_{};
  bool in_member_ = false, any_member_ = false, finished_ = false;
  int64_t trailing_ = 0;
};

}  // namespace

std::unique_ptr<Unpacker> make_gzip_unpacker(FileBytes& file) {
  return std::make_unique<GzipUnpacker>(file);
}

}  // namespace orthant
