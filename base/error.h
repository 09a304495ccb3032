// SPDX-License-Identifier: Apache-2.0
// The one exception of the project, and the check that throws it.
//
// The kind decides the process's exit code (docs/architecture.md).  A message reads "subject:
// wanted, got, hint" and names the file, line, key, tensor or rank it speaks of.  Errors are caught
// in launch/ and in testing's run_ranks only.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>

#include "base/text.h"

namespace orthant {

enum class ErrorKind : int {
  kUsage = 2,          // wrong command line
  kConfig = 64,        // configuration, also a bad key=value
  kData = 65,          // malformed input data or checkpoint
  kMissingInput = 66,  // an input file does not exist
  kDevice = 69,        // device or library missing, or no thread to be had
  kInternal = 70,      // a bug of ours, shape mismatches included
  kCannotWrite = 73,   // an output cannot be written
  kInterrupted = 75,   // stopped by a signal, state saved: run the same command to go on
  kComm = 76,          // communication lost or deadline passed
  kNumeric = 77,       // persistent non-finite values
  kMemory = 78,        // out of memory
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message,
        std::source_location where = std::source_location::current());
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }
  const std::source_location& where() const { return where_; }

 private:
  ErrorKind kind_;
  std::source_location where_;
};

[[noreturn]] void throw_error(ErrorKind kind, const std::string& message,
                              std::source_location where = std::source_location::current());

}  // namespace orthant

// Always on.  ORTHANT_CHECK(rows == n, kInternal, "gather: want ", n, " rows, got ", rows);
#define ORTHANT_CHECK(condition, kind, ...)                                               \
  do {                                                                                    \
    if (!(condition)) [[unlikely]]                                                        \
      ::orthant::throw_error(::orthant::ErrorKind::kind, ::orthant::concat(__VA_ARGS__)); \
  } while (false)

// For inner loops: only in builds without NDEBUG.
#ifdef NDEBUG
#define ORTHANT_DCHECK(condition, ...) \
  do {                                 \
  } while (false)
#else
#define ORTHANT_DCHECK(condition, ...) ORTHANT_CHECK(condition, kInternal, __VA_ARGS__)
#endif
