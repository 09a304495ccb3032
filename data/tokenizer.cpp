// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer.h"

#include <array>

#include "base/error.h"
#include "data/sentencepiece.h"

namespace orthant {
namespace {

constexpr int32_t kByteEndOfDocument = 256;

class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() {
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<char>(i);
  }

  std::string name() const override { return "byte"; }
  int32_t vocab_size() const override { return kByteEndOfDocument + 1; }
  SpecialIds special_ids() const override { return {.eos = kByteEndOfDocument}; }
  int32_t end_of_document() const override { return kByteEndOfDocument; }
  const std::string& model_file() const override { return no_file_; }

  std::vector<int32_t> encode(std::string_view text, bool) const override {
    std::vector<int32_t> tokens(text.size());
    for (size_t i = 0; i < text.size(); ++i) tokens[i] = static_cast<unsigned char>(text[i]);
    return tokens;
  }

  std::string_view token_text(int32_t token) const override {
    ORTHANT_CHECK(token >= 0 && token <= kByteEndOfDocument, kData,
                  "byte tokenizer: want a token in [0, ", vocab_size(), "), got ", token);
    if (token == kByteEndOfDocument) return {};
    return {&bytes_[static_cast<size_t>(token)], 1};
  }
  bool has_dummy_space(int32_t) const override { return false; }

 private:
  std::array<char, 256> bytes_;
  std::string no_file_;
};

}  // namespace

std::string Tokenizer::decode(std::span<const int32_t> tokens, bool continues) const {
  std::string text;
  for (const int32_t token : tokens) {
    std::string_view piece = token_text(token);
    if (!continues && has_dummy_space(token)) piece.remove_prefix(1);
    text += piece;
    continues = token != end_of_document();
  }
  return text;
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec) {
  if (spec == "byte" || spec == "bytes") return std::make_unique<ByteTokenizer>();
  ORTHANT_CHECK(spec.ends_with(".model"), kConfig, "tokenizer: unknown name '", spec,
                "'; want byte, or the path of a SentencePiece file that ends in .model");
  return load_sentencepiece(spec);
}

}  // namespace orthant
