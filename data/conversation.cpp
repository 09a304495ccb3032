// SPDX-License-Identifier: Apache-2.0
#include "data/conversation.h"

#include <set>

#include "base/error.h"
#include "data/jsonl.h"

namespace orthant {
namespace {

using nlohmann::ordered_json;

[[noreturn]] void refuse(RowReason reason, std::string text) {
  throw RowFault{reason, std::move(text)};
}

std::string plain(std::string text) {
  if (const size_t tag = text.find("] "); text.starts_with('[') && tag != std::string::npos)
    text.erase(0, tag + 2);
  constexpr size_t kMost = 160;
  if (text.size() > kMost) text.replace(whole_characters(text.substr(0, kMost)), text.npos, "...");
  return valid_utf8(text);
}

ordered_json parse_object(std::string_view line) {
  std::set<std::string> keys;
  const auto check = [&](int depth, ordered_json::parse_event_t event, ordered_json& value) {
    if (depth > kMaxJsonDepth)
      refuse(RowReason::kNotJson, concat("nested deeper than ", kMaxJsonDepth, " levels"));
    if (event == ordered_json::parse_event_t::key && depth == 1 &&
        !keys.insert(value.get<std::string>()).second)
      refuse(RowReason::kMalformed, concat("key ", excerpt_of(value), " is there twice"));
    return true;
  };
  ordered_json row;
  try {
    row = ordered_json::parse(line, check);
  } catch (const ordered_json::exception& error) {
    const bool is_list = line.find_first_not_of(" \t") == line.find('[');
    refuse(RowReason::kNotJson,
           concat("want a JSON object on a line of its own, got ", plain(error.what()),
                  is_list ? "; jq -c '.[]' FILE writes the items of a list as lines" : ""));
  }
  if (!row.is_object())
    refuse(RowReason::kNotJson,
           concat("want a JSON object, got ", excerpt_of(row),
                  row.is_array() ? "; jq -c '.[]' FILE writes the items of a list as lines" : ""));
  return row;
}

bool has(const ordered_json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && !found->is_null();
}

RowFormat format_of(const ordered_json& row) {
  if (has(row, "messages")) return RowFormat::kMessages;
  if (has(row, "conversations")) return RowFormat::kShareGpt;
  if (has(row, "prompt") && has(row, "completion")) return RowFormat::kPromptCompletion;
  if (has(row, "instruction")) return RowFormat::kAlpaca;
  std::string keys;
  for (const auto& [key, value] : row.items()) keys += (keys.empty() ? "" : ", ") + key;
  refuse(RowReason::kUnknownFormat,
         concat("want the keys messages, conversations, prompt with completion, or instruction, "
                "got ",
                keys.empty() ? "none" : plain(keys),
                has(row, "text") ? "; text without roles is for orthant pretrain" : ""));
}

ordered_json tools_of(const ordered_json& row) {
  if (!has(row, "tools")) return {};
  ordered_json tools = row["tools"];
  if (tools.is_string()) {  // a list in a text, as tables hold it
    if (tools.get_ref<const std::string&>().empty()) return {};
    tools = ordered_json::parse(tools.get<std::string>(), nullptr, /*allow_exceptions=*/false);
  }
  if (!tools.is_array())
    refuse(RowReason::kMalformed, concat("tools: want a list, got ", excerpt_of(row["tools"])));
  return tools.empty() ? ordered_json() : tools;
}

// A text, or a list of {"type": "text", "text": ...}, which are joined.
std::string text_of(const ordered_json& content, const std::string& where) {
  if (content.is_string()) return content;
  if (!content.is_array())
    refuse(RowReason::kMalformed,
           concat(where, ": content: want a text, got ", excerpt_of(content)));
  std::string text;
  for (const ordered_json& part : content) {
    const bool is_text = part.is_object() && part.value("type", ordered_json("text")) == "text" &&
                         part.contains("text") && part["text"].is_string();
    if (!is_text)
      refuse(RowReason::kMalformed,
             concat(where, ": content: want parts {\"type\": \"text\", \"text\": ...}, got ",
                    excerpt_of(part), "; images and sounds are not built"));
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

bool is_blank(const ordered_json& text) {
  return !text.is_string() ||
         text.get_ref<const std::string&>().find_first_not_of(" \t\r\n") == std::string::npos;
}

class MessageChecks {
 public:
  explicit MessageChecks(Conversation& conversation) : c_(conversation) {}

  void run() {
    if (!c_.messages.is_array() || c_.messages.empty())
      refuse(RowReason::kMalformed,
             concat("messages: want a list of {role, content}, got ", excerpt_of(c_.messages)));
    c_.trains.resize(c_.messages.size(), true);
    bool answers = false;
    for (size_t i = 0; i < c_.messages.size(); ++i) {
      where_ = concat("messages[", i, "]");
      check_role(i);
      settle_content(c_.messages[i]);
      take_train(i);
      answers = answers || role(i) == "assistant";
    }
    if (!answers)
      refuse(RowReason::kNoAssistant,
             concat("want an assistant turn, got ", c_.messages.size(), " others"));
  }

 private:
  const std::string& role(size_t i) const {
    return c_.messages[i]["role"].get_ref<const std::string&>();
  }

  void check_role(size_t i) {
    const ordered_json& message = c_.messages[i];
    if (!message.is_object())
      refuse(RowReason::kMalformed,
             concat(where_, ": want {role, content}, got ", excerpt_of(message)));
    if (!has(message, "role") || !message["role"].is_string())
      refuse(RowReason::kMalformed, concat(where_, ": role: want a text, got ",
                                           excerpt_of(message.value("role", ordered_json()))));
    const std::string& now = role(i);
    const std::string before = i == 0 ? "" : role(i - 1);
    const auto out_of_order = [&](const char* want) {
      refuse(RowReason::kRoles,
             concat(where_, ": ", want, ", got ", now, " ", i == 0 ? "first" : "behind " + before));
    };
    if (now == "system" || now == "developer") {
      if (i > 0) out_of_order("want system first");
    } else if (now == "assistant") {
      if (before != "user" && before != "tool") out_of_order("want assistant behind user or tool");
    } else if (now == "tool") {
      if (before != "assistant" && before != "tool") out_of_order("want tool behind assistant");
    } else if (now != "user") {
      refuse(RowReason::kRoles, concat(where_,
                                       ": role: want system, developer, user, assistant or "
                                       "tool, got ",
                                       excerpt_of(message["role"])));
    }
  }

  void settle_content(ordered_json& message) {
    ordered_json kept = ordered_json::object();
    for (auto& [key, value] : message.items())
      if (!value.is_null() && key != "content") kept[key] = std::move(value);
    const bool is_assistant = kept["role"] == "assistant";
    check_tool_calls(kept);
    const bool calls = kept.contains("tool_calls");
    if (has(kept, "reasoning_content") && !kept["reasoning_content"].is_string())
      refuse(RowReason::kMalformed, concat(where_, ": reasoning_content: want a text, got ",
                                           excerpt_of(kept["reasoning_content"])));
    const bool has_content = has(message, "content");
    if (!has_content && !(is_assistant && calls))
      refuse(RowReason::kEmptyTurn, concat(where_, ": want content, got none"));
    kept["content"] = has_content ? ordered_json(text_of(message["content"], where_)) : nullptr;
    const bool thinks = is_assistant && !is_blank(kept.value("reasoning_content", ordered_json()));
    const bool may_be_blank = kept["role"] != "user" && !is_assistant;
    if (is_blank(kept["content"]) && !may_be_blank && !calls && !thinks)
      refuse(RowReason::kEmptyTurn,
             concat(where_, ": want content, got a blank ", std::string(kept["role"]), " turn"));
    message = std::move(kept);
  }

  void check_tool_calls(ordered_json& message) const {
    const auto calls = message.find("tool_calls");
    if (calls == message.end()) return;
    if (!calls->is_array())
      refuse(RowReason::kMalformed,
             concat(where_, ": tool_calls: want a list, got ", excerpt_of(*calls)));
    if (message["role"] != "assistant" && !calls->empty())
      refuse(RowReason::kMalformed,
             concat(where_, ": tool_calls: only an assistant calls tools, got role ",
                    std::string(message["role"])));
    if (calls->empty()) message.erase("tool_calls");
  }

  void take_train(size_t i) {
    ordered_json& message = c_.messages[i];
    const auto train = message.find("train");
    if (train == message.end()) return;
    if (!train->is_boolean())
      refuse(RowReason::kMalformed,
             concat(where_, ": train: want true or false, got ", excerpt_of(*train)));
    c_.trains[i] = c_.trains[i] && train->get<bool>();
    message.erase("train");
  }

  Conversation& c_;
  std::string where_;
};

}  // namespace

const EnumNames<RowFormat>& row_format_names() {
  static const EnumNames<RowFormat> names = {{RowFormat::kAuto, "auto"},
                                             {RowFormat::kMessages, "messages"},
                                             {RowFormat::kShareGpt, "sharegpt"},
                                             {RowFormat::kPromptCompletion, "prompt_completion"},
                                             {RowFormat::kAlpaca, "alpaca"}};
  return names;
}

std::string excerpt_of(const ordered_json& value) {
  if (value.is_null()) return "nothing";
  return plain(value.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
}

Conversation parse_conversation(std::string_view line, RowFormat format) {
  const ordered_json row = parse_object(line);
  if (format == RowFormat::kAuto) format = format_of(row);
  Conversation conversation;
  switch (format) {
    case RowFormat::kShareGpt:
      conversation = conversation_of_sharegpt(row);
      break;
    case RowFormat::kAlpaca:
      conversation = conversation_of_alpaca(row);
      break;
    case RowFormat::kPromptCompletion:
      conversation = conversation_of_prompt(row);
      break;
    default:
      conversation.messages = row.value("messages", ordered_json());
  }
  if (conversation.is_plain) return conversation;
  conversation.tools = tools_of(row);
  MessageChecks(conversation).run();
  return conversation;
}

}  // namespace orthant
