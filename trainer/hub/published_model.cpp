// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/published_model.h"

#include <filesystem>

#include "base/error.h"
#include "checkpoint/file_io.h"
#include "checkpoint/safetensors_folder.h"
#include "data/tokenizer_json.h"
#include "trainer/hub/gguf_model.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxKeptBytes = int64_t{1} << 30;

// The only GGUF file of a folder that has no other weights; "" where there is none.
std::string gguf_in(const std::string& folder) {
  std::vector<std::string> found;
  for (const std::string& name : list_directory(folder)) {
    if (name.ends_with(".safetensors")) return "";
    if (name.ends_with(".gguf")) found.push_back(name);
  }
  if (found.empty()) return "";
  ORTHANT_CHECK(found.size() == 1, kMissingInput, folder, ": has ", found.size(),
                " GGUF files; name the one to import, such as ", folder, "/", found.front());
  return folder + "/" + found.front();
}

std::string last_name(const std::string& path) {
  const std::string name = fs::path(path).lexically_normal().filename().string();
  return name.empty() || name == "." ? "imported" : name;
}

PublishedModel open_gguf(const std::string& path, const std::string& file) {
  GgufModel model = open_gguf_model(file);
  return {.path = path,
          .name = fs::path(file).stem().string(),
          .described_by = "its metadata",
          .is_gguf = true,
          .files = std::move(model.files),
          .tensors = std::move(model.tensors)};
}

}  // namespace

PublishedModel open_published(const std::string& path) {
  if (fs::is_regular_file(path)) return open_gguf(path, path);
  if (const std::string file = gguf_in(path); !file.empty()) return open_gguf(path, file);
  PublishedModel model{.path = path, .name = last_name(path), .described_by = "config.json"};
  ORTHANT_CHECK(path_exists(path + "/config.json"), kMissingInput, path,
                "/config.json: is not there; want a model's folder as transformers saves it, or a "
                "GGUF file");
  for (const char* name : kHubFiles)
    if (path_exists(path + "/" + name))
      model.files[name] = read_text_file(path + "/" + name, kMaxKeptBytes);
  model.tensors = std::make_unique<SafetensorsFolder>(path);
  return model;
}

std::string PublishedModel::label_of(const std::string& file) const {
  return is_gguf ? concat(tensors->path(), " (as ", file, ")") : path + "/" + file;
}

std::unique_ptr<Tokenizer> PublishedModel::tokenizer() const {
  if (!is_gguf) return make_tokenizer(path);
  return parse_tokenizer_json({.tokenizer = files.at("tokenizer.json"),
                               .config = files.at("tokenizer_config.json"),
                               .label = label_of("tokenizer.json")});
}

}  // namespace orthant
