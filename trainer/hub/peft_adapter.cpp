// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/peft_adapter.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "checkpoint/file_io.h"
#include "model/hub/peft_tensors.h"
#include "trainer/hub/hub_model.h"
#include "trainer/hub/lora_of_modules.h"
#include "trainer/hub/peft_config.h"
#include "trainer/hub/peft_file.h"

namespace orthant {
namespace {

constexpr int64_t kMaxConfigBytes = int64_t{1} << 26;
constexpr const char *kWeight = ".weight", *kBase = ".base_layer.weight";
constexpr const char *kA = ".lora_A.weight", *kB = ".lora_B.weight";

// Finds out what is in the file, and what of it stands for which tensor of the model.
class Plan {
 public:
  Plan(PeftFile& file, const PeftRules& rules, const RunConfig& config, const std::string& label)
      : file_(file), rules_(rules), model_(config.model), label_(label) {
    for (const auto& [name, shape] : logical_tensors(config)) weights_[name] = shape;
    if (model_.tie_word_embeddings) modules_["lm_head"] = weights_.at("model.embed_tokens.weight");
    for (const auto& [name, shape] : weights_) {
      all_.insert(module_of(name));
      if (shape.rank() == 2 && name.ends_with(kWeight)) modules_[module_of(name)] = shape;
    }
    for (const auto& [module, shape] : modules_) all_.insert(module);
    for (const auto& [module, shape] : modules_) add_module(module, shape);
    for (int64_t layer = 0; layer < model_.num_all_layers(); ++layer) add_experts(layer);
    for (const auto& [name, shape] : weights_) add_weight(name, shape);
    check_all_taken();
  }

  LoraConfig lora() const {
    LoraConfig lora = lora_of_modules(adapters_, saved_, all_, rules_.config().use_rslora, label_);
    lora.dropout = rules_.config().dropout;
    lora.use_dora = rules_.config().use_dora;
    return lora;
  }
  std::map<std::string, PeftTensor> take_tensors() { return std::move(tensors_); }

 private:
  // An adapter of a module under one of the names that folders have it under.
  void add_module(const std::string& module, const Shape& shape) {
    if (module == "model.embed_tokens") return add_embedding(module, shape);
    for (const HubSource& source : hub_tensor(model_, module + kWeight, shape).sources) {
      if (!source.name.ends_with(kWeight)) continue;  // all experts in one
      const std::string theirs = module_of(source.name), key = kPeftPrefix + theirs;
      if (!has_pair(key + kA, key + kB)) continue;
      const PeftScale scale = rules_.of_weight(theirs);
      check_rank(key + kA, 0, scale.rank);
      add(module, peft_pair(model_, module, theirs, shape, scale.rank), scale.rank, scale.scale);
      if (rules_.config().use_dora) add_magnitude(module, key, shape);
    }
  }

  void add_magnitude(const std::string& module, const std::string& key, const Shape& shape) {
    check_has_no_dora(module == "lm_head", module);
    const std::string name = ".lora_magnitude_vector";
    ORTHANT_CHECK(file_.find(key + name), kData, file_.place_of(key + name), ": is missing, and ",
                  label_, " says use_dora");
    take(peft_magnitude(model_, module, key + name, shape));
  }

  void check_has_no_dora(bool is_without, const std::string& module) const {
    ORTHANT_CHECK(!is_without || !rules_.config().use_dora, kData, label_, ": use_dora: ", module,
                  ": is not built beside embeddings, the head and experts that share a pair");
  }

  void add_embedding(const std::string& module, const Shape& shape) {
    const std::string key = kPeftPrefix + module;
    if (!has_pair(key + ".lora_embedding_A", key + ".lora_embedding_B")) return;
    check_has_no_dora(true, module);
    const PeftScale scale = rules_.of(module);
    check_rank(key + ".lora_embedding_A", 0, scale.rank);
    add(module, peft_embedding_pair(module, shape, scale.rank), scale.rank, scale.scale);
  }

