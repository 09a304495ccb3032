// SPDX-License-Identifier: Apache-2.0
// Documents from the lines of a .jsonl file, as the ids of a model.  A line is an object with
//   text                      a document
//   tokens                    the ids of one
//   messages                  a conversation, by the model's chat template
// or with what a command reads itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/line_reader.h"
#include "trainer/chat.h"
#include "trainer/prompt_notes.h"
#include "trainer/saved_model.h"
#include "trainer/skipped_lines.h"

namespace orthant {

// How a command reads the documents of a file.
struct DocumentOptions {
  std::string data;                         // .jsonl, also .gz or .zst
  BadLines bad_lines = BadLines::kFail;     // kSkip: left out, and warned of at the end
  bool special = false;                     // what spells a special token in a text becomes it
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler
};

class DocumentLines {
 public:
  // `command`: what messages begin with.  The model must outlive it.
  DocumentLines(std::string command, const SavedModel& model, const DocumentOptions& options)
      : command_(std::move(command)),
        model_(model),
        options_(options),
        lines_(options.data),
        notes_(command_, *model.tokenizer, model.config.model.max_position_embeddings),
        skipped_(options.bad_lines) {}

  // The next line that is an object; false at the end.  Error(kData) "FILE:LINE: ...": one that is
  // none, unless these are left out; Error(kInterrupted): the process was told to stop.
  bool next();
  // Works on the line.  False where that throws Error(kData) and bad lines are left out.
  bool use(const std::function<void()>& work) { return skipped_.use(where_, work); }
  void tell() const { skipped_.tell(command_); }

  const nlohmann::json& value() const { return value_; }
  const std::string& where() const { return where_; }  // "FILE:LINE"
  int64_t line() const { return lines_.number(); }
  // {"line": ..., "id": ...}, the latter where the line has one: begins a line of an output.
  nlohmann::ordered_json name() const;
  // Of the document that the line is.  `others`: what else the command would take, for an error.
  std::vector<int32_t> ids(const std::string& others = "");
  // Of a text, behind the tokens that every text begins with.
  std::vector<int32_t> encode(const std::string& text);

 private:
  std::vector<int32_t> ids_of_messages();

  std::string command_;
  const SavedModel& model_;
  const DocumentOptions options_;
  LineReader lines_;
  PromptNotes notes_;
  SkippedLines skipped_;
  std::string text_, where_;
  nlohmann::json value_;
  std::optional<Conversations> conversations_;  // made by the first line that wants it
};

}  // namespace orthant
