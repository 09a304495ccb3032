// SPDX-License-Identifier: Apache-2.0
// Frames of Zstandard, RFC 8878.
#include <zstd.h>
#include <zstd_errors.h>

#include "base/error.h"
#include "data/unpacker.h"

namespace orthant {
namespace {

// Of the window, 128 MiB: what zstd's own program takes unasked.  A frame of a few bytes may claim
// one of terabytes.
constexpr int kMostWindowLog = 27;

bool begins_frame(const unsigned char* bytes) {
  const bool data = bytes[0] == 0x28 && bytes[1] == 0xB5 && bytes[2] == 0x2F && bytes[3] == 0xFD;
  const bool skippable =
      (bytes[0] & 0xF0) == 0x50 && bytes[1] == 0x2A && bytes[2] == 0x4D && bytes[3] == 0x18;
  return data || skippable;
}

class ZstdUnpacker final : public Unpacker {
 public:
  explicit ZstdUnpacker(FileBytes& file)
      : Unpacker(file), context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {
    ORTHANT_CHECK(context_, kMemory, file.path(), ": cannot start to unpack it");
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kMostWindowLog);
  }

  size_t read(char* out, size_t size) override {
    ZSTD_outBuffer output{out, size, 0};
    while (output.pos == 0) {
      const bool more = input_.fill(1);
      if (!in_frame_ && !begin_frame(more)) break;
      ZSTD_inBuffer input{input_.data(), input_.size(), 0};
      const size_t status = ZSTD_decompressStream(context_.get(), &output, &input);
      if (ZSTD_isError(status)) refuse(reason_of(status));
      input_.take(input.pos);
      in_frame_ = status != 0;
      // What is unpacked already comes out also when there is nothing more to read.
      if (!more && in_frame_ && output.pos == 0) refuse("it ends inside of a frame");
    }
    return output.pos;
  }

 private:
  // At the beginning of the file or behind a frame: false at the end.
  bool begin_frame(bool more) {
    if (!more && any_frame_) return false;
    const bool is_one = input_.fill(4) && begins_frame(input_.data());
    if (!is_one && any_frame_) refuse("behind the last frame is something else");
    ORTHANT_CHECK(is_one, kData, input_.file().path(), ": is not a zstd file");
    return any_frame_ = in_frame_ = true;
  }

  static std::string reason_of(size_t status) {
    const std::string reason = ZSTD_getErrorName(status);
    if (ZSTD_getErrorCode(status) != ZSTD_error_frameParameter_windowTooLarge) return reason;
    return concat("its window is over ", 1 << (kMostWindowLog - 20),
                  " MiB; pack it anew: zstd -dc --long=31 OLD.zst | zstd > NEW.zst");
  }

  [[noreturn]] void refuse(const std::string& reason) const {
    throw_error(ErrorKind::kData,
                concat(input_.file().path(), ": damaged or truncated zstd file, at byte ",
                       input_.position(), ": ", reason));
  }

  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_;
  bool in_frame_ = false, any_frame_ = false;
};

}  // namespace

std::unique_ptr<Unpacker> make_zstd_unpacker(FileBytes& file) {
  return std::make_unique<ZstdUnpacker>(file);
}

}  // namespace orthant
