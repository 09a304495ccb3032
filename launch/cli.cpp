// SPDX-License-Identifier: Apache-2.0
#include "launch/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "launch/cli_options.h"
#include "launch/command.h"
#include "launch/process.h"

namespace orthant {
namespace {

// Commands of two words, by the first.
const std::map<std::string, std::string> kGroups = {
    {"tokenizer", "train a SentencePiece tokenizer, or try one"},
    {"inspect", "look at a configuration, corpus, checkpoint, routing or schedule"},
    {"verify", "show that what should be equal is"},
};

// The app that the command is declared in: a group's, made with the first of the group.
CLI::App& parent_of(CLI::App& app, const std::string& group) {
  if (group.empty()) return app;
  for (CLI::App* there : app.get_subcommands(nullptr))
    if (there->get_name() == group) return *there;
  CLI::App* made = app.add_subcommand(group, kGroups.at(group));
  made->require_subcommand(1);
  return *made;
}

void add_command(CLI::App& app, const Command& command, std::function<int()>& chosen) {
  const size_t space = command.name.find(' ');
  const bool is_grouped = space != std::string::npos;
  CLI::App& parent = parent_of(app, is_grouped ? command.name.substr(0, space) : "");
  CLI::App* sub =
      parent.add_subcommand(command.name.substr(is_grouped ? space + 1 : 0), command.help);
  sub->footer(command.footer);
  CliOptions options(*sub);
  sub->callback([&chosen, run = command.declare(options)] { chosen = run; });
}

// "; did you mean 'pretrain'?"; "" for a word that is a command or an option.
std::string unknown_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
  if (word.starts_with('-') || std::find(names.begin(), names.end(), word) != names.end())
    return "";
  const std::string nearest = nearest_name_in(word, names);
  return concat("unknown command '", word, "'",
                nearest.empty() ? "" : concat("; did you mean '", nearest, "'?"));
}

// The command that was asked for, as far as it was understood.
const CLI::App& asked_for(const CLI::App& app) {
  const CLI::App* asked = &app;
  while (!asked->get_subcommands().empty()) asked = asked->get_subcommands().front();
  return *asked;
}

// "orthant inspect corpus".
std::string words_of(const CLI::App& app) {
  return app.get_parent() ? concat(words_of(*app.get_parent()), " ", app.get_name())
                          : app.get_name();
}

// "; did you mean --temperature?", where a word looks like an option that the command has not.
std::string nearest_option(const CLI::App& asked, int argc, char** argv) {
  std::vector<std::string> names;
  for (const CLI::Option* option : asked.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string word(argv[i], std::strcspn(argv[i], "="));
    if (!word.starts_with("--") || std::find(names.begin(), names.end(), word) != names.end())
      continue;
    if (const std::string nearest = nearest_name_in(word, names); !nearest.empty())
      return concat("; did you mean ", nearest, "?");
  }
  return "";
}

}  // namespace

int run_cli(int argc, char** argv) {
  CLI::App app(
      "Orthant trains Mixture-of-Experts language models, from one laptop core to a cluster.",
      "orthant");
  app.set_version_flag("--version", "orthant 0.1.0");
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::help);
  std::function<int()> chosen;
  for (const Command& command : all_commands()) add_command(app, command, chosen);
  const std::string unknown = argc > 1 ? unknown_command(app, argv[1]) : "";
  if (!unknown.empty()) {
    log::error(unknown, "; see orthant --help");
    return static_cast<int>(ErrorKind::kUsage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    const CLI::App& asked = asked_for(app);
    log::error(error.what(), nearest_option(asked, argc, argv), "; see ", words_of(asked),
               " --help");
    return static_cast<int>(ErrorKind::kUsage);
  }
  return run_guarded(chosen);
}

}  // namespace orthant
