// SPDX-License-Identifier: Apache-2.0
// A folder as PEFT saves an adapter: adapter_config.json and adapter_model.safetensors.
//
// What is computed is W + s B A, of every tensor that is there: also where PEFT itself drops or
// rescales one (docs/formats.md, "Adapters").  Routed experts may have a pair each, as with
// transformers 4, or share the pairs of a layer (model/hub/peft_tensors.h).  A shared pair of gate
// and up whose B is block-diagonal is two of half the rank; of another one both have all of A.
#pragma once

#include <string>

#include "trainer/hub/stored_adapter.h"

namespace orthant {

bool is_peft_folder(const std::string& path);

// Error(kMissingInput): no weights; Error(kData) naming file and key or tensor: pickled weights, a
// kind that is not built, half a pair, shapes that are not the model's, what no module takes.
StoredAdapter open_peft_adapter(const std::string& folder, const RunConfig& model);

}  // namespace orthant
