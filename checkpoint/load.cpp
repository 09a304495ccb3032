// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>

#include "base/error.h"
#include "checkpoint/reader.h"
#include "checkpoint/together.h"
#include "checkpoint/verify.h"

namespace orthant {
namespace {

// What this rank takes from each slice of one tensor.
struct TensorLoad {
  const ManifestTensor* tensor = nullptr;
  struct Piece {
    const CheckpointTensor* wanted = nullptr;
    SliceCopy copy;
  };
  std::vector<std::vector<Piece>> pieces;  // by slice of the tensor
};

class Loader {
 public:
  Loader(const Manifest& manifest, std::span<const CheckpointTensor> wanted)
      : manifest_(manifest), used_(manifest.tensors.size(), '0') {
    std::map<const ManifestTensor*, size_t> index;
    for (const CheckpointTensor& tensor : wanted) {
      const ManifestTensor& source = find_source(tensor);
      const auto [at, is_new] = index.try_emplace(&source, loads_.size());
      if (is_new) {
        loads_.push_back({&source, {}});
        loads_.back().pieces.resize(source.slices.size());
      }
      used_[static_cast<size_t>(&source - manifest.tensors.data())] = '1';
      plan(tensor, loads_[at->second]);
    }
  }

  // '1' where a tensor of the manifest is wanted here.
  const std::string& used() const { return used_; }

  void run() {
    std::map<const CheckpointTensor*, Tensor> staged;  // on the host, for data on devices
    for (const TensorLoad& load : loads_) {
      for (size_t s = 0; s < load.pieces.size(); ++s) {
        if (!load.pieces[s].empty()) read_pieces(load, s, staged);
      }
      for (const auto& [wanted, host] : staged) copy(host, wanted->data);
      staged.clear();
    }
  }

 private:
  const ManifestTensor& find_source(const CheckpointTensor& wanted) const {
    const ManifestTensor* source = manifest_.find(wanted.name);
    ORTHANT_CHECK(source != nullptr, kData, manifest_.directory, ": tensor ", wanted.name,
                  " is missing");
    ORTHANT_CHECK(
        source->dtype == wanted.data.dtype() && source->global_shape == wanted.global_shape, kData,
        manifest_.directory, ": tensor ", wanted.name, ": want ", name_of(wanted.data.dtype()), " ",
        wanted.global_shape.text(), ", the checkpoint has ", name_of(source->dtype), " ",
        source->global_shape.text());
    const std::string fault = slice_fault(wanted.global_shape, wanted.slice());
    ORTHANT_CHECK(fault.empty() && wanted.data.numel() == wanted.slice().numel(), kInternal,
                  "load: tensor ", wanted.name, ": ", fault, " for data ", describe(wanted.data));
    return *source;
  }

  static void plan(const CheckpointTensor& wanted, TensorLoad& load) {
    std::vector<TensorSlice> slices;
    for (const ManifestSlice& slice : load.tensor->slices) slices.push_back(slice.slice);
    int64_t filled = 0;
    for (const SliceCopy& copy : plan_copies(slices, wanted.slice())) {
      load.pieces[static_cast<size_t>(copy.from)].push_back({&wanted, copy});
      filled += copy.length;
    }
    ORTHANT_CHECK(filled == wanted.data.numel(), kInternal, "load: tensor ", wanted.name,
                  ": the plan fills ", filled, " of ", wanted.data.numel(), " elements");
  }

  const SafetensorsReader& open(int64_t file) {
    auto& reader = readers_[file];
    if (!reader) {
      reader = std::make_unique<SafetensorsReader>(file_path(manifest_, file));
      check_shard_header(manifest_, file, *reader);
    }
    return *reader;
  }

  void read_pieces(const TensorLoad& load, size_t slice,
                   std::map<const CheckpointTensor*, Tensor>& staged) {
    const ManifestSlice& source = load.tensor->slices[slice];
    read_slice(*load.tensor, source, open(source.file), bytes_);
    const auto size = static_cast<size_t>(size_of(load.tensor->dtype));
    for (const TensorLoad::Piece& piece : load.pieces[slice]) {
      Tensor to = piece.wanted->data;
      if (!to.device().is_cpu()) {
        Tensor& host = staged[piece.wanted];
        if (!host.defined()) host = Tensor::empty(to.shape(), to.dtype());
        to = host;
      }
      std::memcpy(static_cast<char*>(to.data()) + static_cast<size_t>(piece.copy.to_offset) * size,
                  bytes_.data() + static_cast<size_t>(piece.copy.from_offset) * size,
                  static_cast<size_t>(piece.copy.length) * size);
    }
  }

  const Manifest& manifest_;
  std::vector<TensorLoad> loads_;
  std::string used_;
  std::map<int64_t, std::unique_ptr<SafetensorsReader>> readers_;
  std::string bytes_;
};

void check_all_wanted(const Group& world, const Manifest& manifest, const std::string& used,
                      const LoadOptions& options) {
  const std::vector<std::string> all = world.gather_text(used);
  for (size_t t = 0; t < manifest.tensors.size(); ++t) {
    const std::string& name = manifest.tensors[t].name;
    const bool wanted = std::any_of(all.begin(), all.end(),
                                    [&](const std::string& mask) { return mask[t] == '1'; });
    const bool allowed =
        std::any_of(options.unused_prefixes.begin(), options.unused_prefixes.end(),
                    [&](const std::string& prefix) { return name.starts_with(prefix); });
    ORTHANT_CHECK(wanted || allowed, kData, manifest.directory, ": tensor ", name,
                  " is in the checkpoint, but this model has none of that name");
  }
}

}  // namespace

void load_tensors(const Group& world, const Manifest& manifest,
                  std::span<const CheckpointTensor> wanted, const LoadOptions& options) {
  std::optional<Loader> loader;
  together(world, [&] { loader.emplace(manifest, wanted); });
  check_all_wanted(world, manifest, loader->used(), options);
  if (options.verify_files) {
    together(world, [&] { check_files(manifest, world.rank(), world.size()); });
  }
  together(world, [&] { loader->run(); });
}

}  // namespace orthant
