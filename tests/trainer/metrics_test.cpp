// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/metrics.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "base/log.h"

namespace orthant {
namespace {

class MetricsFile : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / ("orthant_metrics_" + std::to_string(getpid()));
    std::filesystem::create_directories(dir_);
    path_ = dir_ / "metrics.jsonl";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string text() const {
    std::ifstream in(path_);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  std::filesystem::path dir_;
  std::string path_;
};

StepMetrics at_step(int64_t step) {
  StepMetrics m;
  m.step = step;
  m.loss = 1.0 / static_cast<double>(step);
  return m;
}

TEST(MetricsLine, HasEveryFieldAndOptionalOnesOnlyWhenSet) {
  StepMetrics m{.step = 3, .samples = 24, .tokens = 3072, .loss = 3.25, .lm_loss = 3.0};
  m.memory_peak_bytes = int64_t{1} << 40;
  m.learning_rate = 3e-4;
  EXPECT_EQ(to_json_line(m),
            "{\"step\": 3, \"samples\": 24, \"tokens\": 3072, \"loss\": 3.25, \"lm_loss\": 3, "
            "\"grad_norm\": 0, \"learning_rate\": 3e-04, \"step_ms\": 0, \"tokens_per_second\": 0, "
            "\"model_tflops\": 0, \"mfu\": 0, \"memory_peak_bytes\": 1099511627776}");
  m.validation_loss = std::numeric_limits<double>::infinity();
  m.extra = {{"k\"l", 0.5}};
  m.expert_loads = {{1, 0.5}, {2}};
  const std::string line = to_json_line(m);
  EXPECT_NE(line.find("\"validation_loss\": null"), std::string::npos) << line;
  EXPECT_NE(line.find("\"k\\\"l\": 0.5"), std::string::npos) << line;
  EXPECT_NE(line.find("\"expert_loads\": [[1, 0.5], [2]]"), std::string::npos) << line;
  EXPECT_EQ(line.find("dropped_fraction"), std::string::npos) << line;
}

TEST_F(MetricsFile, ReadsBackTheSameBits) {
  StepMetrics m = at_step(7);
  m.loss = 0.1 + 0.2;
  m.lm_loss = 5e-324;
  m.grad_norm = std::nan("");
  m.tokens = std::numeric_limits<int64_t>::max();
  m.epochs = 2.0 / 7;
  m.balance_loss = 1.0 / 3;
  m.expert_load_max_over_mean = 1.31;
  m.expert_load_entropy = 0.875;
  m.dropped_fraction = 0;
  m.validation_bits_per_byte = 1.75;
  m.expert_loads = {{0.9, 1.1}, {1, 1}};
  m.extra = {{"kl", 0.01}};
  m.memory = {{"memory_step_bytes", 4096}};
  MetricsWriter(path_, 0).write(m);
  const std::vector<StepMetrics> back = read_metrics(path_);
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0].memory, m.memory);
  EXPECT_EQ(back[0].extra, m.extra);
  EXPECT_EQ(back[0].epochs, m.epochs);
  EXPECT_EQ(back[0].loss, m.loss);
  EXPECT_EQ(back[0].lm_loss, m.lm_loss);
  EXPECT_TRUE(std::isnan(back[0].grad_norm));
  EXPECT_EQ(back[0].tokens, m.tokens);
  EXPECT_EQ(back[0].balance_loss, m.balance_loss);
  EXPECT_EQ(back[0].expert_load_entropy, 0.875);
  EXPECT_EQ(back[0].dropped_fraction, 0.0);
  EXPECT_EQ(back[0].validation_bits_per_byte, 1.75);
  EXPECT_FALSE(back[0].validation_loss.has_value());
  EXPECT_EQ(back[0].expert_loads, m.expert_loads);
  EXPECT_EQ(back[0].extra, m.extra);
}

TEST_F(MetricsFile, ResumeCutsBackToTheCheckpoint) {
  {
    MetricsWriter writer(path_, 0);
    for (int64_t step = 1; step <= 6; ++step) writer.write(at_step(step));
  }
  std::ofstream(path_, std::ios::app) << "{\"step\": 7, \"lo";  // killed while it wrote
  EXPECT_EQ(read_metrics(path_).size(), 6u);
  const std::string whole = text();
  {
    MetricsWriter writer(path_, 4);
    EXPECT_EQ(text(), whole.substr(0, whole.find("{\"step\": 5")));
    writer.write(at_step(5));
  }
  const std::vector<StepMetrics> steps = read_metrics(path_);
  ASSERT_EQ(steps.size(), 5u);
  EXPECT_EQ(steps.back().step, 5);
  MetricsWriter fresh(path_, 0);
  EXPECT_EQ(text(), "");
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir_)) ++files;
  EXPECT_EQ(files, 1u);  // no temporary file is left
}

TEST_F(MetricsFile, ReaderSkipsDamagedLines) {
  std::ofstream(path_) << to_json_line(at_step(1)) << "\n\x01\x02garbage\n[1]\n{\"loss\": 1}\n"
                       << "{\"step\": \"two\"}\n{\"step\": 2, \"loss\": \"x\"}\n"
                       << to_json_line(at_step(3)) << "\r\n{\"step\": 4, \"note\": \"text\"}";
  const std::vector<StepMetrics> steps = read_metrics(path_);
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[1].step, 3);
  EXPECT_EQ(steps[2].step, 4);
  EXPECT_THROW(read_metrics(dir_ / "none"), Error);
}

TEST(MetricsWriterFault, FullDiskWarnsOnceAndGoesOn) {
  testing::internal::CaptureStderr();
  MetricsWriter writer("/dev/full", 0);
  writer.write(at_step(1));
  writer.write(at_step(2));
  const std::string warned = testing::internal::GetCapturedStderr();
  EXPECT_FALSE(writer.healthy());
  EXPECT_NE(warned.find("/dev/full: cannot write: No space left on device"), std::string::npos)
      << warned;
  EXPECT_EQ(warned.find("warning"), warned.rfind("warning")) << warned;
}

TEST(MetricsWriterFault, RefusesAPathThatCannotBeOpened) {
  EXPECT_THROW(MetricsWriter("/nonexistent/metrics.jsonl", 0), Error);
}

}  // namespace
}  // namespace orthant
