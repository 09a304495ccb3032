// SPDX-License-Identifier: Apache-2.0
#include "base/config/config.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/base/config_testing.h"

namespace orthant {
namespace {

TEST(ConfigRead, FillsFieldsOfEveryKind) {
  TestConfig config;
  const ConfigSource loaded = read(config,
                                   "device: cpu\nrun: {name: 007, seed: 0}\n"
                                   "parallel:\n  sequence_parallel: true\n  ranks: -3\n"
                                   "  inner:\n    depth: 64\n"
                                   "optimizer: {learning_rate: 1e-4, betas: [0.5, 0], "
                                   "weight_decay: 0}\n"
                                   "data:\n  train:\n    - a.txt\n    - path: b.txt\n"
                                   "      weight: 2.5\n"
                                   "schedule: null\n");
  EXPECT_EQ(config.device, "cpu");
  EXPECT_EQ(config.name, "007");  // texts are taken as written
  EXPECT_EQ(config.seed, 0);
  EXPECT_TRUE(config.sequence_parallel);
  EXPECT_EQ(config.ranks, -3);
  EXPECT_EQ(config.inner.depth, 64);
  EXPECT_EQ(config.learning_rate, 1e-4);
  EXPECT_EQ(config.betas, (std::vector<double>{0.5, 0}));
  EXPECT_EQ(config.decay, 0);
  ASSERT_EQ(config.train.size(), 2u);
  EXPECT_EQ(config.train[0].path, "a.txt");
  EXPECT_EQ(config.train[0].weight, 1);
  EXPECT_EQ(config.train[1].weight, 2.5);
  EXPECT_EQ(config.schedule, "cosine");
  EXPECT_TRUE(loaded.given("parallel.inner.depth"));
  EXPECT_FALSE(loaded.given("schedule"));
  EXPECT_FALSE(loaded.given("parallel.tensor_parallel_size"));
  EXPECT_EQ(loaded.where("parallel.ranks"), "f.yaml:5:10: parallel.ranks");
  EXPECT_EQ(loaded.where("run.dir"), "run.dir");
  EXPECT_TRUE(loaded.notes.empty());
}

TEST(ConfigRead, ListReplacesTheDefaultAndOneItemNeedsNoList) {
  TestConfig config;
  config.train = {{"old.txt", 5}, {"older.txt", 6}};
  read(config, "data:\n  train: a.txt\n");
  ASSERT_EQ(config.train.size(), 1u);
  EXPECT_EQ(config.train[0].path, "a.txt");
  EXPECT_EQ(config.train[0].weight, 1);
  read(config, "data:\n  train: {path: b.txt, weight: 3}\n");
  EXPECT_EQ(config.train[0].weight, 3);
  read(config, "data:\n");  // an empty block is a block of defaults
  EXPECT_EQ(config.train.size(), 1u);
  read(config, "data: {train: []}\n");
  EXPECT_TRUE(config.train.empty());
}

TEST(ConfigRead, OverridesWinAndAliasesAreNoted) {
  TestConfig config;
  const ConfigSource loaded = read(config, "parallel:\n  tp: 2\noptimizer:\n  lr: 0.1\n",
                                   {"optimizer.learning_rate=0.2", "optimizer.lr=0.3",
                                    "data.train=[a.txt, b.txt]", "data.train.1=c.txt"});
  EXPECT_EQ(config.tensor, 2);
  EXPECT_EQ(config.learning_rate, 0.3);
  ASSERT_EQ(config.train.size(), 2u);
  EXPECT_EQ(config.train[1].path, "c.txt");
  ASSERT_EQ(loaded.notes.size(), 2u);
  EXPECT_EQ(loaded.notes[0],
            "f.yaml:2:3: 'parallel.tp' is read as 'parallel.tensor_parallel_size'");
  EXPECT_TRUE(loaded.given("parallel.tensor_parallel_size"));
  EXPECT_EQ(loaded.where("optimizer.learning_rate"),
            "command line: 'optimizer.lr=0.3': optimizer.learning_rate");

  TestConfig dotted;
  read(dotted, "max_tp: 8\n");
  EXPECT_EQ(dotted.tensor, 8);
  TestConfig newer;
  read(newer, "parallel:\n  tensor_parallel_size: 4\n", {"parallel.tp=2"});
  EXPECT_EQ(newer.tensor, 2);
  TestConfig older;
  read(older, "parallel:\n  tp: 4\n", {"parallel.tensor_parallel_size=2"});
  EXPECT_EQ(older.tensor, 2);
}

struct Wrong {
  std::string text, place, phrase;
};

TEST(ConfigRead, RefusesWrongValuesWithPlaceAndRemedy) {
  const std::string p = "parallel:\n  ", o = "optimizer:\n  ";
  const std::vector<Wrong> cases = {
      {p + "ranks: 1e3", "2:10", "want an integer, got '1e3'; write 1000"},
      {p + "ranks: 1_000", "2:10", "write 1000"},
      {p + "ranks: 010", "2:10", "no leading zeros: write 10"},
      {p + "ranks: -00", "2:10", "no leading zeros: write 0"},
      {p + "ranks: 0x10", "2:10", "write 16"},
      {p + "ranks: 2.0", "2:10", "write 2"},
      {p + "ranks: +2", "2:10", "write 2"},
      {p + "ranks: 2.5", "2:10", "want an integer, got '2.5'"},
      {p + "ranks: two", "2:10", "want an integer, got 'two'"},
      {p + "ranks: \"2\"", "2:10", "remove the quotes"},
      {p + "ranks: 99999999999999999999", "2:10", "too large for 64 bits"},
      {p + "ranks: true", "2:10", "want an integer, got 'true'"},
      {p + "ranks: [1]", "2:10", "got a list"},
      {p + "ranks: {a: 1}", "2:10", "got a mapping"},
      {p + "ranks:", "2:3", "got nothing; write null to keep the default"},
      {p + "tensor_parallel_size: 0", "2:25", "want an integer >= 1, got '0'"},
      {p + "tensor_parallel_size: -2", "2:25", "want an integer >= 1"},
      {p + "inner: {depth: 65}", "2:18", "want an integer from 1 to 64, got '65'"},
      {p + "inner: 3", "2:10", "want a block of 'key: value' lines, got '3'"},
      {p + "sequence_parallel: yes", "2:22", "want true or false, got 'yes'; write true"},
      {p + "sequence_parallel: off", "2:22", "write false"},
      {p + "sequence_parallel: 1", "2:22", "write true"},
      {p + "sequence_parallel: True", "2:22", "write true"},
      {p + "sequence_parallel: maybe", "2:22", "want true or false, got 'maybe'"},
      {o + "learning_rate: nan", "2:18", "it must be finite"},
      {o + "learning_rate: .NaN", "2:18", "it must be finite"},
      {o + "learning_rate: .inf", "2:18", "it must be finite"},
      {o + "learning_rate: -1e-4", "2:18", "want a number > 0, got '-1e-4'"},
      {o + "learning_rate: 0", "2:18", "want a number > 0"},
      {o + "learning_rate: 1e999", "2:18", "outside the range of 64-bit numbers"},
      {o + "learning_rate: fast", "2:18", "want a number > 0, got 'fast'"},
      {o + "learning_rate: 1_0.5", "2:18", "write 10.5"},
      {o + "learning_rate: 00.5", "2:18", "no leading zeros: write 0.5"},
      {o + "learning_rate: 3e-4x", "2:18", "want a number"},
      {o + "learning_rate: \"3e-4\"", "2:18", "remove the quotes"},
      {o + "dropout: 1", "2:12", "want a number >= 0 and < 1, got '1'"},
      {o + "betas: 0.9", "2:10", "want a list of numbers like [1, 2], got '0.9'"},
      {o + "betas: [0.9, x]", "2:16", "optimizer.betas[1]: want a number >= 0 and < 1, got 'x'"},
      {o + "betas: [0.9, [1]]", "2:16", "got a list"},
      {"device: gpu", "1:9", "device: want one of cpu, cuda, auto, got 'gpu'; did you mean 'cpu'?"},
      {"schedule: cosin", "1:11", "did you mean 'cosine'?"},
      {"schedule: [cosine]", "1:11", "want one of cosine, linear, constant, got a list"},
      {"optimizer: adam", "1:12", "want a block of 'key: value' lines, got 'adam'"},
      {o + "learing_rate: 1", "2:3",
       "optimizer.learing_rate: unknown key; did you mean 'learning_rate'?"},
      {"learning_rate: 1", "1:1", "unknown key; it exists as 'optimizer.learning_rate'"},
      {"learing_rate: 1", "1:1", "did you mean 'optimizer.learning_rate'?"},
      {p + "seed: 1", "2:3", "parallel.seed: unknown key; it exists as 'run.seed'"},
      {"optimizer.betas: [1]", "1:1", "in a file, blocks are nested"},
      {p + "zzzzzzzzzz: 1", "2:3", "unknown key; keys here: tensor_parallel_size"},
      {p + "tp: 1\n  tensor_parallel_size: 2", "2:3",
       "parallel.tp: another name of parallel.tensor_parallel_size, which is given at f.yaml:3:3"},
      {"data:\n  train:\n    - weight: 2", "3:7", "data.train[0].path: required, but missing"},
      {"data:\n  train:\n    - path: \"\"", "3:13", "data.train[0].path: required, but empty"},
      {"data:\n  train:\n    - a\n    - [b]", "4:7",
       "data.train[1]: want a block of 'key: value' lines, or a text, got a list"},
      {"data:\n  train:\n    - {path: a, wieght: 1}", "3:17",
       "data.train[0].wieght: unknown key; did you mean 'weight'?"},
      {"data:\n  train:", "2:3", "data.train: want a list, got nothing"},
  };
  for (const Wrong& wrong : cases) {
    const std::string message = fault(wrong.text + "\n");
    EXPECT_TRUE(message.starts_with("f.yaml:" + wrong.place + ": "))
        << wrong.text << "\n  at " << wrong.place << ", got: " << message;
    EXPECT_NE(message.find(wrong.phrase), std::string::npos)
        << wrong.text << "\n  want: " << wrong.phrase << "\n  got: " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(ConfigRead, ReportsAllFaultsSortedByPlace) {
  EXPECT_EQ(fault("schedule: x1\nparallel:\n  tp: two\nbogus_key_name: 1\n",
                  {"run.seed=-1", "nokey", "optimizer.lerning_rate=1"}),
            "f.yaml:1:11: schedule: want one of cosine, linear, constant, got 'x1'\n"
            "f.yaml:3:7: parallel.tensor_parallel_size: want an integer >= 1, got 'two'\n"
            "f.yaml:4:1: bogus_key_name: unknown key; keys here: device, run, parallel, optimizer, "
            "data, schedule\n"
            "command line: 'run.seed=-1': run.seed: want an integer >= 0, got '-1'\n"
            "command line: 'nokey': want key.path=value\n"
            "command line: 'optimizer.lerning_rate=1': optimizer.lerning_rate: unknown key; did "
            "you mean 'learning_rate'?");
}

TEST(ConfigRead, LoadsAFile) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("orthant_cfg_" + std::to_string(::getpid()));
  std::ofstream(path) << "run:\n  seed: 5\n";
  const TestConfig config = load_config<TestConfig>(path, {"run.name=x"}).config;
  EXPECT_EQ(config.seed, 5);
  EXPECT_EQ(config.name, "x");
  std::filesystem::remove(path);
  EXPECT_THROW(load_config<TestConfig>(path), Error);
}

struct Paths {
  std::string dir, note = "plain";
  void fields(FieldVisitor& v) {
    v.field("dir", dir, any_path(), "a path");
    v.field("note", note, any_text(), "a text");
  }
};

TEST(ConfigRead, TheHomeDirectoryIsWrittenOut) {
  const std::string home = std::getenv("HOME") ? std::getenv("HOME") : "";
  ::setenv("HOME", "/home/ada", 1);
  const auto dir = [](const std::string& value) {
    return parse_config<Paths>("{}", "f.yaml", {"note=~/x", "dir=" + value}).config.dir;
  };
  EXPECT_EQ(dir("~/runs/a"), "/home/ada/runs/a");
  EXPECT_EQ(parse_config<Paths>("dir: ~/b\n", "f.yaml").config.dir, "/home/ada/b");
  EXPECT_EQ(parse_config<Paths>("note: ~/b\n", "f.yaml").config.note, "~/b");
  EXPECT_EQ(dir("a/~/b"), "a/~/b");
  EXPECT_EQ(dir("./~"), "./~");
  const auto refusal = [&](const std::string& value) -> std::string {
    try {
      return "taken as " + dir(value);
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(refusal("~bob/x"),
            "command line: 'dir=~bob/x': dir: want a path, got '~bob/x'; write the home directory "
            "of another user out, or ./~ for a file of this name");
  ::unsetenv("HOME");
  EXPECT_NE(refusal("~/x").find("HOME is not set"), std::string::npos);
  if (!home.empty()) ::setenv("HOME", home.c_str(), 1);
}

// A byte that is no UTF-8 could be trained with, but not saved.
TEST(ConfigRead, RefusesBytesOfOverridesThatAreNoText) {
  EXPECT_EQ(fault("{}\n", {"run.name=caf\xE9", "run.name=a\x01", "run.seed=2"}),
            "command line: 'run.name=caf\xEF\xBF\xBD': bytes that are not valid UTF-8; write the "
            "value as UTF-8\n"
            "command line: 'run.name=a\x01': a control byte; write the value as plain text");
  TestConfig config;
  read(config, "{}\n", {"run.name=caf\xC3\xA9\nau lait"});
  EXPECT_EQ(config.name, "caf\xC3\xA9\nau lait");
}

struct Pasted {
  int64_t width = 1;
  void fields(FieldVisitor& v) {
    v.field("width", width, at_least(1), "width");
    v.foreign("comment", remark());
    v.foreign("rate", remark("use optimizer.learning_rate"));
    v.foreign("bias", neutral({"false"}));
    v.foreign("dropout", neutral({"0"}, "model.hidden_dropout is another one"));
    v.foreign("act", neutral({"silu", "swish"}));
    v.foreign("dense", neutral({"[]"}));
    v.foreign("scaling", neutral({"{rope_type: default, factor: 1}"}));
    v.foreign("lora", not_built("latent attention is not built"));
  }
};

std::string pasted(const std::string& text, bool on_the_command_line) {
  try {
    const std::string file = on_the_command_line ? "{}" : text;
    std::vector<std::string> overrides;
    if (on_the_command_line)
      overrides = {text.substr(0, text.find(':')) + "=" + text.substr(text.find(": ") + 2)};
    return parse_config<Pasted>(file, "f.yaml", overrides).source.notes.at(0);
  } catch (const Error& error) {
    return error.what();
  }
}

// What is no field is left out where it asks for nothing but what is built, and refused otherwise,
// whatever its kind: scalar, list or mapping.
TEST(ConfigRead, ForeignKeysAreNeutralOrRefused) {
  for (const bool on_the_command_line : {false, true}) {
    for (const char* text :
         {"comment: x", "comment: {a: [1, {b: 2}]}", "bias: false", "bias: null", "dropout: 0",
          "dropout: 0.0", "dropout: null", "act: silu", "act: \"swish\"", "dense: []",
          "scaling: null", "scaling: {factor: 1.0, rope_type: \"default\"}", "lora: null"})
      EXPECT_TRUE(pasted(text, on_the_command_line).ends_with("says nothing here and is left out"))
          << text << ": " << pasted(text, on_the_command_line);
    EXPECT_TRUE(pasted("rate: 0.1", on_the_command_line)
                    .ends_with("is left out; use optimizer.learning_rate"));
    for (const auto& [text, phrase] : std::vector<std::pair<std::string, std::string>>{
             {"bias: true", "bias: want null or false, got 'true'; nothing else is built"},
             {"bias: \"false\"", "bias: want null or false, got 'false'"},
             {"bias: {}", "bias: want null or false, got a mapping"},
             {"bias: [false]", "bias: want null or false, got a list"},
             {"dropout: 0.1",
              "dropout: want null or 0, got '0.1'; model.hidden_dropout is another"},
             {"act: gelu", "act: want null or silu or swish, got 'gelu'"},
             {"act: {name: silu}", "got a mapping"},
             {"dense: [0]", "dense: want null or [], got a list"},
             {"dense: {}", "got a mapping"},
             {"scaling: {rope_type: llama3, factor: 8.0}", "got a mapping; nothing else is built"},
             {"scaling: {rope_type: default}", "got a mapping"},
             {"scaling: {rope_type: default, factor: 1, low: 2}", "got a mapping"},
             {"scaling: []", "got a list"},
             {"lora: 512", "lora: want null, got '512'; latent attention is not built"},
             {"lora: {}", "lora: want null, got a mapping"}}) {
      EXPECT_NE(pasted(text, on_the_command_line).find(phrase), std::string::npos)
          << text << ": " << pasted(text, on_the_command_line);
    }
  }
}

}  // namespace
}  // namespace orthant
