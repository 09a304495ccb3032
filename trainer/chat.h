// SPDX-License-Identifier: Apache-2.0
// Conversations with a model that came with a chat template.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/chat_template_files.h"
#include "trainer/saved_model.h"

namespace orthant {

class Conversations {
 public:
  // The template among the files that an imported model came with (RUN/hub).  Error(kMissingInput),
  // beginning with the name of the command: there is none.  The model must outlive it.
  Conversations(const std::string& command, const SavedModel& model);

  // The ids of a conversation, an array of {role, content, ...}: special tokens where the template
  // writes them.  asks: with what comes before the model's answer.
  std::vector<int32_t> encode(const nlohmann::ordered_json& messages, bool asks) const;

 private:
  const SavedModel& model_;
  ChatTemplates templates_;
};

}  // namespace orthant
