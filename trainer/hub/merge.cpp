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
#include "trainer/hub/published_model.h"
#include "trainer/hub/stored_adapter.h"
#include "trainer/saved_model.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

constexpr int64_t kMaxKeptBytes = int64_t{1} << 30;
constexpr const char *kEmbedding = "model.embed_tokens.weight", *kHead = "lm_head.weight";

// What is merged into what.
struct Parts {
  Manifest manifest;  // of the model that was named
  RunConfig config;   // its configuration
  Manifest base;
  StoredAdapter adapter;
};

Parts open_parts(const MergeOptions& options) {
  Parts parts{.manifest = read_manifest(find_checkpoint("merge", options.model))};
  const std::string where = parts.manifest.directory + "/manifest.json";
  parts.config = parse_any_run_config(parts.manifest.configuration, where);
  if (options.adapter.empty()) {
    ORTHANT_CHECK(parts.config.lora.is_on(), kConfig, "merge: ", options.model,
                  ": has no adapters of its own; name some with --adapter");
    parts.adapter = adapter_of_run("merge", parts.manifest);
    parts.base = find_base(base_of_adapters(parts.manifest), parts.manifest.directory + "/../..");
    return parts;
  }
  ORTHANT_CHECK(!parts.config.lora.is_on(), kConfig, "merge: --adapter: ", options.model,
                " has adapters of its own; merge those first");
  parts.base = parts.manifest;
  parts.adapter = open_adapter("merge", options.adapter, parts.config);
  warn_of_other_base(parts.adapter, parts.base);
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
    for (const ManifestTensor& tensor : parts.base.tensors)
      if (!tensor.name.starts_with(kOptimizerPrefix)) add(tensor.name, tensor, left);
    if (is_untied()) add(kHead, *parts.base.find(kEmbedding), left);
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

  void add(const std::string& name, const ManifestTensor& base, std::set<std::string>& left) {
    FirstTensor tensor{name, base.dtype, base.global_shape, {}};
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
    tensor.read = [=, this, &base] {
      Tensor w = is_replaced ? adapter().read(weight) : loaded(base);
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

  Tensor loaded(const ManifestTensor& t) const {
    const std::vector<int64_t> from(static_cast<size_t>(t.global_shape.rank()), 0);
    const CheckpointTensor wanted[] = {{.name = t.name,
                                        .global_shape = t.global_shape,
                                        .begin = from,
                                        .shape = t.global_shape,
                                        .data = Tensor::empty(t.global_shape, t.dtype)}};
    load_tensors(Group::self(), parts_.base, wanted,
                 {.unused_prefixes = {""}, .verify_files = false});
    return wanted[0].data;
  }

  const Parts& parts_;
  LoraRules rules_;
  std::vector<FirstTensor> tensors_;
  int64_t merged_ = 0, replaced_ = 0;
};

// The files of a run beside its checkpoints: the tokenizer, and what was published with the model.
void keep_files(const RunPaths& from, const RunPaths& to) {
  make_folders(to.hub());
  const auto keep = [](const std::string& source, const std::string& target) {
    if (path_exists(source)) replace_file(target, read_text_file(source, kMaxKeptBytes));
  };
  for (const char* name : kHubFiles) {
    keep(from.hub() + "/" + name, to.hub() + "/" + name);
    if (std::string(name).starts_with("tokenizer.")) keep(from.file(name), to.file(name));
  }
}

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
  const SavedModel saved = load_saved_model("merge", model, "", adapter);
  Pass pass(drawn_rows(saved.config.model.vocab_size), {}, saved.role->device());
  const NoGradScope no_grad;
  return saved.model->head().logits(saved.model->forward(Var(), pass).value()).to_doubles();
}

}  // namespace

MergeResult merge_model(const MergeOptions& options) {
  const Parts parts = open_parts(options);
  Merged merged(parts);
  MergeResult result{.base = parts.base.directory,
                     .base_fingerprint = weights_fingerprint(parts.base),
                     .merged = merged.merged(),
                     .replaced = merged.replaced(),
                     .was_untied = merged.is_untied()};
  ORTHANT_CHECK(options.may_untie || !result.was_untied, kConfig, parts.adapter.path,
                ": has adapters of head or embedding, which are one weight of the model and would "
                "be two: orthant merge, and name what it makes with model.from");
  RunConfig config = parts.config;
  config.lora = {};
  config.model.from = "";
  config.model.adapters.clear();
  if (result.was_untied) config.model.tie_word_embeddings = false;
  check_new_run({options.run_dir});
  NewFolder folder(options.run_dir);
  const RunPaths paths{folder.temporary()};
  keep_files({parts.manifest.directory + "/../.."}, paths);
  result.tensors =
      std::ssize(write_first_checkpoint("merge", paths, head_of(parts, to_yaml(config)),
                                        merged.take_tensors(), options.shard_bytes)
                     .tensors);
  replace_file(paths.config(), to_yaml(config));
  // One model after the other is in memory.
  const std::vector<double> apart = logits_of(options.model, options.adapter);
  const std::vector<double> whole = logits_of(paths.dir, "");
  for (size_t i = 0; i < apart.size(); ++i) {
    result.difference = std::max(result.difference, std::abs(apart[i] - whole[i]));
    result.largest = std::max(result.largest, std::abs(apart[i]));
  }
  folder.commit();
  return result;
}

}  // namespace orthant
