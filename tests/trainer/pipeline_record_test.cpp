// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/pipeline_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "parallel/pipeline/generators.h"
#include "parallel/pipeline/simulator.h"

namespace orthant {
namespace {

using ::testing::HasSubstr;

PipelineRecord simulated(const std::string& name) {
  PipelineRecord record{.step = 7, .schedule = pipeline::make_schedule(name, 3, 8)};
  record.timeline =
      simulate(record.schedule, {.all = {0.25, 0.5, 0.125}, .transfer = 0.1}).timeline;
  return record;
}

class PipelineRecords : public ::testing::Test {
 protected:
  PipelineRecords() : path_(concat("/tmp/orthant-record-", getpid(), ".json")) {}
  ~PipelineRecords() override { std::filesystem::remove(path_); }
  PipelineRecord read(const std::string& text) const {
    std::ofstream(path_) << text;
    return read_pipeline_record(path_);
  }
  std::string path_;
};

TEST_F(PipelineRecords, ComeBackAsTheyWere) {
  for (const std::string& name : pipeline::schedule_names()) {
    const PipelineRecord record = simulated(name), back = read(to_json(record));
    EXPECT_EQ(back.step, 7);
    EXPECT_EQ(back.schedule.programs, record.schedule.programs);
    for (size_t rank = 0; rank < 3; ++rank) {
      ASSERT_EQ(back.timeline.ranks[rank].size(), record.timeline.ranks[rank].size());
      for (size_t i = 0; i < back.timeline.ranks[rank].size(); ++i) {
        EXPECT_EQ(back.timeline.ranks[rank][i].action, record.timeline.ranks[rank][i].action);
        EXPECT_EQ(back.timeline.ranks[rank][i].end, record.timeline.ranks[rank][i].end);
      }
    }
  }
}

// Only messages cost what the prediction does not know of.
TEST_F(PipelineRecords, ThePredictionHasMessagesForNothing) {
  const PipelineRecord record = simulated("1f1b");
  const PipelineComparison comparison = compare_with_prediction(record);
  const double want = 0.875 * 10;  // 8 micro-batches, and a bubble of two
  ASSERT_EQ(comparison.timelines.size(), 2u);
  EXPECT_NEAR(comparison.timelines[0].timeline.total(), want, 1e-9);
  EXPECT_NEAR(comparison.predicted_bubble, 0.2, 1e-9);
  EXPECT_GT(comparison.measured_bubble, 0.2);
  EXPECT_THAT(comparison.text(), HasSubstr("predicted 20.0 %"));
}

TEST_F(PipelineRecords, NamesWhatIsNoRecord) {
  const std::string good = to_json(simulated("gpipe"));
  const auto fault = [&](const std::string& from, const std::string& to) -> std::string {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    try {
      read(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kData);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(fault("gpipe", "gpipe"), "");
  EXPECT_THAT(fault("gpipe", "pipedream"), HasSubstr("pipedream"));
  EXPECT_THAT(fault("\"ranks\":3", "\"ranks\":4"), HasSubstr("spans of every rank"));
  EXPECT_THAT(fault("\"micro_batches\":8", "\"micro_batches\":7"), HasSubstr("spans, got"));
  EXPECT_THAT(fault("\"stage\":0", "\"stage\":2"), HasSubstr("want forward of stage 0"));
  EXPECT_THAT(fault("\"step\"", "\"stop\""), HasSubstr(path_));
}

}  // namespace
}  // namespace orthant
