// SPDX-License-Identifier: Apache-2.0
#include "trainer/chat.h"

#include "base/error.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

std::string hub_of(const SavedModel& model) {
  return run_of_checkpoint(model.manifest.directory).hub();
}

ChatTemplates load_templates(const std::string& command, const std::string& folder) {
  try {
    return ChatTemplates::load(folder);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMissingInput) throw;
    throw_error(
        ErrorKind::kMissingInput,
        concat(command, ": the model came without a chat template: ", folder, "/chat_template",
               ".jinja is not there; put one there in the form that the model was trained "
               "with, or import its chat-tuned version; generate goes on from any text"));
  }
}

}  // namespace

Conversations::Conversations(const std::string& command, const SavedModel& model)
    : model_(model), templates_(load_templates(command, hub_of(model))) {}

std::vector<int32_t> Conversations::encode(const nlohmann::ordered_json& messages,
                                           bool asks) const {
  const std::string text = templates_.choose(/*has_tools=*/false)
                               .render(messages, {.add_generation_prompt = asks,
                                                  .variables = templates_.special_tokens()});
  return model_.tokenizer->encode_with_added(text);
}

}  // namespace orthant
