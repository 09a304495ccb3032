// SPDX-License-Identifier: Apache-2.0
#include "trainer/base_fit.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/config/config.h"
#include "base/error.h"
#include "trainer/hub/hub_model.h"

namespace orthant {
namespace {

using Shapes = std::map<std::string, Shape>;

// None where the values do not fit together, which is said elsewhere.
std::optional<Shapes> shapes_of(RunConfig config) {
  config.model.num_nextn_predict_layers = 0;
  config.lora = {};
  try {
    config.model.resolve(config.batch.sequence_length);
    resolve_routing(config.model, config.moe);
    const auto tensors = logical_tensors(config);
    return Shapes(tensors.begin(), tensors.end());
  } catch (const Error&) {
    return std::nullopt;
  }
}

// "model.norm.weight is [64], and would be [32]", of the first tensor that differs.
std::string difference(const Shapes& base, const Shapes& made) {
  for (const auto& [name, shape] : base) {
    const auto found = made.find(name);
    if (found == made.end()) return concat(name, " would not be there");
    if (found->second != shape)
      return concat(name, " is ", shape.text(), ", and would be ", found->second.text());
  }
  for (const auto& [name, shape] : made)
    if (!base.contains(name)) return concat(name, " would have to be there");
  return "";
}

}  // namespace

void check_fits_base(const RunConfig& base, const RunConfig& made) {
  const std::optional<Shapes> want = shapes_of(base), got = shapes_of(made);
  if (!want || !got || *want == *got) return;
  // Each key alone over the base; together, where none does it alone.
  std::string guilty, all;
  const YamlNode over = parse_yaml(to_yaml(made), "run");
  const std::string base_yaml = to_yaml(base);
  for (const YamlNode::Entry& entry : over.find("model")->map) {
    YamlNode tree = parse_yaml(base_yaml, "base");
    YamlNode* own = tree.find("model")->find(entry.key);
    if (!own || own->kind != YamlNode::Kind::kScalar || own->scalar == entry.value.scalar) continue;
    const std::string text = concat("\n  model.", entry.key, ": ", entry.value.scalar,
                                    ", and the base has ", own->scalar);
    all += text;
    *own = entry.value;
    RunConfig alone;
    read_config(std::move(tree), {}, field_list(alone));
    if (shapes_of(alone) != want) guilty += text;
  }
  throw_error(ErrorKind::kConfig,
              concat("model.from: its weights do not fit what the run says over it:",
                     guilty.empty() ? all : guilty, "\n  ", difference(*want, *got)));
}

}  // namespace orthant
