// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/special_ids.h"

#include <algorithm>

namespace orthant {
namespace {

using Names = std::span<const std::string_view>;

// Special tokens of published models, the likelier ones first.
constexpr std::string_view kEos[] = {"<|endoftext|>",
                                     "</s>",
                                     "<|end_of_text|>",
                                     "<\xEF\xBD\x9C"
                                     "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
                                     "<eos>",
                                     "<|im_end|>",
                                     "<|eot_id|>"};
constexpr std::string_view kBos[] = {"<s>", "<|begin_of_text|>",
                                     "<\xEF\xBD\x9C"
                                     "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
                                     "<bos>", "<|startoftext|>"};
constexpr std::string_view kPad[] = {"<pad>", "<|pad|>",
                                     "<\xEF\xBD\x9C\xE2\x96\x81pad\xE2\x96\x81\xEF\xBD\x9C>",
                                     "<|finetune_right_pad_id|>", "[PAD]"};

class Finder {
 public:
  Finder(const JsonPlace& config, std::span<const AddedToken> added,
         const std::function<std::optional<int32_t>(std::string_view)>& find)
      : config_(config), added_(added), find_(find) {}

  int32_t find(const char* key, Names names) const {
    if (!config_.is_null() && config_.has(key)) {
      const JsonPlace value = config_.at(key);
      const std::string& name = value.value().is_object() ? value.text("content") : value.text();
      const auto id = find_(name);
      if (!id) value.refuse("'", name, "' is no token of the tokenizer");
      return *id;
    }
    for (const std::string_view name : names) {
      const auto token = std::ranges::find_if(
          added_, [&](const AddedToken& t) { return t.special && t.content == name; });
      if (token != added_.end()) return token->id;
    }
    return -1;
  }

 private:
  const JsonPlace& config_;
  std::span<const AddedToken> added_;
  const std::function<std::optional<int32_t>(std::string_view)>& find_;
};

}  // namespace

SpecialIds find_special_ids(const JsonPlace& config, std::span<const AddedToken> added,
                            int32_t unknown_id,
                            const std::function<std::optional<int32_t>(std::string_view)>& find,
                            const std::string& label) {
  const Finder finder(config, added, find);
  SpecialIds ids{.bos = finder.find("bos_token", kBos),
                 .eos = finder.find("eos_token", kEos),
                 .pad = finder.find("pad_token", kPad)};
  // GPT-2's says that its end of text is the unknown token too, which it never needs.
  if (unknown_id != ids.eos) ids.unk = unknown_id;
  ORTHANT_CHECK(ids.eos >= 0, kData, label,
                ": nothing says which token ends a document; put a tokenizer_config.json beside "
                "it, such as {\"eos_token\": \"</s>\"}");
  return ids;
}

}  // namespace orthant
