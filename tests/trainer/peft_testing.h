// SPDX-License-Identifier: Apache-2.0
// Adapters over tiny models as PEFT saves them, out of tests/golden/adapters.
#pragma once

#include "tests/trainer/hub_folder_testing.h"
#include "trainer/hub/import.h"
#include "trainer/hub/peft_adapter.h"
#include "trainer/saved_model.h"

namespace orthant::testing {

inline const std::vector<std::string> kGoldenAdapters = {"llama", "qwen3_moe", "mixtral",
                                                         "deepseek_v2"};

inline std::string adapter_path() { return test_folder() + "/adapter"; }
inline std::string base_run() { return test_folder() + "/base"; }

// A folder whose parts a case may spoil before they are written.
struct AdapterFolder {
  explicit AdapterFolder(const std::string& name, DType dtype = DType::kF64);

  Tensor& operator[](const std::string& key);
  Tensor take(const std::string& key);
  std::string write(const std::string& path = adapter_path()) const;
  // Of the model that it is for: imported into base_run(), once.
  RunConfig import_base() const;

  Json golden, config;
  Named tensors;
};

// The pairs that the experts of a layer share, taken apart: one for each expert, as with
// transformers 4, under Mixtral's old names where it is one.  Alphas are those of each.
void take_experts_apart(AdapterFolder& folder, const RunConfig& model);

// One row of ids; the label of a token is the next one.
MicroBatch row_of(const std::vector<int32_t>& ids);
// log-probabilities [position][which] of the ids `kept`.
std::vector<std::vector<double>> log_probs_of(const SavedModel& saved,
                                              const std::vector<int32_t>& ids,
                                              const std::vector<size_t>& kept);
double largest_difference(const std::vector<std::vector<double>>& a,
                          const std::vector<std::vector<double>>& b);

}  // namespace orthant::testing
