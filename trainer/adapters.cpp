// SPDX-License-Identifier: Apache-2.0
#include "trainer/adapters.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "base/checksum.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/file_io.h"
#include "checkpoint/reader.h"
#include "trainer/run/progress.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

constexpr const char* kRunMark = "RUN/";

struct NamedSize {
  int64_t numel = 0;
  int rank = 0;
  bool trains = false;
};

// The logical tensors of the whole model, on every rank.
std::map<std::string, NamedSize> all_tensors(const Role& role) {
  std::ostringstream own;
  for (const auto& parameter : role.store().all())
    for (const LogicalTensor& t : parameter->logical())
      own << t.name << ' ' << t.global_shape.numel() << ' ' << t.global_shape.rank() << ' '
          << parameter->trainable() << '\n';
  std::map<std::string, NamedSize> all;
  for (const std::string& text : role.groups().world.gather_text(own.str())) {
    std::istringstream lines(text);
    std::string name;
    NamedSize size;
    while (lines >> name >> size.numel >> size.rank >> size.trains) all[name] = size;
  }
  return all;
}

}  // namespace

std::shared_ptr<const LoraRules> lora_rules(const RunConfig& config) {
  return config.lora.is_on() ? std::make_shared<const LoraRules>(config.lora) : nullptr;
}

std::shared_ptr<const QuantizationRules> quantization_rules(const RunConfig& config) {
  if (!config.quantization.is_on()) return nullptr;
  return std::make_shared<const QuantizationRules>(config.quantization, lora_rules(config));
}

std::function<bool(const std::string&)> trained_with(
    const std::shared_ptr<const LoraRules>& rules) {
  if (!rules) return {};
  return [rules](const std::string& name) {
    return is_adapter_tensor(name) || rules->saves(module_of(name));
  };
}

std::string weights_fingerprint(const Manifest& manifest) {
  Checksum sum;
  for (const ManifestTensor& tensor : manifest.tensors) {
    if (tensor.name.starts_with(kOptimizerPrefix)) continue;
    std::string text =
        concat(tensor.name, ' ', tensor.global_shape.text(), ' ', name_of(tensor.dtype));
    for (const ManifestSlice& slice : tensor.slices)
      text += concat(' ', slice_key("", tensor.global_shape, slice.slice), ' ', slice.checksum);
    sum.update(text.data(), text.size());
  }
  return sum.hex();
}

AdapterBase base_of_adapters(const Manifest& manifest) {
  AdapterBase base;
  const auto read = [&](const char* key, std::string& value) {
    const auto found = manifest.extra.find(key);
    if (found != manifest.extra.end()) value = found->second;
  };
  read("base", base.place);
  read("base_fingerprint", base.fingerprint);
  return base;
}

AdapterBase base_at(const Manifest& manifest, const std::string& run_dir) {
  const auto absolute = [](const std::string& path) {
    return std::filesystem::absolute(path).lexically_normal().string();
  };
  std::string place = absolute(manifest.directory);
  const std::string run = absolute(run_dir) + "/";
  // It may move with its run.
  if (place.starts_with(run)) place = kRunMark + place.substr(run.size());
  return {.place = std::move(place), .fingerprint = weights_fingerprint(manifest)};
}

Manifest find_base(const AdapterBase& base, const std::string& run_dir,
                   const std::string& instead) {
  std::string path = base.place.starts_with(kRunMark)
                         ? run_dir + "/" + base.place.substr(std::string(kRunMark).size())
                         : base.place;
  if (!path_exists(path + "/manifest.json") && !instead.empty()) path = instead;
  ORTHANT_CHECK(path_exists(path + "/manifest.json"), kMissingInput, run_dir,
                ": the base of its adapters, ", path,
                ", does not exist any more; put it back, or name it with model.from");
  Manifest manifest = read_manifest(path);
  const std::string found = weights_fingerprint(manifest);
  ORTHANT_CHECK(found == base.fingerprint, kData, path, ": is not the base of the adapters in ",
                run_dir, ": its weights have the fingerprint ", found, ", theirs had ",
                base.fingerprint);
  return manifest;
}

TrainedShare check_trained(const Role& role, const LoraRules* rules) {
  TrainedShare share;
  // What patterns may name, and of that what may have an adapter; "lm_head" also of a tied head.
  std::vector<std::string> modules{"lm_head"}, matrices{"lm_head"};
  std::set<std::string> last_parts, adapted;
  for (const auto& [name, size] : all_tensors(role)) {
    share.all += size.numel;
    if (size.trains) share.trained += size.numel;
    const std::string module = module_of(name);  // of an adapter: that it stands beside
    modules.push_back(module);
    if (size.rank == 2) matrices.push_back(module);
    if (!is_adapter_tensor(name)) continue;
    share.adapters += size.numel;
    adapted.insert(module);
  }
  if (!rules) return share;
  for (const std::string& module : matrices)
    last_parts.insert(module.substr(module.rfind('.') + 1));
  std::string known;
  for (const std::string& part : last_parts) known += (known.empty() ? "" : ", ") + part;
  const std::vector<std::string> unmatched = rules->unmatched(modules, matrices);
  ORTHANT_CHECK(unmatched.empty(), kConfig, unmatched.front(),
                " names no module of the model that can have it; adapters stand beside those that "
                "end in ",
                known);
  for (const int64_t layer : rules->config().layers_to_transform) {
    const std::string part = concat("layers.", layer, ".");
    ORTHANT_CHECK(
        std::any_of(adapted.begin(), adapted.end(),
                    [&](const std::string& module) { return module.find(part) != module.npos; }),
        kConfig, "lora.layers_to_transform: ", layer,
        ": no module of such a layer has an adapter; the model has ",
        role.config().num_hidden_layers, " layers, from 0 on");
  }
  ORTHANT_CHECK(share.trained > 0, kConfig,
                "lora.exclude_modules: leaves nothing that trains; adapters stand beside modules "
                "that end in ",
                known);
  return share;
}

void describe_training(const TrainedShare& share) {
  if (share.trained == share.all) return;
  const double percent =
      std::round(1e4 * static_cast<double>(share.trained) / static_cast<double>(share.all)) / 100;
  log::info("trains: ", with_thousands(share.trained), " of ", with_thousands(share.all),
            " parameters (", percent, "%): ", with_thousands(share.adapters), " of adapters, ",
            with_thousands(share.trained - share.adapters), " of the model; the other ",
            with_thousands(share.all - share.trained), " are frozen");
}

}  // namespace orthant
