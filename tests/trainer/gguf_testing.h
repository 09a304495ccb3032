// SPDX-License-Identifier: Apache-2.0
// Tiny models and tokenizers as GGUF files, as published converters write them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tests/testing/gguf_writer.h"

namespace orthant::testing {

// A model of tests/golden/hub_models, in F32, with the tokenizer of tests/data/stories260k.
GgufFile gguf_of_golden(const std::string& name);
// The metadata of a tokenizer: a tokenizer.model's content, or a byte-level tokenizer.json.
void add_pieces(const std::string& model, GgufFile& file);
void add_byte_level(const nlohmann::json& tokenizer, const std::string& pre, GgufFile& file);
// The same model as a folder, in F32.
void write_golden_folder_f32(const std::string& name, const std::string& folder);

}  // namespace orthant::testing
