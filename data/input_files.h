// SPDX-License-Identifier: Apache-2.0
// The files that a command line means: files themselves, folders, and quoted patterns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace orthant {

struct InputFiles {
  std::vector<std::string> paths;
  int64_t num_skipped = 0;           // files whose name says no format, hidden ones, linked folders
  std::vector<std::string> skipped;  // the first few
};

// Each input in turn:
//  - what exists and is no folder is taken as it is, whatever its name;
//  - a folder stands for all texts in it, at any depth, in the order of their paths' bytes.  Hidden
//    entries and links to folders are left out; so are names that say no format when `format` is
//    auto;
//  - a pattern (* ? [] inside a name, ** for any number of folders) stands for the files that match
//    and what is in the folders that match, each once, in the same order.
// The order does not depend on the file system.  Error(kMissingInput) for a pattern or folder
// without any text; a name that does not exist and is no pattern is given back for its reader to
// refuse.
InputFiles list_input_files(const std::vector<std::string>& inputs, const std::string& format);

}  // namespace orthant
