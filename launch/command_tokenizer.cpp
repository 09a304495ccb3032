// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "data/jsonl.h"
#include "data/tokenizer.h"
#include "launch/command.h"

namespace orthant {
namespace {

struct Conversion {
  std::string tokenizer, format = "text";
  bool special = false;
  std::vector<std::string> files;  // empty: standard input

  bool is_jsonl() const {
    ORTHANT_CHECK(format == "text" || format == "jsonl", kUsage,
                  "--format: want text or jsonl, got '", format, "'");
    return format == "jsonl";
  }
};

// Text with line ends in it, in one line.  What is no UTF-8 becomes U+FFFD.
std::string json_line(const std::string& text) {
  using Json = nlohmann::json;
  return Json{{"text", text}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

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
  const bool is_jsonl = command.is_jsonl();
  for_each_line(command.files, [&](const std::string& line, const std::string& where) {
    std::string document, text;
    if (is_jsonl) {
      const std::optional<LineFault> fault = json_text(line, document);
      ORTHANT_CHECK(!fault, kData, where, ": ", fault->reason);
    }
    const std::string& input = is_jsonl ? document : line;
    for (const int32_t id :
         command.special ? model->encode_with_added(input) : model->encode(input))
      text += concat(text.empty() ? "" : " ", id);
    std::puts(text.c_str());
  });
  return 0;
}

int decode(const Conversion& command) {
  const std::unique_ptr<Tokenizer> model = make_tokenizer(command.tokenizer);
  const bool is_jsonl = command.is_jsonl();
  for_each_line(command.files, [&](const std::string& line, const std::string& where) {
    std::string text = model->decode(parse_ids(line, model->vocab_size(), where));
    if (is_jsonl) text = json_line(text);
    text += '\n';
    std::fwrite(text.data(), 1, text.size(), stdout);
  });
  return 0;
}

Command conversion(const char* name, const char* help, bool encodes,
                   int (*run)(const Conversion&)) {
  return {.name = name,
          .help = help,
          .footer =
              "echo 'some text' | orthant tokenizer encode book.model | "
              "orthant tokenizer decode book.model",
          .declare = [run, encodes](Options& o) {
            const auto c = std::make_shared<Conversion>();
            o.text("tokenizer", c->tokenizer, required_text(),
                   "a .model file, a tokenizer.json, a folder with a tokenizer, or byte");
            o.texts("files", c->files, any_text(), "what to read; standard input by default");
            o.text("--format", c->format, any_text(),
                   "text: a line is a text; jsonl: it is {\"text\": ...}");
            if (encodes)
              o.flag("--special", c->special,
                     "text that spells a special token becomes it, as chat templates want");
            return [c, run] { return run(*c); };
          }};
}

}  // namespace

Command tokenizer_encode_command() {
  return conversion("tokenizer encode", "lines of text to lines of ids", true, encode);
}

Command tokenizer_decode_command() {
  return conversion("tokenizer decode", "lines of ids to lines of text", false, decode);
}

}  // namespace orthant
