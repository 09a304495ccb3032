// SPDX-License-Identifier: Apache-2.0
// Files for the tests of data/.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/corpus.h"
#include "data/prepare.h"

namespace orthant {

// A folder of its own for the running test, empty at the first call for it.
inline std::string test_folder() {
  const ::testing::TestInfo* info = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::string folder =
      ::testing::TempDir() + "orthant_" + info->test_suite_name() + "_" + info->name();
  static std::string made;
  if (made != folder) std::filesystem::remove_all(folder);
  made = folder;
  std::filesystem::create_directories(folder);
  return folder;
}

inline std::string write_bytes(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
  return path;
}
inline std::string write_file(const std::string& name, const std::string& content) {
  return write_bytes(test_folder() + "/" + name, content);
}
inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Prepares `inputs` into NAME.h5 of the test's folder.
inline std::string prepared(const std::string& name, const std::vector<std::string>& inputs,
                            double validation_fraction) {
  PrepareOptions options;
  options.inputs = inputs;
  options.output = test_folder() + "/" + name + ".h5";
  options.validation_fraction = validation_fraction;
  prepare(options);
  return options.output;
}

inline std::vector<int32_t> all_tokens(const std::string& path, Split split) {
  const auto corpus = Corpus::open(path, split);
  std::vector<int32_t> tokens(static_cast<size_t>(corpus->num_tokens()));
  corpus->read(0, tokens);
  return tokens;
}

// `action` throws Error of `kind`, and its message contains every one of `parts`.
inline void expect_error(ErrorKind kind, const std::vector<std::string>& parts,
                         const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), static_cast<int>(kind)) << error.what();
    for (const std::string& part : parts)
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "want '" << part << "' in: " << error.what();
    return;
  }
  ADD_FAILURE() << "no error was thrown";
}

}  // namespace orthant
