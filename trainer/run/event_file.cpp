// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "base/error.h"
#include "base/log.h"

namespace orthant {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "records are little-endian");

constexpr std::string_view kPrefix = "events.out.tfevents.";
constexpr size_t kHeaderBytes = 12, kFooterBytes = 4;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

template <class T>
void put(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// Protobuf fields by wire type.
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
void put_tag(std::string& out, uint64_t field, WireType type) {
  put_varint(out, field << 3 | type);
}
void put_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  put_tag(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event(int64_t step, uint64_t field, std::string_view content) {
  std::string out;
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  put_tag(out, 1, kFixed64);
  put(out, now.count());
  put_tag(out, 2, kVarint);
  put_varint(out, static_cast<uint64_t>(step));
  put_bytes(out, field, content);
  return out;
}

std::string record(std::string_view data) {
  std::string out;
  put<uint64_t>(out, data.size());
  put(out, masked_crc32c(out));
  out += data;
  put(out, masked_crc32c(data));
  return out;
}

// The step of an event as event() writes them; nothing for other bytes.
std::optional<int64_t> step_of(std::string_view data) {
  if (data.size() < 11 || data[0] != (1 << 3 | kFixed64) || data[9] != (2 << 3 | kVarint))
    return {};
  uint64_t step = 0;
  for (size_t at = 10, shift = 0; at < data.size() && shift < 64; ++at, shift += 7) {
    step |= static_cast<uint64_t>(data[at] & 0x7F) << shift;
    if (!(data[at] & 0x80)) return static_cast<int64_t>(step);
  }
  return {};
}

// Length of the leading records that are whole and belong to steps up to `last_step`.
size_t kept_bytes(std::string_view file, int64_t last_step) {
  const auto number_at = [&](size_t at, auto value) {
    std::memcpy(&value, file.data() + at, sizeof(value));
    return value;
  };
  size_t at = 0;
  while (file.size() - at >= kHeaderBytes + kFooterBytes) {
    const uint64_t length = number_at(at, uint64_t{});
    if (number_at(at + 8, uint32_t{}) != masked_crc32c(file.substr(at, 8)) ||
        length > file.size() - at - kHeaderBytes - kFooterBytes)
      break;
    const std::string_view data = file.substr(at + kHeaderBytes, length);
    if (number_at(at + kHeaderBytes + length, uint32_t{}) != masked_crc32c(data)) break;
    const std::optional<int64_t> step = step_of(data);
    if (!step || *step > last_step) break;
    at += kHeaderBytes + length + kFooterBytes;
  }
  return at;
}

void cut_back(const std::string& dir, int64_t last_step) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, error)) {
    if (!entry.path().filename().string().starts_with(kPrefix)) continue;
    if (last_step == 0) {
      fs::remove(entry.path(), error);
    } else {
      std::ifstream in(entry.path(), std::ios::binary);
      const std::string content{std::istreambuf_iterator<char>(in), {}};
      const size_t kept = kept_bytes(content, last_step);
      if (kept < content.size()) fs::resize_file(entry.path(), kept, error);
    }
    ORTHANT_CHECK(!error, kCannotWrite, entry.path().string(), ": cannot cut back to step ",
                  last_step, ": ", error.message());
  }
}

// Later files sort behind earlier ones, and no two processes share one.
std::string file_name(const std::string& dir) {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::system_clock::now().time_since_epoch());
  return concat(dir, "/", kPrefix, seconds.count(), ".", host, ".", getpid(), ".0");
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes)
    crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u;
}

EventFile::EventFile(const std::string& dir, int64_t last_step) {
  cut_back(dir, last_step);
  file_ = std::make_unique<AppendFile>(file_name(dir));
  file_->append(record(event(0, 3, "brain.Event:2")), "its beginning");
  std::string start;
  put_tag(start, 1, kVarint);
  put_varint(start, 1);
  if (last_step > 0) file_->append(record(event(last_step + 1, 7, start)), "its beginning");
}

void EventFile::write(const StepMetrics& metrics) {
  std::string summary;
  for (const auto& [name, number] : scalars_of(metrics)) {
    std::string value;
    put_bytes(value, 1, name);
    put_tag(value, 2, kFixed32);
    put(value, static_cast<float>(number));
    put_bytes(summary, 1, value);
  }
  file_->append(record(event(metrics.step, 5, summary)), concat("step ", metrics.step));
}

}  // namespace orthant
