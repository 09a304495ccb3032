// SPDX-License-Identifier: Apache-2.0
// Text given where a corpus is wanted is prepared once, into a cache keyed by content.
#pragma once

#include <functional>
#include <string>

#include "data/text_notes.h"

namespace orthant {

struct CacheOptions {
  std::string cache_dir;           // made when missing
  std::string tokenizer = "byte";  // for make_tokenizer
  double validation_fraction = 0.05;
  std::string format = "auto";  // auto | text | jsonl | hdf5
  BadLines bad_lines = BadLines::kFail;
  bool redact = false;
  bool validation_only = false;  // all of the text becomes the validation split
  std::function<void(double fraction, double tokens_per_second)> progress;
};

// The .h5 path for `path`: `path` itself when it is a corpus, else the prepared copy
// "CACHE_DIR/STEM-HASH.h5", where HASH covers the file's content and every option that changes the
// result.  A copy that exists is used as it is (opening it finds damage).  Not collective: one rank
// calls it and tells the others.  Errors as `prepare`; a missing path is Error(kMissingInput).
std::string ensure_prepared(const std::string& path, const CacheOptions& options);

// True when `path` (with `format` of DataSource) is read as a corpus, not as text.
bool is_corpus_path(const std::string& path, const std::string& format = "auto");

}  // namespace orthant
