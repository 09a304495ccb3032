// SPDX-License-Identifier: Apache-2.0
// The largest differences of a test, by kind: each is expected to be within a tolerance when it is
// given, and the worst of each kind is printed when the test ends.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <string>

#include "base/text.h"
#include "tests/testing/closeness.h"

namespace orthant::testing {

inline double relative(double got, double want) {
  return std::isfinite(got) ? std::abs(got - want) / std::max(std::abs(want), 1e-12)
                            : std::numeric_limits<double>::infinity();
}

class Worst {
 public:
  explicit Worst(double tolerance) : tolerance_(tolerance) {}
  ~Worst() {
    for (const auto& [kind, difference] : worst_)
      std::cout << "  worst " << kind << ": " << difference.error << " in " << difference.tensor
                << "\n";
  }
  Worst(const Worst&) = delete;
  Worst& operator=(const Worst&) = delete;

  void expect(const std::string& kind, const Difference& d, const std::string& where) {
    EXPECT_LE(d.error, tolerance_) << where << ": " << kind << " " << d.tensor;
    Difference& worst = worst_[kind];
    if (worst.tensor.empty() || d.error > worst.error) worst = {d.error, d.tensor + ", " + where};
  }
  void expect_values(const std::string& kind, const NamedValues& got, const NamedValues& want,
                     const std::string& where) {
    expect(kind, worst_difference(got, want), where);
  }
  void expect_number(const std::string& kind, double got, double want, const std::string& where) {
    expect(kind, {relative(got, want), concat(got, " for ", want)}, where);
  }

 private:
  double tolerance_;
  std::map<std::string, Difference> worst_;
};

}  // namespace orthant::testing
