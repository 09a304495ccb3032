// SPDX-License-Identifier: Apache-2.0
#include "trainer/generate_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/config/config.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "layers/tensor_parallel.h"
#include "tensor/cpu/isa.h"
#include "trainer/adapters.h"
#include "trainer/agree.h"
#include "trainer/growing_file.h"
#include "trainer/prompt_reader.h"
#include "trainer/run/progress.h"

namespace orthant {
namespace {

// Prompts whose texts are at hand at once, and are kept together.
constexpr int64_t kMostPrompts = 1024;
// What is lost where the work is interrupted, unless as many texts as have places take longer.
constexpr double kShortSeconds = 10, kLongSeconds = 30;

// What the bytes of the output depend on, but for the prompts.
std::string work_of(const SavedModel& model, const PromptFileOptions& options) {
  const auto base = model.manifest.extra.find("base_fingerprint");
  SamplingConfig sampling = options.each.sampling;
  nlohmann::ordered_json work = {
      {"weights", weights_fingerprint(model.manifest)},
      {"base", base == model.manifest.extra.end() ? "" : base->second},
      {"adapter", model.adapter},
      {"use", options.each.adapter},
      {"tokenizer", model.tokenizer->name()},
      {"precision", precision_names().of(model.config.precision)},
      {"layout", model.config.parallel.text()},
      {"isa", cpu::name_of(cpu::active_isa())},
      {"latents", latent_form_names().of(options.decoder.latent)},
      {"sampling", dump_config([&](FieldVisitor& v) { sampling.fields(v); })},
      {"stop", options.each.stop},
      {"seed", options.each.seed},
      {"special", options.each.special},
      {"samples", options.samples},
      {"log_probs", options.log_probs}};
  return work.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// The line's object with more keys, its own as they stand there.
std::string with_keys(const std::string& line, const nlohmann::ordered_json& keys) {
  std::string text = line.substr(0, line.find_last_of('}'));
  text.resize(text.find_last_not_of(" \t\r") + 1);
  return text + "," + keys.dump().substr(1) + "\n";
}

class PromptFile {
 public:
  PromptFile(const SavedModel& model, const PromptFileOptions& options)
      : model_(model),
        options_(options),
        groups_(model.role->groups()),
        decoder_(model.role->pipeline().decoder(options.decoder)),
        reader_(model, options) {
    const int64_t places = options.decoder.max_sequences * groups_.data.size();
    least_ = std::clamp<int64_t>(places / options.samples, 1, kMostPrompts);
    begin();
  }

  PromptFileResult run() {
    for (int64_t size = least_;;) {
      const double began = now_seconds();
      std::vector<Prompt> prompts;
      every_rank_does(groups_.world, [&] { prompts = reader_.next(size); });
      if (prompts.empty()) break;
      done_.parts += std::ssize(prompts);
      done_.texts += std::ssize(prompts) * options_.samples;
      write(answer(prompts));
      result_.texts = done_.texts;
      size = next_size(size, now_seconds() - began);
    }
    if (groups_.world.rank() == 0) reader_.tell();
    ORTHANT_CHECK(result_.texts > 0, kData, options_.prompts, ": has no line; want prompts");
    first_rank_does(groups_.world, [&] {
      file_->commit();
      return std::string();
    });
    return result_;
  }

 private:
  // Goes to where an earlier process was.
  void begin() {
    const std::string work = work_of(model_, options_);
    const std::string there = first_rank_does(groups_.world, [&] {
      file_.emplace(options_.output, work);
      const WorkDone& done = file_->done();
      return concat(done.parts, " ", done.texts, " ", done.checksum);
    });
    std::istringstream(there) >> done_.parts >> done_.texts >> done_.checksum;
    if (done_.parts == 0) return;
    every_rank_does(groups_.world, [&] {
      for (int64_t left = done_.parts; left > 0;) {
        const auto read = std::ssize(reader_.next(std::min(left, kMostPrompts)));
        left = read > 0 ? left - read : -1;
      }
      ORTHANT_CHECK(reader_.checksum() == done_.checksum, kCannotWrite, options_.output, ": ",
                    options_.output, ".partial holds texts of other prompts than ",
                    options_.prompts, " begins with; remove it, and ", options_.output,
                    ".partial.jsonl, to begin again");
    });
    result_.texts = result_.were_there = done_.texts;
    log::info("generate: goes on behind ", counted(done_.texts, "text"), " of ", options_.output,
              ".partial");
  }

  // By the clock of the first rank.
  int64_t next_size(int64_t size, double seconds) const {
    return std::stoll(first_rank_does(groups_.world, [&] {
      const int64_t next = seconds < kShortSeconds  ? 2 * size
                           : seconds > kLongSeconds ? size / 2
                                                    : size;
      return std::to_string(std::clamp(next, least_, kMostPrompts));
    }));
  }

  // Lines of this rank's share of the texts, where it tells them.
  std::string answer(const std::vector<Prompt>& prompts) {
    const int64_t all = std::ssize(prompts) * options_.samples;
    const DimPart own = even_part(all, groups_.data.rank(), groups_.data.size());
    std::vector<GenerateOptions> wanted;
    for (int64_t i = own.begin; i < own.begin + own.size; ++i) {
      wanted.push_back(prompts[static_cast<size_t>(i / options_.samples)].options);
      wanted.back().sample = i % options_.samples;
    }
    check_stop();
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
    check_stop();
    ++result_.tokens;
    if (options_.progress) options_.progress(result_);
  }
  // The first rank speaks for all, which hear of a stop at other times; its error ends them.
  void check_stop() const {
    if (groups_.world.rank() != 0 || !options_.stop || !options_.stop->load()) return;
    throw_error(ErrorKind::kInterrupted,
                concat("generate: stopped by a signal; ", counted(result_.texts, "text"),
                       result_.texts > 0 ? concat(" finished, in ", file_->partial(),
                                                  ": the same command goes on behind")
                                         : " finished: the same command begins again"));
  }
  // One of the ranks that choose a replica's tokens.
  bool tells() const {
    return model_.role->pipeline().stages().back()->is_last() && groups_.tensor.rank() == 0 &&
           groups_.context.rank() == 0;
  }

  std::string line_of(const std::string& line, int64_t sample, const Generated& written) const {
    nlohmann::ordered_json keys;
    if (options_.samples > 1) keys["sample"] = sample;
    keys["text"] = valid_utf8(written.text);
    keys["finish_reason"] = written.ended ? "stop" : "length";
    if (options_.log_probs) {
      keys["ids"] = written.ids;
      keys["log_probs"] = written.log_probs;
    }
    return with_keys(line, keys);
  }

  void write(const std::string& lines) {
    const std::vector<std::string> of_ranks = groups_.world.gather_text(lines);
    first_rank_does(groups_.world, [&] {
      // Replicas in the order of their shares, which is that of their ranks.
      std::string all;
      for (const std::string& text : of_ranks) all += text;
      done_.checksum = reader_.checksum();
      file_->add(all, done_);
      return std::string();
    });
  }

  const SavedModel& model_;
  const PromptFileOptions& options_;
  const RankGroups& groups_;
  const Decoder decoder_;
  PromptReader reader_;
  PromptFileResult result_;
  int64_t least_ = 1;
  WorkDone done_;
  std::optional<GrowingFile> file_;  // of the first rank
};

}  // namespace

PromptFileResult generate_file(const SavedModel& model, const PromptFileOptions& options) {
  return PromptFile(model, options).run();
}

}  // namespace orthant
