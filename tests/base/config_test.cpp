// SPDX-License-Identifier: Apache-2.0
#include "base/config/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace orthant {
namespace {

struct Source {
  std::string path;
  double weight = 1;
  void fields(FieldVisitor& v) {
    v.field("path", path, required_text(), "file");
    v.field("weight", weight, positive(), "share of the mixture");
  }
};

struct Inner {
  int64_t depth = 2;
  void fields(FieldVisitor& v) { v.field("depth", depth, between(1, 64), "levels | stages"); }
};

struct TestConfig {
  std::string device = "auto";
  std::string name = "demo";
  int64_t seed = 1, tensor = 1, ranks = 0;
  double learning_rate = 3e-4, decay = 0.1, dropout = 0;
  bool sequence_parallel = false;
  std::vector<double> betas = {0.9, 0.95};
  std::string schedule = "cosine";
  std::vector<Source> train;
  Inner inner;

  void fields(FieldVisitor& v) {
    v.field("device", device, one_of({"cpu", "cuda", "auto"}), "where tensors live");
    v.block("run", "the run", [&](FieldVisitor& b) {
      b.field("name", name, any_text(), "name");
      b.field("seed", seed, at_least(0), "seed");
    });
    v.block("parallel", "layout", [&](FieldVisitor& b) {
      b.field("tensor_parallel_size", tensor, at_least(1), "ranks of one layer");
      b.alias("tp", "tensor_parallel_size");
      b.field("sequence_parallel", sequence_parallel, "split norms");
      b.field("ranks", ranks, IntBounds{}, "any");
      b.block("inner", "nested", [&](FieldVisitor& c) { inner.fields(c); });
    });
    v.block("optimizer", "AdamW", [&](FieldVisitor& b) {
      b.field("learning_rate", learning_rate, positive(), "step size");
      b.field("weight_decay", decay, non_negative(), "decay");
      b.field("betas", betas, below_one(), "moments");
      b.field("dropout", dropout, below_one(), "share dropped");
      b.alias("lr", "learning_rate");
    });
    v.block("data", "inputs", [&](FieldVisitor& b) {
      b.list(
          "train", "sources", train.size(), [&](size_t n) { train.resize(n); },
          [&](size_t i, FieldVisitor& item) { train[i].fields(item); });
    });
    v.field("schedule", schedule, one_of({"cosine", "linear", "constant"}), "shape");
    v.alias("max_tp", "parallel.tensor_parallel_size");
  }
};

ConfigSource read(TestConfig& config, const std::string& text,
                  const std::vector<std::string>& overrides = {}) {
  return read_config(parse_yaml(text, "f.yaml"), overrides, field_list(config));
}

std::string fault(const std::string& text, const std::vector<std::string>& overrides = {}) {
  TestConfig config;
  try {
    read(config, text, overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
  return "(no error)";
}

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

TEST(ConfigDump, RoundTripsEveryValueExactly) {
  TestConfig config;
  config.learning_rate = 0.1 + 0.2;
  config.decay = 5e-324;
  config.betas = {1.0 / 3, std::nextafter(1.0, 0.0)};
  config.seed = std::numeric_limits<int64_t>::max();
  config.ranks = std::numeric_limits<int64_t>::min();
  config.train = {{"a b: #c", 1e300}, {"plain/path-1.txt", 1e-7}, {"line\n\"two\"\t\\\x01", 1}};
  for (const std::string name :
       {"",    "true", "no", "~",    "007",  "1e3", " x ", "- a", "a: b", "#x",   "caf\xC3\xA9",
        "'q'", "[x]",  ".5", "null", "a\\b", "%x",  "=",   "@",   "x#y",  "\x7F", "\r\n"}) {
    config.name = name;
    const std::string text = to_yaml(config);
    TestConfig back;
    read(back, text);
    EXPECT_EQ(back.name, name) << text;
    EXPECT_EQ(back.learning_rate, config.learning_rate);
    EXPECT_EQ(back.decay, config.decay);
    EXPECT_EQ(back.betas, config.betas);
    EXPECT_EQ(back.seed, config.seed);
    EXPECT_EQ(back.ranks, config.ranks);
    ASSERT_EQ(back.train.size(), 3u);
    EXPECT_EQ(back.train[0].path, config.train[0].path);
    EXPECT_EQ(back.train[0].weight, config.train[0].weight);
    EXPECT_EQ(back.train[2].path, config.train[2].path);
    EXPECT_EQ(to_yaml(back), text);
  }
}

TEST(ConfigDump, ReadsWell) {
  TestConfig config;
  config.train = {{"a.txt", 2}};
  EXPECT_EQ(to_yaml(config),
            "device: auto\n"
            "run:\n  name: demo\n  seed: 1\n"
            "parallel:\n  tensor_parallel_size: 1\n  sequence_parallel: false\n  ranks: 0\n"
            "  inner:\n    depth: 2\n"
            "optimizer:\n  learning_rate: 3e-4\n  weight_decay: 0.1\n  betas: [0.9, 0.95]\n"
            "  dropout: 0\n"
            "data:\n  train:\n    - path: a.txt\n      weight: 2\n"
            "schedule: cosine\n");
}

std::vector<std::string> texts(const std::vector<ConfigDifference>& list) {
  std::vector<std::string> result;
  for (const ConfigDifference& difference : list) result.push_back(difference.text);
  return result;
}

TEST(ConfigDiff, ListsChangedAddedAndRemovedKeys) {
  TestConfig before, after;
  before.train = {{"a.txt", 2}};
  after.train = {{"a.txt", 3}, {"b.txt", 1}};
  after.learning_rate = 1e-3;
  after.betas = {0.9, 0.99};
  after.name = "other run";
  EXPECT_EQ(texts(differences<TestConfig>(to_yaml(before), to_yaml(after))),
            (std::vector<std::string>{
                "run.name: demo -> \"other run\"", "optimizer.learning_rate: 3e-4 -> 0.001",
                "optimizer.betas: [0.9, 0.95] -> [0.9, 0.99]", "data.train[0].weight: 2 -> 3",
                "data.train[1].path: (absent) -> b.txt", "data.train[1].weight: (absent) -> 1"}));
  EXPECT_TRUE(differences<TestConfig>(to_yaml(after), to_yaml(after)).empty());
}

struct Block {
  int64_t a = 1, b = 2;
  void fields(FieldVisitor& v) {
    v.field("a", a, any(), "a");
    v.may_change_on_resume([&] { v.field("b", b, any(), "b"); });
  }
  static IntBounds any() { return {}; }
};

struct Resumable {
  int64_t fixed = 0, fresh = 3;
  std::vector<Source> sources;
  Block strict, lenient;
  void fields(FieldVisitor& v) {
    v.field("fixed", fixed, IntBounds{}, "fixed");
    v.block("strict", "strict", [&](FieldVisitor& b) { strict.fields(b); });
    v.may_change_on_resume([&] {
      v.block("lenient", "lenient", [&](FieldVisitor& b) { lenient.fields(b); });
      v.list(
          "sources", "sources", sources.size(), [&](size_t n) { sources.resize(n); },
          [&](size_t i, FieldVisitor& item) { sources[i].fields(item); });
    });
    v.field("fresh", fresh, IntBounds{}, "a key that older dumps lack");
  }
};

TEST(ConfigDiff, TheFieldSaysWhetherItMayChange) {
  Resumable before, after;
  after.fixed = after.strict.a = after.strict.b = after.lenient.a = after.lenient.b = 9;
  after.sources = {{"x.txt", 1}};
  std::vector<std::string> free, bound;
  for (const ConfigDifference& d : differences<Resumable>(to_yaml(before), to_yaml(after)))
    (d.may_change ? free : bound).push_back(d.text);
  EXPECT_EQ(bound, (std::vector<std::string>{"fixed: 0 -> 9", "strict.a: 1 -> 9"}));
  EXPECT_EQ(free, (std::vector<std::string>{"strict.b: 2 -> 9", "lenient.a: 1 -> 9",
                                            "lenient.b: 2 -> 9", "sources: [] -> (absent)",
                                            "sources[0].path: (absent) -> x.txt",
                                            "sources[0].weight: (absent) -> 1"}));
}

TEST(ConfigDiff, AKeyThatIsNewHadItsDefaultBefore) {
  const auto without = [](std::string yaml, const std::string& line) {
    return yaml.erase(yaml.find(line), line.size());
  };
  Resumable config;
  const std::string old = without(to_yaml(config), "fresh: 3\n");
  EXPECT_TRUE(differences<Resumable>(old, to_yaml(config)).empty());
  config.fresh = 4;
  const auto changed = differences<Resumable>(old, to_yaml(config));
  EXPECT_EQ(texts(changed), std::vector<std::string>{"fresh: (absent) -> 4"});
  EXPECT_FALSE(changed[0].may_change);
  // One that there is not any more is a difference of another program.
  EXPECT_EQ(texts(differences<Resumable>("gone: 1\n" + old, to_yaml(Resumable{}))),
            std::vector<std::string>{"gone: 1 -> (absent)"});
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

TEST(ConfigReference, ListsEveryKeyOnce) {
  TestConfig config;
  const std::string page = reference_page(field_list(config), "Configuration");
  EXPECT_TRUE(page.starts_with("# Configuration\n\n- **`device`** (")) << page;
  for (const char* line :
       {"- **`device`** (one of `cpu`, `cuda`, `auto`; default `auto`): where tensors live\n",
        "- **`tensor_parallel_size`** (an integer >= 1; default `1`): ranks of one layer. Also "
        "accepted:\n  `max_tp`, `parallel.tp`\n",
        "## parallel.inner\n",
        "- **`depth`** (an integer from 1 to 64; default `2`): levels | stages\n",
        "- **`betas`** (a list, each a number >= 0 and < 1; default `[0.9, 0.95]`): moments\n",
        "## data.train[]\n", "- **`path`** (a text; required): file\n"}) {
    EXPECT_NE(page.find(line), std::string::npos) << line << "\nin\n" << page;
  }
  EXPECT_TRUE(config.train.empty());  // the visit left no item behind
}

// Columns are characters; what Markdown would take for a quotation or a list begins no line.
TEST(ConfigReference, IsBrokenAtOneHundredColumns) {
  std::string key = "key", value;
  const auto page = [&](const std::string& help) {
    return reference_page([&](FieldVisitor& v) { v.field(key, value, any_text(), help); }, "P");
  };
  const std::string head = "- **`key`** (a text; default `\"\"`): ";
  const std::string word(100 - head.size(), 'x'), short_word(word.size() - 4, 'x');
  EXPECT_EQ(page(word + " y"), concat("# P\n\n", head, word, "\n  y\n"));
  EXPECT_EQ(page(short_word + " y z >= 0"), concat("# P\n\n", head, short_word, " y\n  z >= 0\n"));
  EXPECT_EQ(page(short_word + " `y z`"), concat("# P\n\n", head, short_word, "\n  `y z`\n"));
  EXPECT_EQ(page(short_word + " \u00e4\u00e4\u00e4"),
            concat("# P\n\n", head, short_word, " \u00e4\u00e4\u00e4\n"));
}

}  // namespace
}  // namespace orthant
