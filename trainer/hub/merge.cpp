// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/merge.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/config/config.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/parallel_for.h"
#include "checkpoint/file_io.h"
#include "checkpoint/new_folder.h"
#include "checkpoint/reader.h"
#include "trainer/adapters.h"
#include "trainer/finetune_config.h"
#include "trainer/hub/first_checkpoint.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/stored_adapter.h"
#include "trainer/quantized_weights.h"
#include "trainer/saved_model.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

constexpr const char *kEmbedding = "model.embed_tokens.weight", *kHead = "lm_head.weight";

// What is merged into what.
struct Parts {
  Manifest manifest;  // of the model that was named
  RunConfig config;   // its configuration
  Manifest base;      // that is merged into
  StoredAdapter adapter;
  std::optional<Manifest> original;  // that a quantised base was made of, where it is found
  std::string original_place;        // where it was; empty: the base is not quantised
};

// Looks for the model that a quantised base was made of, and takes it for the base where that is
// asked for.
void find_original(const MergeOptions& options, Parts& parts) {
  const auto from = parts.base.extra.find(kQuantizedFromKey);
  ORTHANT_CHECK(options.into.empty() || from != parts.base.extra.end(), kConfig,
                "merge: --into: ", parts.base.directory, ": is not quantised: there is no other ",
                "base to merge into");
  if (from == parts.base.extra.end()) return;
  const size_t comma = from->second.rfind(", ");
  parts.original_place = from->second.substr(0, comma);
  const bool is_named = !options.into.empty() && options.into != kOriginal;
  const std::string place =
      is_named ? find_checkpoint("merge: --into", options.into) : parts.original_place;
  if (path_exists(place + "/manifest.json")) {
    Manifest found = read_manifest(place);
    if (weights_fingerprint(found) == from->second.substr(comma + 2)) parts.original = found;
  }
  if (options.into.empty()) return;
  ORTHANT_CHECK(parts.original.has_value(), kMissingInput, "merge: --into: ", place,
                ": is not there, or has other weights than the model that ", parts.base.directory,
                " was quantised from; name that with --into PATH, or leave it out and merge into ",
                "the dequantised weights");
  parts.base = *parts.original;
}

Parts open_parts(const MergeOptions& options) {
  Parts parts{.manifest = read_manifest(find_checkpoint("merge", options.model))};
  const std::string where = parts.manifest.directory + "/manifest.json";
  parts.config = parse_any_run_config(parts.manifest.configuration, where);
  if (options.adapter.empty()) {
    ORTHANT_CHECK(parts.config.lora.is_on(), kConfig, "merge: ", options.model,
                  ": has no adapters of its own; name some with --adapter");
    parts.adapter = adapter_of_run("merge", parts.manifest);
    parts.base = find_base(base_of_adapters(parts.manifest), parts.manifest.directory + "/../..");
    find_original(options, parts);
    return parts;
  }
  ORTHANT_CHECK(!parts.config.lora.is_on(), kConfig, "merge: --adapter: ", options.model,
                " has adapters of its own; merge those first");
  parts.base = parts.manifest;
  parts.adapter = open_adapter("merge", options.adapter, parts.config);
  check_adapter_fits(parts.adapter, parts.base);
  warn_of_other_base(parts.adapter, parts.base);
  find_original(options, parts);
  return parts;
}

// w [rows, columns] += scale * b [rows, rank] a [rank, columns].
void add_product(const Tensor& w, const Tensor& b, const Tensor& a, double scale) {
  const int64_t rows = w.dim(0), columns = w.dim(1), rank = a.dim(0);
  ORTHANT_CHECK(a.dim(1) == columns && b.dim(0) == rows && b.dim(1) == rank, kInternal,
                "merge: ", b.shape().text(), " times ", a.shape().text(), " is no ",
                w.shape().text());
  double* to = w.as<double>();
  const double *left = b.as<double>(), *right = a.as<double>();
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t k = 0; k < rank; ++k) {
        const double factor = scale * left[row * rank + k];
        for (int64_t c = 0; c < columns; ++c)
          to[row * columns + c] += factor * right[k * columns + c];
      }
  });
}

