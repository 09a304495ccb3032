// SPDX-License-Identifier: Apache-2.0
// The prompts of a file, as trainer/generate_file.h describes it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "data/line_reader.h"
#include "trainer/chat.h"
#include "trainer/generate_file.h"
#include "trainer/prompt_notes.h"
#include "trainer/skipped_lines.h"

namespace orthant {

struct Prompt {
  std::string line;  // as it stands there: an object
  GenerateOptions options;
};

class PromptReader {
 public:
  // Both must outlive it.
  PromptReader(const SavedModel& model, const PromptFileOptions& options);

  // The next ones, at most so many; none at the end.
  std::vector<Prompt> next(int64_t most);
  // Of all lines up to the last prompt.
  const std::string& checksum() const { return at_prompt_; }
  void tell() const;  // what was skipped, and what was too long

 private:
  GenerateOptions options_of(const std::string& line, const std::string& where);
  void set_text(const nlohmann::json& value, const std::string& line, const std::string& where,
                GenerateOptions& own);

  const SavedModel& model_;
  const PromptFileOptions& options_;
  LineReader lines_;
  Checksum checksum_;
  std::string at_prompt_;
  PromptNotes notes_;
  SkippedLines skipped_;
  std::optional<Conversations> conversations_;  // made by the first line that wants it
};

}  // namespace orthant
