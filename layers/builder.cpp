// SPDX-License-Identifier: Apache-2.0
#include "layers/builder.h"

namespace orthant {

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
  return build.store.add({.name = storage_name,
                          .shape = {rows, columns.size},
                          .dtype = options.dtype,
                          .device = build.device,
                          .logical = std::move(logical),
                          .replicas = options.replicas,
                          .tied = options.tied});
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