// Brings each row to its magnitude, as DoRA does (layers/dora.h).
void set_row_norms(const Tensor& w, const Tensor& magnitudes) {
  const int64_t columns = w.dim(1);
  for (int64_t row = 0; row < w.dim(0); ++row) {
    double* begin = w.as<double>() + row * columns;
    const double norm = std::sqrt(std::inner_product(begin, begin + columns, begin, 0.0));
    for (int64_t c = 0; c < columns; ++c) begin[c] *= magnitudes.as<double>()[row] / norm;
  }
}

Tensor transposed(const Tensor& matrix) {
  const int64_t rows = matrix.dim(0), columns = matrix.dim(1);
  const Tensor result = Tensor::empty({columns, rows}, DType::kF64);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      result.as<double>()[j * rows + i] = matrix.as<double>()[i * columns + j];
  return result;
}

// The tensors of the merged model, each made when it is written.
class Merged {
 public:
  explicit Merged(const Parts& parts) : parts_(parts), rules_(parts.adapter.lora) {
    std::set<std::string> left;
    for (const auto& [name, shape] : adapter().tensors) left.insert(name);
    for (const StoredWeight& weight : stored_weights(parts.base)) {
      add(weight.name, weight, left);
      if (weight.name == kEmbedding && is_untied()) add(kHead, weight, left);
    }
    ORTHANT_CHECK(left.empty(), kData, adapter().path, ": tensor ", *left.begin(),
                  ": belongs to no weight of ", parts.base.directory, ", so it cannot be merged");
  }

  // Head and embedding are one weight of the base, and are no more.
  bool is_untied() const {
    const auto has_adapter = [&](const char* module) {
      return std::any_of(adapter().tensors.begin(), adapter().tensors.end(), [&](const auto& t) {
        return is_adapter_tensor(t.first) && module_of(t.first) == module;
      });
    };
    return parts_.config.model.tie_word_embeddings &&
           (has_adapter("lm_head") || has_adapter("model.embed_tokens"));
  }
  std::vector<FirstTensor> take_tensors() { return std::move(tensors_); }
  int64_t merged() const { return merged_; }
  int64_t replaced() const { return replaced_; }

 private:
  const StoredAdapter& adapter() const { return parts_.adapter; }

  void add(const std::string& name, const StoredWeight& base, std::set<std::string>& left) {
    FirstTensor tensor{name, base.dtype, base.shape, {}};
    const std::string module = module_of(name);
    // A replaced weight keeps the base's dtype; both ends of an untied one are replaced.
    const std::string weight = adapter().tensors.contains(name) ? name : base.name;
    const bool is_replaced = adapter().tensors.contains(weight);
    if (is_replaced) {
      left.erase(weight);
      ++replaced_;
    }
    std::string a = module + ".lora_A.weight", b = module + ".lora_B.weight";
    const bool is_embedding = left.contains(module + ".lora_embedding_A");
    if (is_embedding) {
      // E += s A B^T, A being [vocab, rank].
      a = module + ".lora_embedding_B";
      b = module + ".lora_embedding_A";
    }
    const bool is_merged = left.erase(a) + left.erase(b) == 2;
    if (is_merged) ++merged_;
    const std::string magnitude = module + ".lora_magnitude_vector";
    const bool has_magnitude = is_merged && left.erase(magnitude) == 1;
    tensor.read = [=, this] {
      Tensor w = is_replaced ? adapter().read(weight) : read_weight(parts_.base, base);
      if (is_merged) {
        w = w.to(DType::kF64).clone();
        const Tensor right = adapter().read(a).to(DType::kF64);
        add_product(w, adapter().read(b).to(DType::kF64), is_embedding ? transposed(right) : right,
                    rules_.of(module)->scale);
        if (has_magnitude) set_row_norms(w, adapter().read(magnitude).to(DType::kF64));
      }
      w = w.to(base.dtype);
      return std::string(static_cast<const char*>(w.data()), static_cast<size_t>(w.bytes()));
    };
    tensors_.push_back(std::move(tensor));
  }

