// SPDX-License-Identifier: Apache-2.0
// Cuts a template into tokens, with the white space rules of trim_blocks and lstrip_blocks:
//   - the newline behind a block or a comment is dropped, unless the tag ends in "+%}",
//   - spaces between the line's beginning and a block or comment are dropped, unless it begins with
//     "{%+",
//   - "-" drops all white space on its side.
// Comments are gone, and the content of raw blocks is data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/jinja/source.h"

namespace orthant::jinja {

enum class TokenKind {
  kData,
  kPrintBegin,
  kPrintEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  Place place;
  std::string text;  // of a string its value
  int64_t integer = 0;
  double real = 0;
};

// The last token is kEnd.  Error(kData) with the place.
std::vector<Token> tokens_of(const Source& source);

}  // namespace orthant::jinja
