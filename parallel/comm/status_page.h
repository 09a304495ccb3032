// SPDX-License-Identifier: Apache-2.0
// What a rank shows of itself to the ranks of its host: a page of memory that it alone writes and
// that they read at any time, also while it computes, is stopped, or is dead.
//
// Thread ranks have their pages in ThreadWorld, MPI ranks in shared memory (mpi/shared_pages.h).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace orthant {

enum class RankPhase : int64_t { kRunning, kWaiting, kEnded, kFailed };

// How many collectives of a group a rank has begun.
struct GroupPlace {
  uint64_t group = 0;  // GroupImpl::key(); 0: an empty slot
  int64_t begun = 0;
};

// Plain data: texts are cut and end in 0.
struct RankStatus {
  int64_t process = 0, thread = 0;
  uint64_t process_namespace = 0;  // ids mean the same where this is the same
  RankPhase phase = RankPhase::kRunning;
  double since_seconds = 0;  // in this phase, or since the operation was begun (now_seconds)
  // The operation that the rank waits in; else the last one.
  char op[24] = "";
  char group[32] = "";
  char site[64] = "";
  int64_t step = 0;
  uint64_t group_key = 0;
  int64_t place = -1;                  // of the collective in its group; -1 for send and recv
  std::array<int32_t, 8> waits_for{};  // world ranks, the first of them
  int64_t num_waits_for = 0;
  char reason[256] = "";  // of a failure
  std::array<GroupPlace, 16> places{};

  int64_t begun(uint64_t group) const;  // 0 for a group that it has not used
  void set_begun(uint64_t group, int64_t count);
  bool is_waiting_for(int world_rank) const;
};

// Cut to fit, from the front when `keep_end`.
void set_text(char* to, size_t size, std::string_view text, bool keep_end = false);

// Readers see one write, never parts of two; they do not hold up the writer.
class StatusPage {
 public:
  void write(const RankStatus& status);
  RankStatus read() const;

 private:
  static constexpr size_t kWords = sizeof(RankStatus) / sizeof(uint64_t);
  static_assert(sizeof(RankStatus) % sizeof(uint64_t) == 0);
  static_assert(std::atomic<uint64_t>::is_always_lock_free);  // works between processes
  std::atomic<uint64_t> version_{0};                          // odd during a write
  std::array<std::atomic<uint64_t>, kWords> words_{};
};

// Fills in process, thread and namespace of the calling thread.
void identify(RankStatus& status);

// From /proc, for ranks whose process ids mean something here; kUnknown for others.
enum class ProcessState { kUnknown, kRunning, kSleeping, kStopped, kDead };
ProcessState process_state(const RankStatus& status);

}  // namespace orthant
