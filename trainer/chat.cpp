// SPDX-License-Identifier: Apache-2.0
#include "trainer/chat.h"

#include "base/error.h"
#include "checkpoint/file_io.h"
#include "checkpoint/json_strict.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

std::string hub_of(const SavedModel& model) {
  return RunPaths{model.manifest.directory + "/../.."}.hub();  // RUN/checkpoints/step-...
}

ChatTemplates load_templates(const std::string& command, const std::string& folder) {
  try {
    return ChatTemplates::load(folder);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMissingInput) throw;
    throw_error(ErrorKind::kMissingInput,
                concat(command, ": the model came without a chat template (", error.what(),
                       "); orthant import keeps that of a published model, and generate goes on ",
                       "from any text"));
  }
}

// eos_token_id of generation_config.json: one, or several.
std::vector<int32_t> ends_of(const std::string& folder, int64_t vocab) {
  const std::string path = folder + "/generation_config.json";
  if (!path_exists(path)) return {};
  constexpr int64_t kMaxBytes = int64_t{1} << 24;
  const nlohmann::json config = parse_json(read_text_file(path, kMaxBytes), path);
  const auto found = config.find("eos_token_id");
  if (found == config.end() || found->is_null()) return {};
  std::vector<int32_t> ids;
  const auto add = [&](const nlohmann::json& value) {
    const int64_t id = json_count(value, path + ": eos_token_id");
    ORTHANT_CHECK(id < vocab, kData, path, ": eos_token_id: want ids below ", vocab, ", got ", id);
    ids.push_back(static_cast<int32_t>(id));
  };
  if (!found->is_array()) {
    add(*found);
  } else {
    for (const nlohmann::json& value : *found) add(value);
  }
  return ids;
}

}  // namespace

Conversations::Conversations(const std::string& command, const SavedModel& model)
    : model_(model),
      templates_(load_templates(command, hub_of(model))),
      end_ids_(ends_of(hub_of(model), model.config.model.vocab_size)) {
  if (const int32_t eos = model.tokenizer->special_ids().eos; eos >= 0) end_ids_.push_back(eos);
}

std::vector<int32_t> Conversations::encode(const nlohmann::ordered_json& messages,
                                           bool asks) const {
  const std::string text = templates_.choose(/*has_tools=*/false)
                               .render(messages, {.add_generation_prompt = asks,
                                                  .variables = templates_.special_tokens()});
  return model_.tokenizer->encode_with_added(text);
}

}  // namespace orthant
