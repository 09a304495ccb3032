// SPDX-License-Identifier: Apache-2.0
// Texts packed by Zstandard: the corpora of the plain texts, and what is refused.
#include <zstd.h>

#include "data/byte_reader.h"
#include "tests/data/prepare_testing.h"

namespace orthant {
namespace {

// window_log 0: by the level.
std::string zstd(const std::string& text, int window_log = 0) {
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  if (window_log > 0) ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, window_log);
  std::string packed(ZSTD_compressBound(text.size()) + 64, '\0');
  ZSTD_inBuffer input{text.data(), text.size(), 0};
  ZSTD_outBuffer output{packed.data(), packed.size(), 0};
  // Begun before the end is known, or the window would be as small as the text.
  ZSTD_compressStream2(context.get(), &output, &input, ZSTD_e_continue);
  while (ZSTD_compressStream2(context.get(), &output, &input, ZSTD_e_end) != 0) {
  }
  return packed.substr(0, output.pos);
}

// Unpacked in calls of `step` bytes.
std::string unpacked(const std::string& path, size_t step) {
  ByteReader reader(path);
  std::string text, part(step, '\0');
  while (const size_t n = reader.read(part.data(), step)) text += part.substr(0, n);
  EXPECT_EQ(reader.consumed_bytes(), static_cast<int64_t>(std::filesystem::file_size(path)));
  return text;
}

TEST(Zstd, GivesTheSameCorpus) {
  const std::string text = "some text\nin two lines\n", lines = json_line("a b") + json_line("c");
  const std::string plain =
      prepared("p", {write_file("a.txt", text), write_file("a.jsonl", lines)}, 0.3);
  const std::string packed = prepared(
      "z", {write_file("a.txt.zst", zstd(text)), write_file("a.jsonl.zst", zstd(lines))}, 0.3);
  EXPECT_EQ(inspect_corpus(plain).fingerprint, inspect_corpus(packed).fingerprint);
}

TEST(Zstd, ReadsAllFramesInCallsOfAnySize) {
  std::string longer;
  for (int i = 0; i < 60000; ++i) longer += std::to_string(i * 7919 % 1000) + " ";
  const std::string skipped("\x53\x2A\x4D\x18\x03\x00\x00\x00xyz", 11);  // a skippable frame
  const std::string path = write_file(
      "a.txt.zst", skipped + zstd("one ") + zstd("") + skipped + zstd(longer) + zstd("end"));
  for (const size_t step : {size_t{1}, size_t{1000}, size_t{1} << 20})
    EXPECT_TRUE(unpacked(path, step) == "one " + longer + "end") << step;
}

TEST(Zstd, RefusesWhatIsDamagedOrTruncated) {
  std::string text;
  for (int i = 0; i < 60000; ++i) text += std::to_string(i * 7919 % 1000) + " ";
  const std::string packed = zstd(text);
  const auto refused = [](const std::string& content, const std::vector<std::string>& parts) {
    std::vector<std::string> all = {"a.txt.zst"};
    all.insert(all.end(), parts.begin(), parts.end());
    expect_error(ErrorKind::kData, all, [&] { run({write_file("a.txt.zst", content)}); });
  };
  for (const size_t size : {packed.size() - 1, packed.size() / 2, size_t{5}})
    refused(packed.substr(0, size), {"truncated", "inside of a frame"});
  std::string damaged = packed;
  damaged[damaged.size() - 1] ^= 1;  // of the checksum
  refused(damaged, {"damaged", "checksum"});
  refused("plain text", {"not a zstd"});
  refused("", {"not a zstd"});
  refused(gzip("x"), {"not a zstd"});
  refused(packed + "text", {"behind the last frame"});
}

TEST(Zstd, RefusesAWindowOverItsBoundInAFewBytes) {
  const std::string text = "a small text";
  EXPECT_EQ(unpacked(write_file("a.txt.zst", zstd(text, 27)), 100), text);
  const std::string bomb = zstd(text, 28);
  ASSERT_LT(bomb.size(), 100u);
  expect_error(ErrorKind::kData, {"b.txt.zst", "window is over 128 MiB", "--long=31"},
               [&] { run({write_file("b.txt.zst", bomb)}); });
}

}  // namespace
}  // namespace orthant
