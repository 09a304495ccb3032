// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer.h"

#include <array>
#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "data/sentencepiece.h"
#include "data/tokenizer_files.h"
#include "data/tokenizer_json.h"

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
  const std::vector<ModelFile>& model_files() const override { return no_files_; }

  std::vector<int32_t> encode(std::string_view text, bool) const override {
    std::vector<int32_t> tokens(text.size());
    for (size_t i = 0; i < text.size(); ++i) tokens[i] = static_cast<unsigned char>(text[i]);
    return tokens;
  }
  PlacedIds encode_placed(std::string_view text, bool) const override {
    PlacedIds placed{encode(text, false), std::vector<size_t>(text.size())};
    std::iota(placed.places.begin(), placed.places.end(), size_t{0});
    return placed;
  }

  std::string_view token_text(int32_t token) const override {
    ORTHANT_CHECK(token >= 0 && token <= kByteEndOfDocument, kData,
                  "byte tokenizer: want a token in [0, ", vocab_size(), "), got ", token);
    if (token == kByteEndOfDocument) return {};
    return {&bytes_[static_cast<size_t>(token)], 1};
  }
  size_t dummy_bytes(int32_t) const override { return 0; }

 private:
  std::array<char, 256> bytes_;
  std::vector<ModelFile> no_files_;
};

}  // namespace

std::string Tokenizer::decode(std::span<const int32_t> tokens, bool continues) const {
  const int32_t end = end_of_document();
  std::string text;
  for (const int32_t token : tokens) {
    const std::string_view piece = token_text(token);
    text += piece.substr(continues ? 0 : dummy_bytes(token));
    // A token without text is not the first of a document.
    continues = token != end && (continues || !piece.empty());
  }
  return text;
}

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec) {
  if (spec == "byte" || spec == "bytes") return std::make_unique<ByteTokenizer>();
  if (std::filesystem::is_directory(spec)) return load_tokenizer_folder(spec);
  if (spec.ends_with(".json")) return load_tokenizer_json(spec);
  ORTHANT_CHECK(spec.ends_with(".model"), kConfig, "tokenizer: unknown name '", spec,
                "'; want byte, the path of a SentencePiece file that ends in .model, of a "
                "tokenizer.json, or of a folder with a tokenizer");
  return load_sentencepiece(spec);
}

}  // namespace orthant
