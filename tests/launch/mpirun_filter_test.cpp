// SPDX-License-Identifier: Apache-2.0
#include "launch/mpirun_filter.h"

#include <gtest/gtest.h>

namespace orthant {
namespace {

const std::string kDashes = std::string(74, '-') + "\n";

std::string paragraph(const std::string& text) { return kDashes + text + "\n" + kDashes; }

const std::string kCode = paragraph(
    "Primary job  terminated normally, but 1 process returned\n"
    "a non-zero exit code. Per user-direction, the job has been aborted.");
const std::string kKilled = paragraph(
    "mpirun noticed that process rank 1 with PID 0 on node here exited on signal 9 (Killed).");

// Everything at once.
std::string filtered(const std::string& text) {
  MpirunFilter filter;
  const std::string shown = filter.pass(text);
  return shown + filter.release();
}

TEST(MpirunFilter, LeavesOutWhatMpirunSaysOfCodesAndAborts) {
  const std::string exits = paragraph(
      "mpirun detected that one or more processes exited with non-zero status, thus causing\n"
      "the job to be terminated. The first process to do so was:\n\n  Exit code:    75");
  const std::string aborts = paragraph(
      "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD\nwith errorcode 76.\n");
  EXPECT_EQ(filtered("a\n" + kCode + "b\n" + exits + aborts + "c\n"), "a\nb\nc\n");
  EXPECT_EQ(filtered("mpirun: Forwarding signal 10 to job\na\n"
                     "[here:12] [[1,0],0] ORTE_ERROR_LOG: Out of resource in file "
                     "../../orte/util/show_help.c at line 507\n"),
            "a\n");
}

TEST(MpirunFilter, LeavesOutTheStackOfMpirunAndOfNobodyElse) {
  const auto crash = [](const std::string& who) {
    std::string text;
    for (const char* line :
         {"*** Process received signal ***", "Signal: Segmentation fault (11)",
          "Signal code: Address not mapped (1)", "Failing at address: (nil)",
          "[ 0] /lib/x86_64-linux-gnu/libc.so.6(+0x3c050)[0x7f15cdd60050]",
          "[10] mpirun(+0x1210)[0x55ed3a1d5131]", "*** End of error message ***"})
      text += who + line + "\n";
    return text;
  };
  MpirunFilter filter(123);
  EXPECT_EQ(filter.pass("a\n" + crash("[here:123] ") + "[here:123] b\n"), "a\n[here:123] b\n");
  EXPECT_EQ(filter.pass(crash("[here:1123] ")), crash("[here:1123] "));
}

TEST(MpirunFilter, KeepsAllElse) {
  for (const std::string& text :
       {std::string("a\n\nb"), kKilled, kDashes, paragraph("error: a") + "b\n" + kDashes + "end",
        "a\n" + kKilled + paragraph("mpirun was unable to find the specified executable file"),
        std::string("-----\nPrimary job  terminated normally\n-----\n")}) {
    EXPECT_EQ(filtered(text), text);
  }
}

TEST(MpirunFilter, IsTheSameHoweverTheBytesArrive) {
  const std::string text = "a\n" + kCode + paragraph("ours") + kKilled + "mpirun: Forw\nend";
  for (const size_t size : {1U, 7U, 74U, 75U, 76U, 300U}) {
    MpirunFilter filter;
    std::string shown;
    for (size_t i = 0; i < text.size(); i += size) shown += filter.pass(text.substr(i, size));
    EXPECT_EQ(shown + filter.release(), filtered(text)) << size;
  }
}

TEST(MpirunFilter, ShowsLinesAtOnceAndAnUnfinishedParagraphWhenReleased) {
  MpirunFilter filter;
  EXPECT_EQ(filter.pass("a\nb"), "a\n");
  EXPECT_EQ(filter.pass("c\n" + kDashes + "ours\n"), "bc\n");
  EXPECT_EQ(filter.release(), kDashes + "ours\n");
  EXPECT_EQ(filter.pass("d\n"), "d\n");
}

TEST(MpirunFilter, TellsWhetherMpirunNamedADeath) {
  for (const auto& [text, named] :
       {std::pair(kKilled, true), std::pair(kCode, false), std::pair(paragraph("ours"), false)}) {
    MpirunFilter filter;
    filter.pass(text);
    EXPECT_EQ(filter.named_a_death(), named) << text;
  }
}

}  // namespace
}  // namespace orthant
