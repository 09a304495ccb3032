// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer_json.h"

#include <algorithm>
#include <mutex>

#include "base/checksum.h"
#include "base/error.h"
#include "data/bpe/decoder.h"
#include "data/bpe/json_place.h"
#include "data/bpe/pipeline.h"
#include "data/bpe/post_processor.h"
#include "data/bpe/special_ids.h"

namespace orthant {
namespace {

// Threads that encode at the same time have a scratch each, which is kept for later calls.
class ScratchPool {
 public:
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool) {
      const std::lock_guard lock(pool_.mutex_);
      if (pool_.free_.empty()) {
        scratch_ = std::make_unique<PipelineScratch>();
      } else {
        scratch_ = std::move(pool_.free_.back());
        pool_.free_.pop_back();
      }
    }
    ~Lease() {
      const std::lock_guard lock(pool_.mutex_);
      pool_.free_.push_back(std::move(scratch_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    PipelineScratch& operator*() const { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<PipelineScratch> scratch_;
  };

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<PipelineScratch>> free_;
};

class TokenizerJson final : public SequenceTokenizer {
 public:
  TokenizerJson(TokenizerJsonFiles files, const JsonPlace& root, const JsonPlace& config)
      : pipeline_(root), frame_(parse_post_processor(root.find("post_processor"))) {
    name_ = concat("tokenizer.json:", xxh3_128_hex(files.tokenizer.data(), files.tokenizer.size()));
    files_.push_back({"tokenizer.json", std::move(files.tokenizer)});
    if (!files.config.empty()) files_.push_back({"tokenizer_config.json", std::move(files.config)});
    check_added(root);
    const auto find = [&](std::string_view token) { return id_of(token); };
    special_ = find_special_ids(config, pipeline_.added(), pipeline_.model().unknown_id(), find,
                                files.label);
    read_texts(TokenDecoder(root.find("decoder")));
    for (const std::vector<int32_t>* ids : {&frame_.before, &frame_.behind})
      for (const int32_t id : *ids)
        if (id >= vocab_size())
          root.at("post_processor").refuse("want ids below ", vocab_size(), ", got ", id);
  }

  std::string name() const override { return name_; }
  int32_t vocab_size() const override { return static_cast<int32_t>(texts_.size()); }
  SpecialIds special_ids() const override { return special_; }
  int32_t end_of_document() const override { return special_.eos; }
  const std::vector<ModelFile>& model_files() const override { return files_; }

  std::vector<int32_t> encode(std::string_view text, bool continues) const override {
    return encode({.text = text, .begins = !continues, .with_special = false}).ids;
  }
  std::vector<int32_t> encode_with_added(std::string_view text) const override {
    return encode({.text = text}).ids;
  }
  PlacedIds encode_placed(std::string_view text, bool with_added) const override {
    PlacedIds placed;
    placed.ids = encode({.text = text, .with_special = with_added, .places = &placed.places}).ids;
    return placed;
  }
  EncodedPart encode_part(const PartRequest& request) const override {
    return encode({.text = request.text,
                   .begins = !request.continues,
                   .ends = request.ends,
                   .with_special = false,
                   .want_bytes = request.want_bytes});
  }
  std::vector<int32_t> encode_sequence(std::string_view text) const override {
    std::vector<int32_t> ids = frame_.before;
    const std::vector<int32_t> inner = encode_with_added(text);
    ids.insert(ids.end(), inner.begin(), inner.end());
    ids.insert(ids.end(), frame_.behind.begin(), frame_.behind.end());
    return ids;
  }

  std::string_view token_text(int32_t token) const override {
    ORTHANT_CHECK(token >= 0 && token < vocab_size(), kData, "tokenizer.json: want a token in [0, ",
                  vocab_size(), "), got ", token);
    return texts_[static_cast<size_t>(token)];
  }
  size_t dummy_bytes(int32_t token) const override {
    const size_t size = token_text(token).size();  // 0 for a special token
    return std::min<size_t>(size, dummy_bytes_[static_cast<size_t>(token)]);
  }

 private:
  EncodedPart encode(const Pipeline::Request& request) const {
    const ScratchPool::Lease scratch(scratch_);
    return pipeline_.encode(request, *scratch);
  }

  std::optional<int32_t> id_of(std::string_view token) const {
    for (const AddedToken& added : pipeline_.added())
      if (added.content == token) return added.id;
    return pipeline_.model().find(token);
  }

  // An added token may also be in the vocabulary, as the same id.
  void check_added(const JsonPlace& root) const {
    std::unordered_map<int32_t, std::string_view> seen;
    const std::span<const AddedToken> added = pipeline_.added();
    for (size_t i = 0; i < added.size(); ++i) {
      const auto [id, content] = std::pair(added[i].id, std::string_view(added[i].content));
      const JsonPlace place = root.at("added_tokens").at(i);
      const auto in_model = pipeline_.model().find(content);
      if (in_model && *in_model != id)
        place.refuse("'", content, "' has the id ", id, ", in the vocabulary ", *in_model);
      const std::vector<std::string>& tokens = pipeline_.model().tokens();
      const bool is_taken = static_cast<size_t>(id) < tokens.size() && !in_model &&
                            !tokens[static_cast<size_t>(id)].empty();
      if (is_taken || !seen.emplace(id, content).second)
        place.refuse("id ", id, " is there twice, also as '",
                     is_taken ? tokens[static_cast<size_t>(id)] : std::string(seen[id]), "'");
    }
  }

  void read_texts(const TokenDecoder& decoder) {
    size_t size = pipeline_.model().tokens().size();
    for (const AddedToken& token : pipeline_.added())
      size = std::max(size, static_cast<size_t>(token.id) + 1);
    texts_.resize(size);
    dummy_bytes_.resize(size);
    const auto set = [&](int32_t id, std::string_view token) {
      texts_[static_cast<size_t>(id)] = decoder.text_of(token);
      dummy_bytes_[static_cast<size_t>(id)] = static_cast<uint32_t>(decoder.dummy_bytes(token));
    };
    for (size_t id = 0; id < pipeline_.model().tokens().size(); ++id)
      set(static_cast<int32_t>(id), pipeline_.model().tokens()[id]);
    for (const AddedToken& token : pipeline_.added()) {
      if (token.special && token.id != special_.unk) {
        texts_[static_cast<size_t>(token.id)].clear();
      } else {
        set(token.id, token.content);
      }
    }
    for (const int32_t id : {special_.bos, special_.eos, special_.pad})
      if (id >= 0) texts_[static_cast<size_t>(id)].clear();
  }

  Pipeline pipeline_;
  SequenceFrame frame_;
  std::string name_;
  std::vector<ModelFile> files_;
  SpecialIds special_;
  std::vector<std::string> texts_;     // by id
  std::vector<uint32_t> dummy_bytes_;  // by id
  mutable ScratchPool scratch_;
};

}  // namespace

std::unique_ptr<SequenceTokenizer> parse_tokenizer_json(TokenizerJsonFiles files) {
  const Json root = parse_json(files.tokenizer, files.label);
  const std::string config_label =
      files.label.substr(0, files.label.rfind('/') + 1) + "tokenizer_config.json";
  const Json config = files.config.empty() ? Json() : parse_json(files.config, config_label);
  const std::string label = files.label;
  return std::make_unique<TokenizerJson>(std::move(files), JsonPlace(root, label),
                                         JsonPlace(config, config_label));
}

}  // namespace orthant
