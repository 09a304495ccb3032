// SPDX-License-Identifier: Apache-2.0
// Backends in libraries of their own, opened when a device is first asked for: a run on the CPU
// never maps them.
#pragma once

#include <string>

#include "tensor/backend.h"

namespace orthant {

inline constexpr const char* kCudaPluginFile = "liborthant_cuda.so";

// What is wrong with a plugin's table: another version, an entry that is null; "" when nothing is.
std::string fault_of(const Backend& table);

// Opens a library, by path or by a name that the system looks up, and takes its table.  Null and
// why_not when it cannot be opened or used; the library stays open for good.
const Backend* open_plugin(const std::string& file, std::string& why_not);

// The CUDA plugin's table, devices or not (`orthant doctor`).  Looked for beside the program, then
// in ORTHANT_PLUGIN_DIR, then where the system looks for libraries; the first that exists is taken.
// Opened once; thread-safe.
const Backend* cuda_plugin(std::string& why_not);

// The same, only when it has a device to run on; otherwise null and the reason, such as a missing
// driver.
const Backend* try_cuda_backend(std::string& why_not);

}  // namespace orthant
