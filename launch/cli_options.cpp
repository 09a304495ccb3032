// SPDX-License-Identifier: Apache-2.0
#include "launch/cli_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "base/config/scalar_text.h"
#include "base/error.h"

namespace orthant {
namespace {

// A number from the text of an argument; what it throws ends with exit code 2.
template <class T, class Bounds>
T number(const std::string& names, const std::string& text, Reading<T> reading,
         const Bounds& bounds) {
  if (reading.value && within(*reading.value, bounds)) return *reading.value;
  throw CLI::ValidationError(names, concat("want ", wanted(bounds), ", got '", text, "'",
                                           reading.hint.empty() ? "" : "; " + reading.hint));
}

// " (1 to 64)", where a value is bounded on both sides.
std::string limits(const IntBounds& b) {
  constexpr int64_t kShown = 1 << 20;
  return b.low > -kShown && b.high <= kShown ? concat(" (", b.low, " to ", b.high, ")") : "";
}
std::string limits(const RealBounds& b) {
  const bool is_share = b.low == 0.0 && b.high == 1.0;
  const bool bounded = std::isfinite(b.low) && std::isfinite(b.high) && !is_share;
  return bounded ? concat(" (", real_text(b.low), " to ", real_text(b.high), ")") : "";
}

std::string choices_text(const TextRule& rule) {
  std::string text;
  for (const std::string& choice : rule.choices) text += (text.empty() ? "" : "|") + choice;
  return text.empty() ? "TEXT" : text;
}

// Fields of a configuration as options.
class FieldOptions : public FieldVisitor {
 public:
  explicit FieldOptions(Options& options) : options_(options) {}
  void field(std::string_view name, bool& value, std::string_view help) override {
    options_.flag(option(name), value, std::string(help), true);
  }
  void field(std::string_view name, int64_t& value, IntBounds bounds,
             std::string_view help) override {
    options_.integer(option(name), value, bounds, std::string(help));
  }
  void field(std::string_view name, double& value, RealBounds bounds,
             std::string_view help) override {
    options_.real(option(name), value, bounds, std::string(help));
  }
  void field(std::string_view name, std::string& value, TextRule rule,
             std::string_view help) override {
    options_.text(option(name), value, rule, std::string(help));
  }
  void field(std::string_view name, std::vector<double>& values, RealBounds bounds,
             std::string_view help) override {
    options_.reals(option(name), values, bounds, std::string(help));
  }
  void field(std::string_view name, std::vector<int64_t>&, IntBounds, std::string_view) override {
    throw_error(ErrorKind::kInternal, concat(name, ": a list of integers is no option yet"));
  }
  void choice(std::string_view name, std::string, std::vector<std::string>,
              const std::function<void(const std::string&)>&, std::string_view) override {
    throw_error(ErrorKind::kInternal, concat(name, ": an enum is no option yet"));
  }
  void block(std::string_view name, std::string_view,
             const std::function<void(FieldVisitor&)>&) override {
    throw_error(ErrorKind::kInternal, concat(name, ": a block is no option"));
  }
  void list(std::string_view name, std::string_view, size_t, const std::function<void(size_t)>&,
            const std::function<void(size_t, FieldVisitor&)>&) override {
    throw_error(ErrorKind::kInternal, concat(name, ": a list is no option"));
  }

 private:
  static std::string option(std::string_view name) {
    std::string text = concat("--", name);
    std::replace(text.begin(), text.end(), '_', '-');
    return text;
  }
  Options& options_;
};

}  // namespace

void fields_as_options(Options& options, const FieldList& list) {
  FieldOptions visitor(options);
  list(visitor);
}

void CliOptions::flag(const std::string& names, bool& value, const std::string& help, bool sets) {
  app_.add_flag_callback(
      names, [&value, sets] { value = sets; }, help);
}

void CliOptions::integer(const std::string& names, int64_t& value, IntBounds bounds,
                         const std::string& help) {
  CLI::Option* option = app_.add_option_function<std::string>(
      names,
      [&value, names, bounds](const std::string& text) {
        value = number(names, text, read_integer(text), bounds);
      },
      help + limits(bounds));
  option->type_name("INT");
  if (within(value, bounds)) option->default_str(concat(value));  // else: not given
}

void CliOptions::real(const std::string& names, double& value, RealBounds bounds,
                      const std::string& help) {
  app_.add_option_function<std::string>(
          names,
          [&value, names, bounds](const std::string& text) {
            value = number(names, text, read_real(text), bounds);
          },
          help + limits(bounds))
      ->type_name("NUMBER")
      ->default_str(real_text(value));
}

void CliOptions::text(const std::string& names, std::string& value, TextRule rule,
                      const std::string& help) {
  CLI::Option* option = app_.add_option_function<std::string>(
      names,
      [&value, names, rule](const std::string& text) {
        const bool known =
            rule.choices.empty() ||
            std::find(rule.choices.begin(), rule.choices.end(), text) != rule.choices.end();
        if (!known)
          throw CLI::ValidationError(names, concat("want ", wanted(rule), ", got '", text, "'"));
        value = text;
      },
      help);
  option->type_name(choices_text(rule))->required(rule.required);
  if (!value.empty()) option->default_str(value);
}

void CliOptions::texts(const std::string& names, std::vector<std::string>& values, TextRule rule,
                       const std::string& help) {
  app_.add_option(names, values, help)->required(rule.required);
}

void CliOptions::texts(const std::string& names, std::vector<std::string>& values, Each each,
                       const std::string& help) {
  CLI::Option* option = app_.add_option(names, values, help)->allow_extra_args(false);
  if (each == Each::kCommas) option->delimiter(',');
}

void CliOptions::reals(const std::string& names, std::vector<double>& values, RealBounds bounds,
                       const std::string& help) {
  std::string preset;
  for (const double value : values) preset += (preset.empty() ? "" : ",") + real_text(value);
  app_.add_option_function<std::vector<std::string>>(
          names,
          [&values, names, bounds](const std::vector<std::string>& texts) {
            values.clear();
            for (const std::string& text : texts)
              values.push_back(number(names, text, read_real(text), bounds));
          },
          help)
      ->type_name("NUMBER")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str(preset);
}

void CliOptions::fields(const FieldList& list) { fields_as_options(*this, list); }

void CliOptions::require(const std::string& name) { app_.get_option(name)->required(); }

void CliOptions::needs(const std::string& name, const std::string& other) {
  app_.get_option(name)->needs(app_.get_option(other));
}

void CliOptions::excludes(const std::string& name, const std::string& other) {
  app_.get_option(name)->excludes(app_.get_option(other));
}

}  // namespace orthant
