// SPDX-License-Identifier: Apache-2.0
#include "data/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <array>
#include <cstdlib>

#include "base/checksum.h"
#include "base/error.h"
#include "base/function_ref.h"
#include "data/byte_reader.h"

namespace orthant {
namespace {

using Processor = sentencepiece::SentencePieceProcessor;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, in pieces
// Appended to a serialized model it sets normalizer_spec.add_dummy_prefix (fields 3 and 3 of
// sentencepiece_model.proto) to false: of joined messages the later value holds.
constexpr std::string_view kNoDummyPrefix{"\x1a\x02\x18\x00", 4};

std::unique_ptr<Processor> load(std::string_view model, const std::string& path) {
  auto processor = std::make_unique<Processor>();
  const sentencepiece::util::Status status = processor->LoadFromSerializedProto(model);
  ORTHANT_CHECK(status.ok(), kData, path, ": is not a SentencePiece model, or a damaged one");
  return processor;
}

class SentencePiece final : public Tokenizer {
 public:
  SentencePiece(std::string content, const std::string& path) {
    files_.push_back({"tokenizer.model", std::move(content)});
    const std::string& file = files_.front().content;
    name_ = concat("sentencepiece:", xxh3_128_hex(file.data(), file.size()));
    begin_ = load(file, path);
    const std::vector<std::string> pieces = begin_->EncodeAsPieces("a");
    if (!pieces.empty() && pieces.front().starts_with(kSpace))
      rest_ = load(file + std::string(kNoDummyPrefix), path);
    special_ = {.bos = begin_->bos_id(),
                .eos = begin_->eos_id(),
                .unk = begin_->unk_id(),
                .pad = begin_->pad_id()};
    ORTHANT_CHECK(special_.eos >= 0, kData, path,
                  ": has no end-of-sentence id, which ends a document");
    read_pieces();
    check_decoding(path);
  }

  std::string name() const override { return name_; }
  int32_t vocab_size() const override { return static_cast<int32_t>(texts_.size()); }
  SpecialIds special_ids() const override { return special_; }
  int32_t end_of_document() const override { return special_.eos; }
  const std::vector<ModelFile>& model_files() const override { return files_; }
  size_t dummy_bytes(int32_t token) const override {
    return rest_ && !token_text(token).empty() && spaced_[static_cast<size_t>(token)] ? 1 : 0;
  }
  std::string_view token_text(int32_t token) const override {
    ORTHANT_CHECK(token >= 0 && token < vocab_size(), kData,
                  "SentencePiece tokenizer: want a token in [0, ", vocab_size(), "), got ", token);
    return texts_[static_cast<size_t>(token)];
  }

  std::vector<int32_t> encode(std::string_view text, bool continues) const override {
    std::vector<int32_t> tokens;
    for_each_run(text, continues, [&](std::string_view run, bool goes_on, int32_t byte) {
      if (byte >= 0) return tokens.push_back(byte);
      std::vector<int> ids;
      const auto status = processor(goes_on).Encode(run, &ids);
      ORTHANT_CHECK(status.ok(), kInternal, "SentencePiece: ", status.ToString());
      tokens.insert(tokens.end(), ids.begin(), ids.end());
    });
    return tokens;
  }

  PlacedIds encode_placed(std::string_view text, bool) const override {
    PlacedIds placed;
    for_each_run(text, false, [&](std::string_view run, bool goes_on, int32_t byte) {
      const auto begin = static_cast<size_t>(run.data() - text.data());
      const auto add = [&](int32_t id, size_t place) {
        placed.ids.push_back(id);
        placed.places.push_back(begin + place);
      };
      if (byte >= 0) return add(byte, 0);
      const auto pieces = processor(goes_on).EncodeAsImmutableProto(run);
      for (size_t i = 0; i < pieces.pieces_size(); ++i)
        add(static_cast<int32_t>(pieces.pieces(static_cast<int>(i)).id()),
            pieces.pieces(static_cast<int>(i)).begin());
    });
    return placed;
  }

 private:
  // How many leading bytes the library gives back as they are: UTF-8 without U+2581.
  static size_t plain_bytes(std::string_view text) {
    size_t at = 0;
    while (at < text.size()) {
      const size_t size = utf8_size(text.substr(at));
      if (size == 0 || text.substr(at, size) == kSpace) break;
      at += size;
    }
    return at;
  }

  // The text in runs that the library takes, and bytes that become the token `byte` by themselves.
  void for_each_run(
      std::string_view text, bool continues,
      FunctionRef<void(std::string_view run, bool continues, int32_t byte)> take) const {
    while (!text.empty()) {
      const size_t plain = byte_ids_[0] < 0 ? text.size() : plain_bytes(text);
      if (plain > 0) take(text.substr(0, plain), continues, -1);
      text.remove_prefix(plain);
      if (text.empty()) break;
      take(text.substr(0, 1), true, byte_ids_[static_cast<unsigned char>(text[0])]);
      text.remove_prefix(1);
      continues = true;
    }
  }

  const Processor& processor(bool continues) const { return continues && rest_ ? *rest_ : *begin_; }

  void read_pieces() {
    byte_ids_.fill(-1);
    const int size = begin_->GetPieceSize();
    for (int id = 0; id < size; ++id) {
      const std::string& piece = begin_->IdToPiece(id);
      std::string& text = texts_.emplace_back();
      spaced_.push_back(false);
      if (begin_->IsByte(id)) {  // "<0x0A>"
        const long byte = std::strtol(piece.c_str() + 3, nullptr, 16);
        text.push_back(static_cast<char>(byte));
        byte_ids_[static_cast<size_t>(byte)] = id;
      } else if (begin_->IsUnknown(id)) {
        text = begin_->DecodeIds({id});
      } else if (!begin_->IsControl(id)) {
        spaced_.back() = piece.starts_with(kSpace);
        for (size_t at = 0; at < piece.size();) {
          const bool space = piece.compare(at, kSpace.size(), kSpace) == 0;
          text.push_back(space ? ' ' : piece[at]);
          at += space ? kSpace.size() : 1;
        }
      }
    }
  }

  // Tokens are decoded one by one here; a model with rules for the decoded text would want it
  // whole.
  void check_decoding(const std::string& path) const {
    for (int32_t id = 0; id < vocab_size(); ++id) {
      if (begin_->IsControl(id) || begin_->IsByte(id)) continue;
      ORTHANT_CHECK(begin_->DecodeIds({id}) == decode(std::span(&id, 1)), kData, path,
                    ": rewrites the text it decodes (piece ", id, "), which is not supported");
    }
  }

  std::vector<ModelFile> files_;
  std::string name_;
  std::unique_ptr<Processor> begin_;  // as the file says
  std::unique_ptr<Processor> rest_;   // without the dummy space; null where there is none
  SpecialIds special_;
  std::vector<std::string> texts_;     // by id
  std::vector<bool> spaced_;           // by id: the piece begins with a space
  std::array<int32_t, 256> byte_ids_;  // -1: the model has no byte pieces
};

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& path) {
  return parse_sentencepiece(read_whole_file(path), path);
}

std::unique_ptr<Tokenizer> parse_sentencepiece(std::string file, const std::string& label) {
  return std::make_unique<SentencePiece>(std::move(file), label);
}

}  // namespace orthant
