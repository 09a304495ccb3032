// SPDX-License-Identifier: Apache-2.0
// What a user should know of a text that a model is given: that it spells a special token and is
// not read as one, and that it is longer than the model's longest sequence.
#pragma once

#include <cstdint>
#include <string>

#include "data/tokenizer.h"

namespace orthant {

class PromptNotes {
 public:
  // The tokenizer must outlive it.
  PromptNotes(std::string command, const Tokenizer& tokenizer, int64_t longest)
      : command_(std::move(command)), tokenizer_(tokenizer), longest_(longest) {}

  // The ids of a text; special: what spells a special token becomes it, else that is told once.
  // where: "FILE:LINE", or the option that gave it.
  std::vector<int32_t> encode(const std::string& text, bool special, const std::string& where);
  // Of a prompt of so many tokens; the first few are told.
  void length(int64_t tokens, const std::string& where);
  // How many were too long, where not all were told.
  void tell() const;

 private:
  std::string command_;
  const Tokenizer& tokenizer_;
  int64_t longest_, num_long_ = 0;
  bool has_told_of_special_ = false;
};

}  // namespace orthant
