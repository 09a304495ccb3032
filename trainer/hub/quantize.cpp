// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/quantize.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/config/config.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "checkpoint/new_folder.h"
#include "checkpoint/reader.h"
#include "model/transformer.h"
#include "trainer/adapters.h"
#include "trainer/finetune_config.h"
#include "trainer/hub/first_checkpoint.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/quantized_weights.h"
#include "trainer/run/work_progress.h"
#include "trainer/saved_model.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

std::string bytes_of(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.data()), static_cast<size_t>(tensor.bytes())};
}

// Every pattern means some linear map of the model.
void check_patterns(const QuantizationConfig& config, const std::set<std::string>& modules) {
  for (const auto& [patterns, key] : {std::pair{&config.target_modules, "target_modules"},
                                      {&config.exclude_modules, "exclude_modules"}})
    for (const ModuleMatcher& pattern : module_matchers(*patterns, concat("quantization.", key)))
      ORTHANT_CHECK(std::any_of(modules.begin(), modules.end(), pattern), kConfig, "quantization.",
                    key, ": ", pattern.text(), " names no module of the model");
}

// The tensors of the quantised model, made when they are written.
class Quantized {
 public:
  Quantized(const Manifest& manifest, const RunConfig& config, const QuantizationConfig& wanted)
      : manifest_(manifest), format_(wanted.format), record_{.format = wanted.format} {
    // What a model that is built so holds in few bits.
    ParameterStore store;
    const Transformer model({.config = config.model,
                             .moe = config.moe,
                             .dtype = config.precision,
                             .device = {DeviceType::kMeta, 0},
                             .quantization = std::make_shared<QuantizationRules>(wanted, nullptr)},
                            store);
    std::set<std::string> modules, quantized;
    for (const auto& parameter : store.all()) {
      for (const LogicalTensor& logical : parameter->logical()) {
        modules.insert(module_of(logical.name));
        if (parameter->is_quantized()) quantized.insert(logical.name);
      }
    }
    check_patterns(wanted, modules);
    ORTHANT_CHECK(!quantized.empty(), kConfig, "quantization: ", manifest.directory,
                  ": exclude_modules leaves nothing to quantise");
    std::vector<StoredWeight> all = stored_weights(manifest);
    WorkProgress progress({.command = "quantize", .noun = "weight", .total = std::ssize(all)});
    for (const StoredWeight& weight : all) {
      if (quantized.contains(weight.name)) {
        add_quantized(weight);
      } else {
        tensors_.push_back({weight.name, weight.dtype, weight.shape,
                            [this, weight] { return bytes_of(read_weight(manifest_, weight)); }});
      }
      progress.at(++done_);
    }
    result_.error = std::sqrt(squared_error_ / std::max(squared_, 1e-300));
  }

  std::vector<FirstTensor> take_tensors() { return std::move(tensors_); }
  const QuantizationRecord& record() const { return record_; }
  const QuantizeResult& result() const { return result_; }

 private:
  Tensor read(const StoredWeight& weight) const {
    return read_weight(manifest_, weight).to(DType::kF32);
  }

  // Factors are kept, and codes made again.
  void add_quantized(const StoredWeight& weight) {
    const Tensor w = read(weight);
    double square = 0;
    for (const float x : w.span<float>()) square += static_cast<double>(x) * static_cast<double>(x);
    ORTHANT_CHECK(std::isfinite(square), kData, manifest_.directory, ": tensor ", weight.name,
                  ": has elements that are NaN or infinite; the model diverged");
    const QuantizedMatrix matrix = QuantizedMatrix::of(format_, w);
    const double error = relative_error(matrix, w);
    record_.weights[weight.name] = {weight.shape, error};
    squared_ += square;
    squared_error_ += error * error * square;
    if (error >= result_.worst_error) {
      result_.worst_error = error;
      result_.worst = weight.name;
    }
    ++result_.weights;
    result_.elements += weight.shape.numel();
    result_.bits += 8 * matrix.bytes();
    const std::vector<QuantizedPart> parts = matrix.parts();
    for (size_t i = 0; i < parts.size(); ++i) {
      FirstTensor tensor{
          concat(weight.name, parts[i].suffix), parts[i].data.dtype(), parts[i].whole, {}};
      if (tensor.dtype == DType::kF32) {
        tensor.read = [kept = parts[i].data] { return bytes_of(kept); };
      } else {
        tensor.read = [this, weight, i] { return bytes_of(parts_again(weight)[i].data); };
      }
      tensors_.push_back(std::move(tensor));
    }
  }

  // Those of the weight before, which is asked for once for each part.
  const std::vector<QuantizedPart>& parts_again(const StoredWeight& weight) {
    if (again_of_ != weight.name) {
      again_ = QuantizedMatrix::of(format_, read(weight)).parts();
      again_of_ = weight.name;
    }
    return again_;
  }

  const Manifest& manifest_;
  Quantization format_;
  QuantizationRecord record_;
  QuantizeResult result_;
  std::vector<FirstTensor> tensors_;
  int64_t done_ = 0;
  double squared_ = 0, squared_error_ = 0;
  std::string again_of_;
  std::vector<QuantizedPart> again_;
};

Manifest head_of(const Manifest& from, const std::string& configuration,
                 const QuantizationRecord& record) {
  Manifest head{.run_id = concat(from.run_id, "-", quantization_names().of(record.format)),
                .layout = "quantised",
                .configuration = configuration};
  for (const char* key : {"tokenizer", kBeginKey, kImportedKey}) {
    const auto found = from.extra.find(key);
    if (found != from.extra.end()) head.extra.insert(*found);
  }
  head.extra[kQuantizationKey] = to_text(record);
  head.extra[kQuantizedFromKey] =
      concat(std::filesystem::absolute(from.directory).lexically_normal().string(), ", ",
             weights_fingerprint(from));
  return head;
}

}  // namespace

QuantizeResult quantize_model(const QuantizeOptions& options) {
  options.quantization.validate();
  const Manifest manifest = read_manifest(find_checkpoint("quantize", options.model));
  RunConfig config =
      parse_any_run_config(manifest.configuration, manifest.directory + "/manifest.json");
  ORTHANT_CHECK(!config.lora.is_on(), kConfig, "quantize: ", options.model,
                ": trained adapters: orthant merge makes one model of them and their base first");
  ORTHANT_CHECK(!config.quantization.is_on(), kConfig, "quantize: ", options.model,
                ": is quantised to ", quantization_names().of(config.quantization.format),
                " already; a second time would add the errors up: name the model that it was made "
                "of");
  check_new_run({options.run_dir});
  Quantized quantized(manifest, config, options.quantization);
  config.quantization = options.quantization;
  config.model.from = "";
  config.model.adapters.clear();
  NewFolder folder(options.run_dir);
  const RunPaths paths{folder.temporary()};
  keep_run_files(run_of_checkpoint(manifest.directory), paths);
  const std::string yaml = to_yaml(config);
  const Manifest made =
      write_first_checkpoint("quantize", paths, head_of(manifest, yaml, quantized.record()),
                             quantized.take_tensors(), options.shard_bytes);
  replace_file(paths.config(), yaml);
  folder.commit();
  QuantizeResult result = quantized.result();
  result.bytes = made.bytes();
  return result;
}

}  // namespace orthant
