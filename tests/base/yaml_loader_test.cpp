// SPDX-License-Identifier: Apache-2.0
#include "base/config/yaml_loader.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.h"

namespace orthant {
namespace {

std::string error_of(const std::function<void()>& action, ErrorKind kind = ErrorKind::kConfig) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "(no error)";
}

std::string repeat(const std::string& unit, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += unit;
  return text;
}

TEST(YamlLoader, ReadsNestedNodesWithTheirPlaces) {
  const YamlNode root = parse_yaml(
      "# a comment\r\nrun:\r\n  name: quick # trailing\r\n  note: \"caf\xC3\xA9: 1\"\r\n"
      "data:\n  - path: a.txt\n    weight: 2\n  - b.txt\nbetas: [0.9, 0.95]\nflow: {a: 1, b: "
      "null}\n"
      "text: |\n  two\n  lines\nnothing:\n",
      "run.yaml");
  ASSERT_TRUE(root.is_map());
  EXPECT_EQ(root.at("run.name")->scalar, "quick");
  EXPECT_EQ(root.at("run.name")->place.text(), "run.yaml:3:9");
  EXPECT_FALSE(root.at("run.name")->quoted);
  EXPECT_EQ(root.at("run.note")->scalar, "caf\xC3\xA9: 1");
  EXPECT_TRUE(root.at("run.note")->quoted);
  EXPECT_EQ(root.at("data.0.weight")->scalar, "2");
  EXPECT_EQ(root.at("data.1")->scalar, "b.txt");
  EXPECT_EQ(root.at("data.1")->place.text(), "run.yaml:8:5");
  EXPECT_EQ(root.at("data.2"), nullptr);
  EXPECT_EQ(root.at("data.x"), nullptr);
  EXPECT_EQ(root.at("run.name.x"), nullptr);
  EXPECT_EQ(root.at("betas.1")->scalar, "0.95");
  EXPECT_EQ(root.at("flow.b")->kind, YamlNode::Kind::kNull);
  EXPECT_FALSE(root.at("flow.b")->empty_null);
  EXPECT_EQ(root.at("text")->scalar, "two\nlines\n");
  EXPECT_TRUE(root.at("nothing")->empty_null);
}

TEST(YamlLoader, AcceptsAUtf8MarkAndJson) {
  EXPECT_EQ(parse_yaml("\xEF\xBB\xBF"
                       "a: 1\n",
                       "f")
                .at("a")
                ->place.text(),
            "f:1:4");
  const YamlNode json = parse_yaml("{\n  \"a\": [1, 2.5],\n  \"b\": {\"c\": null}\n}\n", "f");
  EXPECT_EQ(json.at("a.1")->scalar, "2.5");
  EXPECT_EQ(json.at("b.c")->kind, YamlNode::Kind::kNull);
}

struct Broken {
  std::string text, place, phrase;
};

TEST(YamlLoader, RefusesBrokenTextsWithPlaceAndReason) {
  const std::string head = "run:\n  name: x\n";
  const std::vector<Broken> cases = {
      {"", "1:1", "the file is empty"},
      {"# only a comment\n\n", "1:1", "the file is empty"},
      {"---\n", "1:1", "the file is empty"},
      {"run:\n\tname: x\n", "2:6", "indented with a tab"},
      {head + "\tdir: y\n", "3:1", "indented with a tab"},
      {"a: 1\n b: 2\n", "1:4", "check the indentation of the next line"},
      {"a: b: c\n", "1:5", "unexpected ':'"},
      {"a:\n  b: 1\n c: 2\n", "3:2", "check the indentation"},
      {"a:\n  - x: 1\n   y: 2\n", "3:4", "indentation of this list"},
      {"a: [1, 2\n", "2:1", "the '[' at 1:4 is still open"},
      {"a: {x: 1\n", "2:1", "the '{' at 1:4 is still open"},
      {"a: [1\nb: 2\n", "1:5", "the '[' at 1:4 is still open, or a ',' is missing"},
      {"a:\n  b: {x: 1\nc: 2\n", "2:10", "the '{' at 2:6 is still open"},
      {"a: {x: [1, 2}\n", "1:13", "the '[' at 1:8 is still open"},
      {"a: [1, {b: [2\n", "1:8", "the '{' at 1:8 is still open"},
      {"a: ]\n", "1:4", "without its opening one"},
      {"a: 'x\nb: 2\n", "1:4", "quote ' that opens here is never closed"},
      {"a: \"x\n", "1:4", "quote \" that opens here is never closed"},
      {"a: 'it''s\n", "1:4", "never closed"},
      {"a: \"\\q\"\n", "1:7", "unknown escape character"},
      {"a: \"x\" y\n", "1:8", "the quotes"},
      {"a: @x\n", "1:4", "put it in quotes"},
      {"a: one\n  two\n", "1:4", "goes on over several lines"},
      {"a: 1\nb: 2\na: 3\n", "3:1", "duplicate key 'a'; it stands at line 1"},
      {"r:\n  x: 1\n  \"x\": 2\n", "3:3", "duplicate key 'x'; it stands at line 2"},
      {"a: &x 1\n", "1:4", "anchors (&name) are not accepted"},
      {"a: 1\nb: *x\n", "2:4", "aliases (*name) are not accepted"},
      {"&a [*a]\n", "1:1", "anchors"},
      {"a: !!int 3\n", "1:4", "tags (!type)"},
      {"a: ! b\n", "1:4", "tags (!type)"},
      {"a: 1\n---\nb: 2\n", "2:1", "a second document"},
      {"a: 1\n...\nb: 2\n", "3:1", "does not belong to what stands before"},
      {"%YAML 1.2\n---\na: 1\n", "1:1", "directives"},
      {"? [a]\n: 1\n", "1:3", "a key must be plain text"},
      {": 3\n", "1:1", "a key must be plain text"},
      {"- a\n- b\n", "1:1", "want 'key: value' lines, got a list"},
      {"just text\n", "1:1", "want 'key: value' lines, got 'just text'"},
      {"a:1\n", "1:1", "a space is missing after ':'"},
      {std::string("a: 1\0b\n", 7), "1:5", "NUL"},
      {"a: 1\nb: \x01\n", "2:4", "control byte"},
      {"a: 1\nb: caf\xE9\n", "2:7", "not valid UTF-8"},
      {"a: \xED\xA0\x80\n", "1:4", "not valid UTF-8"},
      {"a: \xC0\xAF\n", "1:4", "not valid UTF-8"},
      {std::string("\xFF\xFE"
                   "a\0:\0",
                   6),
       "1:1", "UTF-16"},
      {std::string("\xFE\xFF\0a\0:", 6), "1:1", "UTF-16"},
      {"a: " + repeat("[", 40) + repeat("]", 40), "1:35", "deeper than 32 levels"},
      {repeat("[", 100000), "1:1025", "deeper than 32 levels"},
      {"a:\n" + repeat("- ", 1000) + "x\n", "2:63", "deeper than 32 levels"},
      {"a: [" + repeat("1,", 30000) + "]", "1:39999", "more than 20000 values"},
      {"a: " + repeat("x", YamlLimits::kMaxBytes), "1:1", "larger than 1048576 bytes"},
  };
  for (const Broken& broken : cases) {
    const std::string message = error_of([&] { parse_yaml(broken.text, "f.yaml"); });
    const std::string shown = broken.text.substr(0, 60);
    EXPECT_TRUE(message.starts_with("f.yaml:" + broken.place + ": "))
        << shown << "\n  at " << broken.place << ", got: " << message;
    EXPECT_NE(message.find(broken.phrase), std::string::npos)
        << shown << "\n  want: " << broken.phrase << "\n  got: " << message;
  }
}

TEST(YamlLoader, ReportsAllDuplicateKeysTogether) {
  const std::string message = error_of([] { parse_yaml("a: 1\na: 2\nb: 1\nb: 2\n", "f"); });
  EXPECT_NE(message.find("f:2:1: duplicate key 'a'"), std::string::npos) << message;
  EXPECT_NE(message.find("\nf:4:1: duplicate key 'b'"), std::string::npos) << message;
}

TEST(YamlLoader, EndsQuicklyOnHostileTexts) {
  const size_t size = YamlLimits::kMaxBytes / 4;
  for (const std::string unit : {"[", "{", "[\n", "{a: ", "- ", "? ", "a: ", "[],", "&a ", "a\n",
                                 "!", "'", "\"", "|", "#", "\n", "*a ", "--- ", "a: [a,\n"}) {
    const auto start = std::chrono::steady_clock::now();
    error_of([&] { parse_yaml(repeat(unit, size / unit.size()), "f"); });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_LT(took.count(), 1.0) << unit;
  }
}

class YamlFile : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / ("orthant_yaml_" + std::to_string(::getpid()));
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::filesystem::path dir_;
};

