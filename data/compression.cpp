// SPDX-License-Identifier: Apache-2.0
#include "data/compression.h"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace orthant {
namespace {

// Counts the bytes that come out of a deflate stream.
class GzipCounter {
 public:
  GzipCounter() {
    // 16 + 15: the largest window, in gzip's framing; 8: gzip's own memory level.
    ORTHANT_CHECK(deflateInit2(&stream_, Z_BEST_COMPRESSION, Z_DEFLATED, 16 + 15, 8,
                               Z_DEFAULT_STRATEGY) == Z_OK,
                  kMemory, "gzip: cannot start");
  }
  ~GzipCounter() { deflateEnd(&stream_); }
  GzipCounter(const GzipCounter&) = delete;
  GzipCounter& operator=(const GzipCounter&) = delete;

  void add(std::string_view text) {
    constexpr size_t kMost = size_t{1} << 30;  // avail_in has 32 bits
    for (; !text.empty(); text.remove_prefix(std::min(kMost, text.size())))
      run(text.substr(0, kMost), Z_NO_FLUSH);
  }
  int64_t finish() {
    run({}, Z_FINISH);
    return bytes_;
  }

 private:
  void run(std::string_view text, int flush) {
    std::array<Bytef, 1 << 16> out;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream_.avail_in = static_cast<uInt>(text.size());
    do {
      stream_.next_out = out.data();
      stream_.avail_out = static_cast<uInt>(out.size());
      ORTHANT_CHECK(deflate(&stream_, flush) != Z_STREAM_ERROR, kInternal, "gzip: bad state");
      bytes_ += static_cast<int64_t>(out.size() - stream_.avail_out);
    } while (stream_.avail_out == 0);
  }

  z_stream stream_{};
  int64_t bytes_ = 0;
};

}  // namespace

int64_t gzip_size(std::string_view text) {
  GzipCounter counter;
  counter.add(text);
  return counter.finish();
}

double gzip_bits_per_byte(Corpus& corpus, const Tokenizer& tokenizer, int64_t max_tokens) {
  constexpr int64_t kPiece = int64_t{1} << 20;
  const int64_t count =
      max_tokens > 0 ? std::min(max_tokens, corpus.num_tokens()) : corpus.num_tokens();
  GzipCounter counter;
  int64_t text_bytes = 0;
  bool continues = false;  // the next piece begins inside a document
  std::vector<int32_t> tokens;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    tokens.resize(static_cast<size_t>(std::min(kPiece, count - begin)));
    corpus.read(begin, tokens);
    const std::string text = tokenizer.decode(tokens, continues);
    continues = tokens.back() != tokenizer.end_of_document();
    text_bytes += static_cast<int64_t>(text.size());
    counter.add(text);
  }
  ORTHANT_CHECK(text_bytes > 0, kData, corpus.path(), ": the ", split_name(corpus.split()),
                " split has no text");
  return 8.0 * static_cast<double>(counter.finish()) / static_cast<double>(text_bytes);
}

}  // namespace orthant
