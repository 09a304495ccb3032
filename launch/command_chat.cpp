// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include "base/text.h"
#include "launch/command.h"
#include "launch/process.h"
#include "trainer/chat.h"
#include "trainer/generate.h"

namespace orthant {
namespace {

struct Chat {
  std::string model, system, precision, adapter;
  SamplingConfig sampling{.max_new_tokens = 1000};
  int64_t seed = 1234;
  std::string mla = latent_form_names().of(LatentForm::kAbsorbed);
};

using Json = nlohmann::ordered_json;

// Only what the model says goes to stdout.
int run(const Chat& command) {
  if (!is_first_process()) return 0;
  const SavedModel saved =
      load_saved_model("chat", command.model, command.precision, command.adapter);
  const Conversations conversations("chat", saved);
  const Decoder decoder =
      saved.role->pipeline().decoder({.latent = latent_form_names().at(command.mla)});
  const bool on_terminal = isatty(STDIN_FILENO) == 1;
  Json messages = Json::array();
  if (!command.system.empty())
    messages.push_back({{"role", "system"}, {"content", command.system}});
  for (int64_t turn = 0;; ++turn) {
    if (on_terminal) std::fputs("> ", stderr);
    std::string line;
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) continue;
    messages.push_back({{"role", "user"}, {"content", valid_utf8(line)}});
    const std::vector<GenerateOptions> wanted = {
        {.ids = conversations.encode(messages, /*asks=*/true),
         .end_ids = saved.end_ids,
         .sampling = command.sampling,
         .seed = command.seed,
         .sample = turn,
         .on_text = write_out}};
    const std::string answer = generate(decoder, *saved.tokenizer, wanted).front().text;
    write_out("\n");
    messages.push_back({{"role", "assistant"}, {"content", valid_utf8(answer)}});
  }
  if (on_terminal) std::fputc('\n', stderr);
  return 0;
}

}  // namespace

Command chat_command() {
  return {.name = "chat",
          .help = "a conversation with a model that came with a chat template",
          .footer =
              "orthant chat runs/smollm2\n"
              "echo 'What is the capital of France?' | orthant chat runs/smollm2 "
              "--temperature 0",
          .declare = [](Options& o) {
            const auto c = std::make_shared<Chat>();
            o.text("model", c->model, required_text(), "a run directory that orthant import made");
            o.text("--system", c->system, any_text(), "system message");
            o.fields(field_list(c->sampling));
            o.integer("--seed", c->seed, IntBounds{}, "the same seed gives the same answers");
            o.text("--mla", c->mla, one_of(latent_form_names().all()),
                   "how new tokens see the cache of latent attention, as of generate");
            o.text("--adapter", c->adapter, any_path(), kAdapterHelp);
            o.text("--precision", c->precision, one_of({"fp64", "fp32", "bf16"}),
                   "of the weights; that of the run by default");
            return [c] { return run(*c); };
          }};
}

}  // namespace orthant
