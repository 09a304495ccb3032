// SPDX-License-Identifier: Apache-2.0
// How a configuration struct describes itself: one list of fields gives parsing, bounds, defaults,
// the generated reference page and the copy that is stored with a run.
//
//   struct ScheduleConfig {
//     std::string name = "cosine";
//     int64_t warmup_steps = 0;
//     void fields(FieldVisitor& v) {
//       v.field("name", name, one_of({"cosine", "linear", "constant"}), "shape of the rate");
//       v.field("warmup_steps", warmup_steps, at_least(0), "steps of linear warm-up");
//     }
//   };
//
// What is done with such a list: base/config/config.h.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/enum_names.h"

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
  bool path = false;                 // a leading ~/ becomes the home directory
  // Why another text is no choice, and what to do, for the message; unset: the nearest choice.
  std::function<std::string(const std::string& text)> why_not;
};
inline TextRule one_of(std::vector<std::string> choices) { return {.choices = std::move(choices)}; }
inline TextRule any_text() { return {}; }
inline TextRule required_text() { return {.required = true}; }
inline TextRule any_path() { return {.path = true}; }
inline TextRule required_path() { return {.required = true, .path = true}; }

// A key of a pasted config.json that is no field here.
struct ForeignRule {
  // Values with which it asks for nothing but what is built, as YAML ("false", "0", "[]",
  // "{rope_type: default}"); null is always one.
  std::vector<std::string> neutral;
  bool is_remark = false;  // whatever it holds says nothing about what is computed
  std::string hint;        // with a note or a refusal: what to set here, or what is not built
};
inline ForeignRule remark(std::string hint = "") {
  return {.is_remark = true, .hint = std::move(hint)};
}
inline ForeignRule neutral(std::vector<std::string> values, std::string hint = "") {
  return {.neutral = std::move(values), .hint = std::move(hint)};
}
inline ForeignRule not_built(std::string what) { return {.hint = std::move(what)}; }

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
  virtual void field(std::string_view name, std::vector<int64_t>& value, IntBounds bounds,
                     std::string_view help) = 0;
  // A text that stands for a value; a visitor that keeps what it is given has to override this.
  virtual void choice(std::string_view name, std::string text, std::vector<std::string> choices,
                      const std::function<void(const std::string&)>& set, std::string_view help) {
    field(name, text, one_of(std::move(choices)), help);
    set(text);
  }
  template <class E>
  void field(std::string_view name, E& value, const EnumNames<E>& names, std::string_view help) {
    choice(
        name, names.of(value), names.all(),
        [&](const std::string& text) { value = names.at(text); }, help);
  }
  // A nested mapping.
  virtual void block(std::string_view name, std::string_view help,
                     const std::function<void(FieldVisitor&)>& fields) = 0;
  // A list of mappings; `resize(n)` makes room, `item(i, v)` visits the i-th.  A plain text stands
  // for a mapping whose first field it is.
  virtual void list(std::string_view name, std::string_view help, size_t size,
                    const std::function<void(size_t)>& resize,
                    const std::function<void(size_t, FieldVisitor&)>& item) = 0;
  // Of structs with a field list.
  template <class Item>
  void list(std::string_view name, std::vector<Item>& items, std::string_view help) {
    list(
        name, help, items.size(), [&items](size_t n) { items.resize(n); },
        [&items](size_t i, FieldVisitor& item) { items[i].fields(item); });
  }
  // What `fields` visits, blocks with all that is in them, may differ when a run is resumed; any
  // other field makes it another run.
  virtual void may_change_on_resume(const std::function<void()>& fields) { fields(); }
  // Left out with a note where the rule allows its value, and refused otherwise.
  virtual void foreign(std::string_view name, const ForeignRule& rule) { (void)name, (void)rule; }
  // Another name that users bring from elsewhere for a field of this block: accepted, with a
  // printed note.
  virtual void alias(std::string_view other, std::string_view name) { (void)other, (void)name; }
};

}  // namespace orthant
