// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"

namespace orthant {
namespace {

using nlohmann::json;

json list_of(const Shape& shape) { return std::vector<int64_t>(shape.begin(), shape.end()); }

json slice_json(const ManifestSlice& piece) {
  json result = {{"file", piece.file},
                 {"begin", piece.slice.begin},
                 {"shape", list_of(piece.slice.shape)},
                 {"xxh3", piece.checksum}};
  if (!piece.slice.is_whole_rectangle()) {
    result["elements"] = {piece.slice.flat_begin, piece.slice.flat_begin + piece.slice.numel()};
  }
  return result;
}

json tensor_json(const ManifestTensor& tensor) {
  json slices = json::array();
  for (const ManifestSlice& slice : tensor.slices) slices.push_back(slice_json(slice));
  return {{"name", tensor.name},
          {"dtype", name_of(tensor.dtype)},
          {"shape", list_of(tensor.global_shape)},
          {"slices", slices}};
}

// One item a line, so that two manifests can be compared with diff.
template <class Items, class ToJson>
std::string lines_of(const Items& items, ToJson to_json) {
  std::string text = "[";
  for (size_t i = 0; i < items.size(); ++i) text += (i ? ",\n" : "\n") + to_json(items[i]).dump();
  return text + "\n]";
}

}  // namespace

const ManifestTensor* Manifest::find(std::string_view name) const {
  const auto found = std::lower_bound(
      tensors.begin(), tensors.end(), name,
      [](const ManifestTensor& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return found == tensors.end() || found->name != name ? nullptr : &*found;
}

int64_t Manifest::bytes() const {
  int64_t total = 0;
  for (const ManifestFile& file : files) total += file.bytes;
  return total;
}

bool is_manifest_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

std::string slice_key(const std::string& name, const Shape& global_shape,
                      const TensorSlice& slice) {
  std::string key = name;
  if (slice.shape != global_shape) {
    for (int d = 0; d < slice.shape.rank(); ++d) {
      const int64_t begin = slice.begin[static_cast<size_t>(d)];
      key += concat(d ? "," : "[", begin, ":", begin + slice.shape[d]);
    }
    key += "]";
  }
  if (!slice.is_whole_rectangle()) {
    key += concat("{", slice.flat_begin, ":", slice.flat_begin + slice.numel(), "}");
  }
  return key;
}

Shape slice_entry_shape(const TensorSlice& slice) {
  return slice.is_whole_rectangle() ? slice.shape : Shape{slice.numel()};
}

std::string manifest_text(const Manifest& manifest) {
  std::string text =
      concat("{\n\"format\": \"orthant-checkpoint\",\n\"version\": ", kManifestVersion,
             ",\n\"run_id\": ", json(manifest.run_id).dump(), ",\n\"step\": ", manifest.step,
             ",\n\"samples\": ", manifest.samples, ",\n\"world_size\": ", manifest.world_size,
             ",\n\"layout\": ", json(manifest.layout).dump(),
             ",\n\"configuration\": ", json(manifest.configuration).dump(),
             ",\n\"extra\": ", json(manifest.extra).dump(), ",\n\"files\": ");
  text += lines_of(manifest.files, [](const ManifestFile& file) -> json {
    return {{"name", file.name}, {"bytes", file.bytes}, {"xxh3", file.checksum}};
  });
  text += ",\n\"tensors\": " + lines_of(manifest.tensors, tensor_json);
  text += ",\n\"checksum\": \"";
  return text + xxh3_128_hex(text.data(), text.size()) + "\"\n}\n";
}

}  // namespace orthant
