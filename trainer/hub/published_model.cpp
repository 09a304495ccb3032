// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/published_model.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/checksum.h"
#include "base/error.h"
#include "checkpoint/file_io.h"
#include "checkpoint/new_folder.h"
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

// What git leaves in place of a large file that was not fetched.
bool is_lfs_pointer(const std::string& file) {
  constexpr std::string_view kBegin = "version https://git-lfs.github.com/spec/";
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored) || fs::file_size(file, ignored) > 1024) return false;
  return read_text_file(file, 1024).starts_with(kBegin);
}

void check_fetched(const std::string& path) {
  std::error_code ignored;
  std::vector<std::string> files = {path};
  if (fs::is_directory(path, ignored))
    for (const std::string& name : list_directory(path)) files.push_back(path + "/" + name);
  for (const std::string& file : files)
    ORTHANT_CHECK(!is_lfs_pointer(file), kData, file,
                  ": is a Git LFS pointer, and not the file: fetch it with git lfs pull");
}

// That it is none of what is often given in place of a model's folder.
void check_is_model(const std::string& path) {
  const auto slashes = std::count(path.begin(), path.end(), '/');
  const bool is_hub_name = slashes == 1 && path.front() != '/' && path.front() != '.';
  ORTHANT_CHECK(fs::exists(path), kMissingInput, path, ": does not exist",
                is_hub_name ? concat("; a model of this name on a hub is fetched first, such as by "
                                     "hf download ",
                                     path, " --local-dir FOLDER")
                            : "; want a model's folder as transformers saves it, or a GGUF file");
  ORTHANT_CHECK(!fs::is_regular_file(path) || !path.ends_with(".safetensors"), kMissingInput, path,
                ": is a file of weights; give the folder that it is in, with config.json");
  ORTHANT_CHECK(!fs::exists(path + "/adapter_config.json") || fs::exists(path + "/config.json"),
                kMissingInput, path, ": is an adapter to a model (adapter_config.json), and no ",
                "model; give the one that its base_model_name_or_path names");
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
  check_fetched(path);
  check_is_model(path);
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

std::string import_hint(const std::string& path) {
  std::error_code ignored;
  const bool is_folder = fs::is_directory(path, ignored) &&
                         (fs::exists(path + "/config.json") || !gguf_in(path).empty());
  if (is_folder || (path.ends_with(".gguf") && fs::exists(path)))
    return concat("is a published model: orthant import ", path,
                  " RUN makes a run directory of it, which this command takes");
  if (path_exists(unfinished_folder(path)))
    return concat("its import was interrupted: orthant import FOLDER ", path, " makes it again");
  return "";
}

std::string identity_of(const std::string& path) {
  const auto state_of = [](const std::string& file) {
    struct stat info {};
    stat(file.c_str(), &info);
    return concat(info.st_size, " ", info.st_mtim.tv_sec, " ", info.st_mtim.tv_nsec, "\n");
  };
  std::string files;
  if (fs::is_directory(path)) {
    for (const std::string& name : list_directory(path))
      if (fs::is_regular_file(path + "/" + name)) files += name + " " + state_of(path + "/" + name);
  } else {
    files = state_of(path);
  }
  return concat(fs::weakly_canonical(path).string(), ", ",
                xxh3_128_hex(files.data(), files.size()));
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
