// SPDX-License-Identifier: Apache-2.0
#include "tests/trainer/peft_testing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/config/config.h"
#include "base/text.h"
#include "checkpoint/reader.h"

namespace orthant::testing {
namespace {

// As make.py's adapter_weights: of gate's rows the second half of the rank is 0, of up's the first.
void make_block_diagonal(const Shape& shape, std::vector<double>& b) {
  const int64_t rows = shape[0], columns = shape[1];
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      if ((i < rows / 2) != (j < columns / 2)) b[static_cast<size_t>(i * columns + j)] = 0;
}

}  // namespace

AdapterFolder::AdapterFolder(const std::string& name, DType dtype) {
  std::ifstream file(ORTHANT_SOURCE_DIR "/tests/golden/adapters/" + name + ".json");
  golden = Json::parse(file);
  config = golden["config"];
  for (const auto& [key, dims] : golden["shapes"].items()) {
    const Shape shape = {dims[0].get<int64_t>(), dims[1].get<int64_t>()};
    std::vector<double> values = golden_weights(key, shape.numel());
    if (golden["split"] == true && key.ends_with("experts.base_layer.lora_B.weight"))
      make_block_diagonal(shape, values);
    tensors.emplace_back(key, Tensor::from(shape, values, dtype));
  }
}

Tensor& AdapterFolder::operator[](const std::string& key) {
  for (auto& [known, tensor] : tensors)
    if (known == key) return tensor;
  return tensors.emplace_back(key, Tensor()).second;
}

Tensor AdapterFolder::take(const std::string& key) {
  const Tensor tensor = (*this)[key];
  std::erase_if(tensors, [&](const auto& entry) { return entry.first == key; });
  return tensor;
}

std::string AdapterFolder::write(const std::string& path) const {
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  std::ofstream(path + "/adapter_config.json") << config.dump(2);
  write_safetensors(path + "/adapter_model.safetensors", tensors, {{"format", "pt"}});
  return path;
}

RunConfig AdapterFolder::import_base() const {
  const std::string folder = test_folder() + "/model";
  if (!std::filesystem::exists(base_run())) {
    write_golden_folder(golden_model(golden["model"]), folder);
    import_model({.folder = folder, .run_dir = base_run()});
  }
  const Manifest manifest = read_manifest(find_checkpoint("test", base_run()));
  return parse_config<RunConfig>(manifest.configuration, "test").config;
}

void take_experts_apart(AdapterFolder& folder, const RunConfig& model) {
  const StoredAdapter adapter = open_peft_adapter(folder.write(test_folder() + "/fused"), model);
  std::erase_if(folder.tensors, [](const auto& entry) {
    return entry.first.find(".experts.") != std::string::npos;
  });
  const bool is_mixtral = model.model.model_type == "mixtral";
  for (const auto& [name, shape] : adapter.tensors) {
    if (name.find(".experts.") == std::string::npos) continue;
    std::string key = "base_model.model." + name;
    const auto rename = [&](const std::string& from, const std::string& to) {
      if (const size_t at = key.find(from); is_mixtral && at != std::string::npos)
        key.replace(at, from.size(), to);
    };
    rename("mlp.experts", "block_sparse_moe.experts");
    rename("gate_proj", "w1");
    rename("up_proj", "w3");
    rename("down_proj", "w2");
    folder.tensors.emplace_back(key, adapter.read(name));
  }
  folder.config["target_parameters"] = nullptr;
  folder.config["rank_pattern"] = folder.config["alpha_pattern"] = Json::object();
}

MicroBatch row_of(const std::vector<int32_t>& ids) {
  MicroBatch batch{.sequences = 1,
                   .length = std::ssize(ids),
                   .ids = ids,
                   .labels = {ids.begin() + 1, ids.end()},
                   .positions = std::vector<int32_t>(ids.size()),
                   .doc_start = std::vector<int32_t>(ids.size(), 0),
                   .sample_ids = {0}};
  batch.labels.push_back(kIgnoredLabel);
  std::iota(batch.positions.begin(), batch.positions.end(), 0);
  return batch;
}

std::vector<std::vector<double>> log_probs_of(const SavedModel& saved,
                                              const std::vector<int32_t>& ids,
                                              const std::vector<size_t>& kept) {
  Pass pass(row_of(ids), {}, Device{});
  const NoGradScope no_grad;
  const Tensor logits = saved.model->head().logits(saved.model->forward(Var(), pass).value());
  const std::vector<double> all = logits.to_doubles();
  const auto vocab = static_cast<size_t>(logits.dim(1));
  std::vector<std::vector<double>> result;
  for (size_t t = 0; t < ids.size(); ++t) {
    const double* row = all.data() + t * vocab;
    const double top = *std::max_element(row, row + vocab);
    double sum = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(row[v] - top);
    result.emplace_back();
    for (const size_t id : kept) result.back().push_back(row[id] - top - std::log(sum));
  }
  return result;
}

double largest_difference(const std::vector<std::vector<double>>& a,
                          const std::vector<std::vector<double>>& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t k = 0; k < a[i].size(); ++k) worst = std::max(worst, std::abs(a[i][k] - b[i][k]));
  return worst;
}

}  // namespace orthant::testing
