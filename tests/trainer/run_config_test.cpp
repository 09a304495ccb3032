// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/config/config.h"
#include "base/config/schema.h"
#include "trainer/run_plan.h"

namespace orthant {
namespace {

using ::testing::HasSubstr;

// Model, data, batch, optimizer and schedule make a run what it is.
TEST(RunConfig, WhatMayChangeOnResume) {
  const std::set<std::string> of_run = {
      "run.name",           "run.dir",    "run.max_steps",         "run.resume",
      "run.accept_changes", "model.from", "model.mtp_loss_weight", "data.tokenizer",
      "data.bad_lines",     "lora.from"};
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

TEST(RunPlan, LanesAreForTheSameBitsOnEveryLayout) {
  const std::string text =
      "run: {max_steps: 1, reduction_lanes: 4}\nbatch: {sequence_length: 8}\ndata: {train: "
      "a.txt}\n";
  for (const auto& [determinism, lanes] : {std::pair{"layout", 4}, {"run", 1}, {"none", 1}}) {
    const auto given =
        parse_config<RunConfig>(text, "f.yaml", {concat("run.determinism=", determinism)});
    EXPECT_EQ(RunPlan(given.config, 1).reduction_lanes(), lanes) << determinism;
  }
}

// Only what the user said stays in a stored text where ranks and steps may become others.
TEST(RunPlan, TheStoredTextLeavesOpenWhatTheUserLeftOpen) {
  const std::string text =
      "run: {max_steps: 9}\nbatch: {sequence_length: 8}\ndata: {train: a.txt}\n";
  const auto plan = [&](const std::vector<std::string>& overrides) {
    return RunPlan(parse_config<RunConfig>(text, "f.yaml", overrides).config, 4);
  };
  const RunPlan open = plan({}), given = plan({"parallel.dp=4", "schedule.total_steps=9"});
  for (const RunPlan& p : {open, given}) {
    EXPECT_EQ(p.config().parallel.data_parallel_size, 4);
    EXPECT_EQ(p.config().schedule.total_steps, 9);
  }
  EXPECT_THAT(open.yaml(), HasSubstr("data_parallel_size: 0\n"));
  EXPECT_THAT(open.yaml(), HasSubstr("total_steps: 0\n"));
  EXPECT_THAT(given.yaml(), HasSubstr("data_parallel_size: 4\n"));
  EXPECT_THAT(given.yaml(), HasSubstr("total_steps: 9\n"));
  // A run that goes on keeps the end that it had, and its text stays open.
  const RunPlan kept = open.with_schedule_end(5);
  EXPECT_EQ(kept.config().schedule.total_steps, 5);
  EXPECT_EQ(kept.yaml(), open.yaml());
}

}  // namespace
}  // namespace orthant
