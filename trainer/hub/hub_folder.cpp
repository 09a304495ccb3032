// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/hub_folder.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "checkpoint/file_io.h"
#include "checkpoint/json_strict.h"
#include "data/tokenizer_json.h"

namespace orthant {

namespace {

// What add_bos_token says, if anything.
std::optional<bool> add_bos_token(const PublishedModel& model) {
  constexpr const char* kFile = "tokenizer_config.json";
  const auto file = model.files.find(kFile);
  if (file == model.files.end()) return std::nullopt;
  const std::string path = model.label_of(kFile);
  const nlohmann::json config = parse_json(file->second, path);
  const auto found = config.find("add_bos_token");
  if (found == config.end() || found->is_null()) return std::nullopt;
  ORTHANT_CHECK(found->is_boolean(), kData, path, ": add_bos_token: want true or false, got ",
                json_excerpt(*found));
  return found->get<bool>();
}

}  // namespace

bool begins_with_bos(const PublishedModel& model, const Tokenizer& tokenizer) {
  const std::optional<bool> said = add_bos_token(model);
  const int32_t bos = tokenizer.special_ids().bos;
  if (bos < 0) return false;
  if (said) return *said;
  const auto* sequences = dynamic_cast<const SequenceTokenizer*>(&tokenizer);
  if (!sequences) return true;
  const std::vector<int32_t> around = sequences->encode_sequence("");
  return !around.empty() && around.front() == bos;
}

std::vector<int32_t> end_ids_of(const std::string& folder, int64_t vocab) {
  constexpr int64_t kMaxBytes = int64_t{1} << 24;
  for (const char* name : {"/generation_config.json", "/config.json"}) {
    const std::string path = folder + name;
    if (!path_exists(path)) continue;
    const nlohmann::json config = parse_json(read_text_file(path, kMaxBytes), path);
    const auto found = config.find("eos_token_id");
    if (found == config.end() || found->is_null()) continue;
    std::vector<int32_t> ids;
    const auto add = [&](const nlohmann::json& value) {
      const int64_t id = json_count(value, path + ": eos_token_id");
      ORTHANT_CHECK(id < vocab, kData, path, ": eos_token_id: want ids below ", vocab, ", got ",
                    id);
      ids.push_back(static_cast<int32_t>(id));
    };
    if (!found->is_array()) {
      add(*found);
    } else {
      for (const nlohmann::json& value : *found) add(value);
    }
    return ids;
  }
  return {};
}

}  // namespace orthant