  // The pairs that all experts of a layer share.  Which parameter's one is, its shapes say: they
  // are never those of both.
  void add_experts(int64_t layer) {
    const std::string name = concat("model.layers.", layer, ".mlp.experts");
    const auto gate = modules_.find(name + ".0.gate_proj");
    if (gate == modules_.end()) return;
    for (const char* inside : {"", ".base_layer"}) {
      const std::string module = name + inside, key = kPeftPrefix + module;
      if (!has_pair(key + kA, key + kB)) continue;
      check_has_no_dora(true, module);
      const Shape &a = file_.find(key + kA)->shape, &b = file_.find(key + kB)->shape;
      PeftExperts pair{.layer = name,
                       .module = module,
                       .part = "gate_proj",
                       .experts = model_.n_routed_experts,
                       .width = gate->second[1],
                       .inner = gate->second[0]};
      const bool is_gate_up =
          a.rank() == 2 && b.rank() == 2 && a[1] == pair.width && b[0] == 2 * pair.inner;
      if (!is_gate_up) pair.part = "down_proj";
      const PeftScale scale = rules_.of(name + (is_gate_up ? ".gate_up_proj" : ".down_proj"));
      check_rank(key + kA, 0, scale.rank * pair.experts);
      pair.rank = pair.part_rank = scale.rank;
      check_shapes(peft_expert_pairs(pair));
      if (is_gate_up) {
        add_gate_up(pair, scale.scale);
      } else {
        add_parts(pair, scale.scale);
      }
    }
  }

  void add_gate_up(PeftExperts pair, double scale) {
    const bool is_split = is_block_diagonal(pair);
    if (is_split) pair.part_rank = pair.rank / 2;
    add_parts(pair, scale);
    pair.part = "up_proj";
    if (is_split) pair.first = pair.part_rank;
    add_parts(pair, scale);
  }

  void add_parts(const PeftExperts& pair, double scale) {
    for (const PeftTensor& tensor : peft_expert_pairs(pair)) {
      const std::string module = module_of(tensor.name);
      if (tensor.name.ends_with(kA)) add(module, {}, pair.part_rank, scale);
      take(tensor);
    }
  }

  // Whether gate has nothing of the second half of the rank, and up nothing of the first.
  bool is_block_diagonal(const PeftExperts& pair) {
    if (pair.rank % 2 != 0) return false;
    const std::string key = kPeftPrefix + pair.module + kB;
    const std::string& bytes = file_.read(key);
    const int64_t size = size_of(file_.dtype_of(key)), columns = pair.b_shape()[1];
    const auto is_zero = [&](int64_t first_row, int64_t first_column) {
      for (int64_t row = first_row; row < first_row + pair.inner; ++row) {
        const char* begin = bytes.data() + (row * columns + first_column) * size;
        if (std::any_of(begin, begin + columns / 2 * size, [](char c) { return c != 0; }))
          return false;
      }
      return true;
    };
    return is_zero(0, columns / 2) && is_zero(pair.inner, 0);
  }

  // A weight that is there whole: of modules_to_save, or of an embedding that has an adapter too.
  void add_weight(const std::string& name, const Shape& shape) {
    const bool is_end = name == "model.embed_tokens.weight" || name == "lm_head.weight";
    for (const HubSource& source : hub_tensor(model_, name, shape).sources) {
      const std::string key = kPeftPrefix + source.name;
      const std::string beside = kPeftPrefix + module_of(source.name) + kBase;
      for (const std::string& found : {key, beside}) {
        const SafetensorsEntry* entry = file_.find(found);
        if (!entry) continue;
        ORTHANT_CHECK(!is_end || !model_.tie_word_embeddings || found == beside, kData,
                      file_.place_of(found),
                      ": the model's head and embedding are one weight, of which this would "
                      "replace half");
        PeftTensor tensor = whole_peft_tensor(name, shape, found);
        tensor.source_shape = source.shape;
        tensor.first = source.first_elem;
        tensor.rotary = hub_tensor(model_, name, shape).rotary;
        take(tensor);
        if (found == key) saved_.insert(module_of(name));
      }
    }
  }

  bool has_pair(const std::string& a, const std::string& b) const {
    const bool has_a = file_.find(a), has_b = file_.find(b);
    ORTHANT_CHECK(has_a == has_b, kData, file_.place_of(has_a ? a : b), ": is there without ",
                  has_a ? b : a);
    return has_a;
  }

