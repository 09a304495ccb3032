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

// What its manifest says under a key; nothing where no import was completed.
std::optional<std::string> noted(const std::string& base, const char* key) {
  const std::string checkpoint = RunPaths{base}.checkpoints() + "/" + step_name(0);
  if (!path_exists(checkpoint + "/" + kManifestName)) return std::nullopt;
  const Manifest manifest = read_manifest(checkpoint);
  const auto found = manifest.extra.find(key);
  return found == manifest.extra.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

std::string imported_model(const std::string& folder, const std::string& from) {
  return noted(folder, kImportedKey) == from ? folder : "";
}

std::string import_into(const std::string& key, const std::string& folder, const std::string& from,
                        bool predicts_further) {
  const ImportOptions options{
      .folder = from, .run_dir = folder, .predicts_further = predicts_further};
  if (noted(folder, kSourceKey) == source_of(options)) return folder;
  if (path_exists(folder))
    log::info(key, ": ", folder, " is of another model, or unfinished: imported again");
  remove_tree(folder);
  log::info(key, ": importing ", from, " into ", folder);
  import_model(options);
  return folder;
}

}  // namespace orthant
