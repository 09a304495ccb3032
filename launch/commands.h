// SPDX-License-Identifier: Apache-2.0
// The commands behind the command line, each in its own file.  All return an exit code or throw
// Error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace orthant {

struct PretrainCommand {
  std::string config;
  std::vector<std::string> overrides;
  bool dry_run = false, quiet = false, allow_failpoints = false;
  int ranks = 0;  // of a dry run; 0: those that were started, or what the layout takes
};
int run_pretrain(const PretrainCommand& command);

struct PrepareCommand {
  std::vector<std::string> inputs, validation;
  std::string output, tokenizer = "byte", format = "auto", bad_lines = "fail";
  double validation_fraction = 0.05;
  bool quiet = false;
};
int run_prepare(const PrepareCommand& command);

struct TokenizerTrainCommand {
  std::vector<std::string> inputs;
  std::string output, model = "unigram", format = "auto", bad_lines = "fail";
  int64_t vocab_size = 0, sample_bytes = int64_t{64} << 20;
  double character_coverage = 0.9995;
  bool byte_fallback = true, split_digits = false, library_log = false, quiet = false;
};
int run_tokenizer_train(const TokenizerTrainCommand& command);
// `files`: what to read; empty: standard input.
int run_tokenizer_encode(const std::string& tokenizer, const std::vector<std::string>& files);
int run_tokenizer_decode(const std::string& tokenizer, const std::vector<std::string>& files);

struct GenerateCommand {
  std::string model, prompt, precision;
  int64_t max_new_tokens = 200, top_k = 0, seed = 1234, samples = 1;
  double temperature = 0.8, top_p = 1.0;
};
int run_generate(const GenerateCommand& command);

struct InspectConfigCommand {
  std::string config;
  std::vector<std::string> overrides;
  int ranks = 0;  // 0: the fewest that the layout takes
  bool reference = false;
};
int run_inspect_config(const InspectConfigCommand& command);
int run_inspect_corpus(const std::string& path);
int run_inspect_checkpoint(const std::string& path);

struct InspectRoutingCommand {
  std::string model;
  std::vector<std::string> files, texts;  // files: text as for prepare, or .h5 corpora
  std::string format = "auto", bad_lines = "fail";
  int64_t most_tokens = 65536;  // of a file
  bool json = false;
};
int run_inspect_routing(const InspectRoutingCommand& command);

struct InspectScheduleCommand {
  std::vector<std::string> names;  // drawn one above the other
  int ranks = 4, micro_batches = 8, chunks = 0, columns = 100;
  std::vector<double> costs = {1, 1,
                               1};  // forward, backward by the input, by the weights[, transfer]
  std::string svg;
};
int run_inspect_schedule(const InspectScheduleCommand& command);
int run_doctor();

struct VerifyLayoutCommand {
  std::string config;
  std::vector<std::string> overrides, layouts;
  int ranks = 4;
  int64_t steps = 3;
  bool scale_down = false;
};
int run_verify_layout(const VerifyLayoutCommand& command);

}  // namespace orthant
