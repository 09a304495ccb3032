// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "data/line_reader.h"
#include "launch/command.h"
#include "trainer/run/progress.h"
#include "trainer/supervised_data.h"

namespace orthant {
namespace {

struct InspectData {
  std::string config;
  std::vector<std::string> overrides;
  int64_t rows = 3;
  std::string line;  // FILE:LINE
};

bool wants_color() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool dumb = term && std::string_view(term) == "dumb";
  return isatty(STDOUT_FILENO) && !(no_color && *no_color) && !dumb;
}

// How what is trained stands out.
struct Marks {
  const char *begin, *end;
};
Marks marks() { return wants_color() ? Marks{"\033[1;32m", "\033[0m"} : Marks{"[[", "]]"}; }

// Control characters of the data do nothing to the terminal.
std::string shown(std::string_view text) {
  std::string all;
  for (const char c : valid_utf8(text)) {
    const bool is_control = (static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\t') ||
                            static_cast<unsigned char>(c) == 127;
    is_control ? all += '?' : all += c;
  }
  return all;
}

// The text that the template gives, and its tokens; behind the last trained one they are left out.
void print_text(const TrainedText& text, const RowEncoder& encoder) {
  const Tokenizer& tokenizer = *encoder.tokenizer();
  const Example example = encode_example(text, tokenizer, encoder.options().begin);
  const Marks m = marks();
  int64_t trained = 0;
  for (const uint8_t flag : example.trained) trained += flag;
  std::printf("%s, %s trained\n", counted(std::ssize(example.ids), "token").c_str(),
              with_thousands(trained).c_str());
  size_t at = 0;
  for (const TextSpan& span : text.spans) {
    std::printf("%s%s%s%s", shown(text.text.substr(at, span.begin - at)).c_str(), m.begin,
                shown(text.text.substr(span.begin, span.end - span.begin)).c_str(), m.end);
    at = span.end;
  }
  std::printf("%s\n", shown(text.text.substr(at)).c_str());
  std::printf("ids ");
  for (size_t i = 0; i < example.ids.size(); ++i) {
    const bool is_first = i == 0 || example.trained[i] != example.trained[i - 1];
    const bool is_last =
        i + 1 == example.ids.size() || example.trained[i + 1] != example.trained[i];
    std::printf(" %s%d%s", example.trained[i] && is_first ? m.begin : "", example.ids[i],
                example.trained[i] && is_last ? m.end : "");
  }
  std::printf("\n");
}

// A row's examples, or why it gives none.
void print_row(const std::string& line, const std::string& where, RowFormat format,
               const RowEncoder& encoder) {
  try {
    const std::vector<TrainedText> texts = encoder.texts().texts(parse_conversation(line, format));
    if (texts.empty()) std::printf("\n%s: no turn is trained\n", where.c_str());
    for (size_t i = 0; i < texts.size(); ++i) {
      std::printf("\n%s", where.c_str());
      if (texts.size() > 1) std::printf(", example %zu of %zu", i + 1, texts.size());
      std::printf(": ");
      print_text(texts[i], encoder);
    }
  } catch (const RowFault& fault) {
    std::printf("\n%s: left out: %s: %s\n", where.c_str(),
                row_reason_names().of(fault.reason).c_str(), shown(fault.text).c_str());
  }
}

void print_first_rows(const FinetuneConfig& config, int64_t rows, const RowEncoder& encoder) {
  for (const DataSource& source : config.data.train) {
    LineReader reader(source.path);
    for (std::string line; rows > 0 && reader.next(line); --rows)
      print_row(line, reader.where(), row_format_names().at(source.format), encoder);
  }
}

void print_line(const FinetuneConfig& config, const std::string& place, const RowEncoder& encoder) {
  const size_t colon = place.rfind(':');
  int64_t wanted = 0;
  if (colon != std::string::npos)
    std::from_chars(place.data() + colon + 1, place.data() + place.size(), wanted);
  ORTHANT_CHECK(wanted > 0, kUsage, "inspect data: --line: want FILE:LINE, got ", place);
  const std::string path = place.substr(0, colon);
  RowFormat format = RowFormat::kAuto;
  for (const DataSource& source : config.data.train)
    if (source.path == path) format = row_format_names().at(source.format);
  ORTHANT_CHECK(access(path.c_str(), R_OK) == 0, kMissingInput, "inspect data: ", path,
                ": no such file");
  LineReader reader(path);
  std::string line;
  while (reader.next(line) && reader.number() < wanted) {
  }
  ORTHANT_CHECK(reader.number() == wanted, kData, "inspect data: ", path, ": has no row at line ",
                wanted);
  print_row(line, place, format, encoder);
}

int run(const InspectData& command) {
  auto [config, source] = load_finetune_config(command.config, command.overrides);
  for (const std::string& note : source.notes) log::info(note);
  config.data.validate();
  const RowEncoder encoder(config);
  if (!command.line.empty()) {
    print_line(config, command.line, encoder);
    return 0;
  }
  print_first_rows(config, command.rows, encoder);
  std::fflush(stdout);
  config.data.bad_lines = BadLines::kSkip;  // it is here to show them
  const SupervisedData data = open_supervised_data(config, Group::self());
  std::printf("\n");
  for (const std::string& line : summary_of(config, data)) std::printf("%s\n", line.c_str());
  return 0;
}

}  // namespace

Command inspect_data_command() {
  return {.name = "inspect data",
          .help = "what a configuration trains of its conversations, token by token",
          .footer =
              "orthant inspect data finetune.yaml --rows 5\n"
              "orthant inspect data finetune.yaml --line chats.jsonl:17\n"
              "What is trained stands in colour on a terminal, else, or with NO_COLOR, in "
              "[[ ]].",
          .declare = [](Options& o) {
            const auto c = std::make_shared<InspectData>();
            o.text("config", c->config, required_text(), "YAML file of orthant finetune");
            o.texts("overrides", c->overrides, any_text(), "key.path=value");
            o.integer("--rows", c->rows, at_least(0), "rows to show, the first ones");
            o.text("--line", c->line, any_text(), "the row to show instead, as FILE:LINE");
            return [c] { return run(*c); };
          }};
}

}  // namespace orthant
