// SPDX-License-Identifier: Apache-2.0
#include "trainer/supervised_data.h"

#include <algorithm>
#include <set>

#include "base/config/config.h"
#include "parallel/comm/threads/run_ranks.h"
#include "tests/trainer/hub_folder_testing.h"
#include "trainer/hub/import.h"

namespace orthant {
namespace {

using testing::Folder;

constexpr const char* kTemplate =
    "{% for m in messages %}{{ m.role }}:\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{{ '\\n' }}{% endif %}";

std::string rows(int from, int to) {
  std::string all;
  for (int i = from; i < to; ++i)
    all += concat(R"({"instruction": "number )", i, R"(", "output": "it is )", i * i, "\"}\n");
  return all;
}

// A tiny published model with a template, and a configuration that fine-tunes it.
struct Setting {
  Setting() {
    model = Folder().write();
    write_bytes(model + "/chat_template.jinja", kTemplate);
    write_bytes(model + "/tokenizer_config.json", R"({"eos_token": "</s>"})");
  }
  std::string write(const std::string& data = "", const std::string& more = "") const {
    write_file("rows.jsonl", rows(0, 60));
    return write_file("f.yaml", concat("model: {from: ", model, "}\nrun: {dir: ", test_folder(),
                                       "/run, max_steps: 1, seed: 3}\nbatch: {micro_batch_size: 2, "
                                       "global_batch_size: 4}\ndata: {train: [{path: ",
                                       test_folder(), "/rows.jsonl}]", data, "}\n", more));
  }
  FinetuneConfig load(const std::vector<std::string>& overrides = {}) const {
    return load_finetune_config(write(), overrides).config;
  }
  std::string model;
};

TEST(FinetuneConfig, TakesWhatTheBaseSays) {
  const Setting setting;
  const FinetuneConfig config = setting.load({"finetune.loss_on=all", "finetune.overlong=cut"});
  EXPECT_EQ(config.data.tokenizer, setting.model);
  EXPECT_EQ(config.model.vocab_size, 517);
  EXPECT_GT(config.batch.sequence_length, 0);
  EXPECT_EQ(config.finetune.loss_on, LossOn::kAll);
  EXPECT_EQ(config.finetune.overlong, Overlong::kCut);
  EXPECT_TRUE(config.data.is_supervised);
  EXPECT_EQ(setting.load({"batch.sequence_length=48"}).batch.sequence_length, 48);
  // Stored and read again; a run of any command can be read as what all have.
  const std::string yaml = to_yaml(config);
  EXPECT_EQ(to_yaml(parse_config<FinetuneConfig>(yaml, "stored").config), yaml);
  EXPECT_EQ(parse_any_run_config(yaml, "stored").model.vocab_size, 517);
}

TEST(FinetuneConfig, NeedsTheBaseNoMoreWhereTheRunHasBegun) {
  const Setting setting;
  const FinetuneConfig config = setting.load({"batch.sequence_length=40"});
  std::filesystem::create_directories(config.run.dir + "/checkpoints/step-00000001");
  write_bytes(config.run.dir + "/config.yaml", to_yaml(config));
  std::filesystem::remove_all(setting.model);
  const FinetuneConfig again = setting.load();
  EXPECT_EQ(again.model.vocab_size, 517);
  EXPECT_EQ(again.batch.sequence_length, 40);
  EXPECT_EQ(again.data.tokenizer, setting.model);
}

TEST(FinetuneConfig, RefusesWhatIsForPretraining) {
  const Setting setting;
  const std::string path = write_file("none.yaml", "run: {max_steps: 1}\ndata: {train: a.jsonl}\n");
  expect_error(ErrorKind::kConfig, {"none.yaml", "model.from"},
               [&] { load_finetune_config(path, {}); });
  for (const char* format : {"text", "jsonl", "hdf5"}) {
    FinetuneConfig config = setting.load();
    config.data.train[0].format = format;
    expect_error(ErrorKind::kConfig, {"data.train", "orthant pretrain", format},
                 [&] { config.data.validate(); });
  }
  FinetuneConfig config = setting.load({"data.packing=false"});
  config.data.validate();
  RunConfig pretraining;
  pretraining.data.train = {{"a.jsonl", "sharegpt"}};
  expect_error(ErrorKind::kConfig, {"sharegpt", "orthant finetune"},
               [&] { pretraining.data.validate(); });
}

TEST(SupervisedData, IsOpenedWithTheTemplateOfTheModel) {
  const Setting setting;
  const FinetuneConfig config = setting.load({"batch.sequence_length=128"});
  const SupervisedData data = open_supervised_data(config, Group::self());
  EXPECT_EQ(data.conversations, 60);
  ASSERT_EQ(data.train.size(), 1u);
  ASSERT_NE(data.validation, nullptr);
  EXPECT_EQ(data.train[0].examples->size() + data.validation->size(), 60);
  // To a SentencePiece model "</s>" is text, as to orthant chat: the report says what that means.
  EXPECT_EQ(data.report.count(RowReason::kNoEnd), 60);
  EXPECT_EQ(data.report.entries().size(), 60u);
  const Examples& examples = *data.train[0].examples;
  const auto ids = examples.ids(0);
  // The answer and the end of its turn; texts of templates do not begin with the model's token.
  std::vector<int32_t> trained;
  for (size_t i = 0; i < ids.size(); ++i)
    if (examples.trained(0)[i]) trained.push_back(ids[i]);
  EXPECT_TRUE(data.tokenizer->decode(trained).starts_with("it is ")) << data.tokenizer->decode(ids);
  const std::vector<std::string> lines = summary_of(config, data);
  EXPECT_EQ(lines[0], "conversations  60");
  const SupervisedBatches batches = make_supervised_batches(config, data, config.batch.sizes());
  EXPECT_EQ(batches.step_share(0, 1, 2).size(), 1u);
  const SupervisedEvaluation evaluation = make_supervised_evaluation(config, data, Group::self());
  EXPECT_EQ(evaluation.num_labels(), data.validation->num_trained());
  // A run directory of the model says the same.
  import_model({.folder = setting.model, .run_dir = test_folder() + "/imported"});
  FinetuneConfig other = config;
  other.model.from = test_folder() + "/imported";
  EXPECT_EQ(open_supervised_data(other, Group::self()).fingerprint, data.fingerprint);
}

TEST(SupervisedData, TakesAGivenTemplateWithTheSpecialTokensOfTheModel) {
  const Setting setting;
  const std::string same = open_supervised_data(setting.load(), Group::self()).fingerprint;
  write_file("given.jinja", kTemplate);  // it writes eos_token
  std::filesystem::remove(setting.model + "/chat_template.jinja");
  const FinetuneConfig config =
      setting.load({"finetune.chat_template=" + test_folder() + "/given.jinja"});
  EXPECT_EQ(open_supervised_data(config, Group::self()).fingerprint, same);
  keep_chat_template(config, config.run.dir);
  EXPECT_EQ(read_bytes(config.run.dir + "/hub/chat_template.jinja"), kTemplate);
}

TEST(SupervisedData, HasAnotherFingerprintWhereASampleDiffers) {
  const Setting setting;
  std::set<std::string> seen;
  const auto see = [&](const std::vector<std::string>& overrides) {
    EXPECT_TRUE(
        seen.insert(open_supervised_data(setting.load(overrides), Group::self()).fingerprint)
            .second);
  };
  see({});
  see({"finetune.loss_on=all"});
  see({"data.train.0.weight=2"});
  see({"data.packing=false"});
  see({"data.validation_fraction=0.3"});
  write_file("t.jinja", std::string("x") + kTemplate);
  see({"finetune.chat_template=" + test_folder() + "/t.jinja"});
}

TEST(SupervisedData, SaysWhyThereIsNothing) {
  const Setting setting;
  const FinetuneConfig small = setting.load({"batch.sequence_length=4"});
  expect_error(ErrorKind::kData, {"rows.jsonl", "no example", "too long"},
               [&] { open_supervised_data(small, Group::self()); });
  FinetuneConfig config = setting.load({"data.validation_fraction=0", "evaluation.interval=1"});
  expect_error(ErrorKind::kConfig, {"evaluation.interval", "data.validation_fraction"},
               [&] { open_supervised_data(config, Group::self()); });
  config = setting.load({"data.train.0.path=" + test_folder() + "/no.jsonl"});
  expect_error(ErrorKind::kMissingInput, {"data.train", "no.jsonl"},
               [&] { open_supervised_data(config, Group::self()); });
  config = setting.load({"data.train.0.path=" + write_file("a.h5", "")});
  expect_error(ErrorKind::kConfig, {"a.h5", "want conversations"},
               [&] { open_supervised_data(config, Group::self()); });
  std::filesystem::remove(setting.model + "/chat_template.jinja");
  expect_error(ErrorKind::kMissingInput, {"finetune.chat_template"},
               [&] { open_supervised_data(setting.load(), Group::self()); });
}

TEST(SupervisedData, TakesAValidationFileInsteadOfAPart) {
  const Setting setting;
  const std::string held = write_file("held.jsonl", rows(100, 107));
  const SupervisedData data =
      open_supervised_data(setting.load({"data.validation=" + held}), Group::self());
  EXPECT_EQ(data.train[0].examples->size(), 60);
  EXPECT_EQ(data.validation->size(), 7);
}

TEST(SupervisedData, WritesAllThatWasLeftOut) {
  const Setting setting;
  const FinetuneConfig config = setting.load({"data.bad_lines=skip"});
  write_file("rows.jsonl", rows(0, 20) + "{\n" + R"({"messages": []})" + "\n{}\n[]\n3\n");
  const SupervisedData data = open_supervised_data(config, Group::self());
  EXPECT_EQ(data.conversations, 20);
  tell_data_report(data, test_folder());
  const std::string report = read_bytes(test_folder() + "/data-report.jsonl");
  EXPECT_EQ(std::count(report.begin(), report.end(), '\n'),
            5 + data.report.count(RowReason::kNoEnd));
  EXPECT_EQ(data.report.count(RowReason::kNotJson), 3);
}

TEST(SupervisedData, IsTheSameOnEveryRank) {
  const Setting setting;
  const FinetuneConfig config = setting.load();
  const std::string one = open_supervised_data(config, Group::self()).fingerprint;
  run_ranks(3, [&](const Group& world) {
    EXPECT_EQ(open_supervised_data(config, world).fingerprint, one);
  });
  // A rank that sees another file is named.
  const std::string other = write_file("other.jsonl", rows(0, 59));
  EXPECT_THROW(run_ranks(3,
                         [&](const Group& world) {
                           FinetuneConfig own = config;
                           if (world.rank() == 2) own.data.train[0].path = other;
                           open_supervised_data(own, world);
                         }),
               Error);
}

}  // namespace
}  // namespace orthant
