// SPDX-License-Identifier: Apache-2.0
#include "data/conversation.h"

#include <algorithm>
#include <optional>

#include "base/context.h"
#include "data/example_reader.h"
#include "tests/data/supervised_testing.h"

namespace orthant {
namespace {

Conversation parsed(const std::string& line, RowFormat format = RowFormat::kAuto) {
  return parse_conversation(line, format);
}

std::string roles_and_contents(const Conversation& c) {
  std::string all;
  for (const auto& m : c.messages)
    all += m["role"].get<std::string>() + "=" +
           (m["content"].is_string() ? m["content"].get<std::string>() : "null") + ";";
  return all;
}

TEST(Conversation, IsReadFromEveryFormat) {
  EXPECT_EQ(roles_and_contents(parsed(
                R"({"messages": [{"role": "user", "content": "q"},
          {"role": "assistant", "content": "a"}]})")),
            "user=q;assistant=a;");
  EXPECT_EQ(roles_and_contents(parsed(
                R"({"system": "s", "conversations": [{"from": "human", "value": "q"},
          {"from": "gpt", "value": "a"}]})")),
            "system=s;user=q;assistant=a;");
  EXPECT_EQ(roles_and_contents(parsed(
                R"({"conversations": [{"role": "user", "content": "q"},
          {"role": "assistant", "content": "a"}]})")),
            "user=q;assistant=a;");
  EXPECT_EQ(roles_and_contents(parsed(
                R"({"instruction": "i", "input": "n", "output": "o", "system": "s",
          "history": [["q", "a"]]})")),
            "system=s;user=q;assistant=a;user=i\nn;assistant=o;");
  const Conversation plain = parsed(R"({"prompt": "p", "completion": "c", "messages": null})");
  EXPECT_TRUE(plain.is_plain);
  EXPECT_EQ(plain.prompt + "|" + plain.completion, "p|c");
  const Conversation lists = parsed(
      R"({"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
          {"role": "user", "content": "r"}],
          "completion": [{"role": "assistant", "content": "b"}]})");
  EXPECT_EQ(roles_and_contents(lists), "user=q;assistant=a;user=r;assistant=b;");
  EXPECT_EQ(lists.trains, (std::vector<bool>{false, false, false, true}));
}

