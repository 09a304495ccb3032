// SPDX-License-Identifier: Apache-2.0
#include "model/hub/peft_tensors.h"

#include <cctype>
#include <cstring>

#include "base/error.h"

namespace orthant {
namespace {

constexpr const char* kA = ".lora_A.weight";
constexpr const char* kB = ".lora_B.weight";

std::string key(const std::string& module, const std::string& end) {
  return kPeftPrefix + module + end;
}

int64_t columns_of(const Shape& shape) { return shape.rank() > 1 ? shape[1] : 1; }

// Calls move(offset in ours, offset in the source) for each element, in our order.
template <class Move>
void each_element(const PeftTensor& t, const Move& move) {
  const int64_t columns = columns_of(t.shape);
  for (int64_t row = 0; row < t.shape[0]; ++row)
    for (int64_t column = 0; column < columns; ++column)
      move(row * columns + column, t.first + row * t.row_stride + column * t.column_stride);
}

}  // namespace

PeftTensor whole_peft_tensor(const std::string& name, const Shape& shape,
                             const std::string& source) {
  return {.name = name,
          .shape = shape,
          .source = source,
          .source_shape = shape,
          .row_stride = columns_of(shape)};
}

std::vector<PeftTensor> peft_pair(const ModelConfig& model, const std::string& module,
                                  const std::string& theirs, const Shape& weight, int64_t rank) {
  std::vector<PeftTensor> pair = {
      whole_peft_tensor(module + kA, {rank, weight[1]}, key(theirs, kA)),
      whole_peft_tensor(module + kB, {weight[0], rank}, key(theirs, kB))};
  // The rows of B are those of the weight.
  pair[1].rotary = hub_tensor(model, module + ".weight", weight).rotary;
  return pair;
}

PeftTensor peft_magnitude(const ModelConfig& model, const std::string& module,
                          const std::string& source, const Shape& weight) {
  PeftTensor tensor = whole_peft_tensor(module + ".lora_magnitude_vector", {weight[0]}, source);
  tensor.rotary = hub_tensor(model, module + ".weight", weight).rotary;
  return tensor;
}

std::vector<PeftTensor> peft_embedding_pair(const std::string& module, const Shape& weight,
                                            int64_t rank) {
  const std::string a = ".lora_embedding_A", b = ".lora_embedding_B";
  PeftTensor transposed = whole_peft_tensor(module + a, {weight[0], rank}, key(module, a));
  transposed.source_shape = {rank, weight[0]};
  transposed.row_stride = 1;
  transposed.column_stride = weight[0];
  return {transposed, whole_peft_tensor(module + b, {weight[1], rank}, key(module, b))};
}

std::vector<PeftTensor> peft_expert_pairs(const PeftExperts& of) {
  const int64_t in = of.a_shape()[1];
  const int64_t out = of.is_down() ? of.width : of.inner;
  const int64_t first_row = of.part == "up_proj" ? of.inner : 0;
  std::vector<PeftTensor> tensors;
  for (int64_t e = 0; e < of.experts; ++e) {
    const std::string module = concat(of.layer, ".", e, ".", of.part);
    tensors.push_back({.name = module + kA,
                       .shape = {of.part_rank, in},
                       .source = key(of.module, kA),
                       .source_shape = of.a_shape(),
                       .first = (e * of.rank + of.first) * in,
                       .row_stride = in});
    const int64_t b_columns = of.b_shape()[1];
    tensors.push_back({.name = module + kB,
                       .shape = {out, of.part_rank},
                       .source = key(of.module, kB),
                       .source_shape = of.b_shape(),
                       .first = first_row * b_columns + of.first * of.experts + e,
                       .row_stride = b_columns,
                       .column_stride = of.experts});
  }
  return tensors;
}

std::optional<ExpertModule> expert_module(const std::string& module) {
  const std::string mark = ".experts.";
  const size_t at = module.find(mark);
  if (at == std::string::npos) return std::nullopt;
  size_t end = at + mark.size();
  int64_t expert = 0;
  for (; end < module.size() && std::isdigit(static_cast<unsigned char>(module[end])); ++end)
    expert = 10 * expert + (module[end] - '0');
  if (end == at + mark.size() || end >= module.size() || module[end] != '.') return std::nullopt;
  return ExpertModule{module.substr(0, at + mark.size() - 1), module.substr(end + 1), expert};
}

void gather_peft(const PeftTensor& t, int64_t elem_bytes, const char* source, char* ours) {
  const auto size = static_cast<size_t>(elem_bytes);
  each_element(t, [&](int64_t here, int64_t there) {
    std::memcpy(ours + here * elem_bytes, source + there * elem_bytes, size);
  });
  reorder_rows(HubDirection::kIn, t.rotary, t.shape[0], columns_of(t.shape) * elem_bytes, ours);
}

void scatter_peft(const PeftTensor& t, int64_t elem_bytes, const char* ours, char* source) {
  const auto size = static_cast<size_t>(elem_bytes);
  std::string rows(ours, static_cast<size_t>(t.shape.numel() * elem_bytes));
  reorder_rows(HubDirection::kOut, t.rotary, t.shape[0], columns_of(t.shape) * elem_bytes,
               rows.data());
  each_element(t, [&](int64_t here, int64_t there) {
    std::memcpy(source + there * elem_bytes, rows.data() + here * elem_bytes, size);
  });
}

std::vector<std::string> shortest_names(const std::set<std::string>& chosen,
                                        const std::set<std::string>& others) {
  const auto each_end = [](const std::string& name, const auto& use) {
    for (size_t dot = name.rfind('.');; dot = name.rfind('.', dot - 1)) {
      if (use(dot == std::string::npos ? name : name.substr(dot + 1)) || dot == std::string::npos)
        return;
      if (dot == 0) return;
    }
  };
  std::set<std::string> taken, names;
  for (const std::string& other : others)
    each_end(other, [&](const std::string& end) { return taken.insert(end), false; });
  for (const std::string& name : chosen)
    each_end(name, [&](const std::string& end) {
      const bool is_free = !taken.contains(end);
      if (is_free || end == name) names.insert(end);
      return is_free;
    });
  return {names.begin(), names.end()};
}

}  // namespace orthant
