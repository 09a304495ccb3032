// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.h"

namespace orthant {
namespace {

Cut cut_of(const LayerBuilder& build, const std::vector<WeightPart>& parts,
           const MatrixOptions& options) {
  if (build.ranks.tensor.size() == 1) return Cut::kNone;
  if (options.own_in.size >= 0) return Cut::kInputs;
  return parts.front().own.size >= 0 ? Cut::kOutputs : Cut::kNone;
}

MatrixOptions of_product(MatrixOptions options) {
  options.is_product = true;
  return options;
}

}  // namespace

Linear::Linear(const LayerBuilder& build, const std::string& storage_name, int64_t in,
               const std::vector<WeightPart>& parts, const MatrixOptions& options)
    : weight_(&add_matrix(build, storage_name, in, parts, of_product(options))) {
  if (options.has_bias) bias_ = &add_vector(build, storage_name + ".bias", parts, options);
  std::vector<std::vector<LogicalTensor>> modules;
  for (const LogicalTensor& part : weight_->parameter().table()) modules.push_back({part});
  adapter_ = ProductAdapter::make(build, weight_->parameter(), cut_of(build, parts, options),
                                  modules, options.input.empty() ? storage_name : options.input);
}

}  // namespace orthant
