// SPDX-License-Identifier: Apache-2.0
// How a configuration struct describes itself: one list of fields gives parsing, bounds, defaults,
// the generated reference page and the copy that is stored with a run.
//
//   struct ScheduleConfig {
//     std::string name = "cosine";
//     int64_t warmup_steps = 0;
//     void fields(FieldVisitor& v) {
//       v.field("name", name, one_of({"cosine", "linear", "constant"}), "shape of the learning
//       rate"); v.field("warmup_steps", warmup_steps, at_least(0), "steps of linear warm-up");
//     }
//   };
//
// Visitors (parser, dumper, reference page) live in launch/.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace orthant {

struct IntBounds {
  int64_t low = std::numeric_limits<int64_t>::min();
  int64_t high = std::numeric_limits<int64_t>::max();
};
inline IntBounds at_least(int64_t low) { return {.low = low}; }
inline IntBounds between(int64_t low, int64_t high) { return {low, high}; }

struct RealBounds {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false, high_open = false;  // whether the bound itself is excluded
};
inline RealBounds any_real() { return {}; }
inline RealBounds positive() { return {.low = 0.0, .low_open = true}; }
inline RealBounds non_negative() { return {.low = 0.0}; }
inline RealBounds unit_interval() { return {.low = 0.0, .high = 1.0}; }                 // [0, 1]
inline RealBounds below_one() { return {.low = 0.0, .high = 1.0, .high_open = true}; }  // [0, 1)

struct TextRule {
  std::vector<std::string> choices;  // empty: any text
  bool required = false;             // an empty text is refused
};
inline TextRule one_of(std::vector<std::string> choices) { return {std::move(choices), false}; }
inline TextRule any_text() { return {}; }
inline TextRule required_text() { return {{}, true}; }

class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  virtual void field(std::string_view name, bool& value, std::string_view help) = 0;
  virtual void field(std::string_view name, int64_t& value, IntBounds bounds,
                     std::string_view help) = 0;
  virtual void field(std::string_view name, double& value, RealBounds bounds,
                     std::string_view help) = 0;
  virtual void field(std::string_view name, std::string& value, TextRule rule,
                     std::string_view help) = 0;
  virtual void field(std::string_view name, std::vector<double>& value, RealBounds bounds,
                     std::string_view help) = 0;
  // A nested mapping.
  virtual void block(std::string_view name, std::string_view help,
                     const std::function<void(FieldVisitor&)>& fields) = 0;
  // A list of mappings; `resize(n)` makes room, `item(i, v)` visits the i-th.  A plain text stands
  // for a mapping whose first field it is.
  virtual void list(std::string_view name, std::string_view help, size_t size,
                    const std::function<void(size_t)>& resize,
                    const std::function<void(size_t, FieldVisitor&)>& item) = 0;
  // A key of a pasted config.json that says nothing here, or that may only say one of `accepted`
  // (empty: anything): left out, with a printed note.
  // `instead`: what to set here, where there is something.
  virtual void foreign(std::string_view name, std::vector<std::string> accepted,
                       std::string_view instead = "") {
    (void)name, (void)accepted, (void)instead;
  }
  // Another name that users bring from elsewhere for a field of this block: accepted, with a
  // printed note.
  virtual void alias(std::string_view other, std::string_view name) = 0;
};

}  // namespace orthant
