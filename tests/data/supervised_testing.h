// SPDX-License-Identifier: Apache-2.0
// Families of tests/golden/conversations, and small examples.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/example_reader.h"
#include "tests/data/files.h"
#include "tests/data/tokenizer_golden.h"

namespace orthant {

inline std::string golden_conversations(const std::string& name) {
  return std::string(ORTHANT_SOURCE_DIR) + "/tests/golden/conversations/" + name;
}

// A chat template with its special tokens, as a folder of the running test.
inline ChatTemplates templates_of(const std::string& source, const std::string& bos = "") {
  const std::string folder = test_folder() + "/template";
  std::filesystem::create_directories(folder);
  write_bytes(folder + "/chat_template.jinja", source);
  nlohmann::json config = nlohmann::json::object();
  if (!bos.empty()) config["bos_token"] = bos;
  write_bytes(folder + "/tokenizer_config.json", config.dump());
  return ChatTemplates::load(folder);
}

struct Family {
  std::unique_ptr<SequenceTokenizer> tokenizer;
  ChatTemplates templates;
  std::vector<int32_t> end_ids;
};

// As make.py has them.
inline Family family_of(const std::string& name) {
  const bool has_config = name == "deepseek_v3" || name == "llama3";
  const std::string path = std::string(ORTHANT_SOURCE_DIR) +
                           "/tests/golden/chat_templates/templates/" + name +
                           (has_config ? "_config" : "") + ".jinja";
  const std::string bos = name == "deepseek_v3" ? "<\uff5cbegin\u2581of\u2581sentence\uff5c>"
                          : name == "llama3"    ? "<|begin_of_text|>"
                          : name == "smollm2"   ? "<|im_start|>"
                                                : "";
  const std::string end = name == "deepseek_v3" ? "<\uff5cend\u2581of\u2581sentence\uff5c>"
                          : name == "llama3"    ? "<|eot_id|>"
                                                : "<|im_end|>";
  Family family{golden_tokenizer(name), templates_of(read_bytes(path), bos), {}};
  family.end_ids = family.tokenizer->encode_with_added(end);
  return family;
}

// "Q: ... A: ..." with the bytes of the text as tokens, a line feed behind each turn.
inline const char* const kPlainTemplate =
    "{% for m in messages %}{{ {'user': 'Q:', 'assistant': 'A:', 'system': 'S:', 'tool': "
    "'T:'}[m.role] }}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}A:{% endif %}";

inline Example example_of(std::vector<int32_t> ids, std::vector<uint8_t> trained) {
  return {std::move(ids), std::move(trained)};
}

// Examples of the given numbers of ids, all different, of which every third is not trained.
inline std::shared_ptr<Examples> numbered_examples(const std::vector<int64_t>& sizes,
                                                   int32_t first_id = 0) {
  auto examples = std::make_shared<Examples>();
  const int32_t file = examples->add_file("numbers.jsonl");
  for (size_t i = 0; i < sizes.size(); ++i) {
    Example example;
    for (int64_t t = 0; t < sizes[i]; ++t) {
      example.ids.push_back(first_id++);
      example.trained.push_back(t > 0 && (t % 3 != 1 || t + 1 == sizes[i]));
    }
    examples->add(example, {file, static_cast<int64_t>(i) + 1});
  }
  return examples;
}

}  // namespace orthant
