// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/imported_base.h"

#include <optional>

#include "base/log.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "checkpoint/reader.h"
#include "trainer/hub/hub_folder.h"
#include "trainer/hub/import.h"
#include "trainer/run/run_dir.h"

namespace orthant {
namespace {

std::string base_of(const std::string& run_dir) { return run_dir + "/base"; }

// What its manifest says under a key; nothing where no import was completed.
std::optional<std::string> noted(const std::string& base, const char* key) {
  const std::string checkpoint = RunPaths{base}.checkpoints() + "/" + step_name(0);
  if (!path_exists(checkpoint + "/" + kManifestName)) return std::nullopt;
  const Manifest manifest = read_manifest(checkpoint);
  const auto found = manifest.extra.find(key);
  return found == manifest.extra.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

std::string imported_base(const std::string& run_dir, const std::string& from) {
  return noted(base_of(run_dir), kImportedKey) == from ? base_of(run_dir) : "";
}

std::string import_base(const std::string& run_dir, const std::string& from,
                        bool predicts_further) {
  const ImportOptions options{
      .folder = from, .run_dir = base_of(run_dir), .predicts_further = predicts_further};
  if (noted(options.run_dir, kSourceKey) == source_of(options)) return options.run_dir;
  if (path_exists(options.run_dir))
    log::info("model.from: ", options.run_dir,
              " is of another model, or unfinished: imported again");
  remove_tree(options.run_dir);
  log::info("model.from: importing ", from, " into ", options.run_dir);
  import_model(options);
  return options.run_dir;
}

}  // namespace orthant
