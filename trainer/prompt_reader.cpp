// SPDX-License-Identifier: Apache-2.0
#include "trainer/prompt_reader.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/json_strict.h"
#include "trainer/line_sampling.h"

namespace orthant {

using nlohmann::json;

PromptReader::PromptReader(const SavedModel& model, const PromptFileOptions& options)
    : model_(model),
      options_(options),
      lines_(options.prompts),
      notes_("generate", *model.tokenizer, model.config.model.max_position_embeddings),
      skipped_(options.bad_lines) {}

std::vector<Prompt> PromptReader::next(int64_t most) {
  std::vector<Prompt> prompts;
  std::string line;
  while (std::ssize(prompts) < most && lines_.next(line)) {
    checksum_.update(line.data(), line.size() + 1);
    Prompt prompt{.line = line, .options = {}};
    const bool is_used =
        skipped_.use(lines_.where(), [&] { prompt.options = options_of(line, lines_.where()); });
    if (!is_used) continue;
    prompts.push_back(std::move(prompt));
    at_prompt_ = checksum_.hex();
  }
  return prompts;
}

void PromptReader::tell() const {
  notes_.tell();
  skipped_.tell("generate");
}

GenerateOptions PromptReader::options_of(const std::string& line, const std::string& where) {
  const json value = parse_json(line, where);
  ORTHANT_CHECK(value.is_object(), kData, where, ": want an object, got ", json_excerpt(value));
  GenerateOptions own = options_.each;
  own.end_ids = model_.end_ids;
  own.wants_log_probs = options_.log_probs;
  const int given = static_cast<int>(value.contains("prompt")) +
                    static_cast<int>(value.contains("messages")) +
                    static_cast<int>(value.contains("tokens"));
  ORTHANT_CHECK(given > 0 || !value.contains("text"), kData, where,
                ": want the text to go on from as prompt, got text, which is a key of the output");
  for (const char* key : {"text", "finish_reason", "sample", "ids", "log_probs"})
    ORTHANT_CHECK(!value.contains(key), kData, where, ": ", key,
                  ": is a key of the output, which would replace it; call it otherwise");
  ORTHANT_CHECK(given == 1, kData, where, ": want one of prompt, messages and tokens, got ",
                json_excerpt(value));
  read_line_sampling(value, where, own);
  if (value.contains("adapter")) {
    const json& name = value["adapter"];
    ORTHANT_CHECK(model_.has_named_adapters(), kData, where,
                  ": adapter: want --adapter NAME=DIR, so that a line can say which one answers; "
                  "or call the key otherwise");
    const std::string place = where + ": adapter";
    own.adapter = name.is_null()
                      ? -1
                      : adapter_number(model_, json_string(name, place), place, ErrorKind::kData);
  }
  set_text(value, line, where, own);
  notes_.length(std::ssize(prompt_tokens(*model_.tokenizer, own)), where);
  return own;
}

void PromptReader::set_text(const json& value, const std::string& line, const std::string& where,
                            GenerateOptions& own) {
  if (value.contains("prompt")) {
    own.prompt = json_string(value["prompt"], where + ": prompt");
    own.begin = model_.begin;
    notes_.encode(own.prompt, own.special, where);
  } else if (value.contains("messages")) {
    const json& messages = value["messages"];
    ORTHANT_CHECK(messages.is_array() && !messages.empty(), kData, where,
                  ": messages: want a list of {role, content}, got ", json_excerpt(messages));
    if (!conversations_) conversations_.emplace("generate", model_);
    // Once more with the keys in their order: templates may print them.
    own.ids =
        conversations_->encode(nlohmann::ordered_json::parse(line)["messages"], /*asks=*/true);
  } else {
    own.ids = json_ids(value["tokens"], model_.config.model.vocab_size, where + ": tokens");
    ORTHANT_CHECK(!own.ids.empty(), kData, where, ": tokens: want one id at least, got none");
  }
}

}  // namespace orthant
