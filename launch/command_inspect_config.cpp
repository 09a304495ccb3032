// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "launch/command.h"
#include "launch/run_file.h"
#include "trainer/finetune_config.h"

namespace orthant {
namespace {

struct InspectConfig {
  std::string config;
  std::vector<std::string> overrides;
  int64_t ranks = 0;  // 0: the fewest that the layout takes
  bool reference = false;
};

// The file with everything settled.
std::string resolved(const InspectConfig& command, std::vector<std::string>& notes) {
  const Group self = Group::self();
  const auto ranks = static_cast<int>(command.ranks);
  const YamlNode root = load_yaml(command.config);
  if (!root.find("finetune") && !root.find("distill")) {
    const RunFile file = load_run_file(command.config, command.overrides, self, ranks);
    notes = file.notes;
    return file.plan.yaml();
  }
  const FinetuneFile file = load_finetune_file(command.config, command.overrides, self, ranks);
  notes = file.run.notes;
  return to_yaml(file.open_config());
}

int run(const InspectConfig& command) {
  if (command.reference) {
    std::fputs(reference_page<FinetuneConfig>("Configuration reference").c_str(), stdout);
    return 0;
  }
  ORTHANT_CHECK(!command.config.empty(), kUsage,
                "inspect config: want a YAML file, or --reference");
  std::vector<std::string> notes;
  const std::string yaml = resolved(command, notes);
  for (const std::string& note : notes) log::info(note);
  std::fputs(yaml.c_str(), stdout);
  return 0;
}

}  // namespace

Command inspect_config_command() {
  return {.name = "inspect config",
          .help = "check a YAML file and print it resolved",
          .footer =
              "orthant inspect config configs/quickstart.yaml optimizer.learning_rate=1e-4\n"
              "orthant inspect config --reference > docs/configuration.md",
          .declare = [](Options& o) {
            const auto c = std::make_shared<InspectConfig>();
            o.text("config", c->config, any_text(), "YAML file");
            o.texts("overrides", c->overrides, any_text(), "key.path=value");
            o.integer("--ranks", c->ranks, between(1, 1 << 20),
                      "number of ranks to resolve it for; without: what the layout takes");
            o.flag("--reference", c->reference, "print the page of all keys instead");
            return [c] { return run(*c); };
          }};
}

}  // namespace orthant
