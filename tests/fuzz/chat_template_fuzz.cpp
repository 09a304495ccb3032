// SPDX-License-Identifier: Apache-2.0
// libFuzzer on chat templates (README.md): whatever a template is, it ends in a text or an Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "data/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto messages = nlohmann::ordered_json::parse(R"([
    {"role": "system", "content": "s\u00e9"},
    {"role": "user", "content": [{"type": "text", "text": "u"}]},
    {"role": "assistant", "content": null, "tool_calls": [
      {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]},
    {"role": "tool", "content": "t"}])");
  orthant::ChatOptions options;
  options.add_generation_prompt = true;
  options.tools = messages[2]["tool_calls"];
  options.variables = {{"bos_token", "<s>"}, {"n", 3}};
  options.strftime_now = [](const std::string& format) { return format; };
  try {
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    orthant::ChatTemplate(source, "fuzz").render(messages, options);
  } catch (const orthant::Error& error) {
    if (error.kind() != orthant::ErrorKind::kData) throw;
  }
  return 0;
}
