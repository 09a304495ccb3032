// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/reader.h"
#include "data/corpus.h"
#include "launch/commands.h"
#include "launch/config_visitors.h"
#include "launch/run_file.h"
#include "launch/saved_model.h"
#include "trainer/progress.h"

namespace orthant {

int run_inspect_config(const InspectConfigCommand& command) {
  if (command.reference) {
    RunConfig config;
    std::fputs(reference_page([&](FieldVisitor& v) { config.fields(v); }, "Configuration reference")
                   .c_str(),
               stdout);
    return 0;
  }
  ORTHANT_CHECK(!command.config.empty(), kUsage,
                "inspect config: want a YAML file, or --reference");
  const RunFile file =
      load_run_file(command.config, command.overrides, Group::self(), command.ranks);
  for (const std::string& note : file.notes) log::info(note);
  std::fputs(file.yaml.c_str(), stdout);
  return 0;
}

int run_inspect_corpus(const std::string& path) {
  const CorpusInfo info = inspect_corpus(path);
  const auto split = [](const char* name, const SplitInfo& s) {
    std::printf("%-12s %s tokens, %s bytes of text, %s\n", name,
                with_thousands(s.num_tokens).c_str(), with_thousands(s.num_bytes).c_str(),
                counted(s.num_documents, "document").c_str());
  };
  std::printf("%s: format %lld, made by %s\n", path.c_str(),
              static_cast<long long>(info.format_version), info.created_by.c_str());
  std::printf("tokenizer    %s, %d ids, end of document %d\n", info.tokenizer.c_str(),
              info.vocab_size, info.end_of_document);
  split("train", info.train);
  split("validation", info.validation);
  std::printf("fingerprint  %s\n", info.fingerprint.c_str());
  for (const CorpusSource& source : info.sources) {
    std::printf("source       %s, %s bytes, xxh3 %s%s\n", source.path.c_str(),
                with_thousands(source.bytes).c_str(), source.xxh3_128.c_str(),
                source.bad_lines == 0
                    ? ""
                    : concat(", ", counted(source.bad_lines, "bad line"), " left out").c_str());
  }
  for (const Split s : {Split::kTrain, Split::kValidation}) {
    const SplitInfo& sizes = s == Split::kTrain ? info.train : info.validation;
    if (sizes.num_tokens > 0) Corpus::open(path, s)->verify();
  }
  std::printf("checksums    all blocks verified\n");
  return 0;
}

int run_inspect_checkpoint(const std::string& path) {
  const CheckpointReport report = verify_checkpoint(find_checkpoint("inspect checkpoint", path));
  std::fputs(report.text.c_str(), stdout);
  return report.ok ? 0 : static_cast<int>(ErrorKind::kData);
}

}  // namespace orthant
