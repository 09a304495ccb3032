// SPDX-License-Identifier: Apache-2.0
#include "trainer/document_lines.h"

#include "base/error.h"
#include "checkpoint/json_strict.h"

namespace orthant {
namespace {

constexpr size_t kMaxLineBytes = size_t{1} << 28;

}  // namespace

bool LineReader::next(std::string& line) {
  while (take(line)) {
    ++number_;
    if (line.find_first_not_of(" \t\r") != std::string::npos) return true;
  }
  return false;
}

bool LineReader::take(std::string& line) {
  size_t end;
  while ((end = buffer_.find('\n', begin_)) == std::string::npos && fill()) {
  }
  if (begin_ == buffer_.size()) return false;
  line = buffer_.substr(begin_, end == std::string::npos ? end : end - begin_);
  begin_ = end == std::string::npos ? buffer_.size() : end + 1;
  return true;
}

bool LineReader::fill() {
  buffer_.erase(0, begin_);
  begin_ = 0;
  ORTHANT_CHECK(buffer_.size() < kMaxLineBytes, kData, path_, ":", number_ + 1,
                ": want a line of at most ", kMaxLineBytes, " bytes, got a longer one");
  const size_t had = buffer_.size();
  buffer_.resize(had + (size_t{1} << 16));
  const size_t got = bytes_.read(buffer_.data() + had, buffer_.size() - had);
  buffer_.resize(had + got);
  return got > 0;
}

bool DocumentLines::next() {
  if (!lines_.next(text_)) return false;
  where_ = concat(lines_.path(), ":", lines_.number());
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
  return given_ids();
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

std::vector<int32_t> DocumentLines::given_ids() const {
  const nlohmann::json& tokens = value_["tokens"];
  ORTHANT_CHECK(tokens.is_array(), kData, where_, ": tokens: want a list of ids, got ",
                json_excerpt(tokens));
  std::vector<int32_t> ids;
  const int64_t vocab = model_.config.model.vocab_size;
  for (const nlohmann::json& token : tokens) {
    const int64_t id = json_count(token, where_ + ": tokens");
    ORTHANT_CHECK(id < vocab, kData, where_, ": tokens: want ids below ", vocab, ", got ", id);
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

}  // namespace orthant
