// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/import.h"

#include <algorithm>
#include <filesystem>

#include "base/config/config.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "checkpoint/new_folder.h"
#include "data/chat_template_files.h"
#include "data/tokenizer.h"
#include "trainer/hub/first_checkpoint.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/hub_model.h"
#include "trainer/hub/wider.h"
#include "trainer/run/run_dir.h"
#include "trainer/run/work_progress.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

// A tensor of the model, as it is kept.
std::string bytes_of(const HubModel& model, const ImportTensor& tensor) {
  std::string bytes = model.read(tensor);
  const int64_t bad = first_not_finite(bytes, tensor.dtype);
  ORTHANT_CHECK(bad < 0, kData, model.source().place_of(tensor.source.name), ": element ", bad,
                " of ", tensor.name,
                " is NaN or infinite; the file is damaged, or the model diverged");
  return bytes;
}

// One of HubModel::extra, as it came.
FirstTensor extra_of(const HubModel& model, const std::string& name) {
  const SafetensorsEntry& entry = *model.source().find(name);
  const int64_t size = entry.shape.numel() * size_of(entry.dtype);
  return {kHubExtraPrefix + name, entry.dtype, entry.shape, [&model, name, size] {
            std::string bytes(static_cast<size_t>(size), '\0');
            model.source().read(name, 0, bytes.data(), size);
            return bytes;
          }};
}

std::vector<FirstTensor> tensors_of(const HubModel& model) {
  std::vector<FirstTensor> tensors;
  for (const ImportTensor& tensor : model.tensors())
    tensors.push_back({tensor.name, tensor.dtype, tensor.shape,
                       [&model, &tensor] { return bytes_of(model, tensor); }});
  for (const std::string& name : model.extra()) tensors.push_back(extra_of(model, name));
  return tensors;
}

bool has_same_bytes(const TensorSource& source, const std::string& a, const std::string& b) {
  constexpr int64_t kPieceBytes = 1 << 24;
  const SafetensorsEntry &of_a = *source.find(a), &of_b = *source.find(b);
  if (of_a.dtype != of_b.dtype || of_a.shape != of_b.shape) return false;
  const int64_t bytes = of_a.shape.numel() * size_of(of_a.dtype);
  for (int64_t at = 0; at < bytes; at += kPieceBytes) {
    const int64_t size = std::min(kPieceBytes, bytes - at);
    std::string ours(static_cast<size_t>(size), '\0'), theirs = ours;
    source.read(a, at, ours.data(), size);
    source.read(b, at, theirs.data(), size);
    if (ours != theirs) return false;
  }
  return true;
}

// The layer for multi-token prediction shares embedding and head with the model.
void check_copies(const HubModel& model) {
  const TensorSource& source = model.source();
  for (const HubCopy& copy : hub_copies(model.hub().config.model))
    ORTHANT_CHECK(!source.find(copy.name) || has_same_bytes(source, copy.name, copy.ours), kData,
                  source.place_of(copy.name), ": want ", copy.ours,
                  " once more, which a layer for multi-token prediction shares, got another; "
                  "model.num_nextn_predict_layers: 0 does without the layer");
}

Manifest write_checkpoint(const HubModel& model, const ImportOptions& options,
                          const Tokenizer& tokenizer, const RunPaths& paths) {
  Manifest manifest{.run_id = model.hub().config.run.name,
                    .layout = "imported",
                    .configuration = to_yaml(model.hub().config),
                    .extra = {{"tokenizer", tokenizer.name()},
                              {kImportedKey, options.folder},
                              {kSourceKey, source_of(options)}}};
  if (begins_with_bos(model.published(), tokenizer))
    manifest.extra[kBeginKey] = std::to_string(tokenizer.special_ids().bos);
  return write_first_checkpoint("import", paths, std::move(manifest), tensors_of(model),
                                options.shard_bytes);
}

// Files that go with the weights.
void keep_files(const PublishedModel& published, const RunPaths& paths) {
  make_folders(paths.hub());
  for (const auto& [name, content] : published.files)
    replace_file(paths.hub() + "/" + name, content);
}

Manifest write_run(const HubModel& model, const ImportOptions& options, const Tokenizer& tokenizer,
                   const RunPaths& paths) {
  keep_files(model.published(), paths);
  for (const ModelFile& file : tokenizer.model_files())
    replace_file(paths.file(file.name), file.content);
  Manifest manifest = write_checkpoint(model, options, tokenizer, paths);
  replace_file(paths.config(), to_yaml(model.hub().config));
  return manifest;
}

// The run is of use without its template, so this refuses nothing.
void check_chat_template(const RunPaths& paths) {
  try {
    ChatTemplates::load(paths.hub());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMissingInput)
      log::warn("import: the chat template cannot be used, so chat will not work: ", error.what());
  }
}

}  // namespace

std::string source_of(const ImportOptions& options) {
  return identity_of(options.folder) + (options.predicts_further ? ", and predicts further" : "");
}

ImportResult import_model(const ImportOptions& options) {
  const RunPaths paths{options.run_dir};
  check_new_run(paths);
  PublishedModel published = open_published(options.folder);
  const std::string tokenizer_path = published.is_gguf ? paths.hub() : options.folder;
  const HubModel model(std::move(published), tokenizer_path, options.predicts_further);
  check_copies(model);
  const std::unique_ptr<Tokenizer> tokenizer = model.published().tokenizer();
  const int64_t vocab = model.hub().config.model.vocab_size;
  ORTHANT_CHECK(tokenizer->vocab_size() <= vocab, kData, options.folder, ": its tokenizer has ",
                tokenizer->vocab_size(), " tokens, and ", model.published().described_by,
                " a vocabulary of ", vocab);
  NewFolder folder(options.run_dir);
  const Manifest manifest = write_run(model, options, *tokenizer, {folder.temporary()});
  folder.commit();
  check_chat_template(paths);
  ImportResult result{.tensors = std::ssize(model.tensors()),
                      .bytes = manifest.bytes(),
                      .checkpoint = paths.checkpoints() + "/" + step_name(0)};
  for (const ImportTensor& tensor : model.tensors()) result.parameters += tensor.shape.numel();
  return result;
}

}  // namespace orthant
