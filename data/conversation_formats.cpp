// SPDX-License-Identifier: Apache-2.0
// ShareGPT's, Alpaca's and prompt-completion rows as messages.
#include <array>
#include <utility>

#include "base/text.h"
#include "data/conversation.h"

namespace orthant {
namespace {

using nlohmann::ordered_json;

[[noreturn]] void refuse(std::string text) {
  throw RowFault{RowReason::kMalformed, std::move(text)};
}

// A text; empty where there is none and it may be left out.
std::string text_of(const ordered_json& row, const char* key, bool may_lack) {
  const ordered_json value = row.value(key, ordered_json());
  if (value.is_null() && may_lack) return {};
  if (!value.is_string()) refuse(concat(key, ": want a text, got ", excerpt_of(value)));
  return value;
}

ordered_json message(std::string role, std::string content) {
  return {{"role", std::move(role)}, {"content", std::move(content)}};
}

std::string sharegpt_role(const std::string& from, const std::string& where) {
  static constexpr std::array<std::pair<const char*, const char*>, 13> kRoles = {
      {{"system", "system"},
       {"human", "user"},
       {"user", "user"},
       {"gpt", "assistant"},
       {"assistant", "assistant"},
       {"chatgpt", "assistant"},
       {"bing", "assistant"},
       {"bard", "assistant"},
       {"model", "assistant"},
       {"function_call", "assistant"},
       {"tool", "tool"},
       {"observation", "tool"},
       {"function_response", "tool"}}};
  for (const auto& [name, role] : kRoles)
    if (from == name) return role;
  throw RowFault{
      RowReason::kRoles,
      concat(where, ": from: want system, human, gpt, function_call or observation, got ",
             excerpt_of(from))};
}

// {"name", "arguments"}, or a list of them, in a text.
ordered_json tool_calls(const std::string& text, const std::string& where) {
  ordered_json calls = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (calls.is_object()) calls = ordered_json::array({calls});
  ordered_json made = ordered_json::array();
  for (const ordered_json& call : calls.is_array() ? calls : ordered_json::array()) {
    if (!call.is_object() || !call.contains("name")) break;
    made.push_back({{"type", "function"}, {"function", call}});
  }
  if (made.empty() || made.size() != calls.size())
    refuse(concat(where,
                  ": function_call: want {\"name\": ..., \"arguments\": ...} in a text, got ",
                  excerpt_of(text)));
  return made;
}

}  // namespace

Conversation conversation_of_sharegpt(const ordered_json& row) {
  Conversation c;
  const ordered_json turns = row.value("conversations", ordered_json());
  if (!turns.is_array() || turns.empty())
    refuse(concat("conversations: want a list of {from, value}, got ", excerpt_of(turns)));
  const std::string system = text_of(row, "system", /*may_lack=*/true);
  if (!system.empty()) c.messages.push_back(message("system", system));
  for (size_t i = 0; i < turns.size(); ++i) {
    const std::string where = concat("conversations[", i, "]");
    const ordered_json& turn = turns[i];
    if (turn.is_object() && turn.contains("role")) {  // messages under this name
      c.messages.push_back(turn);
      continue;
    }
    const bool is_turn = turn.is_object() && turn.contains("from") && turn["from"].is_string() &&
                         turn.contains("value") && turn["value"].is_string();
    if (!is_turn) refuse(concat(where, ": want texts from and value, got ", excerpt_of(turn)));
    const std::string from = turn["from"], value = turn["value"];
    ordered_json made = message(sharegpt_role(from, where), value);
    if (from == "function_call") {
      made["content"] = nullptr;
      made["tool_calls"] = tool_calls(value, where);
    }
    for (const char* key : {"train", "reasoning_content"})
      if (turn.contains(key)) made[key] = turn[key];
    c.messages.push_back(std::move(made));
  }
  return c;
}

Conversation conversation_of_alpaca(const ordered_json& row) {
  Conversation c;
  const std::string system = text_of(row, "system", true), input = text_of(row, "input", true);
  if (!system.empty()) c.messages.push_back(message("system", system));
  const ordered_json history = row.value("history", ordered_json());
  if (!history.is_null() && !history.is_array())
    refuse(concat("history: want a list of pairs, got ", excerpt_of(history)));
  for (const ordered_json& pair : history.is_null() ? ordered_json::array() : history) {
    const bool is_pair =
        pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_string();
    if (!is_pair) refuse(concat("history: want pairs of texts, got ", excerpt_of(pair)));
    c.messages.push_back(message("user", pair[0]));
    c.messages.push_back(message("assistant", pair[1]));
  }
  const std::string instruction = text_of(row, "instruction", false);
  c.messages.push_back(message("user", input.empty() ? instruction : instruction + "\n" + input));
  c.messages.push_back(message("assistant", text_of(row, "output", false)));
  return c;
}

Conversation conversation_of_prompt(const ordered_json& row) {
  Conversation c;
  const ordered_json prompt = row.value("prompt", ordered_json());
  const ordered_json completion = row.value("completion", ordered_json());
  if (prompt.is_string() && completion.is_string()) {
    c.is_plain = true;
    c.prompt = prompt;
    c.completion = completion;
    if (c.completion.empty())
      throw RowFault{RowReason::kEmptyTurn, "completion: want a text, got an empty one"};
    return c;
  }
  if (!prompt.is_array() || !completion.is_array())
    refuse(concat("prompt, completion: want two texts or two lists of messages, got ",
                  excerpt_of(prompt), " and ", excerpt_of(completion)));
  c.messages = prompt;
  for (const ordered_json& message : completion) c.messages.push_back(message);
  c.trains.assign(prompt.size(), false);
  return c;
}

}  // namespace orthant
