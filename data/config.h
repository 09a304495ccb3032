// SPDX-License-Identifier: Apache-2.0
// The `data:` block of a run.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/config/fields.h"
#include "base/error.h"
#include "data/row_format.h"
#include "data/text_notes.h"

namespace orthant {

struct DataSource {
  std::string path;
  std::string format = "auto";
  double weight = 1.0;

  void fields(FieldVisitor& v) {
    v.field("path", path, required_path(),
            "a corpus (.h5) or text (.txt, .jsonl, each also .gz or .zst), which is prepared once; "
            "to fine-tune on, conversations (.jsonl)");
    std::vector<std::string> formats = {"auto", "text", "jsonl", "hdf5"};
    for (const std::string& name : row_format_names().all())
      if (name != "auto") formats.push_back(name);
    v.field("format", format, one_of(formats),
            "kind of file; auto goes by the name, of conversations by each row's keys");
    v.field("weight", weight, positive(),
            "share of the samples, relative to the other sources, whatever their sizes: with "
            "equal weights a small source is repeated more often; to fine-tune on: how often an "
            "epoch takes it, 0.1 a tenth of its examples, each epoch others");
  }
};

struct DataConfig {
  std::vector<DataSource> train;
  std::string validation;
  std::string tokenizer = "byte";
  bool packing = true;
  double validation_fraction = 0.05;
  BadLines bad_lines = BadLines::kFail;
  bool redact = false;
  // Rows are conversations: set by the root that is composed of this block, no key.
  bool is_supervised = false;

  void fields(FieldVisitor& v) {
    v.list("train", train, "training data: a path, or a list of sources that are mixed by weight");
    v.field("validation", validation, any_path(),
            "corpus or text to evaluate on; empty: the validation split of the training data, of "
            "several sources that of the first one");
    v.may_change_on_resume([&] {  // the same one elsewhere
      v.field(
          "tokenizer", tokenizer, required_path(),
          "how text becomes tokens: byte, a SentencePiece file (.model), a tokenizer.json, or a "
          "folder with a tokenizer; a corpus must have been prepared with the same one");
    });
    v.field(
        "packing", packing,
        "rows hold several documents, and no token sees another document than its own; always so "
        "in pre-training, false is refused; to fine-tune on, false gives each example a row of its "
        "own, as long as the micro-batch needs");
    v.field("validation_fraction", validation_fraction, below_one(),
            "part of the text that is kept for validation when text is prepared; of conversations "
            "by a hash of each, unless data.validation is given");
    v.alias("val_size", "validation_fraction");
    v.alias("val_set_size", "validation_fraction");
    v.field(
        "redact", redact,
        "markers take the place of e-mail addresses, phone and payment-card numbers when text is "
        "prepared (docs/formats.md); corpora (.h5) stay as they are: orthant prepare --redact");
    v.may_change_on_resume([&] {
      v.field(
          "bad_lines", bad_lines, bad_lines_names(),
          "what becomes of .jsonl lines that give no text (not JSON, not UTF-8, without \"text\", "
          "over 2 GiB) or no conversation: an error, or they are left out and counted");
    });
  }

  // Relations that a field list cannot state.
  void validate() const {
    ORTHANT_CHECK(!train.empty(), kConfig, "data.train: want at least one path, got none");
    ORTHANT_CHECK(
        tokenizer == "byte" || tokenizer == "bytes" || tokenizer.ends_with(".model") ||
            tokenizer.ends_with(".json") || tokenizer.find('/') != std::string::npos,
        kConfig,
        "data.tokenizer: want byte, or the path of a SentencePiece file that ends in .model, of a "
        "tokenizer.json, or of a folder with a tokenizer (with a / in it), got '",
        tokenizer, "'");
    for (const DataSource& source : train) check_format(source);
    ORTHANT_CHECK(!is_supervised || !redact, kConfig,
                  "data.redact: true is not available: conversations are not redacted");
    ORTHANT_CHECK(packing || is_supervised, kConfig,
                  "data.packing: false is not available: pre-training rows are always packed "
                  "(documents in a row do not see each other); remove the key or set it to true");
  }

 private:
  void check_format(const DataSource& source) const {
    const std::vector<std::string>& rows = row_format_names().all();
    const bool is_auto = source.format == "auto";
    const bool is_row = std::find(rows.begin(), rows.end(), source.format) != rows.end();
    ORTHANT_CHECK(is_auto || is_row == is_supervised, kConfig, "data.train: ", source.path,
                  ": format ", source.format,
                  is_supervised ? " is for orthant pretrain; conversations want auto, messages, "
                                  "sharegpt, prompt_completion or alpaca"
                                : " is for orthant finetune; pre-training wants auto, text, jsonl "
                                  "or hdf5");
  }
};

}  // namespace orthant
