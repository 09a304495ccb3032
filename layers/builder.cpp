// SPDX-License-Identifier: Apache-2.0
#include "layers/builder.h"

#include "base/error.h"

namespace orthant {

Quantization LayerBuilder::quantization_of(const std::vector<LogicalTensor>& parts) const {
  if (!quantization) return Quantization::kNone;
  const auto of = [&](const LogicalTensor& part) { return quantization->of(module_of(part.name)); };
  const Quantization first = of(parts.front());
  for (const LogicalTensor& part : parts)
    ORTHANT_CHECK(of(part) == first, kConfig, "quantization: ", parts.front().name, " and ",
                  part.name, " are computed together: quantise both or neither");
  return first;
}

ParameterUse& add_matrix(const LayerBuilder& build, const std::string& storage_name, int64_t in,
                         const std::vector<WeightPart>& parts, const MatrixOptions& options) {
  const DimPart columns = options.own_in.within(in);
  std::vector<LogicalTensor> logical;
  int64_t rows = 0;
  for (const WeightPart& part : parts) {
    const DimPart own = part.own.within(part.rows);
    LogicalTensor t = whole_tensor(part.name, {part.rows, in}, rows * columns.size, build.init_std);
    t.begin = {own.begin, columns.begin};
    t.shape = {own.size, columns.size};
    rows += own.size;
    logical.push_back(std::move(t));
  }
  const Quantization held =
      options.is_product ? build.quantization_of(logical) : Quantization::kNone;
  return build.store.add({.name = storage_name,
                          .shape = {rows, columns.size},
                          .dtype = options.dtype,
                          .device = build.device,
                          .logical = std::move(logical),
                          .replicas = options.replicas,
                          .tied = options.tied,
                          .quantization = held});
}

ParameterUse& add_vector(const LayerBuilder& build, const std::string& storage_name,
                         const std::vector<WeightPart>& parts, const MatrixOptions& options) {
  std::vector<LogicalTensor> logical;
  int64_t rows = 0;
  for (const WeightPart& part : parts) {
    const DimPart own = part.own.within(part.rows);
    const std::string name = part.name.substr(0, part.name.rfind('.')) + ".bias";
    LogicalTensor t = whole_tensor(name, {part.rows}, rows, 0.0);
    t.begin = {own.begin};
    t.shape = {own.size};
    rows += own.size;
    logical.push_back(std::move(t));
  }
  return build.store.add({.name = storage_name,
                          .shape = {rows},
                          .dtype = options.dtype,
                          .device = build.device,
                          .logical = std::move(logical),
                          .replicas = options.replicas});
}

}  // namespace orthant
