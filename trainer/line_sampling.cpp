// SPDX-License-Identifier: Apache-2.0
#include "trainer/line_sampling.h"

#include <nlohmann/json.hpp>

#include "base/config/scalar_text.h"
#include "base/error.h"
#include "checkpoint/json_strict.h"

namespace orthant {
namespace {

using nlohmann::json;

// Sets numbers of a field list from the keys of a line.
class LineFields : public FieldVisitor {
 public:
  LineFields(const json& line, const std::string& where) : line_(line), where_(where) {}
  void field(std::string_view name, int64_t& value, IntBounds bounds, std::string_view) override {
    set(name, value, bounds, [](const json& j) { return j.is_number_integer(); });
  }
  void field(std::string_view name, double& value, RealBounds bounds, std::string_view) override {
    set(name, value, bounds, [](const json& j) { return j.is_number(); });
  }
  void field(std::string_view name, bool&, std::string_view) override { refuse(name); }
  void field(std::string_view name, std::string&, TextRule, std::string_view) override {
    refuse(name);
  }
  void field(std::string_view name, std::vector<double>&, RealBounds, std::string_view) override {
    refuse(name);
  }
  void field(std::string_view name, std::vector<int64_t>&, IntBounds, std::string_view) override {
    refuse(name);
  }
  void block(std::string_view name, std::string_view,
             const std::function<void(FieldVisitor&)>&) override {
    refuse(name);
  }
  void list(std::string_view name, std::string_view, size_t, const std::function<void(size_t)>&,
            const std::function<void(size_t, FieldVisitor&)>&) override {
    refuse(name);
  }

 private:
  template <class T, class Bounds>
  void set(std::string_view name, T& value, const Bounds& bounds, bool (*is_such)(const json&)) {
    const auto found = line_.find(name);
    if (found == line_.end()) return;
    ORTHANT_CHECK(is_such(*found) && within(found->get<T>(), bounds), kData, where_, ": ", name,
                  ": want ", wanted(bounds), ", got ", json_excerpt(*found));
    value = found->get<T>();
  }
  [[noreturn]] static void refuse(std::string_view name) {
    throw_error(ErrorKind::kInternal, concat(name, ": is no number of a line"));
  }

  const json& line_;
  const std::string& where_;
};

std::vector<std::string> stops_of(const json& value, const std::string& what) {
  std::vector<std::string> stops;
  for (const json& one : value.is_array() ? value : json::array({value})) {
    stops.push_back(json_string(one, what));
    ORTHANT_CHECK(!stops.back().empty(), kData, what, ": want texts, got an empty one");
  }
  return stops;
}

}  // namespace

void read_line_sampling(const json& line, const std::string& where, GenerateOptions& options) {
  for (const char* key : {"max_tokens", "max_length", "frequency_penalty", "presence_penalty",
                          "logit_bias", "best_of", "do_sample", "num_beams"})
    ORTHANT_CHECK(!line.contains(key), kData, where, ": ", key,
                  ": is not built, or has another name here: want max_new_tokens, temperature, "
                  "top_k, top_p, min_p, repetition_penalty, stop or seed");
  LineFields fields(line, where);
  options.sampling.fields(fields);
  fields.field("seed", options.seed, IntBounds{}, "");
  if (line.contains("stop")) options.stop = stops_of(line["stop"], where + ": stop");
}

}  // namespace orthant
