// SPDX-License-Identifier: Apache-2.0
// Which tokens begin and end documents: tokenizer_config.json, or well-known names.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "data/bpe/added_tokens.h"
#include "data/bpe/json_place.h"
#include "data/tokenizer.h"

namespace orthant {

// `config`: null, or the content of tokenizer_config.json; `unknown_id`: the model's; `find`: the
// id of a token.  Error(kData) for a name that is no token, and where nothing says what ends a
// document.
SpecialIds find_special_ids(const JsonPlace& config, std::span<const AddedToken> added,
                            int32_t unknown_id,
                            const std::function<std::optional<int32_t>(std::string_view)>& find,
                            const std::string& label);

}  // namespace orthant
