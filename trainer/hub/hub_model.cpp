// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/hub_model.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "model/transformer.h"
#include "trainer/hub/wider.h"

namespace orthant {
namespace {

constexpr size_t kShown = 5;  // of many faults
constexpr const char* kScale = "_scale_inv";

// What is planned below takes no more memory than a model with so many tensors could need.
void check_size(const ModelConfig& model, const PublishedModel& published) {
  constexpr int64_t kMaxExperts = 1 << 16;
  const auto tensors = std::ssize(published.tensors->names());
  ORTHANT_CHECK(model.num_hidden_layers <= tensors, kData, published.label_of("config.json"),
                ": num_hidden_layers: want no more layers than the ", tensors,
                " tensors there are, got ", model.num_hidden_layers);
  ORTHANT_CHECK(model.n_routed_experts <= kMaxExperts, kData, published.label_of("config.json"),
                ": n_routed_experts: want at most ", kMaxExperts, ", got ", model.n_routed_experts);
}

std::string faults_text(const std::vector<std::string>& faults) {
  std::string text;
  for (size_t i = 0; i < std::min(faults.size(), kShown); ++i) text += "\n  " + faults[i];
  if (faults.size() > kShown) text += concat("\n  and ", faults.size() - kShown, " more");
  return text;
}

}  // namespace

std::vector<std::pair<std::string, Shape>> logical_tensors(const RunConfig& config) {
  ParameterStore store;
  const Transformer model({.config = config.model,
                           .moe = config.moe,
                           .dtype = config.precision,
                           .device = {DeviceType::kMeta, 0}},
                          store);
  std::vector<std::pair<std::string, Shape>> tensors;
  for (const auto& parameter : store.all())
    for (const LogicalTensor& logical : parameter->logical())
      tensors.emplace_back(logical.name, logical.global_shape);
  return tensors;
}

HubModel::HubModel(PublishedModel published, const std::string& tokenizer, bool predicts_further)
    : published_(std::move(published)),
      hub_(parse_hub_config(published_.files.at("config.json"),
                            {.label = published_.label_of("config.json"),
                             .name = published_.name,
                             .tokenizer = tokenizer})) {
  check_size(hub_.config.model, published_);
  if (predicts_further) predict_further();
  std::vector<std::string> faults;
  for (const auto& [name, shape] : logical_tensors(hub_.config)) {
    std::string fault;
    ImportTensor tensor = find(name, shape, fault);
    if (fault.empty()) {
      tensors_.push_back(std::move(tensor));
    } else {
      faults.push_back(std::move(fault));
    }
  }
  check_leftover(faults);
}

void HubModel::predict_further() {
  ORTHANT_CHECK(hub_.extra_layers == 1, kConfig, published_.label_of("config.json"),
                ": num_nextn_predict_layers: want 1 layer to go on with, as "
                "model.num_nextn_predict_layers says, got ",
                hub_.extra_layers);
  hub_.config.model.num_nextn_predict_layers = std::exchange(hub_.extra_layers, 0);
}

ImportTensor HubModel::find(const std::string& name, const Shape& shape, std::string& fault) const {
  const TensorSource& tensors = source();
  const HubTensor wanted = hub_tensor(hub_.config.model, name, shape);
  for (const HubSource& source : wanted.sources) {
    const SafetensorsEntry* entry = tensors.find(source.name);
    if (!entry) continue;
    const std::optional<DType> kept = kept_dtype(entry->dtype);
    if (entry->shape != source.shape) {
      fault = concat(tensors.place_of(source.name), ": want ", source.shape.text(), " as ",
                     published_.described_by, " says, got ", entry->shape.text());
    } else if (!kept) {
      fault = concat(tensors.place_of(source.name), ": want ",
                     "F64, F32, F16, BF16 or F8_E4M3, got ", safetensors_dtype(entry->dtype));
    } else if (entry->dtype == DType::kF8E4M3 && !hub_.fp8) {
      fault = concat(tensors.place_of(source.name),
                     ": is F8_E4M3, and config.json has no quantization_config");
    }
    return {name, shape, kept.value_or(DType::kF32), source, wanted.rotary};
  }
  fault = concat(tensors.place_of(wanted.sources.front().name), " ",
                 wanted.sources.front().shape.text(), " is missing");
  return {};
}

// What is there and not ours.
void HubModel::check_leftover(const std::vector<std::string>& faults) {
  const ModelConfig& model = hub_.config.model;
  std::set<std::string> used;
  for (const ImportTensor& tensor : tensors_) {
    used.insert(tensor.source.name);
    if (hub_.fp8) used.insert(tensor.source.name + kScale);
  }
  if (model.tie_word_embeddings) used.insert("lm_head.weight");  // the embedding once more
  for (const HubCopy& copy : hub_copies(model)) used.insert(copy.name);
  std::vector<std::string> all = faults;
  for (const std::string& name : source().names()) {
    if (used.contains(name) || is_hub_buffer(name)) continue;
    if (hub_.extra_layers > 0 && is_beyond_layers(model, name)) {
      extra_.push_back(name);
    } else if (faults.empty()) {
      all.push_back(concat(source().place_of(name), ": is no part of the model that ",
                           published_.described_by, " describes"));
    }
  }
  ORTHANT_CHECK(all.empty(), kData, source().path(), ": the weights are not those of ",
                published_.described_by, ":", faults_text(all));
}

std::string HubModel::read(const ImportTensor& tensor) const {
  const SafetensorsEntry& entry = *source().find(tensor.source.name);
  const int64_t size = size_of(entry.dtype), numel = tensor.shape.numel();
  std::string bytes(static_cast<size_t>(numel * size), '\0');
  source().read(tensor.source.name, tensor.source.first_elem * size, bytes.data(), numel * size);
  if (entry.dtype == DType::kF8E4M3) {
    bytes = bf16_of_fp8(bytes, tensor.shape, *hub_.fp8, source(), tensor.source.name + kScale);
  } else if (entry.dtype == DType::kF16) {
    bytes = f32_of_f16(bytes);
  }
  if (tensor.rotary.count > 0)
    reorder_rows(HubDirection::kIn, tensor.rotary, tensor.shape[0],
                 tensor.shape[1] * size_of(tensor.dtype), bytes.data());
  return bytes;
}

}  // namespace orthant
