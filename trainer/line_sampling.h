// SPDX-License-Identifier: Apache-2.0
// How a line of a file of prompts wants its text drawn.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "trainer/generate.h"

namespace orthant {

// The line's max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed and stop (a
// text or a list) stand over what `options` has.  Error(kData), beginning with `where`, for other
// values than these take, and for keys of other programs that would be meant likewise.
void read_line_sampling(const nlohmann::json& line, const std::string& where,
                        GenerateOptions& options);

}  // namespace orthant
