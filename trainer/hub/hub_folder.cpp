// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/hub_folder.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/file_io.h"
#include "checkpoint/json_strict.h"

namespace orthant {

std::string hub_tokenizer(const std::string& folder) {
  const std::string path = folder + "/tokenizer.model";
  ORTHANT_CHECK(path_exists(path), kMissingInput, path,
                ": is not there; want the model's tokenizer");
  return path;
}

bool begins_with_bos(const std::string& folder) {
  const std::string path = folder + "/tokenizer_config.json";
  if (!path_exists(path)) return true;
  constexpr int64_t kMaxBytes = int64_t{1} << 26;
  const nlohmann::json config = parse_json(read_text_file(path, kMaxBytes), path);
  const auto found = config.find("add_bos_token");
  if (found == config.end() || found->is_null()) return true;
  ORTHANT_CHECK(found->is_boolean(), kData, path, ": add_bos_token: want true or false, got ",
                json_excerpt(*found));
  return found->get<bool>();
}

}  // namespace orthant
