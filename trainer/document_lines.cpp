// SPDX-License-Identifier: Apache-2.0
#include "trainer/document_lines.h"

#include "base/error.h"
#include "checkpoint/json_strict.h"

namespace orthant {
bool DocumentLines::next() {
  bool is_object = false;
  while (!is_object && lines_.next(text_)) {
    ORTHANT_CHECK(!options_.stop || !options_.stop->load(), kInterrupted, command_,
                  ": stopped by a signal before line ", lines_.number(), " of ", options_.data,
                  ": nothing is kept, the same command begins again");
    where_ = lines_.where();
    is_object = use([&] {
      value_ = parse_json(text_, where_);
      ORTHANT_CHECK(value_.is_object(), kData, where_, ": want an object, got ",
                    json_excerpt(value_));
    });
  }
  return is_object;
}

nlohmann::ordered_json DocumentLines::name() const {
  nlohmann::ordered_json name = {{"line", line()}};
  if (value_.contains("id")) name["id"] = value_["id"];
  return name;
}

std::vector<int32_t> DocumentLines::encode(const std::string& text) {
  std::vector<int32_t> ids = model_.begin;
  const std::vector<int32_t> own = notes_.encode(text, options_.special, where_);
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
