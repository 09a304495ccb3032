// SPDX-License-Identifier: Apache-2.0
// Ends a text where one of some given texts begins, while it comes piece by piece.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orthant {

class StopTexts {
 public:
  explicit StopTexts(std::vector<std::string> texts) : texts_(std::move(texts)) {}

  // What can be given out of all that was added: not what may be the beginning of a stop text, and
  // nothing from the first stop text on.
  std::string add(std::string_view piece);
  // The rest, where the text ended by itself.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> texts_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace orthant
