// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer.h"

#include <array>

#include "base/error.h"

namespace orthant {
namespace {

constexpr int32_t kByteEndOfDocument = 256;

class ByteTokenizer final : public Tokenizer {
 public:
  std::string name() const override { return "byte"; }
  int32_t vocab_size() const override { return kByteEndOfDocument + 1; }
  int32_t end_of_document() const override { return kByteEndOfDocument; }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> tokens(text.size());
    for (size_t i = 0; i < text.size(); ++i) tokens[i] = static_cast<unsigned char>(text[i]);
    return tokens;
  }

  std::string decode(std::span<const int32_t> tokens) const override {
    std::string text;
    text.reserve(tokens.size());
    for (const int32_t token : tokens) {
      ORTHANT_CHECK(token >= 0 && token <= kByteEndOfDocument, kData,
                    "byte tokenizer: want a token in [0, ", vocab_size(), "), got ", token);
      if (token != kByteEndOfDocument) text.push_back(static_cast<char>(token));
    }
    return text;
  }
};

constexpr std::array<std::string_view, 1> kNames = {"byte"};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name) {
  if (name == "byte") return std::make_unique<ByteTokenizer>();
  std::string known;
  for (const std::string_view each : kNames) known += concat(known.empty() ? "" : ", ", each);
  throw_error(ErrorKind::kConfig,
              concat("tokenizer: unknown name '", name, "'; there is: ", known));
}

}  // namespace orthant
