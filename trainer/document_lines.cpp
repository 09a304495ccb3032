// SPDX-License-Identifier: Apache-2.0
#include "trainer/document_lines.h"

#include "base/error.h"
#include "checkpoint/json_strict.h"

namespace orthant {
bool DocumentLines::next() {
  if (!lines_.next(text_)) return false;
  where_ = lines_.where();
  value_ = parse_json(text_, where_);
  ORTHANT_CHECK(value_.is_object(), kData, where_, ": want an object, got ", json_excerpt(value_));
  return true;
}

std::vector<int32_t> DocumentLines::encode(const std::string& text) const {
  std::vector<int32_t> ids = model_.begin;
  const std::vector<int32_t> own = model_.tokenizer->encode(text);
  ids.insert(ids.end(), own.begin(), own.end());
  return ids;
}

std::vector<int32_t> DocumentLines::ids(const std::string& others) {
  if (value_.contains("messages")) return ids_of_messages();
  if (value_.contains("text")) return encode(json_string(value_["text"], where_ + ": text"));
  ORTHANT_CHECK(value_.contains("tokens"), kData, where_, ": want text, tokens",
                others.empty() ? " or messages" : ", messages" + others, ", got ",
                json_excerpt(value_));
  return json_ids(value_["tokens"], model_.config.model.vocab_size, where_ + ": tokens");
}

std::vector<int32_t> DocumentLines::ids_of_messages() {
  // Once more, with the keys in their order: templates may print them.
  const auto messages = nlohmann::ordered_json::parse(text_)["messages"];
  ORTHANT_CHECK(messages.is_array() && !messages.empty(), kData, where_,
                ": messages: want a list of {role, content}, got ",
                json_excerpt(value_["messages"]));
  if (!conversations_) conversations_.emplace(command_, model_);
  return conversations_->encode(messages, /*asks=*/false);
}

}  // namespace orthant
