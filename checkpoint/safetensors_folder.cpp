// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors_folder.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "checkpoint/json_strict.h"

namespace orthant {
namespace {

constexpr const char* kWhole = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr int64_t kMaxIndexBytes = int64_t{1} << 28;

// The weight_map of an index: the shard of each tensor.  A shard is a file of this folder.
std::map<std::string, std::string> read_index(const std::string& path) {
  const nlohmann::json index = parse_json(read_text_file(path, kMaxIndexBytes), path);
  const nlohmann::json& map = json_member(index, "weight_map", path);
  ORTHANT_CHECK(map.is_object() && !map.empty(), kData, path,
                ": weight_map: want the file of each tensor, got ", json_excerpt(map));
  std::map<std::string, std::string> files;
  for (const auto& [name, value] : map.items()) {
    const std::string what = concat(path, ": weight_map: ", name);
    const std::string& file = json_string(value, what);
    ORTHANT_CHECK(!file.empty() && file.find('/') == std::string::npos && file[0] != '.', kData,
                  what, ": want a file of this folder, got ", json_excerpt(value));
    files[name] = file;
  }
  return files;
}

}  // namespace

SafetensorsFolder::SafetensorsFolder(const std::string& path) : path_(path) {
  ORTHANT_CHECK(std::filesystem::is_directory(path), kMissingInput, path,
                ": want a folder with config.json and ", kWhole, ", got ",
                path_exists(path) ? "something else" : "nothing");
  const std::string index = concat(path, "/", kIndex);
  if (!path_exists(index)) {
    int64_t parts = 0;
    for (const std::string& name : list_directory(path)) parts += name.ends_with(".safetensors");
    const bool is_whole = path_exists(concat(path, "/", kWhole));
    ORTHANT_CHECK(is_whole || parts == 0, kMissingInput, path, ": has ", parts, " .safetensors ",
                  parts == 1 ? "file" : "files", ", and not ", kIndex,
                  ", which says what is in which; fetch it too");
    ORTHANT_CHECK(is_whole, kMissingInput, path, ": has neither ", kWhole, " nor ", kIndex,
                  "; weights in other files (.bin, .pt) are not read: save them as safetensors");
    add(kWhole);
    return;
  }
  const std::map<std::string, std::string> file_of_tensor = read_index(index);
  std::set<std::string> files;
  for (const auto& [name, file] : file_of_tensor) files.insert(file);
  for (const std::string& file : files) {
    ORTHANT_CHECK(path_exists(concat(path, "/", file)), kMissingInput, path, "/", file,
                  ": is missing, and ", kIndex, " names it; fetch it again");
    add(file);
  }
  check_index(file_of_tensor);
}

void SafetensorsFolder::add(const std::string& file) {
  files_.push_back(std::make_unique<SafetensorsReader>(concat(path_, "/", file)));
  const SafetensorsReader& reader = *files_.back();
  for (const SafetensorsEntry& entry : reader.entries()) {
    const auto [at, is_new] = tensors_.try_emplace(entry.name, Place{&reader, &entry});
    ORTHANT_CHECK(is_new, kData, reader.path(), ": tensor ", entry.name, " is in ",
                  at->second.file->path(), " as well");
  }
}

void SafetensorsFolder::check_index(
    const std::map<std::string, std::string>& file_of_tensor) const {
  for (const auto& [name, file] : file_of_tensor) {
    const auto found = tensors_.find(name);
    ORTHANT_CHECK(found != tensors_.end() && found->second.file->path() == concat(path_, "/", file),
                  kData, path_, "/", file, ": tensor ", name, " is not there, where ", kIndex,
                  " says it is");
  }
}

std::vector<std::string> SafetensorsFolder::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : tensors_) names.push_back(name);
  return names;
}

const SafetensorsEntry* SafetensorsFolder::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.entry;
}

std::string SafetensorsFolder::place_of(const std::string& name) const {
  const auto found = tensors_.find(name);
  return concat(found == tensors_.end() ? path_ : found->second.file->path(), ": tensor ", name);
}

void SafetensorsFolder::read(const std::string& name, int64_t offset, void* to,
                             int64_t bytes) const {
  const Place& place = tensors_.at(name);
  place.file->read(*place.entry, offset, to, bytes);
}

}  // namespace orthant
