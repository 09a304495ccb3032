// SPDX-License-Identifier: Apache-2.0
#include "trainer/hub/hub_config.h"

#include <algorithm>

#include "base/config/config.h"
#include "base/error.h"
#include "base/problems.h"

namespace orthant {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 24;
// Of the samples that a configuration of its own would make; a model keeps its longest sequence.
constexpr int64_t kSequenceLength = 2048;

// Takes a key out of a mapping; nullopt where it says nothing.
std::optional<YamlNode> take(YamlNode& map, const std::string& key) {
  const auto found = std::find_if(map.map.begin(), map.map.end(),
                                  [&](const YamlNode::Entry& e) { return e.key == key; });
  if (found == map.map.end()) return std::nullopt;
  YamlNode value = std::move(found->value);
  map.map.erase(found);
  if (value.kind == YamlNode::Kind::kNull) return std::nullopt;
  return value;
}

std::string scalar_of(const YamlNode& map, const std::string& key) {
  const YamlNode* found = map.find(key);
  return found && found->kind == YamlNode::Kind::kScalar ? found->scalar : "";
}

int64_t count_of(const YamlNode& node, const std::string& what) {
  int64_t value = -1;
  try {
    size_t end = 0;
    value = std::stoll(node.scalar, &end);
    if (end != node.scalar.size()) value = -1;
  } catch (const std::exception&) {  // said below
  }
  ORTHANT_CHECK(value >= 0 && value < (int64_t{1} << 31), kConfig, node.place.text(), ": ", what,
                ": want an integer >= 0, got ", describe(node));
  return value;
}

Fp8Blocks fp8_blocks(const YamlNode& quantization) {
  const std::string method = scalar_of(quantization, "quant_method");
  const YamlNode* block = quantization.find("weight_block_size");
  ORTHANT_CHECK(method == "fp8" && block && block->items.size() == 2, kConfig,
                quantization.place.text(), ": quantization_config: want quant_method fp8 with a ",
                "weight_block_size, got ", method.empty() ? "no quant_method" : method,
                "; other quantised weights are not read");
  return {count_of(block->items[0], "weight_block_size"),
          count_of(block->items[1], "weight_block_size")};
}

// What the weights are kept in; fp16 has more digits than bf16, which would lose them.
const char* precision_of(const YamlNode& model) {
  const std::string torch = scalar_of(model, "torch_dtype"), now = scalar_of(model, "dtype");
  return (now.empty() ? torch : now) == "bfloat16" ? "bf16" : "fp32";
}

int64_t longest_of(const YamlNode& model) {
  const YamlNode* longest = model.find("max_position_embeddings");
  return longest && longest->kind == YamlNode::Kind::kScalar
             ? count_of(*longest, "max_position_embeddings")
             : kSequenceLength;
}

// Layers without experts are the first ones, as many as another key says.
void check_layer_types(const YamlNode& types, const YamlNode& model) {
  const YamlNode* dense = model.find("first_k_dense_replace");
  const int64_t count = dense ? count_of(*dense, "first_k_dense_replace") : 0;
  for (int64_t layer = 0; layer < std::ssize(types.items); ++layer)
    ORTHANT_CHECK(
        types.items[static_cast<size_t>(layer)].scalar == (layer < count ? "dense" : "sparse"),
        kConfig, types.place.text(), ": mlp_layer_types: want dense for the first ", count,
        " layers (first_k_dense_replace) and sparse behind them");
}

}  // namespace

HubConfig parse_hub_config(const std::string& text, const HubConfigOrigin& origin) {
  const std::string& path = origin.label;
  ORTHANT_CHECK(text.size() <= kMaxConfigBytes, kConfig, path, ": has ", text.size(),
                " bytes, at most ", kMaxConfigBytes, " are read");
  HubConfig hub;
  YamlNode model = parse_yaml(text, path);
  if (const auto quantization = take(model, "quantization_config"))
    hub.fp8 = fp8_blocks(*quantization);
  if (const auto layers = take(model, "num_nextn_predict_layers"))
    hub.extra_layers = count_of(*layers, "num_nextn_predict_layers");
  if (const auto types = take(model, "mlp_layer_types")) check_layer_types(*types, model);
  // transformers 5 reads the newer key alone.
  if (const YamlNode* rope = model.find("rope_parameters"); rope && rope->is_map())
    take(model, "rope_scaling");
  const int64_t length = std::max<int64_t>(1, std::min(kSequenceLength, longest_of(model)));
  const std::string frame =
      concat("precision: ", precision_of(model), "\nrun: {}\nbatch: {sequence_length: ", length,
             "}\nmodel: {}\n");
  YamlNode root = parse_yaml(frame, path);
  *root.find("model") = std::move(model);
  RunConfig& config = hub.config;
  config.run.name = origin.name;
  config.data.tokenizer = origin.tokenizer;
  read_config(std::move(root), {}, field_list(config));  // its notes are of keys that say nothing
  Problems problems;
  problems.collect([&] { config.model.resolve(length); });
  problems.collect([&] { resolve_routing(config.model, config.moe); });
  try {
    problems.raise();
  } catch (const Error& error) {
    throw_error(ErrorKind::kConfig, concat(path, ": ", error.what()));
  }
  return hub;
}

}  // namespace orthant
