// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/directory.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "checkpoint/file_io.h"

namespace orthant {
namespace {

std::string padded(int64_t value, size_t digits) {
  std::string text = std::to_string(value);
  return std::string(text.size() < digits ? digits - text.size() : 0, '0') + text;
}

}  // namespace

std::string step_name(int64_t step) { return "step-" + padded(step, 8); }

std::optional<int64_t> step_of_name(std::string_view name) {
  if (!name.starts_with("step-")) return std::nullopt;
  const std::string_view digits = name.substr(5);
  int64_t step = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (error != std::errc() || end != digits.data() + digits.size() || step < 0) return std::nullopt;
  if (step_name(step) != name) return std::nullopt;  // "step-1" is none of ours
  return step;
}

std::string shard_name(int64_t index, int64_t count) {
  return concat("shard-", padded(index, 5), "-of-", padded(count, 5), ".safetensors");
}

std::string temporary_name(int64_t step, const std::string& id) {
  return concat("tmp-", step_name(step), "-", id);
}

bool is_temporary_name(std::string_view name) {
  return name.starts_with("tmp-step-") || name.starts_with("tmp-gc-step-");
}

std::vector<int64_t> list_steps(const std::string& directory) {
  std::vector<int64_t> steps;
  for (const std::string& name : list_directory(directory)) {
    if (const auto step = step_of_name(name)) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

}  // namespace orthant
