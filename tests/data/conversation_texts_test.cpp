// SPDX-License-Identifier: Apache-2.0
#include "data/conversation_texts.h"

#include "data/examples.h"
#include "data/line_reader.h"
#include "tests/data/supervised_testing.h"

namespace orthant {
namespace {

std::string flags_of(const Example& example) {
  std::string text;
  for (const uint8_t flag : example.trained) text += flag ? '1' : '0';
  return text;
}

// What is trained, with '|' behind each text.
std::string trained_of(const std::vector<TrainedText>& texts) {
  std::string all;
  for (const TrainedText& text : texts) {
    for (const TextSpan& span : text.spans)
      all += "[" + text.text.substr(span.begin, span.end - span.begin) + "]";
    all += '|';
  }
  return all;
}

nlohmann::json golden_examples() {
  ByteReader reader(golden_conversations("golden.json.gz"));
  std::string all, buffer(size_t{1} << 16, '\0');
  while (const size_t n = reader.read(buffer.data(), buffer.size())) all += buffer.substr(0, n);
  return nlohmann::json::parse(all);
}

// Token by token what make.py finds with jinja2 and tokenizers.
TEST(ConversationTexts, TrainsTheTokensThatTheLibrariesPlace) {
  const nlohmann::json golden = golden_examples();
  int compared = 0;
  for (const char* name : {"deepseek_v3", "llama3", "qwen3", "smollm2"}) {
    const Family family = family_of(name);
    for (const LossOn loss_on : {LossOn::kAssistant, LossOn::kLastTurn}) {
      const ConversationTexts texts(&family.templates, *family.tokenizer, family.end_ids, loss_on);
      const nlohmann::json& wanted = golden[name][loss_on_names().of(loss_on)];
      LineReader lines(golden_conversations("conversations.jsonl"));
      ASSERT_GE(wanted.size(), 30u);
      size_t i = 0;
      for (std::string line; lines.next(line); ++i) {
        const std::string where = concat(name, ", ", loss_on_names().of(loss_on), ", line ", i + 1);
        try {
          const auto found = texts.texts(parse_conversation(line, RowFormat::kAuto));
          ASSERT_TRUE(wanted[i].is_array()) << where << ": " << trained_of(found);
          ASSERT_EQ(found.size(), wanted[i].size()) << where << ": " << trained_of(found);
          for (size_t e = 0; e < found.size(); ++e) {
            const Example example = encode_example(found[e], *family.tokenizer, {});
            EXPECT_EQ(nlohmann::json(example.ids), wanted[i][e]["ids"]) << where;
            EXPECT_EQ(flags_of(example), wanted[i][e]["trained"]) << where;
            ++compared;
          }
        } catch (const RowFault& fault) {
          EXPECT_TRUE(wanted[i].is_null()) << where << ": " << fault.text;
        }
      }
      EXPECT_EQ(i, wanted.size());
    }
  }
  EXPECT_GT(compared, 250);
}

std::string trained(const std::string& source, const std::string& line,
                    LossOn loss_on = LossOn::kAssistant, const std::string& end = "<|im_end|>") {
  const ChatTemplates templates = templates_of(source);
  const auto tokenizer = golden_tokenizer("qwen3");
  const ConversationTexts texts(&templates, *tokenizer, tokenizer->encode_with_added(end), loss_on);
  return trained_of(texts.texts(parse_conversation(line, RowFormat::kAuto)));
}

constexpr const char* kTwoTurns =
    R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]})";

constexpr const char* kChatMl =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

TEST(ConversationTexts, TrainsTheEndOfATurnAndNothingBehindIt) {
  EXPECT_EQ(trained(kChatMl, kTwoTurns), "[a<|im_end|>][b<|im_end|>]|");
  EXPECT_EQ(trained(kChatMl, kTwoTurns, LossOn::kLastTurn), "[b<|im_end|>]|");
}

// GLM's templates write no end: the next turn's role is where the model stops.
TEST(ConversationTexts, TrainsAnEndThatTheNextTurnWrites) {
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  EXPECT_EQ(trained(source, kTwoTurns, LossOn::kAssistant, "<|im_start|>"),
            "[a\n<|im_start|>][b\n<|im_start|>]|");
}

// Llama 3's template of 2024 writes its prompt whether it is asked or not.
TEST(ConversationTexts, CutsAPromptThatIsWrittenUnasked) {
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
      "<|im_start|>assistant{{ '\n' }}";
  EXPECT_EQ(trained(source, kTwoTurns), "[a<|im_end|>][b<|im_end|>]|");
}

// Phi's templates write one more at the end of all.
TEST(ConversationTexts, StopsAtTheFirstOfSeveralEnds) {
  const std::string source = std::string(kChatMl) +
                             "{% if not add_generation_prompt %}<|endoftext|>"
                             "{% endif %}";
  EXPECT_EQ(trained(source, kTwoTurns), "[a<|im_end|>][b<|im_end|>]|");
}

TEST(ConversationTexts, KeepsAllOfATurnThatNothingEnds) {
  const ChatTemplates templates = templates_of(kPlainTemplate);
  const auto tokenizer = golden_tokenizer("qwen3");
  const ConversationTexts texts(&templates, *tokenizer, {}, LossOn::kAssistant);
  const auto found = texts.texts(parse_conversation(kTwoTurns, RowFormat::kAuto));
  EXPECT_EQ(trained_of(found), "[a\n][b\n]|");
  EXPECT_TRUE(found.front().lacks_end);
}

