// SPDX-License-Identifier: Apache-2.0
// GGUF files for tests, right ones and broken ones: every part can be set against the rules.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/shape.h"

namespace orthant::testing {

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}
inline std::string gguf_text(const std::string& text) { return raw<uint64_t>(text.size()) + text; }

// A value as it stands behind its key, with its type.
inline std::string gguf_u32(uint32_t value) { return raw<uint32_t>(4) + raw(value); }
inline std::string gguf_f32(float value) { return raw<uint32_t>(6) + raw(value); }
inline std::string gguf_bool(bool value) { return raw<uint32_t>(7) + raw<uint8_t>(value); }
inline std::string gguf_string(const std::string& text) {
  return raw<uint32_t>(8) + gguf_text(text);
}
inline std::string gguf_list(uint32_t type, const std::vector<std::string>& items) {
  std::string bytes = raw<uint32_t>(9) + raw(type) + raw<uint64_t>(items.size());
  for (const std::string& item : items) bytes += item;
  return bytes;
}
inline std::string gguf_texts(const std::vector<std::string>& texts) {
  std::vector<std::string> items;
  for (const std::string& text : texts) items.push_back(gguf_text(text));
  return gguf_list(8, items);
}
template <class T>
std::string gguf_numbers(uint32_t type, const std::vector<T>& numbers) {
  std::vector<std::string> items;
  for (const T number : numbers) items.push_back(raw(number));
  return gguf_list(type, items);
}

struct GgufFile {
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;  // as in the file: the first varies fastest
    uint32_t type = 0;
    std::string data;
    std::optional<uint64_t> offset = {};  // else behind the one before, aligned
  };

  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> num_tensors = {}, num_keys = {};
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<Tensor> tensors;
  std::string behind = {};  // the last tensor
  size_t alignment = 32;

  // Replaces a value, or adds it.
  void set(const std::string& key, const std::string& value) {
    for (auto& [known, old] : metadata)
      if (known == key) return void(old = value);
    metadata.emplace_back(key, value);
  }
  void erase(const std::string& key) {
    std::erase_if(metadata, [&](const auto& entry) { return entry.first == key; });
  }
  Tensor& operator[](const std::string& name) {
    for (Tensor& tensor : tensors)
      if (tensor.name == name) return tensor;
    return tensors.emplace_back(Tensor{.name = name, .dims = {}, .data = ""});
  }
  void add(const std::string& name, const Shape& shape, uint32_t type, std::string data) {
    std::vector<uint64_t> dims;
    for (int i = shape.rank(); i-- > 0;) dims.push_back(static_cast<uint64_t>(shape[i]));
    tensors.push_back(
        {.name = name, .dims = std::move(dims), .type = type, .data = std::move(data)});
  }

  std::string header() const {
    std::string bytes = magic + raw(version) + raw<uint64_t>(num_tensors.value_or(tensors.size())) +
                        raw<uint64_t>(num_keys.value_or(metadata.size()));
    for (const auto& [key, value] : metadata) bytes += gguf_text(key) + value;
    uint64_t at = 0;
    for (const Tensor& tensor : tensors) {
      bytes += gguf_text(tensor.name) + raw<uint32_t>(static_cast<uint32_t>(tensor.dims.size()));
      for (const uint64_t dim : tensor.dims) bytes += raw(dim);
      bytes += raw(tensor.type) + raw<uint64_t>(tensor.offset.value_or(at));
      at = aligned(at + tensor.data.size());
    }
    return bytes;
  }
  std::string bytes() const {
    std::string bytes = header();
    bytes.resize(aligned(bytes.size()));
    const size_t begin = bytes.size();
    for (const Tensor& tensor : tensors) {
      bytes.resize(begin + aligned(bytes.size() - begin));
      bytes += tensor.data;
    }
    return bytes + behind;
  }

 private:
  size_t aligned(size_t at) const { return (at + alignment - 1) / alignment * alignment; }
};

}  // namespace orthant::testing
