// SPDX-License-Identifier: Apache-2.0
#include "data/chat_template.h"

#include <zlib.h>

#include <atomic>
#include <ctime>
#include <thread>

#include "base/philox.h"
#include "data/chat_template_files.h"
#include "tests/data/files.h"

namespace orthant {
namespace {

using Json = nlohmann::ordered_json;

std::string golden(const std::string& name) {
  return std::string(ORTHANT_SOURCE_DIR) + "/tests/golden/chat_templates/" + name;
}
Json golden_json(const std::string& name) { return Json::parse(read_bytes(golden(name))); }
Json golden_gzip(const std::string& name) {
  const gzFile file = gzopen(golden(name).c_str(), "rb");
  std::string text(size_t{16} << 20, '\0');
  const int size = gzread(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  EXPECT_GT(size, 0);
  return Json::parse(text.substr(0, static_cast<size_t>(size)));
}

// The time and the special tokens of make.py.
std::string at_a_fixed_time(const std::string& format) {
  std::tm time = {};
  time.tm_year = 126, time.tm_mon = 10, time.tm_mday = 29;
  time.tm_hour = 8, time.tm_min = 5, time.tm_sec = 9;
  std::string text(200, '\0');
  text.resize(std::strftime(text.data(), text.size(), format.c_str(), &time));
  return text;
}
ChatOptions options_of(const Json& chat) {
  ChatOptions options;
  options.add_generation_prompt = chat.value("add_generation_prompt", false);
  options.tools = chat.value("tools", Json());
  options.variables = chat.value("variables", Json::object());
  options.strftime_now = at_a_fixed_time;
  return options;
}
Json messages_of(const Json& chat) { return chat.value("messages", Json::array()); }

// The text, or null where there is an error; what it says goes to `error`.
Json rendered(const std::string& source, const Json& chat, std::string* error = nullptr) {
  try {
    return ChatTemplate(source, "template").render(messages_of(chat), options_of(chat));
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kData) << e.what();
    if (error) *error = e.what();
    return nullptr;
  }
}
std::string text_of(const std::string& source, const Json& variables = Json::object()) {
  return ChatTemplate(source, "template").render(Json::array(), {.variables = variables});
}
void expect_fault(const std::string& source, const std::vector<std::string>& parts) {
  expect_error(ErrorKind::kData, parts, [&] { text_of(source); });
}

// Texts of Python's jinja2 (make.py beside the files).
TEST(ChatTemplate, RendersPublishedTemplatesAsJinjaDoes) {
  const Json chats = golden_json("conversations.json");
  ASSERT_GE(chats.size(), 30u);
  const Json all = golden_gzip("golden.json.gz");
  ASSERT_GE(all.size(), 40u);
  int texts = 0;
  for (const auto& [name, wanted] : all.items()) {
    const std::string source = read_bytes(golden("templates/" + name + ".jinja"));
    ASSERT_EQ(wanted.size(), chats.size());
    for (size_t i = 0; i < chats.size(); ++i) {
      Json chat = chats[i];
      Json variables = {{"bos_token", "<s>"},
                        {"eos_token", "</s>"},
                        {"pad_token", "<pad>"},
                        {"unk_token", "<unk>"}};
      variables.update(chat.value("variables", Json::object()));
      chat["variables"] = variables;
      std::string error;
      EXPECT_EQ(rendered(source, chat, &error), wanted[i]) << name << ", " << i << ": " << error;
      texts += wanted[i].is_string();
    }
  }
  EXPECT_GT(texts, 1000);
}

TEST(ChatTemplate, RendersTheLanguageAsJinjaDoes) {
  const Json snippets = golden_json("snippets.json");
  ASSERT_GE(snippets.size(), 300u);
  for (const Json& snippet : snippets) {
    const std::string source = snippet["template"];
    std::string error;
    EXPECT_EQ(rendered(source, snippet, &error), snippet["text"]) << source << "\n" << error;
  }
}

TEST(ChatTemplate, RefusesByNameWhatIsNotBuilt) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{% for x in y recursive %}{% endfor %}", "recursive loops are not built"},
      {"{% include 'x' %}", "tag 'include' is not built"},
      {"{% block x %}{% endblock %}", "tag 'block' is not built"},
      {"{% import 'x' as y %}", "tag 'import' is not built"},
      {"{% autoescape true %}{% endautoescape %}", "tag 'autoescape' is not built"},
      {"{% nonsense %}", "unknown tag 'nonsense'"},
      {"{{ x|urlize }}", "filter 'urlize' is not built"},
      {"{{ x|groupby('a') }}", "filter 'groupby' is not built"},
      {"{{ x|nonsense }}", "unknown filter 'nonsense'"},
      {"{{ x|map('truncate') }}", "filter 'truncate' is not built"},
      {"{{ x|select('filter') }}", "test 'filter' is not built"},
      {"{{ x is filter }}", "test 'filter' is not built"},
      {"{{ x is nonsense }}", "unknown test 'nonsense'"},
      {"{{ '{}'.format(1) }}", "method '.format()' is not built"},
      {"{{ x.encode('utf8') }}", "method '.encode()' is not built"},
      {"{{ '%s' % 1 }}", "formatting a string with '%' is not built"},
      {"{{ cycler(1) }}", "function 'cycler' is not built"},
      {"{{ lipsum() }}", "function 'lipsum' is not built"},
      {"{{ f(*x) }}", "arguments from '*' and '**' are not built"},
      {"{% macro f() %}{{ varargs }}{% endmacro %}", "'varargs' of macros is not built"},
      {"{{ self.x() }}", "'self' of template inheritance is not built"},
      {"{{ x[1, 2] }}", "several items in one pair of brackets are not built"},
      {"{{ '\\N{DASH}' }}", "escape \\N{...}"},
      {"{{ 9223372036854775808 }}", "integer 9223372036854775808 does not fit 64 bits"}};
  for (const auto& [source, reason] : cases)
    expect_error(ErrorKind::kData, {reason, "file.jinja:2:", source}, [&, text = source] {
      // In a branch that is never taken: it is refused when it is parsed.
      ChatTemplate("{% if false %}\n" + text + "{% endif %}", "file.jinja");
    });
}

