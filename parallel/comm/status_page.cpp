// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/status_page.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/text.h"

namespace orthant {

int64_t RankStatus::begun(uint64_t group) const {
  for (const GroupPlace& place : places) {
    if (place.group == group) return place.begun;
  }
  return 0;
}

void RankStatus::set_begun(uint64_t group, int64_t count) {
  for (GroupPlace& place : places) {
    if (place.group != group && place.group != 0) continue;
    place = {group, count};
    return;
  }
}

bool RankStatus::is_waiting_for(int world_rank) const {
  const auto end = waits_for.begin() + num_waits_for;
  return phase == RankPhase::kWaiting && std::find(waits_for.begin(), end, world_rank) != end;
}

void set_text(char* to, size_t size, std::string_view text, bool keep_end) {
  const size_t length = std::min(text.size(), size - 1);
  std::memcpy(to, text.data() + (keep_end ? text.size() - length : 0), length);
  std::memset(to + length, 0, size - length);
}

void StatusPage::write(const RankStatus& status) {
  const auto words = std::bit_cast<std::array<uint64_t, kWords>>(status);
  const uint64_t version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_relaxed);
  version_.store(version + 2, std::memory_order_release);
}

RankStatus StatusPage::read() const {
  // A writer that lost its processor in the middle gets time to go on; one that was stopped or
  // killed there leaves an odd version for good.
  constexpr int kTries = 1000, kTriesAtOnce = 20;
  std::array<uint64_t, kWords> words;
  for (int i = 0; i < kTries; ++i) {
    if (i >= kTriesAtOnce) std::this_thread::sleep_for(std::chrono::microseconds(50));
    const uint64_t version = version_.load(std::memory_order_acquire);
    for (size_t w = 0; w < kWords; ++w) words[w] = words_[w].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (version % 2 == 0 && version_.load(std::memory_order_relaxed) == version) break;
  }
  return std::bit_cast<RankStatus>(words);
}

namespace {

uint64_t own_process_namespace() {
  struct stat entry = {};
  return stat("/proc/self/ns/pid", &entry) == 0 ? entry.st_ino : 0;
}

}  // namespace

void identify(RankStatus& status) {
  status.process = getpid();
  status.thread = syscall(SYS_gettid);
  status.process_namespace = own_process_namespace();
}

ProcessState process_state(const RankStatus& status) {
  if (status.process == 0 || status.process_namespace == 0 ||
      status.process_namespace != own_process_namespace()) {
    return ProcessState::kUnknown;
  }
  const std::string path = concat("/proc/", status.process, "/task/", status.thread, "/stat");
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno == ENOENT ? ProcessState::kDead : ProcessState::kUnknown;
  char text[512];
  const ssize_t size = read(file, text, sizeof(text) - 1);
  const bool is_gone = size < 0 && errno == ESRCH;
  close(file);
  if (is_gone) return ProcessState::kDead;
  text[std::max<ssize_t>(size, 0)] = 0;
  const char* name_end = std::strrchr(text, ')');  // "pid (name) S ..."
  if (!name_end || name_end[1] == 0) return ProcessState::kUnknown;
  switch (name_end[2]) {
    case 'R':
      return ProcessState::kRunning;
    case 'T':
    case 't':
      return ProcessState::kStopped;
    case 'Z':
    case 'X':
      return ProcessState::kDead;
    default:
      return ProcessState::kSleeping;
  }
}

}  // namespace orthant
