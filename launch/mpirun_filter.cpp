// SPDX-License-Identifier: Apache-2.0
#include "launch/mpirun_filter.h"

#include <utility>

#include "base/text.h"

namespace orthant {
namespace {

bool contains(std::string_view text, std::string_view words) {
  return text.find(words) != std::string_view::npos;
}

// mpirun leaves two blanks where it has no name for the job.
bool buries_the_program(std::string_view paragraph) {
  for (const char* words : {"Primary job terminated normally", "Primary job  terminated normally",
                            "processes exited with non-zero status", "MPI_ABORT was invoked"}) {
    if (contains(paragraph, words)) return true;
  }
  return false;
}

bool is_note(std::string_view line) {
  return line.starts_with("mpirun: Forwarding signal") ||
         (contains(line, "ORTE_ERROR_LOG: ") && contains(line, "show_help.c"));
}

// "[host:123] *** Process received signal ***", and the lines that follow it.
bool is_crash_of(pid_t process, std::string_view line) {
  const std::string end = concat(":", process, "] ");
  const size_t begin = line.find(end);
  if (!line.starts_with('[') || begin == line.npos || begin > line.find(' ')) return false;
  line.remove_prefix(begin + end.size());
  for (const char* words : {"*** ", "Signal", "Failing at address", "[ ", "[1", "[2"})
    if (line.starts_with(words)) return true;
  return false;
}

}  // namespace

std::string MpirunFilter::pass(std::string_view bytes) {
  std::string shown;
  for (size_t end = bytes.find('\n'); end != bytes.npos; end = bytes.find('\n')) {
    line_ += bytes.substr(0, end + 1);
    pass_line(std::exchange(line_, ""), shown);
    bytes.remove_prefix(end + 1);
  }
  line_ += bytes;
  return shown;
}

void MpirunFilter::pass_line(const std::string& line, std::string& shown) {
  static const std::string dashes = std::string(74, '-') + '\n';
  if (is_note(line) || is_crash_of(mpirun_, line)) return;
  if (paragraph_.empty() && line != dashes) {
    shown += line;
    return;
  }
  const bool ends = !paragraph_.empty() && line == dashes;
  paragraph_ += line;
  if (!ends) return;
  const std::string whole = std::exchange(paragraph_, "");
  if (buries_the_program(whole)) return;
  if (contains(whole, "mpirun") && contains(whole, "on signal")) named_a_death_ = true;
  shown += whole;
}

std::string MpirunFilter::release() {
  return std::exchange(paragraph_, "") + std::exchange(line_, "");
}

}  // namespace orthant
