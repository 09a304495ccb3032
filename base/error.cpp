// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

namespace orthant {

Error::Error(ErrorKind kind, const std::string& message, std::source_location where)
    : std::runtime_error(message), kind_(kind), where_(where) {}

void throw_error(ErrorKind kind, const std::string& message, std::source_location where) {
  throw Error(kind, message, where);
}

}  // namespace orthant