TEST(ChatTemplate, SaysWhereATemplateIsMalformed) {
  expect_error(ErrorKind::kData,
               {"chat.jinja:3:5: want an expression, got '*'\n  \xC3\xA9{{ * 1 }}"},
               [] { ChatTemplate("a\n\n\xC3\xA9{{ * 1 }}\n", "chat.jinja"); });
  const std::string wide(1000, 'x');
  expect_error(ErrorKind::kData, {":1:1004: ", "\n  ...xxxx", "{{ ) }}xxx", "xxx..."},
               [&] { ChatTemplate(wide + "{{ ) }}" + wide, "chat.jinja"); });
  expect_fault("{% if x %}", {"want '{% endif %}', got the end of the template"});
  expect_fault("\xFF", {"not UTF-8"});
}

TEST(ChatTemplate, SaysWhereRenderingFailed) {
  expect_fault("a\n{{ raise_exception('no tools here') }}", {"template:2: ", "no tools here"});
  expect_fault("{{ a.b.c }}", {"template:1: 'a' is undefined, so it has no 'b'"});
  expect_fault("{% set x = 1 %}\n\n{{ x + 'a' }}",
               {"template:3: '+' has no meaning for int and str"});
  expect_fault("{{ 9223372036854775807 + 1 }}", {"integer overflow: 9223372036854775807 + 1"});
  expect_fault("{{ 10 ** 30 }}", {"integer overflow"});
  expect_fault("{{ [1, 2].append(3) }}", {"list has no 'append', so it cannot be called"});
  expect_fault("{% set s = '%d' %}{{ s % 3 }}", {"formatting a string with '%' is not built"});
  expect_fault("{{ '\xC3\x9F'|upper }}", {"case of a text", "is not built"});
  expect_fault("{{ range }}", {"printing a function is not built"});
}

