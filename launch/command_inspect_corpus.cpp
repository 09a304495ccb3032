// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "base/text.h"
#include "data/corpus.h"
#include "launch/command.h"
#include "trainer/run/progress.h"

namespace orthant {
namespace {

int run(const std::string& path) {
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

}  // namespace

Command inspect_corpus_command() {
  return {.name = "inspect corpus",
          .help = "sizes, provenance and checksums of a corpus",
          .footer = "",
          .declare = [](Options& o) {
            const auto path = std::make_shared<std::string>();
            o.text("path", *path, required_text(), ".h5 file");
            return [path] { return run(*path); };
          }};
}

}  // namespace orthant
