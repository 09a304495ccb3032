// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/watchdog.h"

#include <algorithm>
#include <limits>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

namespace orthant {
namespace {

constexpr double kLookSeconds = 1.0;
// A rank looks every second: one that did not for this long was itself stopped, or starved.
constexpr double kStallSeconds = 5.0;
// Of the deadline: from here on the wait is worth a line in the log.
constexpr double kWarnPart = 0.25;
constexpr size_t kMostRanksInReport = 16;

std::string state_text(const RankStatus& status) {
  switch (process_state(status)) {
    case ProcessState::kRunning:
      return concat("; its process ", status.process, " is running");
    case ProcessState::kSleeping:
      return concat("; its process ", status.process, " is sleeping");
    case ProcessState::kStopped:
      return concat("; its process ", status.process, " is stopped (by a signal or a debugger)");
    case ProcessState::kDead:
      return concat("; its process ", status.process, " is dead");
    default:
      return "";
  }
}

std::string operation_text(const RankStatus& status) {
  if (status.op[0] == 0) return "no operation yet";
  return concat(status.op, " on group ", status.group, " at ", status.site, " (step ", status.step,
                ")");
}

}  // namespace

Watch::Watch(CommState& state, WorkImpl& work)
    : state_(state),
      work_(work),
      start_(now_seconds()),
      looked_(start_),
      deadline_(start_ + state.deadline_seconds),
      next_diagnosis_(start_ + kLookSeconds),
      warn_at_(start_ + kWarnPart * state.deadline_seconds) {
  state_.show_waiting(work_);
}

Watch::~Watch() {
  state_.show_running();
  if (spoke_ && work_.is_done()) {
    log::all(work_.call().op, " on group ", work_.group().name(), " at ",
             text_of(work_.call().site), ": ", ranks_text(late_), " came after ",
             seconds_text(now_seconds() - start_), "; going on");
  }
}

double Watch::look() {
  const double now = now_seconds();
  if (now - looked_ > kStallSeconds) {
    const double stalled = now - looked_;
    log::all(headline(concat("this rank itself did nothing for ", seconds_text(stalled),
                             ", which does not count")));
    deadline_ += stalled;
    warn_at_ += stalled;
  }
  looked_ = now;
  if (now >= deadline_) fail(concat("waited ", seconds_text(now - start_)), work_.advice());
  if (now >= next_diagnosis_) {
    state_.show_waiting(work_);
    check_hopeless();  // a rank that failed says why better than the message that it left behind
    work_.diagnose();
    next_diagnosis_ = now + kLookSeconds;
  }
  if (!warned_ && now >= warn_at_) warn(now - start_);
  const double next = std::min(deadline_, next_diagnosis_);
  return warned_ ? next : std::min(next, warn_at_);
}

// One rank speaks for all that wait.
void Watch::warn(double waited) {
  warned_ = true;
  const std::vector<int> missing = work_.missing();
  const bool is_first =
      work_.call().place < 0 ||
      std::none_of(work_.group().world_ranks().begin(), work_.group().world_ranks().end(),
                   [&](int rank) {
                     return rank < work_.group().world_rank(work_.group().rank()) &&
                            std::find(missing.begin(), missing.end(), rank) == missing.end();
                   });
  if (!is_first) return;
  spoke_ = true;
  late_ = missing;
  log::write(log::Level::kWarn, true,
             concat(headline(concat("has waited ", seconds_text(waited))), "; it gives up after ",
                    seconds_text(deadline_ - start_), whereabouts()));
}

void Watch::check_hopeless() {
  for (const int rank : work_.missing()) {
    const std::string why = hopeless_because(rank);
    if (why.empty()) continue;
    // What it sent before has arrived by now, if this rank only looks.
    if (work_.test()) return;
    const std::vector<int> missing = work_.missing();
    if (std::find(missing.begin(), missing.end(), rank) != missing.end())
      fail(concat("waits in vain, since rank ", rank, " ", why, ";"), "look at that rank's log");
  }
}

std::string Watch::hopeless_because(int rank) const {
  const auto r = static_cast<size_t>(rank);
  if (r >= state_.pages.size() || !state_.pages[r]) return "";
  const RankStatus theirs = state_.pages[r]->read();
  if (theirs.phase == RankPhase::kFailed) return concat("failed: ", theirs.reason);
  if (process_state(theirs) == ProcessState::kDead) return "is dead";
  const GroupImpl& group = work_.group();
  const int64_t place = work_.call().place;
  if (place < 0 || group.key() == 0 || theirs.begun(group.key()) > place) return "";
  if (theirs.phase == RankPhase::kEnded) return "has ended";
  const int me = group.world_rank(group.rank());
  const bool is_elsewhere =
      theirs.place >= 0 && theirs.group_key != 0 && theirs.group_key != group.key();
  if (!is_elsewhere || !theirs.is_waiting_for(me)) return "";
  if (state_.status().begun(theirs.group_key) > theirs.place) return "";
  return concat("waits for this rank, ", me, ", in ", operation_text(theirs),
                ": two groups are used in different orders on different ranks");
}

void Watch::fail(const std::string& why, const std::string& advice) {
  work_.give_up();
  const std::string text = concat(headline(why), "; ", advice, whereabouts());
  throw_error(ErrorKind::kComm, text, work_.call().site);
}

std::string Watch::headline(const std::string& what) const {
  const Call& call = work_.call();
  const std::vector<int> missing = work_.missing();
  return concat(call.op, " on group ", work_.group().name(), ": ", what,
                missing.empty() ? "" : " for " + ranks_text(missing), " (",
                human_bytes(static_cast<double>(call.bytes)), " ", name_of(call.dtype),
                ", sequence ", call.sequence, ", step ", state_.step, ", called at ",
                text_of(call.site), ", world ", ranks_text(work_.group().world_ranks()), ")");
}

std::string Watch::whereabouts() const {
  std::vector<int> ranks = work_.missing();
  for (const int rank : work_.group().world_ranks()) {
    if (std::find(ranks.begin(), ranks.end(), rank) == ranks.end()) ranks.push_back(rank);
  }
  const size_t shown = std::min(ranks.size(), kMostRanksInReport);
  std::string text;
  for (size_t i = 0; i < shown; ++i) text += concat("\n  ", where_is(ranks[i]));
  if (shown < ranks.size()) text += concat("\n  and ", ranks.size() - shown, " more ranks");
  return text;
}

std::string Watch::where_is(int world_rank) const {
  const auto r = static_cast<size_t>(world_rank);
  if (r >= state_.pages.size() || !state_.pages[r]) {
    return concat("rank ", world_rank, " is on another host, or shares no memory: see its log");
  }
  const RankStatus status = state_.pages[r]->read();
  const std::string since = seconds_text(now_seconds() - status.since_seconds);
  std::string what;
  switch (status.phase) {
    case RankPhase::kWaiting: {
      const auto begin = status.waits_for.begin();
      const std::vector<int> others(begin, begin + status.num_waits_for);
      what = concat("has waited ", since, others.empty() ? "" : " for " + ranks_text(others),
                    " in ", operation_text(status));
      break;
    }
    case RankPhase::kRunning:
      what = concat("has been in its own code for ", since, "; last it called ",
                    operation_text(status));
      break;
    case RankPhase::kEnded:
      what = concat("ended ", since, " ago; last it called ", operation_text(status));
      break;
    case RankPhase::kFailed:
      what = concat("failed ", since, " ago: ", status.reason);
      break;
  }
  return concat("rank ", world_rank, " ", what, state_text(status));
}

}  // namespace orthant