TEST(ChatTemplate, StopsTemplatesThatCostTooMuch) {
  const auto nested = [](const std::string& open, const std::string& close) {
    std::string text;
    for (int i = 0; i < 20000; ++i) text += open;
    text += "1";
    for (int i = 0; i < 20000; ++i) text += close;
    return text;
  };
  expect_fault("{{ " + nested("(", ")") + " }}", {"nested deeper than 150 levels"});
  expect_fault("{{ " + nested("[", "]") + " }}", {"nested deeper than 150 levels"});
  expect_fault("{{ " + nested("-", "") + " }}", {"nested deeper than 150 levels"});
  expect_fault("{{ " + nested("not ", "") + " }}", {"nested deeper than 150 levels"});
  expect_fault("{{ " + nested("1+", "") + " }}", {"nested deeper than 150 levels"});
  expect_fault("{{ 1" + nested("|abs", "") + " }}", {"nested deeper than 150 levels"});
  expect_fault(nested("{% if 1 %}", "{% endif %}"), {"nested deeper than 150 levels"});
  expect_fault("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", {"does a macro call itself"});
  expect_fault("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
               {"takes more than 20000000 steps"});
  expect_fault("{{ 'abcdefgh' * 999999999999 }}", {"makes more than 512.00 MiB of values"});
  expect_fault(
      "{% set ns = namespace(x='abcdefgh') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
      "{% endfor %}",
      {"makes more than 512.00 MiB of values"});
  expect_fault(
      "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] %}"
      "{% endfor %}{{ ns.x }}",
      {"takes more than 20000000 steps"});
  expect_fault(
      "{% set ns = namespace(x=[1]) %}{% for a in range(9999) %}{% set ns.x = [ns.x] %}{% endfor "
      "%}",
      {"a value is nested deeper than 200 levels"});
  expect_fault(
      "{% set s = 'abcdefghijklmnop' * 250000 %}{% for a in range(99) %}{{ s }}{% endfor %}",
      {"template writes more than 64.00 MiB"});
  expect_fault("{{ range(99999999)|list }}", {"range: 99999999 items; want at most 100000"});
}

// Namespaces, macros and iterators that hold one another are freed (with a leak checker).
TEST(ChatTemplate, FreesWhatHoldsItself) {
  EXPECT_EQ(text_of("{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.all = [ns, [ns]] %}"
                    "{% macro f() %}{{ ns.me.x }}{% endmacro %}{% set ns.f = f %}"
                    "{% set ns.g = [ns]|map(attribute='x') %}{{ ns.f() }}."),
            ".");
  EXPECT_EQ(text_of("{% set ns = namespace() %}{% for i in range(9) %}{% macro f(g) %}"
                    "{% macro h() %}{{ g }}{% endmacro %}{% set ns.h = h %}{% endmacro %}"
                    "{{ f(ns.h) }}{% set ns.loop = loop %}{% endfor %}."),
            ".");
  EXPECT_EQ(text_of("{% for i in [1, 2] %}{% if loop.changed(loop) %}x{% endif %}{% endfor %}"),
            "x");
}

TEST(ChatTemplate, CountsCharactersAndNotBytes) {
  const Json chat = {{"s", "h\xC3\xA9\xF0\x9F\x99\x82!"}};
  EXPECT_EQ(text_of("{{ s|length }} {{ s[2] }} {{ s[::-1] }} {{ s.find('!') }}", chat),
            "4 \xF0\x9F\x99\x82 !\xF0\x9F\x99\x82\xC3\xA9h 3");
}

TEST(ChatTemplate, RefusesInputsThatAreNoText) {
  const ChatTemplate chat("{{ messages }}", "template");
  const auto expect = [&](const std::string& what, const Json& messages) {
    expect_error(ErrorKind::kData, {"messages", what}, [&] { chat.render(messages); });
  };
  expect("not UTF-8", Json::array({"a\xC3"}));
  expect("18446744073709551615 does not fit 64 bits", Json::array({18446744073709551615u}));
  Json deep = 1;
  for (int i = 0; i < 100; ++i) deep = Json::array({deep});
  expect("nested deeper than 64", deep);
}

TEST(ChatTemplate, RendersInSeveralThreadsAtOnce) {
  const ChatTemplate chat(read_bytes(golden("templates/qwen3.jinja")), "qwen3");
  const Json input = golden_json("conversations.json")[15];
  const std::string wanted = chat.render(messages_of(input), options_of(input));
  std::atomic<int> equal = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int j = 0; j < 20; ++j)
        equal += chat.render(messages_of(input), options_of(input)) == wanted;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 80);
}