  const Parts& parts_;
  LoraRules rules_;
  std::vector<FirstTensor> tensors_;
  int64_t merged_ = 0, replaced_ = 0;
};

Manifest head_of(const Parts& parts, const std::string& configuration) {
  Manifest head{.run_id = parts.manifest.run_id + "-merged",
                .layout = "merged",
                .configuration = configuration};
  for (const char* key : {"tokenizer", kBeginKey}) {
    const auto found = parts.manifest.extra.find(key);
    if (found != parts.manifest.extra.end()) head.extra.insert(*found);
  }
  // Weights of an imported base are written again in the dtype that they came in.
  const auto imported = parts.base.extra.find(kImportedKey);
  if (imported != parts.base.extra.end()) head.extra.insert(*imported);
  head.extra[kMergedIntoKey] = concat(parts.base.directory, ", ", weights_fingerprint(parts.base));
  head.extra["merged_adapter"] = parts.adapter.path;
  return head;
}

MicroBatch drawn_rows(int64_t vocab) {
  constexpr int64_t kRows = 2, kLength = 16;
  MicroBatch rows{.sequences = kRows, .length = kLength, .sample_ids = {0, 1}};
  for (int64_t i = 0; i < kRows * kLength; ++i) {
    rows.ids.push_back(static_cast<int32_t>((i * i * 7919 + i * 104729 + 17) % vocab));
    rows.labels.push_back(kIgnoredLabel);
    rows.positions.push_back(static_cast<int32_t>(i % kLength));
    rows.doc_start.push_back(0);
  }
  return rows;
}

std::vector<double> logits_of(const std::string& model, const std::string& adapter) {
  SavedModelOptions options{.may_be_another_base = true};
  if (!adapter.empty()) options.adapters = {{.name = "", .path = adapter}};
  const SavedModel saved = load_saved_model("merge", model, options, Group::self());
  Pass pass(drawn_rows(saved.config.model.vocab_size), {}, saved.role->device());
  const NoGradScope no_grad;
  return saved.model->head().logits(saved.model->forward(Var(), pass).value()).to_doubles();
}

}  // namespace

namespace {

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace

MergeResult merge_model(const MergeOptions& options) {
  const Parts parts = open_parts(options);
  Merged merged(parts);
  MergeResult result{.base = parts.base.directory,
                     .base_fingerprint = weights_fingerprint(parts.base),
                     .merged = merged.merged(),
                     .replaced = merged.replaced(),
                     .was_untied = merged.is_untied(),
                     .dequantised = quantization_record(parts.base).format != Quantization::kNone,
                     .original = parts.original_place};
  ORTHANT_CHECK(options.may_untie || !result.was_untied, kConfig, parts.adapter.path,
                ": has adapters of head or embedding, which are one weight of the model and would "
                "be two: orthant merge, and name what it makes with model.from");
  RunConfig config = parts.config;
  config.lora = {};
  config.quantization = {};
  config.model.from = "";
  config.model.adapters.clear();
  if (result.was_untied) config.model.tie_word_embeddings = false;
  check_new_run({options.run_dir});
  NewFolder folder(options.run_dir);
  const RunPaths paths{folder.temporary()};
  keep_run_files({parts.manifest.directory + "/../.."}, paths);
  result.tensors =
      std::ssize(write_first_checkpoint("merge", paths, head_of(parts, to_yaml(config)),
                                        merged.take_tensors(), options.shard_bytes)
                     .tensors);
  replace_file(paths.config(), to_yaml(config));
  // One model after the other is in memory.
  const std::vector<double> apart = logits_of(options.model, options.adapter);
  result.difference = largest_difference(apart, logits_of(paths.dir, ""));
  for (const double logit : apart) result.largest = std::max(result.largest, std::abs(logit));
  if (result.dequantised && parts.original)
    result.original_difference = largest_difference(
        apart, logits_of(parts.original->directory,
                         options.adapter.empty() ? parts.manifest.directory : options.adapter));
  folder.commit();
  return result;
}

}  // namespace orthant
