// SPDX-License-Identifier: Apache-2.0
// Texts that the tests of prepare() make and read back.
#pragma once

#include <zlib.h>

#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "tests/data/files.h"

namespace orthant {

inline std::string gzip(const std::string& text) {
  const std::string path = test_folder() + "/scratch.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  return read_bytes(path);
}

inline std::string decoded(const std::string& path, Split split) {
  return make_tokenizer("byte")->decode(all_tokens(path, split));
}

inline std::string json_line(const std::string& text) { return "{\"text\": \"" + text + "\"}\n"; }

inline PrepareReport run(const std::vector<std::string>& inputs, double fraction = 0.0) {
  PrepareOptions options;
  options.inputs = inputs;
  options.output = test_folder() + "/out.h5";
  options.validation_fraction = fraction;
  return prepare(options);
}

}  // namespace orthant
