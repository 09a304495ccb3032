// SPDX-License-Identifier: Apache-2.0
// Work that every rank does for itself, and that fails on all ranks when it fails on one.
#pragma once

#include <optional>

#include "base/error.h"
#include "base/function_ref.h"
#include "parallel/comm/group.h"

namespace orthant {

// Calls `body` on every rank, without communication inside.  Collective: returns on all ranks what
// the lowest failing rank threw, with that rank in front of the text.
std::optional<Error> first_error(const Group& world, FunctionRef<void()> body,
                                 Site site = Site::current());
// The same, thrown.
void together(const Group& world, FunctionRef<void()> body, Site site = Site::current());

}  // namespace orthant