TEST(Conversation, CarriesToolsAndThoughtsToTheTemplate) {
  const Conversation c = parsed(
      R"({"tools": "[{\"name\": \"f\"}]", "messages": [{"role": "user",
          "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": null},
          {"role": "assistant", "reasoning_content": "why",
          "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
          {"role": "tool", "content": "", "tool_call_id": "1"},
          {"role": "assistant", "content": "c", "train": false}]})");
  EXPECT_EQ(c.tools.dump(), R"([{"name":"f"}])");
  EXPECT_EQ(roles_and_contents(c), "user=ab;assistant=null;tool=;assistant=c;");
  EXPECT_EQ(c.messages[1]["reasoning_content"], "why");
  EXPECT_TRUE(c.messages[1].contains("tool_calls"));
  EXPECT_EQ(c.messages[2]["tool_call_id"], "1");
  EXPECT_FALSE(c.messages[0].contains("name"));
  EXPECT_FALSE(c.messages[3].contains("train"));
  EXPECT_EQ(c.trains, (std::vector<bool>{true, true, true, false}));
  const Conversation calls = parsed(
      R"({"conversations": [{"from": "human", "value": "q"},
          {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"},
          {"from": "observation", "value": "1"}, {"from": "gpt", "value": "one"}]})");
  EXPECT_EQ(calls.messages[1]["tool_calls"].dump(),
            R"([{"type":"function","function":{"name":"f","arguments":{"x":1}}}])");
}

std::string messages(const std::string& inner) { return "{\"messages\": [" + inner + "]}"; }
const std::string kUser = R"({"role": "user", "content": "q"})";
const std::string kAnswer = R"({"role": "assistant", "content": "a"})";

void expect_fault(RowReason reason, const std::string& line, const std::vector<std::string>& parts,
                  RowFormat format = RowFormat::kAuto) {
  try {
    parsed(line, format);
    ADD_FAILURE() << "taken: " << line;
  } catch (const RowFault& fault) {
    EXPECT_EQ(row_reason_names().of(fault.reason), row_reason_names().of(reason)) << line;
    for (const std::string& part : parts)
      EXPECT_NE(fault.text.find(part), std::string::npos)
          << "want '" << part << "' in: " << fault.text;
    EXPECT_LT(fault.text.size(), 600u);
  }
}

TEST(Conversation, RefusesWhatIsNoRow) {
  expect_fault(RowReason::kNotJson, "{\"messages\": [", {"JSON"});
  expect_fault(RowReason::kNotJson, "plain text", {"JSON object"});
  expect_fault(RowReason::kNotJson, "[{\"messages\": []}]", {"got", "jq -c '.[]'"});
  expect_fault(RowReason::kNotJson, "[", {"jq -c '.[]'"});
  expect_fault(RowReason::kNotJson, "17", {"want a JSON object, got 17"});
  expect_fault(RowReason::kNotJson, "{\"messages\": \"\xff\"}", {"UTF-8"});
  expect_fault(RowReason::kNotJson, R"({"prompt": "\ud800", "completion": "x"})", {"surrogate"});
  expect_fault(RowReason::kNotJson,
               "{\"a\": " + std::string(100, '[') + std::string(100, ']') + "}",
               {"nested deeper than 64"});
  expect_fault(RowReason::kMalformed, R"({"messages": [], "messages": []})", {"twice"});
  expect_fault(
      RowReason::kUnknownFormat, R"({"question": "q", "answer": "a"})",
      {"messages, conversations, prompt with completion, or instruction", "question, answer"});
  expect_fault(RowReason::kUnknownFormat, R"({"text": "x"})", {"orthant pretrain"});
  expect_fault(RowReason::kUnknownFormat, "{}", {"got none"});
}

TEST(Conversation, RefusesMessagesThatAreNone) {
  expect_fault(RowReason::kMalformed, R"({"messages": []})", {"messages: want a list", "[]"});
  expect_fault(RowReason::kMalformed, R"({"messages": "hi"})", {"messages: want a list", "\"hi\""});
  expect_fault(RowReason::kMalformed, R"({"messages": {"role": "user"}})",
               {"messages: want a list"});
  expect_fault(RowReason::kMalformed, R"({"x": 1})", {"messages: want a list", "nothing"},
               RowFormat::kMessages);
  expect_fault(RowReason::kMalformed, messages("\"hello\""), {"messages[0]: want {role, content}"});
  expect_fault(RowReason::kMalformed, messages(R"({"content": "q"})"), {"messages[0]: role"});
  expect_fault(RowReason::kMalformed, messages(R"({"role": 3, "content": "q"})"), {"got 3"});
  expect_fault(RowReason::kMalformed, messages(R"({"role": "user", "content": 5})"),
               {"messages[0]: content: want a text, got 5"});
  expect_fault(
      RowReason::kMalformed,
      messages(R"({"role": "user", "content": [{"type": "image_url", "image_url": "u"}]})"),
      {"images"});
  expect_fault(RowReason::kMalformed,
               messages(kUser + R"(, {"role": "assistant", "content": "a", "train": "no"})"),
               {"messages[1]: train: want true or false"});
  expect_fault(RowReason::kMalformed,
               messages(kUser + R"(, {"role": "assistant", "content": "a", "tool_calls": {}})"),
               {"tool_calls: want a list"});
  expect_fault(RowReason::kMalformed,
               messages(R"({"role": "user", "content": "q", "tool_calls": [1]})"),
               {"only an assistant calls tools"});
  expect_fault(
      RowReason::kMalformed,
      messages(kUser + R"(, {"role": "assistant", "content": "a", "reasoning_content": 1})"),
      {"reasoning_content: want a text"});
  expect_fault(RowReason::kMalformed,
               R"({"tools": {"a": 1}, "messages": [{"role": "user", "content": "q"}]})",
               {"tools: want a list"});
}

TEST(Conversation, RefusesTurnsThatAreNoChat) {
  expect_fault(RowReason::kRoles, messages(R"({"role": "human", "content": "q"})"),
               {"want system, developer, user, assistant or tool", "human"});
  expect_fault(RowReason::kRoles, messages(kAnswer), {"got assistant first"});
  expect_fault(RowReason::kRoles, messages(kUser + "," + kAnswer + "," + kAnswer),
               {"messages[2]", "got assistant behind assistant"});
  expect_fault(RowReason::kRoles, messages(kUser + R"(, {"role": "system", "content": "s"})"),
               {"want system first", "behind user"});
  expect_fault(RowReason::kRoles, messages(kUser + R"(, {"role": "tool", "content": "t"})"),
               {"want tool behind assistant"});
  expect_fault(RowReason::kNoAssistant, messages(kUser), {"want an assistant turn, got 1"});
  expect_fault(RowReason::kEmptyTurn,
               messages(kUser + R"(, {"role": "assistant", "content": " \n"})"),
               {"messages[1]", "blank assistant turn"});
  expect_fault(RowReason::kEmptyTurn, messages(kUser + R"(, {"role": "assistant"})"),
               {"messages[1]: want content, got none"});
  expect_fault(RowReason::kEmptyTurn, messages(R"({"role": "user", "content": ""})"),
               {"blank user"});
}

TEST(Conversation, RefusesOtherFormatsByTheirKeys) {
  expect_fault(RowReason::kMalformed, R"({"conversations": []})", {"conversations: want a list"});
  expect_fault(RowReason::kMalformed, R"({"conversations": [{"from": "human"}]})",
               {"conversations[0]: want texts from and value"});
  expect_fault(RowReason::kRoles, R"({"conversations": [{"from": "alien", "value": "x"}]})",
               {"conversations[0]: from", "alien"});
  expect_fault(RowReason::kMalformed,
               R"({"conversations": [{"from": "function_call", "value": "f x"}]})",
               {"function_call: want"});
  expect_fault(RowReason::kMalformed, R"({"instruction": "i"})", {"output: want a text"});
  expect_fault(RowReason::kMalformed, R"({"instruction": ["i"], "output": "o"})", {"instruction"});
  expect_fault(RowReason::kMalformed, R"({"instruction": "i", "output": "o", "history": [["q"]]})",
               {"history: want pairs"});
  expect_fault(RowReason::kEmptyTurn, R"({"instruction": "i", "output": ""})", {"blank assistant"});
  expect_fault(RowReason::kEmptyTurn, R"({"prompt": "p", "completion": ""})", {"completion"});
  expect_fault(RowReason::kMalformed, R"({"prompt": "p", "completion": [{"role": "assistant"}]})",
               {"two texts or two lists"});
}

// A file of them, read as a run reads it.
class Reading {
 public:
  explicit Reading(ExampleOptions options = {})
      : templates_(templates_of(kPlainTemplate)),
        texts_(&templates_, *tokenizer_, {'\n'}, LossOn::kAssistant) {
    if (options.sequence_length == 0) options.sequence_length = 64;
    reader_.emplace(texts_, *tokenizer_, options);
  }
  void read(const std::string& content, Examples* held_out = nullptr) {
    reader_->read(write_file("rows.jsonl", content), RowFormat::kAuto, examples, held_out);
  }
  const ExampleReader& reader() const { return *reader_; }
  int64_t count(RowReason reason) const { return reader_->report().count(reason); }
  Examples examples;

 private:
  std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer("byte");
  ChatTemplates templates_;
  ConversationTexts texts_;
  std::optional<ExampleReader> reader_;
};

std::string row(const std::string& question, const std::string& answer) {
  const nlohmann::json line = {{"instruction", question}, {"output", answer}};
  return line.dump() + "\n";
}

TEST(ExampleReader, FailsAtTheFirstBadLineOrCountsThemAll) {
  const std::string rows = row("q", "a") + "\n" + row("q", "") + "{]\n" + row("r", "b");
  Reading strict;
  expect_error(ErrorKind::kData, {"rows.jsonl:3: ", "blank assistant turn", "data.bad_lines: skip"},
               [&] { strict.read(rows); });
  Reading lenient({.bad_lines = BadLines::kSkip});
  lenient.read(rows);
  EXPECT_EQ(lenient.examples.size(), 2);
  EXPECT_EQ(lenient.reader().num_conversations(), 2);
  EXPECT_EQ(lenient.count(RowReason::kEmptyTurn), 1);
  EXPECT_EQ(lenient.count(RowReason::kNotJson), 1);
  EXPECT_EQ(lenient.examples.where(1), test_folder() + "/rows.jsonl:5");
  const std::string path = test_folder() + "/report.jsonl";
  lenient.reader().report().write(path);
  const std::string report = read_bytes(path);
  EXPECT_NE(report.find(R"({"reason":"empty turn","file":")"), std::string::npos) << report;
  EXPECT_NE(report.find(R"("line":4)"), std::string::npos) << report;
}

TEST(ExampleReader, LeavesOutOrCutsWhatIsTooLong) {
  const std::string rows =
      row("q", std::string(100, 'a')) + row(std::string(100, 'q'), "a") + row("q", "a");
  Reading drop;
  drop.read(rows);
  EXPECT_EQ(drop.examples.size(), 1);
  EXPECT_EQ(drop.count(RowReason::kTooLong), 2);
  Reading cut({.overlong = Overlong::kCut});
  cut.read(rows);
  ASSERT_EQ(cut.examples.size(), 2);
  EXPECT_EQ(cut.examples.num_inputs(0), 64);
  EXPECT_EQ(cut.examples.trained(0).back(), 1);
  EXPECT_EQ(cut.count(RowReason::kCut), 1);
  EXPECT_EQ(cut.count(RowReason::kNothingTrained), 1);
  // An example of exactly sequence_length + 1 ids fits.
  Reading fits({.sequence_length = 9});
  fits.read(row("q", "abc"));  // "Q:q\nA:abc\n"
  EXPECT_EQ(fits.examples.size(), 1);
  Reading misses({.sequence_length = 8});
  misses.read(row("q", "abc"));
  EXPECT_EQ(misses.examples.size(), 0);
}

TEST(ExampleReader, CountsConversationsOfWhichNothingIsTrained) {
  Reading reading;
  reading.read(messages(kUser + R"(, {"role": "assistant", "content": "a", "train": false})") +
               "\n");
  EXPECT_EQ(reading.examples.size(), 0);
  EXPECT_EQ(reading.count(RowReason::kNothingTrained), 1);
}

TEST(ExampleReader, SaysWhatTheTemplateRaised) {
  const ChatTemplates templates = templates_of("{{ raise_exception('no such chats') }}");
  const auto tokenizer = make_tokenizer("byte");
  const ConversationTexts texts(&templates, *tokenizer, {}, LossOn::kAssistant);
  ExampleReader reader(texts, *tokenizer, {.sequence_length = 64});
  Examples examples;
  expect_error(ErrorKind::kData, {"rows.jsonl:1: ", "no such chats"}, [&] {
    reader.read(write_file("rows.jsonl", row("q", "a")), RowFormat::kAuto, examples, nullptr);
  });
  const ConversationTexts none(nullptr, *tokenizer, {}, LossOn::kAssistant);
  ExampleReader without(none, *tokenizer, {.sequence_length = 64});
  expect_error(ErrorKind::kMissingInput, {"finetune.chat_template"}, [&] {
    without.read(write_file("rows.jsonl", row("q", "a")), RowFormat::kAuto, examples, nullptr);
  });
}

TEST(ExampleReader, HoldsOutTheSameConversationsWhateverTheirOrder) {
  std::vector<std::string> rows;
  for (int i = 0; i < 400; ++i) rows.push_back(row(concat("q", i), concat("a", i)));
  std::string forth, back;
  for (const std::string& line : rows) forth += line, back = line + back;
  const auto held_out = [&](const std::string& content) {
    Reading reading({.validation_fraction = 0.25});
    Examples held;
    reading.read(content, &held);
    EXPECT_EQ(reading.examples.size() + held.size(), 400);
    std::vector<std::vector<int32_t>> all;
    for (int64_t i = 0; i < held.size(); ++i)
      all.emplace_back(held.ids(i).begin(), held.ids(i).end());
    std::sort(all.begin(), all.end());
    return all;
  };
  const auto first = held_out(forth);
  EXPECT_EQ(first, held_out(back));
  EXPECT_GT(first.size(), 70u);
  EXPECT_LT(first.size(), 130u);
}

TEST(ExampleReader, GivesTheSameWhateverTheThreadsAndPacking) {
  std::string content;
  for (int i = 0; i < 3000; ++i) content += row(concat("q", i), concat("a", i * i));
  const auto fingerprint = [&](int threads) {
    RankContext own = context();
    own.num_threads = threads;
    const ContextScope scope(own);
    Reading reading;
    reading.read(content);
    EXPECT_EQ(reading.examples.size(), 3000);
    return reading.examples.fingerprint();
  };
  EXPECT_EQ(fingerprint(1), fingerprint(3));
}

TEST(ExampleReader, TakesLinesOfAMegabyte) {
  Reading reading({.sequence_length = 1 << 22});
  reading.read(row(std::string(1 << 20, 'q'), std::string(1 << 20, 'a')));
  ASSERT_EQ(reading.examples.size(), 1);
  EXPECT_EQ(reading.examples.num_trained(0), (1 << 20) + 1);
}

}  // namespace
}  // namespace orthant
