// SPDX-License-Identifier: Apache-2.0
// The chat templates that come with a model.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "data/chat_template.h"

namespace orthant {

class ChatTemplates {
 public:
  // `path` is one of
  //  - a model's folder: chat_template.jinja is the default template and
  //    additional_chat_templates/NAME.jinja are others; without the first, what
  //    tokenizer_config.json has,
  //  - a tokenizer_config.json: `chat_template` is a text, or a list of {name, template},
  //  - a template, in a file of another name.
  // Error(kMissingInput) when there is no template, Error(kData) on malformed ones.
  static ChatTemplates load(const std::string& path);

  // The one named "tool_use" where there are tools and such a one, else "default".  Error(kData)
  // when there is neither.
  const ChatTemplate& choose(bool has_tools) const;
  // bos_token, eos_token, ... of tokenizer_config.json, as variables of templates; empty without
  // that file.
  const nlohmann::ordered_json& special_tokens() const { return special_tokens_; }
  // Those of another folder's tokenizer_config.json, where these came without any.
  void take_special_tokens(const std::string& folder);
  // The templates' texts by name, as they were read.
  const std::map<std::string, std::string>& sources() const { return sources_; }

 private:
  void add(const std::string& name, const std::string& source, const std::string& label);
  void add_from_config(const nlohmann::ordered_json& config, const std::string& path);
  void read_special_tokens(const nlohmann::ordered_json& config, const std::string& path);

  std::string path_;
  std::map<std::string, ChatTemplate> templates_;
  std::map<std::string, std::string> sources_;
  nlohmann::ordered_json special_tokens_ = nlohmann::ordered_json::object();
};

}  // namespace orthant
