// SPDX-License-Identifier: Apache-2.0
#include "data/teacher_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/data/files.h"

namespace orthant {
namespace {

TeacherFileInfo info_of(DType dtype) {
  return {.labels = 5,
          .top_k = 2,
          .vocab_size = 9,
          .temperature = 1.5,
          .dtype = dtype,
          .data = "the data",
          .tokenizer = "byte",
          .teacher = "someone",
          .precision = dtype == DType::kF64 ? "fp64" : "bf16"};
}

std::vector<int32_t> ids_of(int64_t label) {
  return {static_cast<int32_t>(label), static_cast<int32_t>(label + 3)};
}
std::vector<double> log_probs_of(int64_t label) {
  const auto value = static_cast<double>(label);
  return {-value / 3, -value - 0.1, -1e30};
}

// Labels in the order that their rows come in.
void write(const std::string& path, DType dtype) {
  TeacherFileWriter writer(path, info_of(dtype));
  for (const int64_t label : {3, 0, 4, 1, 2}) writer.add(label, ids_of(label), log_probs_of(label));
  EXPECT_FALSE(std::filesystem::exists(path));
  writer.commit();
}

TEST(TeacherFile, GivesBackWhatWasWritten) {
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    const std::string path = test_folder() + "/" + std::string(name_of(dtype)) + ".h5";
    write(path, dtype);
    const TeacherFile file(path);
    file.verify();
    EXPECT_EQ(file.info().labels, 5);
    EXPECT_EQ(file.info().temperature, 1.5);
    EXPECT_EQ(file.info().teacher, "someone");
    const std::vector<int64_t> places = {4, -1, 1, 2, 0};
    std::vector<int32_t> ids(10);
    std::vector<double> log_probs(15);
    file.read(places, ids, log_probs);
    for (size_t i = 0; i < places.size(); ++i) {
      const bool is_none = places[i] < 0;
      for (size_t k = 0; k < 2; ++k) EXPECT_EQ(ids[2 * i + k], is_none ? -1 : ids_of(places[i])[k]);
      for (size_t k = 0; k < 3; ++k) {
        const double want = is_none ? 0 : log_probs_of(places[i])[k];
        EXPECT_EQ(log_probs[3 * i + k],
                  dtype == DType::kF64 ? want : static_cast<double>(static_cast<float>(want)));
      }
    }
  }
}

TEST(TeacherFile, IsThereWholeOrNotAtAll) {
  const std::string path = test_folder() + "/some.h5";
  {
    TeacherFileWriter writer(path, info_of(DType::kF32));
    writer.add(0, ids_of(0), log_probs_of(0));
    expect_error(ErrorKind::kInternal, {"want 5 labels, got 1"}, [&] { writer.commit(); });
  }
  EXPECT_TRUE(std::filesystem::is_empty(test_folder()));
}

TEST(TeacherFile, DamageIsFound) {
  const std::string path = test_folder() + "/some.h5";
  write(path, DType::kF32);
  const std::string whole = read_bytes(path);
  const auto expect = [&](const std::string& content, const char* says) {
    write_bytes(path, content);
    expect_error(ErrorKind::kData, {says}, [&] { TeacherFile(path).verify(); });
  };
  expect(whole.substr(0, whole.size() - 20), "truncated");
  expect("no file at all", "is not an HDF5 file; want one that orthant distill");
  // The first of the log-probabilities but one: -1/3 as f32.
  std::string other = whole;
  const float third = -1.0F / 3;
  const size_t at = other.find(std::string(reinterpret_cast<const char*>(&third), sizeof third));
  ASSERT_NE(at, std::string::npos);
  other[at] = static_cast<char>(other[at] ^ 1);
  expect(other, "its content has the checksum");
  expect_error(ErrorKind::kMissingInput, {"no such file"},
               [&] { TeacherFile(test_folder() + "/none.h5"); });
}

}  // namespace
}  // namespace orthant
