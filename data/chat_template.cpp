// SPDX-License-Identifier: Apache-2.0
#include "data/chat_template.h"

#include <array>
#include <ctime>

#include "base/error.h"
#include "data/jinja/from_json.h"
#include "data/jinja/interpreter.h"

namespace orthant {

using nlohmann::ordered_json;

struct ChatTemplate::Parsed {
  Parsed(std::string_view text, std::string label)
      : source(text, std::move(label)), tree(jinja::parse(source)) {}
  jinja::Source source;
  jinja::Template tree;
};

ChatTemplate::ChatTemplate(std::string_view source, std::string label)
    : parsed_(std::make_unique<const Parsed>(source, std::move(label))) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

namespace {

std::string local_time(const std::string& format) {
  const std::time_t now = std::time(nullptr);
  std::tm local = {};
  localtime_r(&now, &local);
  std::array<char, 512> text;
  const size_t size = std::strftime(text.data(), text.size(), format.c_str(), &local);
  ORTHANT_CHECK(size > 0 || format.empty(), kData, "strftime_now: format '", format,
                "' gives no text, or one that is too long");
  return std::string(text.data(), size);
}

}  // namespace

std::string ChatTemplate::render(const ordered_json& messages, const ChatOptions& options) const {
  ORTHANT_CHECK(options.variables.is_object(), kData, parsed_->source.label(),
                ": want the variables of a chat template as an object");
  const jinja::Clock clock = options.strftime_now ? options.strftime_now : local_time;
  jinja::Render render(parsed_->source, clock);
  const auto variables = std::make_shared<jinja::Scope>();
  const auto set = [&](std::string_view name, const ordered_json& json) {
    variables->set(name, jinja::from_json(render, json, std::string(name)));
  };
  set("messages", messages);
  set("tools", options.tools);
  set("documents", options.documents);
  set("add_generation_prompt", options.add_generation_prompt);
  for (const auto& [name, json] : options.variables.items()) set(name, json);
  return jinja::Interpreter(render, variables).run(parsed_->tree);
}

}  // namespace orthant