TEST(ConversationTexts, SplitsWhereEarlierTurnsLoseTheirThoughts) {
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content and loop.last %}"
      "<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  const std::string line =
      R"({"messages": [{"role": "user", "content": "q"},
          {"role": "assistant", "content": "a", "reasoning_content": "why"},
          {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"},
          {"role": "user", "content": "s"}, {"role": "assistant", "content": "c"}]})";
  EXPECT_EQ(trained(source, line), "[<think>why</think>a<|im_end|>]|[b<|im_end|>][c<|im_end|>]|");
}

TEST(ConversationTexts, DoesNotTrainEmptyThoughts) {
  const auto with = [](const std::string& thought, const std::string& prompt) {
    return "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}" +
           thought + "{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}" +
           "{% if add_generation_prompt %}<|im_start|>assistant\n" + prompt + "{% endif %}";
  };
  const std::string want = "[a<|im_end|>][b<|im_end|>]|";
  EXPECT_EQ(trained(with("<think>\n\n</think>\n\n", ""), kTwoTurns), want);
  EXPECT_EQ(trained(with("<think></think>\n", "<think>"), kTwoTurns), want);
  EXPECT_EQ(trained(with("\n<think></think>\n", ""), kTwoTurns), want);  // GLM's
  EXPECT_EQ(trained(with("<think>\n\n</think>\n\n", "<think>\n"), kTwoTurns), want);
  EXPECT_EQ(trained(with("<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"), kTwoTurns), want);
  EXPECT_EQ(trained(with("<think>x</think>", "<think>"), kTwoTurns),
            "[x</think>a<|im_end|>][x</think>b<|im_end|>]|");
}

// As Nemotron's: asked with <think>, and with <think></think> where it is not to think.
TEST(ConversationTexts, TakesThePromptForNoThoughtsWhereATurnHasNone) {
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>"
      "{% if m.reasoning_content %}{{ '\n' + m.reasoning_content }}{% endif %}</think>{% endif %}"
      "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
      "{{ '<think></think>' if enable_thinking is false else '<think>\n' }}{% endif %}";
  EXPECT_EQ(trained(source, kTwoTurns), "[a<|im_end|>][b<|im_end|>]|");
  const std::string thinks =
      R"({"messages": [{"role": "user", "content": "q"},
          {"role": "assistant", "content": "a", "reasoning_content": "why"}]})";
  EXPECT_EQ(trained(source, thinks), "[why</think>a<|im_end|>]|");
}

TEST(ConversationTexts, RefusesATemplateThatLeavesTextsOut) {
  expect_error(ErrorKind::kConfig, {"finetune.chat_template", "lists of parts"}, [] {
    trained(
        "{% for m in messages %}{{ m.role }}{% for part in m.content %}{{ part.text }}"
        "{% endfor %}<|im_end|>{% endfor %}",
        kTwoTurns);
  });
}

TEST(ConversationTexts, RefusesATurnThatIsNotBehindItsPrompt) {
  const std::string source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
  try {
    trained(source, kTwoTurns);
    ADD_FAILURE() << "no fault";
  } catch (const RowFault& fault) {
    EXPECT_EQ(fault.reason, RowReason::kNotContinued);
    EXPECT_NE(fault.text.find("messages[3]"), std::string::npos) << fault.text;
    EXPECT_NE(fault.text.find("<think>"), std::string::npos) << fault.text;
  }
}

TEST(ConversationTexts, LeavesOutTurnsThatAreNotToBeTrained) {
  const std::string line =
      R"({"messages": [{"role": "user", "content": "q"},
          {"role": "assistant", "content": "a", "train": false},
          {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]})";
  EXPECT_EQ(trained(kChatMl, line), "[b<|im_end|>]|");
  EXPECT_EQ(trained(kChatMl, line, LossOn::kAll),
            "[<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n]"
            "[\n<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\nb<|im_end|>]|");
}

TEST(ConversationTexts, TrainsEachTokenOnceWhereAllCount) {
  const std::string source =
      "{% for m in messages %}{{ m.role }}:{% if loop.last and m.role == 'assistant' %}!{% endif %}"
      "{{ m.content }}<|im_end|>"
      "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
  EXPECT_EQ(trained(source, kTwoTurns, LossOn::kAll),
            "[!a<|im_end|>]|[user:q<|im_end|>assistant:a<|im_end|>user:r<|im_end|>assistant:!b"
            "<|im_end|>]|");
}

TEST(ConversationTexts, TrainsTheCompletionOfPlainTextAndItsEnd) {
  const auto tokenizer = make_tokenizer("byte");
  const ConversationTexts texts(nullptr, *tokenizer, {}, LossOn::kAssistant);
  const auto found =
      texts.texts(parse_conversation(R"({"prompt": "ab", "completion": "cd"})", RowFormat::kAuto));
  const std::vector<int32_t> begin = {7};
  const Example example = encode_example(found.front(), *tokenizer, begin);
  EXPECT_EQ(example.ids, (std::vector<int32_t>{7, 'a', 'b', 'c', 'd', 256}));
  EXPECT_EQ(flags_of(example), "000111");
}

// " bar" begins in the prompt.
TEST(ConversationTexts, DoesNotTrainATokenThatBeginsInThePrompt) {
  const auto tokenizer = golden_tokenizer("gpt2");
  const ConversationTexts texts(nullptr, *tokenizer, {}, LossOn::kAssistant);
  const auto found = texts.texts(parse_conversation(
      R"({"prompt": "I ", "completion": "the <|endoftext|>"})", RowFormat::kAuto));
  const Example example = encode_example(found.front(), *tokenizer, {});
  EXPECT_EQ(tokenizer->token_text(example.ids[1]), " the");
  EXPECT_EQ(example.trained[1], 0);
  EXPECT_EQ(example.trained[2], 1);
  // Text that spells a special token stays text.
  EXPECT_EQ(std::count(example.ids.begin(), example.ids.end(), tokenizer->end_of_document()), 1);
}

}  // namespace
}  // namespace orthant
