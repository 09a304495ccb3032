// SPDX-License-Identifier: Apache-2.0
// What a template may cost.  Templates come with models from anywhere: none may hang a run, exhaust
// its memory or its stack.  The limits are far above what published templates need.
#pragma once

#include <cstddef>
#include <cstdint>

namespace orthant::jinja {

inline constexpr size_t kMaxTemplateBytes = size_t{1} << 20;
inline constexpr int kMaxSyntaxDepth = 150;   // expressions and blocks in one another
inline constexpr int kMaxRenderDepth = 1000;  // the same while rendering, macros in macros included
inline constexpr int kMaxValueDepth = 200;    // lists in lists
inline constexpr int64_t kMaxRange = 100000;  // items of range(), as Jinja's sandbox has it
inline constexpr int64_t kMaxSteps = 20'000'000;             // parts evaluated, items looked at
inline constexpr size_t kMaxBytes = size_t{512} << 20;       // of all values that were made
inline constexpr size_t kMaxOutputBytes = size_t{64} << 20;  // of the rendered text

}  // namespace orthant::jinja
