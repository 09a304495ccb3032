// SPDX-License-Identifier: Apache-2.0
// Configurations written out, compared and documented.
#include <cmath>
#include <limits>

#include "tests/base/config_testing.h"

namespace orthant {
namespace {

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
