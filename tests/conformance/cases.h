// SPDX-License-Identifier: Apache-2.0
// The cases of every entry of the backend table, by family.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/conformance/trial.h"

namespace orthant::testing {

struct ConformanceCase {
  std::string op;    // the entry that it is for
  std::string name;  // what is awkward about it
  std::function<void(Trial&)> body;
};

void add_product_cases(std::vector<ConformanceCase>& cases);
void add_attention_cases(std::vector<ConformanceCase>& cases);
void add_elementwise_cases(std::vector<ConformanceCase>& cases);
void add_routing_cases(std::vector<ConformanceCase>& cases);
void add_training_cases(std::vector<ConformanceCase>& cases);

const std::vector<ConformanceCase>& all_cases();

}  // namespace orthant::testing