TEST(ChatTemplateFiles, LoadsWhatAModelBrings) {
  const std::string folder = test_folder();
  const auto text = [&](const ChatTemplates& templates, bool has_tools) {
    ChatOptions options;
    options.variables = templates.special_tokens();
    return templates.choose(has_tools).render(Json::array(), options);
  };
  expect_error(ErrorKind::kMissingInput, {folder, "found none"},
               [&] { ChatTemplates::load(folder); });
  expect_error(ErrorKind::kMissingInput, {"no/such"}, [&] { ChatTemplates::load("no/such"); });

  Json config = {{"bos_token", {{"__type", "AddedToken"}, {"content", "<s>"}}},
                 {"eos_token", "</s>"},
                 {"pad_token", nullptr},
                 {"chat_template", "{{ bos_token }}one{{ pad_token }}{{ eos_token }}"}};
  write_file("tokenizer_config.json", config.dump());
  EXPECT_EQ(text(ChatTemplates::load(folder), true), "<s>one</s>");
  EXPECT_EQ(text(ChatTemplates::load(folder + "/tokenizer_config.json"), false), "<s>one</s>");

  config["chat_template"] = Json::array({{{"name", "default"}, {"template", "plain"}},
                                         {{"name", "tool_use"}, {"template", "tools"}}});
  write_file("tokenizer_config.json", config.dump());
  EXPECT_EQ(text(ChatTemplates::load(folder), false), "plain");
  EXPECT_EQ(text(ChatTemplates::load(folder), true), "tools");

  write_file("chat_template.jinja", "{{ bos_token }}file");
  EXPECT_EQ(text(ChatTemplates::load(folder), true), "<s>file");
  EXPECT_EQ(text(ChatTemplates::load(folder + "/chat_template.jinja"), true), "file");
  std::filesystem::create_directories(folder + "/additional_chat_templates");
  write_file("additional_chat_templates/tool_use.jinja", "more{{ eos_token }}");
  EXPECT_EQ(text(ChatTemplates::load(folder), true), "more</s>");
}

TEST(ChatTemplateFiles, NamesTheFileOfAFault) {
  const auto expect = [](const std::string& config, const std::string& reason) {
    const std::string path = write_file("tokenizer_config.json", config);
    expect_error(ErrorKind::kData, {path, reason}, [&] { ChatTemplates::load(path).choose(true); });
  };
  expect("{", "malformed JSON");
  expect("[]", "want an object");
  expect(R"({"chat_template": 1})", "want a text or a list, got number");
  expect(R"({"chat_template": [{"name": "x"}]})", "want objects with the texts");
  expect(R"({"chat_template": "{{ x|nope }}"})", "chat_template:1:6: unknown filter 'nope'");
  expect(R"({"chat_template": [{"name": "x", "template": ""}]})", "found only 'x'");
  expect(R"({"chat_template": "", "bos_token": 1})", "bos_token: want a text");
}

// Whatever a template is: a text or an error, soon.
TEST(ChatTemplate, EndsOnDamagedTemplates) {
  const PhiloxKey key = make_key(1, RandomPurpose::kTest, "templates");
  const Json chats = golden_json("conversations.json");
  uint64_t draws = 0;
  const auto draw = [&](size_t below) {
    return static_cast<size_t>(philox_uniform(key, 0, draws++) * static_cast<double>(below));
  };
  static const std::vector<std::string> pieces = {
      "{{",   "}}", "{%",    "%}",  "-",  "'",    "(",    ")", "[", "]", "|", ".",    "~", "not ",
      " in ", "{#", "endif", "for", "\n", "\xFF", "loop", "9", "*", ":", ",", "none", "\\"};
  int texts = 0;
  for (const std::string name : {"qwen3", "llama3_2", "deepseekv3", "lfm2_2_5", "gemma3"}) {
    const std::string whole = read_bytes(golden("templates/" + name + ".jinja"));
    for (int i = 0; i < 600; ++i) {
      std::string source = whole;
      for (size_t edits = 1 + draw(3); edits > 0; --edits) {
        const size_t at = draw(source.size());
        const std::string piece = draw(2) ? pieces[draw(pieces.size())] : std::string();
        source.replace(at, draw(4), piece);
      }
      texts += rendered(source, chats[draw(chats.size())]).is_string();
    }
  }
  EXPECT_GT(texts, 300);  // not all of them are refused at once
}

}  // namespace
}  // namespace orthant
