// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>

#include "base/error.h"
#include "data/tokenizer.h"
#include "launch/command.h"

namespace orthant {
namespace {

struct Conversion {
  std::string tokenizer;
  std::vector<std::string> files;  // empty: standard input
};

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

int encode(const Conversion& command) {
  const std::unique_ptr<Tokenizer> model = make_tokenizer(command.tokenizer);
  for_each_line(command.files, [&](const std::string& line, const std::string&) {
    std::string text;
    for (const int32_t id : model->encode(line)) text += concat(text.empty() ? "" : " ", id);
    std::puts(text.c_str());
  });
  return 0;
}

int decode(const Conversion& command) {
  const std::unique_ptr<Tokenizer> model = make_tokenizer(command.tokenizer);
  for_each_line(command.files, [&](const std::string& line, const std::string& where) {
    const std::string text = model->decode(parse_ids(line, model->vocab_size(), where)) + "\n";
    std::fwrite(text.data(), 1, text.size(), stdout);
  });
  return 0;
}

Command conversion(const char* name, const char* help, int (*run)(const Conversion&)) {
  return {.name = name,
          .help = help,
          .footer =
              "echo 'some text' | orthant tokenizer encode book.model | "
              "orthant tokenizer decode book.model",
          .declare = [run](Options& o) {
            const auto c = std::make_shared<Conversion>();
            o.text("tokenizer", c->tokenizer, required_text(), "a .model file, or byte");
            o.texts("files", c->files, any_text(), "what to read; standard input by default");
            return [c, run] { return run(*c); };
          }};
}

}  // namespace

Command tokenizer_encode_command() {
  return conversion("tokenizer encode", "lines of text to lines of ids", encode);
}

Command tokenizer_decode_command() {
  return conversion("tokenizer decode", "lines of ids to lines of text", decode);
}

}  // namespace orthant
