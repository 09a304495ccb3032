// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tensor/backend.h"

namespace orthant::cpu {

int drop_tokens(const BackendCall* call, const DropTokensArgs* args);

}  // namespace orthant::cpu
