// SPDX-License-Identifier: Apache-2.0
#include "trainer/generate_file.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/durable_file.h"
#include "base/error.h"
#include "base/text.h"
#include "checkpoint/json_strict.h"
#include "data/line_reader.h"
#include "layers/tensor_parallel.h"
#include "trainer/agree.h"
#include "trainer/chat.h"

namespace orthant {
namespace {

using Json = nlohmann::ordered_json;

// Prompts whose texts are at hand at once.
constexpr size_t kPromptsAtOnce = 1024;

struct Prompt {
  Json line;
  GenerateOptions options;
};

class PromptReader {
 public:
  PromptReader(const SavedModel& model, const PromptFileOptions& options)
      : model_(model), options_(options), lines_(options.prompts) {}

  // The next ones, at most kPromptsAtOnce; none at the end.
  std::vector<Prompt> next() {
    std::vector<Prompt> prompts;
    std::string line;
    while (prompts.size() < kPromptsAtOnce && lines_.next(line)) {
      const std::string where = lines_.where();
      const nlohmann::json value = parse_json(line, where);
      ORTHANT_CHECK(value.is_object(), kData, where, ": want an object, got ", json_excerpt(value));
      // Once more with the keys in their order: templates may print them, and the output does.
      Prompt prompt{.line = Json::parse(line)};
      prompt.options = options_of(value, prompt.line, where);
      prompts.push_back(std::move(prompt));
    }
    return prompts;
  }

 private:
  GenerateOptions options_of(const nlohmann::json& value, const Json& line,
                             const std::string& where) {
    GenerateOptions own = options_.each;
    own.end_ids = model_.end_ids;
    own.wants_log_probs = options_.log_probs;
    const int given = static_cast<int>(value.contains("prompt")) +
                      static_cast<int>(value.contains("messages")) +
                      static_cast<int>(value.contains("tokens"));
    for (const char* key : {"text", "finish_reason", "sample", "ids", "log_probs"})
      ORTHANT_CHECK(!value.contains(key), kData, where, ": ", key,
                    ": is a key of the output, which would replace it; call it otherwise");
    ORTHANT_CHECK(given == 1, kData, where, ": want one of prompt, messages and tokens, got ",
                  json_excerpt(value));
    if (value.contains("prompt")) {
      own.prompt = json_string(value["prompt"], where + ": prompt");
      own.begin = model_.begin;
    } else if (value.contains("messages")) {
      const nlohmann::json& messages = value["messages"];
      ORTHANT_CHECK(messages.is_array() && !messages.empty(), kData, where,
                    ": messages: want a list of {role, content}, got ", json_excerpt(messages));
      if (!conversations_) conversations_.emplace("generate", model_);
      own.ids = conversations_->encode(line["messages"], /*asks=*/true);
    } else {
      own.ids = json_ids(value["tokens"], model_.config.model.vocab_size, where + ": tokens");
      ORTHANT_CHECK(!own.ids.empty(), kData, where, ": tokens: want one id at least, got none");
    }
    return own;
  }

  const SavedModel& model_;
  const PromptFileOptions& options_;
  LineReader lines_;
  std::optional<Conversations> conversations_;  // made by the first line that wants it
};

class PromptFile {
 public:
  PromptFile(const SavedModel& model, const PromptFileOptions& options)
      : model_(model),
        options_(options),
        groups_(model.role->groups()),
        decoder_(model.role->pipeline().decoder(options.decoder)),
        reader_(model, options) {
    first_rank_does(groups_.world, [&] {
      replacement_.emplace(options.output);
      out_.open(replacement_->temporary(), std::ios::binary);
      return std::string();
    });
  }

  PromptFileResult run() {
    for (;;) {
      std::vector<Prompt> prompts;
      every_rank_does(groups_.world, [&] { prompts = reader_.next(); });
      if (prompts.empty()) break;
      write(answer(prompts));
      result_.texts += std::ssize(prompts) * options_.samples;
    }
    ORTHANT_CHECK(result_.texts > 0, kData, options_.prompts, ": has no line; want prompts");
    finish();
    return result_;
  }

 private:
  // Lines of this rank's share of the texts, where it tells them.
  std::string answer(const std::vector<Prompt>& prompts) {
    const int64_t all = std::ssize(prompts) * options_.samples;
    const DimPart own = even_part(all, groups_.data.rank(), groups_.data.size());
    std::vector<GenerateOptions> wanted;
    for (int64_t i = own.begin; i < own.begin + own.size; ++i) {
      wanted.push_back(prompts[static_cast<size_t>(i / options_.samples)].options);
      wanted.back().sample = i % options_.samples;
    }
    const std::vector<Generated> written =
        generate(decoder_, *model_.tokenizer, wanted, [this] { tick(); });
    std::string text;
    if (!tells()) return text;
    for (int64_t i = 0; i < own.size; ++i) {
      const int64_t number = own.begin + i;
      text += line_of(prompts[static_cast<size_t>(number / options_.samples)].line,
                      number % options_.samples, written[static_cast<size_t>(i)]);
    }
    return text;
  }
  // A token came to one of this rank's texts.
  void tick() {
    ++result_.tokens;
    if (options_.progress) options_.progress(result_);
  }
  // One of the ranks that choose a replica's tokens.
  bool tells() const {
    return model_.role->pipeline().stages().back()->is_last() && groups_.tensor.rank() == 0 &&
           groups_.context.rank() == 0;
  }

  std::string line_of(Json line, int64_t sample, const Generated& written) const {
    if (options_.samples > 1) line["sample"] = sample;
    line["text"] = valid_utf8(written.text);
    line["finish_reason"] = written.ended ? "stop" : "length";
    if (options_.log_probs) {
      line["ids"] = written.ids;
      line["log_probs"] = written.log_probs;
    }
    return line.dump() + "\n";
  }

  void write(const std::string& lines) {
    const std::vector<std::string> of_ranks = groups_.world.gather_text(lines);
    first_rank_does(groups_.world, [&] {
      // Replicas in the order of their shares, which is that of their ranks.
      for (const std::string& text : of_ranks) out_ << text;
      if (!out_) throw_cannot_write(options_.output, "write", errno);
      return std::string();
    });
  }

  void finish() {
    first_rank_does(groups_.world, [&] {
      out_.close();
      if (!out_) throw_cannot_write(options_.output, "write", errno);
      replacement_->commit();
      return std::string();
    });
  }

  const SavedModel& model_;
  const PromptFileOptions& options_;
  const RankGroups& groups_;
  const Decoder decoder_;
  PromptReader reader_;
  PromptFileResult result_;
  std::optional<FileReplacement> replacement_;
  std::ofstream out_;
};

}  // namespace

PromptFileResult generate_file(const SavedModel& model, const PromptFileOptions& options) {
  return PromptFile(model, options).run();
}

}  // namespace orthant
