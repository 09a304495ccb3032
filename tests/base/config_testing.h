// SPDX-License-Identifier: Apache-2.0
// A configuration with a field of every kind, for the tests of base/config/.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/config/config.h"
#include "base/error.h"

namespace orthant {

struct Source {
  std::string path;
  double weight = 1;
  void fields(FieldVisitor& v) {
    v.field("path", path, required_text(), "file");
    v.field("weight", weight, positive(), "share of the mixture");
  }
};

struct Inner {
  int64_t depth = 2;
  void fields(FieldVisitor& v) { v.field("depth", depth, between(1, 64), "levels | stages"); }
};

struct TestConfig {
  std::string device = "auto";
  std::string name = "demo";
  int64_t seed = 1, tensor = 1, ranks = 0;
  double learning_rate = 3e-4, decay = 0.1, dropout = 0;
  bool sequence_parallel = false;
  std::vector<double> betas = {0.9, 0.95};
  std::string schedule = "cosine";
  std::vector<Source> train;
  Inner inner;

  void fields(FieldVisitor& v) {
    v.field("device", device, one_of({"cpu", "cuda", "auto"}), "where tensors live");
    v.block("run", "the run", [&](FieldVisitor& b) {
      b.field("name", name, any_text(), "name");
      b.field("seed", seed, at_least(0), "seed");
    });
    v.block("parallel", "layout", [&](FieldVisitor& b) {
      b.field("tensor_parallel_size", tensor, at_least(1), "ranks of one layer");
      b.alias("tp", "tensor_parallel_size");
      b.field("sequence_parallel", sequence_parallel, "split norms");
      b.field("ranks", ranks, IntBounds{}, "any");
      b.block("inner", "nested", [&](FieldVisitor& c) { inner.fields(c); });
    });
    v.block("optimizer", "AdamW", [&](FieldVisitor& b) {
      b.field("learning_rate", learning_rate, positive(), "step size");
      b.field("weight_decay", decay, non_negative(), "decay");
      b.field("betas", betas, below_one(), "moments");
      b.field("dropout", dropout, below_one(), "share dropped");
      b.alias("lr", "learning_rate");
    });
    v.block("data", "inputs", [&](FieldVisitor& b) {
      b.list(
          "train", "sources", train.size(), [&](size_t n) { train.resize(n); },
          [&](size_t i, FieldVisitor& item) { train[i].fields(item); });
    });
    v.field("schedule", schedule, one_of({"cosine", "linear", "constant"}), "shape");
    v.alias("max_tp", "parallel.tensor_parallel_size");
  }
};

inline ConfigSource read(TestConfig& config, const std::string& text,
                         const std::vector<std::string>& overrides = {}) {
  return read_config(parse_yaml(text, "f.yaml"), overrides, field_list(config));
}

inline std::string fault(const std::string& text, const std::vector<std::string>& overrides = {}) {
  TestConfig config;
  try {
    read(config, text, overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
  return "(no error)";
}

}  // namespace orthant
