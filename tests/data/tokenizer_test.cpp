// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer.h"

#include "tests/data/files.h"

namespace orthant {
namespace {

TEST(ByteTokenizer, GivesEveryByteBack) {
  const auto tokenizer = make_tokenizer("byte");
  std::string text;
  for (int c = 0; c < 256; ++c) text.push_back(static_cast<char>(c));
  const std::vector<int32_t> tokens = tokenizer->encode(text);
  ASSERT_EQ(tokens.size(), 256u);
  for (int c = 0; c < 256; ++c) EXPECT_EQ(tokens[static_cast<size_t>(c)], c);
  EXPECT_EQ(tokenizer->decode(tokens), text);
  EXPECT_EQ(tokenizer->vocab_size(), 257);
  EXPECT_EQ(tokenizer->end_of_document(), 256);
  EXPECT_EQ(tokenizer->name(), "byte");
}

TEST(ByteTokenizer, EndOfDocumentIsNoText) {
  const std::vector<int32_t> tokens = {'a', 256, 'b'};
  EXPECT_EQ(make_tokenizer("byte")->decode(tokens), "ab");
}

TEST(ByteTokenizer, RefusesIdsOutsideItsVocabulary) {
  for (const int32_t bad : {-1, 257})
    expect_error(ErrorKind::kData, {std::to_string(bad)},
                 [&] { make_tokenizer("byte")->decode(std::span(&bad, 1)); });
}

TEST(MakeTokenizer, UnknownNameListsWhatExists) {
  EXPECT_EQ(make_tokenizer("bytes")->name(), "byte");
  expect_error(ErrorKind::kConfig, {"'bite'", "byte", ".model"}, [] { make_tokenizer("bite"); });
}

}  // namespace
}  // namespace orthant
