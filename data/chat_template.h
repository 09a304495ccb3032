// SPDX-License-Identifier: Apache-2.0
// A model's chat template: a conversation becomes the text that the model was trained on.
//
// Templates are written in Jinja; what of it is carried is in docs/formats.md.  The text is that of
// Python's jinja2 in the environment of transformers (trim_blocks, lstrip_blocks, loop controls,
// the immutable sandbox, its tojson), byte for byte, or there is an error: what is not built is
// refused when the template is parsed.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace orthant {

struct ChatOptions {
  bool add_generation_prompt = false;
  nlohmann::ordered_json tools;      // null: `tools` is none
  nlohmann::ordered_json documents;  // the same
  // More variables by name, in an object: bos_token, eos_token, enable_thinking, ...
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  // strftime_now(format); the local time when empty.
  std::function<std::string(const std::string& format)> strftime_now;
};

// Immutable: several threads may render at once.
class ChatTemplate {
 public:
  // `label` names the template in messages: its file.  Error(kData) with line and column on what is
  // malformed or not built.
  ChatTemplate(std::string_view source, std::string label);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // messages: an array of objects.  Error(kData), with file and line, where the template raises,
  // where it does what its language has no meaning for, and where it costs more than
  // data/jinja/limits.h allows.
  std::string render(const nlohmann::ordered_json& messages, const ChatOptions& options = {}) const;

 private:
  struct Parsed;
  std::unique_ptr<const Parsed> parsed_;
};

}  // namespace orthant
