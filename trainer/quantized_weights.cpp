// SPDX-License-Identifier: Apache-2.0
#include "trainer/quantized_weights.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/json_strict.h"
#include "checkpoint/reader.h"
#include "trainer/run/progress.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

using nlohmann::json;

std::string place_of(const Manifest& manifest) {
  return concat(manifest.directory, "/manifest.json: extra: ", kQuantizationKey);
}

QuantizedWeight parse_weight(const json& value, const std::string& what) {
  const json& shape = json_member(value, "shape", what);
  ORTHANT_CHECK(shape.is_array() && shape.size() == 2, kData, what, ": shape: want two numbers");
  const json& error = json_member(value, "error", what);
  ORTHANT_CHECK(error.is_number(), kData, what, ": error: want a number");
  return {{json_count(shape[0], what), json_count(shape[1], what)}, error.get<double>()};
}

QuantizedMatrix whole_matrix(Quantization format, const Shape& shape, Device device = {}) {
  return QuantizedMatrix(format, shape, {0, 0}, shape, device);
}

}  // namespace

std::string to_text(const QuantizationRecord& record) {
  nlohmann::ordered_json root;
  root["format"] = quantization_names().of(record.format);
  nlohmann::ordered_json& weights = root["weights"] = nlohmann::ordered_json::object();
  for (const auto& [name, weight] : record.weights)
    weights[name] = {{"shape", {weight.shape[0], weight.shape[1]}}, {"error", weight.error}};
  return root.dump();
}

QuantizationRecord quantization_record(const Manifest& manifest) {
  const auto found = manifest.extra.find(kQuantizationKey);
  if (found == manifest.extra.end()) return {};
  const std::string what = place_of(manifest);
  const json root = parse_json(found->second, what);
  QuantizationRecord record;
  const std::string& format = json_string(json_member(root, "format", what), what);
  const auto known = quantization_names().find(format);
  ORTHANT_CHECK(known && *known != Quantization::kNone, kData, what, ": format ", format,
                " is unknown: use a newer orthant");
  record.format = *known;
  const json& weights = json_member(root, "weights", what);
  ORTHANT_CHECK(weights.is_object(), kData, what, ": weights: want an object");
  for (const auto& [name, weight] : weights.items())
    record.weights[name] = parse_weight(weight, concat(what, ": ", name));
  return record;
}

std::vector<StoredWeight> stored_weights(const Manifest& manifest) {
  const QuantizationRecord record = quantization_record(manifest);
  std::vector<StoredWeight> weights;
  for (const auto& [name, weight] : record.weights)
    weights.push_back({name, DType::kF32, weight.shape, record.format});
  for (const ManifestTensor& tensor : manifest.tensors) {
    const std::string& name = tensor.name;
    // What stands behind the name of a quantised weight is a part of it.
    const bool is_part = record.weights.contains(name.substr(0, name.rfind('.')));
    if (!is_part && !name.starts_with(kOptimizerPrefix))
      weights.push_back({name, tensor.dtype, tensor.global_shape});
  }
  std::sort(weights.begin(), weights.end(),
            [](const StoredWeight& a, const StoredWeight& b) { return a.name < b.name; });
  return weights;
}

std::vector<Tensor> read_weights(const Manifest& manifest, std::span<const StoredWeight> weights) {
  std::vector<Tensor> whole;
  std::vector<CheckpointTensor> wanted;
  std::vector<QuantizedMatrix> matrices;
  for (const StoredWeight& weight : weights) {
    whole.push_back(Tensor::empty(weight.shape, weight.dtype));
    if (weight.format == Quantization::kNone) {
      wanted.push_back({.name = weight.name,
                        .global_shape = weight.shape,
                        .begin = std::vector<int64_t>(static_cast<size_t>(weight.shape.rank()), 0),
                        .shape = weight.shape,
                        .data = whole.back()});
      continue;
    }
    matrices.push_back(whole_matrix(weight.format, weight.shape));
    for (const QuantizedPart& part : matrices.back().parts())
      wanted.push_back({.name = concat(weight.name, part.suffix),
                        .global_shape = part.whole,
                        .begin = part.begin,
                        .shape = part.whole,
                        .data = part.data});
  }
  load_tensors(Group::self(), manifest, wanted, {.unused_prefixes = {""}, .verify_files = false});
  size_t next = 0;
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i].format != Quantization::kNone) matrices[next++].dequantize(whole[i]);
  return whole;
}

std::string quantization_text(const Manifest& manifest) {
  const QuantizationRecord record = quantization_record(manifest);
  if (record.weights.empty()) return "";
  int64_t elements = 0, bits = 0;
  std::string lines;
  const auto fixed = [](double value) { return std::round(value * 1e5) / 1e5; };
  for (const auto& [name, weight] : record.weights) {
    const int64_t own =
        8 * whole_matrix(record.format, weight.shape, {DeviceType::kMeta, 0}).bytes();
    lines += concat("  ", name, " ", weight.shape.text(), ": error ", fixed(weight.error), ", ",
                    fixed(static_cast<double>(own) / static_cast<double>(weight.shape.numel())),
                    " bits a weight\n");
    elements += weight.shape.numel();
    bits += own;
  }
  return concat("quantised to ", quantization_names().of(record.format), ": ",
                counted(std::ssize(record.weights), "weight"), ", ", with_thousands(elements),
                " elements, ", fixed(static_cast<double>(bits) / static_cast<double>(elements)),
                " bits each, ", human_bytes(static_cast<double>(bits) / 8),
                " (relative root mean square error by weight):\n", lines);
}

}  // namespace orthant
