// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/event_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/text.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;

// A reader of its own, by the formats' published definitions.
struct Message {
  std::map<uint64_t, std::vector<std::string>> fields;  // raw values: 8 or 4 bytes, or text
  const std::string& at(uint64_t field) const { return fields.at(field).front(); }
};

uint64_t read_varint(const std::string& in, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(in.at(at++));
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
}

Message parse(const std::string& in) {
  Message message;
  for (size_t at = 0; at < in.size();) {
    const uint64_t tag = read_varint(in, at);
    std::string value;
    if ((tag & 7) == 0) {
      value = std::to_string(read_varint(in, at));
    } else {
      const uint64_t size = (tag & 7) == 1 ? 8 : (tag & 7) == 5 ? 4 : read_varint(in, at);
      if (at + size > in.size()) throw std::out_of_range("field");
      value = in.substr(at, size);
      at += size;
    }
    message.fields[tag >> 3].push_back(value);
  }
  return message;
}

template <class T>
T number(const std::string& bytes, size_t at = 0) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

// Bit by bit, without a table.
uint32_t plain_masked_crc(const std::string& bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xA282EAD8;
}

std::vector<Message> records(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  std::vector<Message> messages;
  for (size_t at = 0; at < file.size();) {
    const auto size = number<uint64_t>(file, at);
    EXPECT_EQ(number<uint32_t>(file, at + 8), plain_masked_crc(file.substr(at, 8)));
    const std::string data = file.substr(at + 12, size);
    EXPECT_EQ(data.size(), size);
    EXPECT_EQ(number<uint32_t>(file, at + 12 + size), plain_masked_crc(data));
    messages.push_back(parse(data));
    at += 16 + size;
  }
  return messages;
}

class Events : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / concat("orthant_events_", getpid());
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::vector<fs::path> files() const {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(dir_)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
  }
  void write_steps(int64_t first, int64_t last) {
    EventFile file(dir_, first - 1);
    for (int64_t step = first; step <= last; ++step)
      file.write({.step = step, .loss = 1.0 / static_cast<double>(step), .balance_loss = 0.25});
  }
  // As if another process had written it.
  fs::path rename_newest(const std::string& name) const {
    const fs::path to = dir_ / name;
    for (const fs::path& path : files())
      if (path.filename().string().size() > 25) fs::rename(path, to);
    return to;
  }
  // The steps of all summaries, by file.
  std::vector<int64_t> steps() const {
    std::vector<int64_t> all;
    for (const fs::path& path : files())
      for (const Message& m : records(path))
        if (m.fields.count(5)) all.push_back(std::stoll(m.at(2)));
    return all;
  }
  fs::path dir_;
};

TEST(Crc32c, KnowsThePublishedValues) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
}

TEST_F(Events, HoldEveryScalarOfALine) {
  const StepMetrics metrics{.step = 300,
                            .samples = 7,
                            .loss = 3.5,
                            .validation_loss = 1.25,
                            .expert_load_max_over_mean = 2.0,
                            .expert_loads = {{1, 1}},
                            .extra = {{"kl", -0.5}}};
  EventFile(dir_, 0).write(metrics);
  ASSERT_EQ(files().size(), 1u);
  EXPECT_TRUE(files()[0].filename().string().starts_with("events.out.tfevents."));
  const std::vector<Message> events = records(files()[0]);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].at(3), "brain.Event:2");
  EXPECT_GT(number<double>(events[0].at(1)), 1.7e9);
  EXPECT_EQ(events[1].at(2), "300");
  std::map<std::string, float> values;
  const Message summary = parse(events[1].at(5));
  for (const std::string& value : summary.fields.at(1)) {
    const Message m = parse(value);
    values[m.at(1)] = number<float>(m.at(2));
  }
  EXPECT_EQ(values.size(), 11u + 3u);  // all required ones but the step, and three more
  EXPECT_EQ(values["samples"], 7);
  EXPECT_EQ(values["loss"], 3.5);
  EXPECT_EQ(values["validation_loss"], 1.25);
  EXPECT_EQ(values["expert_load_max_over_mean"], 2.0);
  EXPECT_EQ(values["kl"], -0.5);
}

TEST_F(Events, AResumeRepeatsNoStep) {
  write_steps(1, 6);
  const fs::path old = rename_newest("events.out.tfevents.1");
  write_steps(5, 7);  // from a checkpoint of step 4
  EXPECT_EQ(steps(), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7}));
  const std::vector<Message> events = records(files().back());
  EXPECT_EQ(events[1].at(2), "5");
  EXPECT_EQ(parse(events[1].at(7)).at(1), "1");  // START
  rename_newest("events.out.tfevents.2");
  write_steps(3, 3);  // back behind the beginning of the second file
  EXPECT_EQ(steps(), (std::vector<int64_t>{1, 2, 3}));
  write_steps(1, 1);  // the run begins anew
  EXPECT_EQ(steps(), (std::vector<int64_t>{1}));
}

TEST_F(Events, ATornEndIsCutOff) {
  for (const int64_t torn : {1, 5, 13, 20}) {
    write_steps(1, 3);
    const fs::path old = rename_newest("events.out.tfevents.1");
    fs::resize_file(old, fs::file_size(old) - static_cast<uintmax_t>(torn));
    write_steps(4, 4);
    EXPECT_EQ(steps(), (std::vector<int64_t>{1, 2, 4})) << torn;
    fs::remove_all(dir_);
    fs::create_directories(dir_);
  }
}

TEST_F(Events, OtherFilesStay) {
  std::ofstream(dir_ / "metrics.jsonl") << "x";
  write_steps(1, 1);
  EXPECT_TRUE(fs::exists(dir_ / "metrics.jsonl"));
}

}  // namespace
}  // namespace orthant
