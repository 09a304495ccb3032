// SPDX-License-Identifier: Apache-2.0
// What a loop keeps in a checkpoint beside tensors: numbers and texts by name, listed by a struct's
// fields() as a configuration's are (base/config/fields.h).  In the manifest they are `extra`.
#pragma once

#include <map>
#include <string>

#include "base/config/config.h"

namespace orthant {

// Values of every field as text; reals with all their digits.
std::map<std::string, std::string> state_texts(const FieldList& fields);
// Fills in the fields that are there; others keep what they have.  Error(kData), naming `where`
// and the field, for a text that is no such value.
void read_state(const std::map<std::string, std::string>& texts, const std::string& where,
                const FieldList& fields);

}  // namespace orthant
