// SPDX-License-Identifier: Apache-2.0
// Where a trained model's routers send which tokens.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "model/transformer.h"

namespace orthant {

// Text of one kind, such as a file.
struct RoutingDomain {
  std::string name;
  std::vector<int32_t> tokens;
};

struct LayerInspection {
  int64_t layer = 0;
  std::vector<std::vector<double>> counts;        // [domain][expert]: tokens
  std::vector<std::map<int32_t, double>> tokens;  // [expert]: how often each token came
  std::vector<double> loads() const;              // [expert], of all domains
};
struct RoutingInspection {
  std::vector<RoutingDomain> domains;
  std::vector<LayerInspection> layers;  // MoE layers alone
};

// Runs the model over every domain, in rows of its longest sequence.
RoutingInspection inspect_routing(const Transformer& model, std::vector<RoutingDomain> domains);

// The tokens that say most about an expert: those with the largest p log(p / q), p the token's
// share of what came to the expert, q of what came to all experts of the layer.  Best first.
std::vector<int32_t> distinctive_tokens(const LayerInspection& layer, int64_t expert, size_t count);

// For a terminal, and for programs (JSON, one object).
std::string routing_table(const RoutingInspection& inspection, const Tokenizer& tokenizer);
std::string routing_json(const RoutingInspection& inspection, const Tokenizer& tokenizer);

}  // namespace orthant
