// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace orthant {
namespace {

using nlohmann::json;

// Fills in the entries' offsets.
std::string header_text(std::vector<SafetensorsEntry>& entries,
                        const std::map<std::string, std::string>& metadata, int64_t& data_bytes) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  data_bytes = 0;
  for (SafetensorsEntry& entry : entries) {
    entry.begin = data_bytes;
    data_bytes += safetensors_bytes(entry.shape, entry.dtype, entry.name);
    entry.end = data_bytes;
    ORTHANT_CHECK(!header.contains(entry.name) && entry.name != "__metadata__", kInternal,
                  "safetensors: tensor name '", entry.name, "' is used twice");
    header[entry.name] = {{"dtype", safetensors_dtype(entry.dtype)},
                          {"shape", std::vector<int64_t>(entry.shape.begin(), entry.shape.end())},
                          {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<SafetensorsEntry> entries,
                                     const std::map<std::string, std::string>& metadata) {
  int64_t data_bytes = 0;
  const std::string header = header_text(entries, metadata, data_bytes);
  std::array<unsigned char, 8> length{};
  for (size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<unsigned char>(header.size() >> (8 * i) & 0xFF);
  }
  total_bytes_ = static_cast<int64_t>(length.size() + header.size()) + data_bytes;
  file_.emplace(path, total_bytes_);
  file_->write(length.data(), static_cast<int64_t>(length.size()));
  file_->write(header.data(), static_cast<int64_t>(header.size()));
}

void SafetensorsWriter::append(const void* data, int64_t bytes) { file_->write(data, bytes); }

void SafetensorsWriter::finish() {
  ORTHANT_CHECK(file_->bytes() == total_bytes_, kInternal, "safetensors: want ", total_bytes_,
                " bytes, got ", file_->bytes());
  file_->sync();
  file_->close();
}

void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    entries.push_back({.name = name, .dtype = tensor.dtype(), .shape = tensor.shape()});
  }
  SafetensorsWriter writer(path, std::move(entries), metadata);
  for (const auto& [name, tensor] : tensors) {
    const Tensor host = tensor.to(Device{});
    writer.append(host.data(), host.bytes());
  }
  writer.finish();
}

}  // namespace orthant
