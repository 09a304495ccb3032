// SPDX-License-Identifier: Apache-2.0
// A row of supervised data: a conversation, or a prompt with what follows it.  Formats:
// docs/formats.md.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "data/row_fault.h"
#include "data/row_format.h"

namespace orthant {

struct Conversation {
  // What the chat template is given; keys that are null are left out, but for `content`.
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  nlohmann::ordered_json tools;  // null: none
  std::vector<bool> trains;      // of each message: whether it may be trained
  // Instead of messages: texts without a template.
  bool is_plain = false;
  std::string prompt, completion;
};

// Of a line.  What it gives has at least one assistant turn, turns with content, and roles in an
// order that a chat has: system first, tools behind an assistant, no assistant first or behind
// another.  Throws RowFault.
Conversation parse_conversation(std::string_view line, RowFormat format);

// The beginning of a value, for messages.
std::string excerpt_of(const nlohmann::ordered_json& value);

// The formats that are not messages, made to them (data/conversation_formats.cpp).
Conversation conversation_of_sharegpt(const nlohmann::ordered_json& row);
Conversation conversation_of_alpaca(const nlohmann::ordered_json& row);
Conversation conversation_of_prompt(const nlohmann::ordered_json& row);

}  // namespace orthant
