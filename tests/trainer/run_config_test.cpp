// SPDX-License-Identifier: Apache-2.0
#include "trainer/run_config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/config/config.h"
#include "base/config/schema.h"

namespace orthant {
namespace {

// Model, data, batch, optimizer and schedule make a run what it is.
TEST(RunConfig, WhatMayChangeOnResume) {
  const std::set<std::string> of_run = {
      "run.name", "run.dir", "run.max_steps", "run.resume", "run.accept_changes", "data.bad_lines"};
  const std::set<std::string> blocks = {"device",     "parallel", "evaluation",
                                        "checkpoint", "logging",  "generation"};
  RunConfig config;
  const Schema schema = collect_schema(field_list(config));
  int free = 0, bound = 0;
  for (const std::string& path : all_paths(schema)) {
    const bool expected = blocks.count(path.substr(0, path.find('.'))) || of_run.count(path);
    EXPECT_EQ(may_change(schema, path), expected) << path;
    ++(expected ? free : bound);
  }
  EXPECT_GT(free, 30);
  EXPECT_GT(bound, 50);
}

TEST(RunConfig, TheStoredTextLeavesTheNumberOfRanksOpen) {
  const RunConfig given =
      parse_config<RunConfig>(
          "run: {max_steps: 1}\nbatch: {sequence_length: 8}\ndata: {train: a.txt}\n", "f.yaml")
          .config;
  RunConfig config = given.resolved(4);
  EXPECT_EQ(given.parallel.data_parallel_size, 0);
  EXPECT_EQ(config.parallel.data_parallel_size, 4);
  EXPECT_NE(config.yaml().find("data_parallel_size: 0\n"), std::string::npos);
  config.replicas_follow_ranks = false;
  EXPECT_NE(config.yaml().find("data_parallel_size: 4\n"), std::string::npos);
}

}  // namespace
}  // namespace orthant
