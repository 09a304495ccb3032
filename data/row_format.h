// SPDX-License-Identifier: Apache-2.0
// How the rows of a file of conversations are written (docs/formats.md).
#pragma once

#include "base/enum_names.h"

namespace orthant {

// kAuto: by the row's keys, the first of these formats that has its own.
enum class RowFormat { kAuto, kMessages, kShareGpt, kPromptCompletion, kAlpaca };
const EnumNames<RowFormat>& row_format_names();  // auto, messages, sharegpt, ...

}  // namespace orthant
