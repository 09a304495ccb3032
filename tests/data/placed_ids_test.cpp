// SPDX-License-Identifier: Apache-2.0
// Tokenizer::encode_placed: ids as ever, and where each begins.
#include "tests/data/supervised_testing.h"

namespace orthant {
namespace {

void expect_same_ids(const Tokenizer& tokenizer, const std::string& text) {
  for (const bool with_added : {false, true}) {
    const PlacedIds placed = tokenizer.encode_placed(text, with_added);
    EXPECT_EQ(placed.ids, with_added ? tokenizer.encode_with_added(text) : tokenizer.encode(text));
    ASSERT_EQ(placed.places.size(), placed.ids.size()) << text;
    EXPECT_TRUE(std::is_sorted(placed.places.begin(), placed.places.end())) << text;
    EXPECT_TRUE(placed.places.empty() || placed.places.back() < text.size()) << text;
  }
}

TEST(PlacedIds, AreTheIdsOfEveryTokenizer) {
  for (const std::string& name : kGoldenTokenizers) {
    const auto tokenizer = golden_tokenizer(name);
    for (const auto& text : golden_texts()["texts"])
      if (text.is_string()) expect_same_ids(*tokenizer, text);
  }
  for (const char* name : {"bpe", "unigram", "dummy_space", "lossy"}) {
    const auto tokenizer = make_tokenizer(std::string(ORTHANT_SOURCE_DIR) +
                                          "/tests/golden/sentencepiece/" + name + ".model");
    for (const char* text : {"", " ", "Hello  world", "na\u00efve \u2581 \U0001f600", "\xff x\xfe"})
      expect_same_ids(*tokenizer, text);
  }
  expect_same_ids(*make_tokenizer("byte"), "any");
}

// Where every token is a piece of the text, the places are the sums of their sizes.
TEST(PlacedIds, AddUpWhereTokensArePiecesOfTheText) {
  const std::string text =
      "Hello, w\u00f6rld! 123456 \u4f60\u597d \U0001f600\n\n  spaces   <|im_end|>tail " +
      std::string(100, 'x');
  for (const char* name : {"deepseek_v3", "llama3", "gpt2", "smollm2"}) {
    const auto tokenizer = golden_tokenizer(name);
    const PlacedIds placed = tokenizer->encode_placed(text, /*with_added=*/false);
    size_t place = 0;
    for (size_t t = 0; t < placed.ids.size(); ++t) {
      EXPECT_EQ(placed.places[t], place) << name << ", token " << t;
      place += tokenizer->token_text(placed.ids[t]).size();
    }
    EXPECT_EQ(place, text.size()) << name;
  }
}

TEST(PlacedIds, AreThoseOfTheTextBeforeItWasRewritten) {
  const auto qwen = golden_tokenizer("qwen3");  // NFC
  const std::string text = "e\u0301 <|im_end|>x";
  const PlacedIds placed = qwen->encode_placed(text, /*with_added=*/true);
  ASSERT_GE(placed.ids.size(), 3u);
  EXPECT_EQ(placed.places.front(), 0u);
  EXPECT_EQ(placed.places[placed.places.size() - 2], 4u);
  EXPECT_EQ(placed.places.back(), text.size() - 1);
  const auto llama = golden_tokenizer("llama2");  // a space is prepended
  const PlacedIds spaced = llama->encode_placed("a b", /*with_added=*/true);
  EXPECT_EQ(spaced.places.front(), 0u);
  EXPECT_EQ(spaced.places.back(), llama->token_text(spaced.ids.back()) == "b" ? 2u : 1u);
}

}  // namespace
}  // namespace orthant
