// SPDX-License-Identifier: Apache-2.0
// Which variables a block hides before it has set them.
//
// Jinja settles when it compiles whose variable a name is.  A block that sets a name, and neither
// reads it first nor sets it in an `if` alone, has that name for its own from its beginning: until
// it is set it is undefined for loops and macros inside, whatever the caller's variable of that
// name is.  Where a block around it has the name, that one is seen.
#pragma once

#include "data/jinja/syntax.h"

namespace orthant::jinja {

// Fills in `hidden` of the template and of its statements.
void find_hidden_names(Template& tree);

}  // namespace orthant::jinja
