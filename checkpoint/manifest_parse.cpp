// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>

#include "base/checksum.h"
#include "base/error.h"
#include "checkpoint/json_strict.h"
#include "checkpoint/manifest.h"

namespace orthant {
namespace {

using nlohmann::json;

constexpr std::string_view kHead = "{\n\"format\": \"orthant-checkpoint\",\n\"version\": ";
constexpr std::string_view kTailBegin = ",\n\"checksum\": \"";
constexpr std::string_view kTailEnd = "\"\n}\n";
constexpr size_t kChecksumDigits = 32;

// An object with these members and no other ones.
const json& check_members(const json& object, std::initializer_list<std::string_view> names,
                          const std::string& what) {
  ORTHANT_CHECK(object.is_object(), kData, what, ": want an object, got ", json_excerpt(object));
  for (const auto& [key, value] : object.items()) {
    ORTHANT_CHECK(std::find(names.begin(), names.end(), key) != names.end(), kData, what,
                  ": unknown field '", key, "'");
  }
  return object;
}

const json& list_member(const json& object, const char* key, const std::string& what) {
  const json& value = json_member(object, key, what);
  ORTHANT_CHECK(value.is_array(), kData, what, ": ", key, ": want a list, got ",
                json_excerpt(value));
  return value;
}

int64_t count_member(const json& object, const char* key, const std::string& what) {
  return json_count(json_member(object, key, what), concat(what, ": ", key));
}

std::string string_member(const json& object, const char* key, const std::string& what) {
  return json_string(json_member(object, key, what), concat(what, ": ", key));
}

std::string checksum_member(const json& object, const std::string& what) {
  std::string text = string_member(object, "xxh3", what);
  ORTHANT_CHECK(text.size() == kChecksumDigits &&
                    text.find_first_not_of("0123456789abcdef") == std::string::npos,
                kData, what, ": xxh3: want ", kChecksumDigits, " hexadecimal digits");
  return text;
}

std::string name_member(const json& object, const std::string& what) {
  std::string name = string_member(object, "name", what);
  ORTHANT_CHECK(is_manifest_name(name), kData, what, ": name ", json_excerpt(json(name)),
                ": want letters, digits, '.', '_' and '-' only");
  return name;
}

std::vector<int64_t> counts_member(const json& object, const char* key, const std::string& what) {
  const json& list = list_member(object, key, what);
  ORTHANT_CHECK(list.size() <= kMaxDims, kData, what, ": ", key, ": want at most ", kMaxDims,
                " numbers");
  std::vector<int64_t> values;
  for (const json& value : list) values.push_back(json_count(value, concat(what, ": ", key)));
  return values;
}

Shape shape_member(const json& object, const std::string& what) {
  const std::vector<int64_t> dims = counts_member(object, "shape", what);
  int64_t elements = 1;
  for (const int64_t dim : dims) {
    ORTHANT_CHECK(!__builtin_mul_overflow(elements, std::max<int64_t>(dim, 1), &elements) &&
                      elements <= (int64_t{1} << 59),
                  kData, what, ": shape: too many elements");
  }
  return Shape(dims.begin(), dims.end());
}

DType dtype_member(const json& object, const std::string& what) {
  const std::string name = string_member(object, "dtype", what);
  for (int i = 0; i <= static_cast<int>(DType::kU8); ++i) {
    if (name_of(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  }
  throw Error(ErrorKind::kData, concat(what, ": unknown dtype '", name, "'"));
}

ManifestFile parse_file(const json& value, const std::string& what) {
  check_members(value, {"name", "bytes", "xxh3"}, what);
  ManifestFile file{name_member(value, what), count_member(value, "bytes", what),
                    checksum_member(value, what)};
  ORTHANT_CHECK(!file.name.starts_with('.') && file.name != "manifest.json", kData, what,
                ": file name '", file.name, "' is not allowed");
  return file;
}

ManifestSlice parse_slice(const json& value, size_t num_files, const std::string& what) {
  check_members(value, {"file", "begin", "shape", "elements", "xxh3"}, what);
  ManifestSlice result;
  result.file = count_member(value, "file", what);
  ORTHANT_CHECK(result.file < static_cast<int64_t>(num_files), kData, what, ": file ", result.file,
                " of ", num_files);
  result.slice.begin = counts_member(value, "begin", what);
  result.slice.shape = shape_member(value, what);
  result.checksum = checksum_member(value, what);
  if (value.contains("elements")) {
    const std::vector<int64_t> range = counts_member(value, "elements", what);
    ORTHANT_CHECK(range.size() == 2 && range[0] <= range[1], kData, what,
                  ": elements: want [begin, end]");
    result.slice.flat_begin = range[0];
    result.slice.flat_size = range[1] - range[0];
  }
  return result;
}

ManifestTensor parse_tensor(const json& value, size_t num_files, const std::string& path) {
  ManifestTensor tensor;
  tensor.name = name_member(value, concat(path, ": tensor"));
  const std::string what = concat(path, ": tensor ", tensor.name);
  check_members(value, {"name", "dtype", "shape", "slices"}, what);
  tensor.dtype = dtype_member(value, what);
  tensor.global_shape = shape_member(value, what);
  std::vector<TensorSlice> slices;
  for (const json& item : list_member(value, "slices", what)) {
    tensor.slices.push_back(parse_slice(item, num_files, what));
    slices.push_back(tensor.slices.back().slice);
  }
  const std::string fault = coverage_fault(tensor.global_shape, slices);
  ORTHANT_CHECK(fault.empty(), kData, what, ": ", fault);
  return tensor;
}

// Before the checksum: another version may end in another way.
void check_version(const std::string& text, const std::string& path) {
  ORTHANT_CHECK(text.starts_with(kHead), kData, path, ": is not a checkpoint manifest");
  int64_t version = 0;
  std::from_chars(text.data() + kHead.size(), text.data() + text.size(), version);
  ORTHANT_CHECK(version <= kManifestVersion, kData, path, ": format version ", version,
                ", this program reads up to ", kManifestVersion, ": use a newer orthant");
  ORTHANT_CHECK(version >= 1, kData, path, ": format version ", version, " is unknown");
}

void check_checksum(const std::string& text, const std::string& path) {
  const size_t tail_size = kTailBegin.size() + kChecksumDigits + kTailEnd.size();
  const std::string_view view = text;
  ORTHANT_CHECK(view.size() > tail_size && view.ends_with(kTailEnd) &&
                    view.substr(view.size() - tail_size).starts_with(kTailBegin),
                kData, path, ": does not end with its checksum: it is cut short or damaged");
  const size_t at = view.size() - kTailEnd.size() - kChecksumDigits;
  const std::string actual = xxh3_128_hex(text.data(), at);
  ORTHANT_CHECK(view.substr(at, kChecksumDigits) == actual, kData, path, ": damaged: checksum ",
                actual, ", recorded ", view.substr(at, kChecksumDigits));
}

void parse_lists(const json& root, const std::string& path, Manifest& manifest) {
  std::set<std::string> names;
  for (const json& value : list_member(root, "files", path)) {
    manifest.files.push_back(parse_file(value, concat(path, ": files")));
    ORTHANT_CHECK(names.insert(manifest.files.back().name).second, kData, path, ": file ",
                  manifest.files.back().name, " is listed twice");
  }
  for (const json& value : list_member(root, "tensors", path)) {
    manifest.tensors.push_back(parse_tensor(value, manifest.files.size(), path));
    const size_t n = manifest.tensors.size();
    ORTHANT_CHECK(n < 2 || manifest.tensors[n - 2].name < manifest.tensors[n - 1].name, kData, path,
                  ": tensor ", manifest.tensors[n - 1].name, " is out of order or listed twice");
  }
}

}  // namespace

Manifest parse_manifest(const std::string& text, const std::string& path) {
  check_version(text, path);
  check_checksum(text, path);
  const json root = parse_json(text, path);
  check_members(root,
                {"format", "version", "run_id", "step", "samples", "world_size", "layout",
                 "configuration", "extra", "files", "tensors", "checksum"},
                path);
  Manifest manifest;
  ORTHANT_CHECK(count_member(root, "version", path) == kManifestVersion, kData, path,
                ": unknown version");
  manifest.run_id = string_member(root, "run_id", path);
  manifest.step = count_member(root, "step", path);
  manifest.samples = count_member(root, "samples", path);
  manifest.world_size = count_member(root, "world_size", path);
  manifest.layout = string_member(root, "layout", path);
  manifest.configuration = string_member(root, "configuration", path);
  const json& extra = json_member(root, "extra", path);
  ORTHANT_CHECK(extra.is_object(), kData, path, ": extra: want an object");
  for (const auto& [key, value] : extra.items()) {
    manifest.extra[key] = json_string(value, concat(path, ": extra: ", key));
  }
  parse_lists(root, path, manifest);
  return manifest;
}

}  // namespace orthant