TEST_F(YamlFile, ReadsAFileAndRefusesWhatIsNone) {
  const std::string path = dir_ / "a.yaml";
  std::ofstream(path) << "a: 1\n";
  EXPECT_EQ(load_yaml(path).at("a")->place.text(), path + ":1:4");
  const std::string missing =
      error_of([&] { load_yaml(dir_ / "none.yaml"); }, ErrorKind::kMissingInput);
  EXPECT_NE(missing.find("none.yaml: cannot read the configuration: No such file"),
            std::string::npos)
      << missing;
  EXPECT_NE(error_of([&] { load_yaml(dir_); }).find("it is a directory"), std::string::npos);
  EXPECT_NE(error_of([&] { load_yaml("/dev/zero"); }).find("larger than"), std::string::npos);
}

TEST(YamlOverride, SetsMakesAndReplacesValues) {
  YamlNode root = parse_yaml("a:\n  b: 1\nl:\n  - p: x\n    w: 1\nn:\n", "f");
  apply_override(root, "a.b=2", 1);
  apply_override(root, "a.c.d=x: #1=2", 2);
  apply_override(root, "l.0.w=7", 3);
  apply_override(root, "n.k=", 4);
  apply_override(root, "betas=[0.9, 0.95]", 5);
  apply_override(root, "q='3'", 6);
  apply_override(root, "z=null", 7);
  EXPECT_EQ(root.at("a.b")->scalar, "2");
  EXPECT_EQ(root.at("a.b")->place.text(), "command line: 'a.b=2'");
  EXPECT_EQ(root.at("a.c.d")->scalar, "x: #1=2");
  EXPECT_EQ(root.at("l.0.w")->scalar, "7");
  EXPECT_EQ(root.at("l.0.p")->scalar, "x");
  EXPECT_EQ(root.at("n.k")->scalar, "");
  EXPECT_EQ(root.at("betas.1")->scalar, "0.95");
  EXPECT_EQ(root.at("betas.1")->place.text(), "command line: 'betas=[0.9, 0.95]'");
  EXPECT_EQ(root.at("q")->scalar, "3");
  EXPECT_TRUE(root.at("q")->quoted);
  EXPECT_EQ(root.at("z")->kind, YamlNode::Kind::kNull);
}

TEST(YamlOverride, RefusesWhatItCannotApply) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a.b", "command line: 'a.b': want key.path=value"},
      {"=3", "want key.path=value"},
      {"a..b=3", "want key.path=value"},
      {"a b=3", "letters, digits"},
      {"a.b.c=3", "'a.b' holds '1', so it has no key 'c'"},
      {"l.5.w=3", "'l' is a list of 1; want the number of an item"},
      {"l.x=3", "'l' is a list of 1"},
      {"a=[1, 2", "command line: 'a=[1, 2': a key must be plain text; is a bracket left open?"},
      {"a='x", "never closed"},
      {"a={x: 1, x: 2}", "duplicate key 'x'"},
      {"a=[&x 1]", "anchors"},
      {"a=\"x\xFF\"", "not valid UTF-8"},
      {repeat("a.", 40) + "b=1", "deeper than 32"},
  };
  for (const auto& [argument, phrase] : cases) {
    YamlNode root = parse_yaml("a:\n  b: 1\nl:\n  - w: 1\n", "f");
    const std::string message = error_of([&] { apply_override(root, argument, 1); });
    EXPECT_NE(message.find(phrase), std::string::npos) << argument << "\n  got: " << message;
  }
}

}  // namespace
}  // namespace orthant
