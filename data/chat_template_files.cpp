// SPDX-License-Identifier: Apache-2.0
#include "data/chat_template_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/error.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  ORTHANT_CHECK(in.good(), kMissingInput, path, ": cannot be read");
  return {std::istreambuf_iterator<char>(in), {}};
}
ordered_json read_config(const std::string& path) {
  try {
    ordered_json config = ordered_json::parse(read_text(path));
    ORTHANT_CHECK(config.is_object(), kData, path, ": want an object");
    return config;
  } catch (const ordered_json::exception& error) {
    throw Error(ErrorKind::kData, concat(path, ": malformed JSON: ", plain_reason(error.what())));
  }
}

}  // namespace

void ChatTemplates::add(const std::string& name, const std::string& source,
                        const std::string& label) {
  const bool is_new = templates_.try_emplace(name, source, label).second;
  ORTHANT_CHECK(is_new, kData, label, ": chat template '", name, "' is there twice");
  sources_[name] = source;
}

void ChatTemplates::add_from_config(const ordered_json& config, const std::string& path) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return;
  if (found->is_string())
    return add("default", found->get<std::string>(), path + ": chat_template");
  ORTHANT_CHECK(found->is_array(), kData, path, ": chat_template: want a text or a list, got ",
                found->type_name());
  for (const ordered_json& entry : *found) {
    const bool is_template = entry.is_object() && entry.contains("name") &&
                             entry["name"].is_string() && entry.contains("template") &&
                             entry["template"].is_string();
    ORTHANT_CHECK(is_template, kData, path,
                  ": chat_template: want objects with the texts \"name\" and \"template\"");
    const std::string name = entry["name"];
    add(name, entry["template"].get<std::string>(), concat(path, ": chat_template '", name, "'"));
  }
}

void ChatTemplates::read_special_tokens(const ordered_json& config, const std::string& path) {
  for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                           "cls_token", "mask_token"}) {
    const auto found = config.find(name);
    if (found == config.end() || found->is_null()) continue;
    const bool is_added = found->is_object() && found->contains("content");
    const ordered_json& text = is_added ? (*found)["content"] : *found;
    ORTHANT_CHECK(text.is_string(), kData, path, ": ", name,
                  ": want a text, or an object with the text \"content\"");
    special_tokens_[name] = text;
  }
}

void ChatTemplates::take_special_tokens(const std::string& folder) {
  const std::string path = folder + "/tokenizer_config.json";
  if (special_tokens_.empty() && fs::exists(path)) read_special_tokens(read_config(path), path);
}

ChatTemplates ChatTemplates::load(const std::string& path) {
  ChatTemplates result;
  result.path_ = path;
  const bool is_folder = fs::is_directory(path);
  const std::string config_path = is_folder ? path + "/tokenizer_config.json" : path;
  const std::string template_path = is_folder ? path + "/chat_template.jinja" : path;
  const bool is_config = is_folder ? fs::exists(config_path) : path.ends_with(".json");
  const bool is_template = is_folder ? fs::exists(template_path) : !is_config;
  if (is_template) result.add("default", read_text(template_path), template_path);
  if (is_folder && fs::is_directory(path + "/additional_chat_templates")) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(path + "/additional_chat_templates"))
      if (entry.path().extension() == ".jinja") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files)
      result.add(file.stem().string(), read_text(file.string()), file.string());
  }
  if (is_config) {
    const ordered_json config = read_config(config_path);
    if (!is_template) result.add_from_config(config, config_path);
    result.read_special_tokens(config, config_path);
  }
  ORTHANT_CHECK(!result.templates_.empty(), kMissingInput, path,
                ": want a chat template (chat_template.jinja, or \"chat_template\" in "
                "tokenizer_config.json), found none");
  return result;
}

const ChatTemplate& ChatTemplates::choose(bool has_tools) const {
  auto found = has_tools ? templates_.find("tool_use") : templates_.end();
  if (found == templates_.end()) found = templates_.find("default");
  ORTHANT_CHECK(found != templates_.end(), kData, path_,
                ": want a chat template named \"default\", found only '", templates_.begin()->first,
                "'");
  return found->second;
}

}  // namespace orthant
