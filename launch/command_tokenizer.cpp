// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>

#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "data/tokenizer.h"
#include "data/tokenizer_training.h"
#include "launch/commands.h"
#include "launch/input_files.h"
#include "trainer/progress.h"
#include "trainer/run_dir.h"

namespace orthant {
namespace {

// Calls `use` with every line, without its newline, of the files or of standard input.
void for_each_line(
    const std::vector<std::string>& files,
    const std::function<void(const std::string& line, const std::string& where)>& use) {
  const auto read = [&](std::istream& in, const std::string& name) {
    int64_t number = 0;
    for (std::string line; std::getline(in, line);) use(line, concat(name, ":", ++number));
  };
  if (files.empty()) read(std::cin, "standard input");
  for (const std::string& file : files) {
    std::ifstream in(file, std::ios::binary);
    ORTHANT_CHECK(in.is_open(), kMissingInput, file, ": cannot be read");
    read(in, file);
  }
}

std::vector<int32_t> parse_ids(const std::string& line, int32_t vocab_size,
                               const std::string& where) {
  std::vector<int32_t> ids;
  const char* at = line.data();
  const char* const end = at + line.size();
  for (;;) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == ',' || *at == '\r')) ++at;
    if (at == end) return ids;
    int32_t& id = ids.emplace_back(-1);
    const auto [next, error] = std::from_chars(at, end, id);
    ORTHANT_CHECK(error == std::errc() && id >= 0 && id < vocab_size, kData, where,
                  ": want ids in [0, ", vocab_size, "), got '",
                  line.substr(static_cast<size_t>(at - line.data()), 20), "'");
    at = next;
  }
}

}  // namespace

int run_tokenizer_train(const TokenizerTrainCommand& command) {
  log::set_quiet(command.quiet);
  ORTHANT_CHECK(command.output.ends_with(".model"), kUsage,
                "tokenizer train: --output: want a path "
                "that ends in .model, got '",
                command.output, "'");
  const std::string folder = folder_of(command.output);
  make_folders(folder, command.output);
  check_writable(folder);
  const TrainedTokenizer trained = train_tokenizer(
      {.inputs = input_files("tokenizer train", command.inputs, command.format),
       .format = command.format,
       .bad_lines = bad_lines_of(command.bad_lines),
       .vocab_size = command.vocab_size,
       .model = command.model,
       .character_coverage = command.character_coverage,
       .byte_fallback = command.byte_fallback,
       .split_digits = command.split_digits,
       .sample_bytes = command.sample_bytes,
       .library_log = command.library_log,
       .progress = [](const std::string& what) { log::info("tokenizer train: ", what); }});
  const bool replaces = std::filesystem::exists(command.output);
  replace_file(command.output, trained.file);
  log::info(command.output, replaces ? " (replaces an older file): " : ": ", command.model, ", ",
            with_thousands(command.vocab_size), " ids, ",
            std::round(trained.bytes_per_token * 100) / 100, " bytes of text a token, ",
            with_thousands(static_cast<int64_t>(trained.file.size())), " bytes, in ",
            std::round(trained.seconds * 10) / 10, " s");
  log::info("  ", trained.name);
  for (const std::string& line : trained.notes.lines()) log::warn("tokenizer train: ", line);
  return 0;
}

int run_tokenizer_encode(const std::string& tokenizer, const std::vector<std::string>& files) {
  const std::unique_ptr<Tokenizer> model = make_tokenizer(tokenizer);
  for_each_line(files, [&](const std::string& line, const std::string&) {
    std::string text;
    for (const int32_t id : model->encode(line)) text += concat(text.empty() ? "" : " ", id);
    std::puts(text.c_str());
  });
  return 0;
}

int run_tokenizer_decode(const std::string& tokenizer, const std::vector<std::string>& files) {
  const std::unique_ptr<Tokenizer> model = make_tokenizer(tokenizer);
  for_each_line(files, [&](const std::string& line, const std::string& where) {
    const std::string text = model->decode(parse_ids(line, model->vocab_size(), where)) + "\n";
    std::fwrite(text.data(), 1, text.size(), stdout);
  });
  return 0;
}

}  // namespace orthant