  void check_rank(const std::string& key, int dim, int64_t wanted) const {
    const Shape& shape = file_.find(key)->shape;
    ORTHANT_CHECK(shape.rank() == 2 && shape[dim] == wanted, kData, file_.place_of(key), ": want ",
                  wanted, " rows, by the rank that ", label_, " gives, got ", shape.text());
  }

  void check_shapes(const std::vector<PeftTensor>& tensors) const {
    for (const PeftTensor& tensor : tensors) {
      const Shape& got = file_.find(tensor.source)->shape;
      ORTHANT_CHECK(got == tensor.source_shape, kData, file_.place_of(tensor.source), ": want ",
                    tensor.source_shape.text(), " beside the model's weight, got ", got.text());
    }
  }

  void add(const std::string& module, const std::vector<PeftTensor>& pair, int64_t rank,
           double scale) {
    const double r = static_cast<double>(rank);
    const bool is_new =
        adapters_
            .emplace(module,
                     ModuleAdapter{rank, scale * (rules_.config().use_rslora ? std::sqrt(r) : r)})
            .second;
    ORTHANT_CHECK(is_new, kData, file_.reader().path(), ": ", module, " has two adapters");
    for (const PeftTensor& tensor : pair) take(tensor);
  }

  void take(const PeftTensor& tensor) {
    check_shapes({tensor});
    file_.dtype_of(tensor.source);
    taken_.insert(tensor.source);
    tensors_[tensor.name] = tensor;
  }

  void check_all_taken() const {
    for (const SafetensorsEntry& entry : file_.reader().entries())
      ORTHANT_CHECK(taken_.contains(entry.name), kData, file_.place_of(entry.name), " ",
                    entry.shape.text(), ": no module of the model takes it");
    for (const std::string& module : rules_.config().modules_to_save)
      ORTHANT_CHECK(std::any_of(saved_.begin(), saved_.end(),
                                [&](const std::string& s) { return s.ends_with(module); }),
                    kData, label_, ": modules_to_save: ", module, ": has no tensor in ",
                    file_.reader().path());
    ORTHANT_CHECK(!adapters_.empty(), kData, file_.reader().path(), ": holds no adapter");
  }

  PeftFile& file_;
  const PeftRules& rules_;
  const ModelConfig& model_;
  std::string label_;
  std::map<std::string, Shape> weights_, modules_;
  std::set<std::string> all_, saved_, taken_;
  std::map<std::string, ModuleAdapter> adapters_;
  std::map<std::string, PeftTensor> tensors_;
};

std::string weights_file(const std::string& folder) {
  const std::string path = folder + "/" + kPeftWeightsFile;
  const std::string pickled = folder + "/adapter_model.bin";
  ORTHANT_CHECK(path_exists(path) || !path_exists(pickled), kData, pickled,
                ": is pickled, which may run any program; save the adapter as safetensors");
  ORTHANT_CHECK(path_exists(path), kMissingInput, path, ": is not there");
  return path;
}

}  // namespace

bool is_peft_folder(const std::string& path) { return path_exists(path + "/" + kPeftConfigFile); }

StoredAdapter open_peft_adapter(const std::string& folder, const RunConfig& model) {
  const std::string label = folder + "/" + kPeftConfigFile;
  const PeftRules rules(read_text_file(label, kMaxConfigBytes), label);
  const auto file = std::make_shared<PeftFile>(weights_file(folder));
  RunConfig config = model;
  config.model.num_nextn_predict_layers = 0;  // PEFT's models have no such layer
  Plan plan(*file, rules, config, label);
  StoredAdapter adapter{.path = folder, .lora = plan.lora(), .base_name = rules.config().base_name};
  const std::string note = folder + "/" + kBaseNoteFile;
  if (path_exists(note))
    adapter.base_fingerprint =
        parse_base_note(read_text_file(note, kMaxConfigBytes), note).fingerprint;
  const auto tensors =
      std::make_shared<const std::map<std::string, PeftTensor>>(plan.take_tensors());
  for (const auto& [name, tensor] : *tensors) adapter.tensors[name] = tensor.shape;
  adapter.read = [file, tensors](const std::string& name) { return file->read(tensors->at(name)); };
  return adapter;
}

}  // namespace orthant
