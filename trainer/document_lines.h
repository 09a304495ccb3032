// SPDX-License-Identifier: Apache-2.0
// Documents from the lines of a .jsonl file, as the ids of a model.  A line is an object with
//   text                      a document
//   tokens                    the ids of one
//   messages                  a conversation, by the model's chat template
// or with what a command reads itself.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/line_reader.h"
#include "trainer/chat.h"
#include "trainer/saved_model.h"

namespace orthant {

class DocumentLines {
 public:
  // `command`: what errors begin with.  The model must outlive it.
  DocumentLines(std::string command, const SavedModel& model, const std::string& path)
      : command_(std::move(command)), model_(model), lines_(path) {}

  // The next line; false at the end.  Error(kData) "FILE:LINE: ..." for what is no object.
  bool next();
  const nlohmann::json& value() const { return value_; }
  const std::string& where() const { return where_; }  // "FILE:LINE"
  int64_t line() const { return lines_.number(); }
  // Of the document that the line is.  `others`: what else the command would take, for an error.
  std::vector<int32_t> ids(const std::string& others = "");
  // Of a text, behind the tokens that every text begins with.
  std::vector<int32_t> encode(const std::string& text) const;

 private:
  std::vector<int32_t> ids_of_messages();

  std::string command_;
  const SavedModel& model_;
  LineReader lines_;
  std::string text_, where_;
  nlohmann::json value_;
  std::optional<Conversations> conversations_;  // made by the first line that wants it
};

}  // namespace orthant
