// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/json_strict.h"

namespace orthant {
namespace {

using nlohmann::json;

constexpr int64_t kMaxHeaderBytes = 100'000'000;  // as the reference implementation
constexpr int64_t kLengthBytes = 8;
constexpr const char* kWasCut = "; the file was cut: fetch it again";

struct DTypeName {
  DType dtype;
  std::string_view name;
};
constexpr std::array<DTypeName, 9> kDTypeNames = {{{DType::kF64, "F64"},
                                                   {DType::kF32, "F32"},
                                                   {DType::kBF16, "BF16"},
                                                   {DType::kF16, "F16"},
                                                   {DType::kF8E4M3, "F8_E4M3"},
                                                   {DType::kI64, "I64"},
                                                   {DType::kI32, "I32"},
                                                   {DType::kI8, "I8"},
                                                   {DType::kU8, "U8"}}};

DType parse_dtype(const json& value, const std::string& what) {
  const std::string& name = json_string(value, what + ": dtype");
  for (const DTypeName& known : kDTypeNames) {
    if (known.name == name) return known.dtype;
  }
  throw Error(ErrorKind::kData,
              concat(what, ": dtype ", json_excerpt(value), " is not one that this program reads"));
}

Shape parse_shape(const json& value, const std::string& what) {
  ORTHANT_CHECK(value.is_array(), kData, what, ": shape: want a list, got ", json_excerpt(value));
  ORTHANT_CHECK(value.size() <= kMaxDims, kData, what, ": shape: want at most ", kMaxDims,
                " dimensions, got ", value.size());
  Shape shape;
  for (const json& dim : value) shape.push_back(json_count(dim, what + ": shape"));
  return shape;
}

SafetensorsEntry parse_entry(const std::string& name, const json& value, const std::string& what) {
  SafetensorsEntry entry;
  entry.name = name;
  ORTHANT_CHECK(value.is_object() && value.size() == 3, kData, what,
                ": want an object with dtype, shape and data_offsets, got ", json_excerpt(value));
  entry.dtype = parse_dtype(json_member(value, "dtype", what), what);
  entry.shape = parse_shape(json_member(value, "shape", what), what);
  const json& offsets = json_member(value, "data_offsets", what);
  ORTHANT_CHECK(offsets.is_array() && offsets.size() == 2, kData, what,
                ": data_offsets: want [begin, end], got ", json_excerpt(offsets));
  entry.begin = json_count(offsets[0], what + ": data_offsets");
  entry.end = json_count(offsets[1], what + ": data_offsets");
  const int64_t bytes = safetensors_bytes(entry.shape, entry.dtype, what);
  ORTHANT_CHECK(entry.begin <= entry.end && entry.end - entry.begin == bytes, kData, what, ": ",
                safetensors_dtype(entry.dtype), " ", entry.shape.text(), " needs ", bytes,
                " bytes, but data_offsets are ", json_excerpt(offsets));
  return entry;
}

}  // namespace

std::string_view safetensors_dtype(DType dtype) {
  return std::find_if(kDTypeNames.begin(), kDTypeNames.end(),
                      [&](const DTypeName& known) { return known.dtype == dtype; })
      ->name;
}

// A dimension of 0 hides no overflow of the others.
int64_t safetensors_bytes(const Shape& shape, DType dtype, const std::string& what) {
  int64_t bytes = size_of(dtype);
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim == 0) {
      empty = true;
      continue;
    }
    ORTHANT_CHECK(!__builtin_mul_overflow(bytes, dim, &bytes), kData, what, ": shape ",
                  shape.text(), " has too many elements");
  }
  return empty ? 0 : bytes;
}

SafetensorsReader::SafetensorsReader(const std::string& path) : file_(path) {
  ORTHANT_CHECK(file_.bytes() >= kLengthBytes, kData, path, ": want a header length of 8 bytes, ",
                "but the file has ", file_.bytes());
  std::array<unsigned char, kLengthBytes> raw{};
  file_.read(0, raw.data(), kLengthBytes);
  uint64_t length = 0;
  for (size_t i = raw.size(); i-- > 0;) length = length << 8 | raw[i];
  const int64_t most = std::min(kMaxHeaderBytes, file_.bytes() - kLengthBytes);
  ORTHANT_CHECK(length <= static_cast<uint64_t>(most), kData, path, ": header of ", length,
                " bytes, at most ", most, " are possible",
                length <= static_cast<uint64_t>(kMaxHeaderBytes) ? kWasCut : "");
  std::string text(length, '\0');
  file_.read(kLengthBytes, text.data(), static_cast<int64_t>(length));
  data_begin_ = kLengthBytes + static_cast<int64_t>(length);
  parse_header(text);
}

void SafetensorsReader::parse_header(const std::string& text) {
  const std::string& path = file_.path();
  ORTHANT_CHECK(text.starts_with('{'), kData, path, ": the header does not start with '{'");
  const json header = parse_json(text, path);
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      ORTHANT_CHECK(value.is_object(), kData, path, ": __metadata__: want an object, got ",
                    json_excerpt(value));
      for (const auto& [key, item] : value.items()) {
        metadata_[key] = json_string(item, concat(path, ": __metadata__: ", key));
      }
      continue;
    }
    entries_.push_back(parse_entry(name, value, concat(path, ": tensor ", name)));
  }
  std::sort(entries_.begin(), entries_.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
            });
  int64_t at = 0;
  for (const SafetensorsEntry& entry : entries_) {
    ORTHANT_CHECK(entry.begin == at, kData, path, ": tensor ", entry.name, ": starts at byte ",
                  entry.begin, " of the data, want ", at,
                  entry.begin > at ? " (a gap)" : " (an overlap)");
    at = entry.end;
    by_name_[entry.name] = static_cast<size_t>(&entry - entries_.data());
  }
  const int64_t data_bytes = file_.bytes() - data_begin_;
  ORTHANT_CHECK(at == data_bytes, kData, path, ": the header describes ", at,
                " bytes of data, the file has ", data_bytes, at > data_bytes ? kWasCut : "");
}

const SafetensorsEntry* SafetensorsReader::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

void SafetensorsReader::read(const SafetensorsEntry& entry, int64_t offset, void* to,
                             int64_t bytes) const {
  ORTHANT_CHECK(0 <= offset && 0 <= bytes && bytes <= entry.end - entry.begin - offset, kInternal,
                path(), ": tensor ", entry.name, ": bytes ", offset, " to ", offset + bytes,
                " wanted, it has ", entry.end - entry.begin);
  file_.read(data_begin_ + entry.begin + offset, to, bytes);
}

Tensor SafetensorsReader::read_tensor(const std::string& name) const {
  const SafetensorsEntry* entry = find(name);
  ORTHANT_CHECK(entry != nullptr, kData, path(), ": tensor ", name, " is missing");
  const Tensor tensor = Tensor::empty(entry->shape, entry->dtype);
  read(*entry, 0, tensor.data(), tensor.bytes());
  return tensor;
}

}  // namespace orthant
