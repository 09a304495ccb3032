// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/comm_state.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/error.h"
#include "parallel/comm/group_impl.h"

namespace orthant {

std::string text_of(const Site& site) {
  std::string_view file = site.file_name();
  size_t slash = file.rfind('/');
  if (slash != std::string_view::npos && slash > 0) slash = file.rfind('/', slash - 1);
  if (slash != std::string_view::npos) file.remove_prefix(slash + 1);
  return concat(file, ":", site.line());
}

std::string ranks_text(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) text += concat(i ? ", " : "", ranks[i]);
  return text;
}

namespace {

std::string seconds_text(double seconds) { return concat(std::round(seconds * 10.0) / 10.0, " s"); }

[[noreturn]] void throw_deadline(const WorkImpl& work, double seconds, int64_t step) {
  const Call& call = work.call();
  const std::vector<int> missing = work.missing();
  throw_error(
      ErrorKind::kComm,
      concat(call.op, " on group ", work.group().name(), ": waited ", seconds_text(seconds),
             missing.empty() ? "" : " for " + ranks_text(missing), " (",
             human_bytes(static_cast<double>(call.bytes)), " ", name_of(call.dtype), ", sequence ",
             call.sequence, ", step ", step, ", called at ", text_of(call.site), ", world ",
             ranks_text(work.group().world_ranks()), "); ", work.advice()),
      call.site);
}

}  // namespace

int64_t CommState::begin(const std::string& group, const Call& call) {
  const std::lock_guard lock(ring_mutex_);
  if (ring_.size() == kRingSize) ring_.pop_front();
  ring_.push_back({.number = next_record_,
                   .op = call.op,
                   .group = group,
                   .bytes = call.bytes,
                   .dtype = call.dtype,
                   .step = step,
                   .site = call.site,
                   .started_seconds = now_seconds()});
  return next_record_++;
}

void CommState::finish(int64_t record) {
  const std::lock_guard lock(ring_mutex_);
  if (ring_.empty() || record < ring_.front().number) return;
  ring_[static_cast<size_t>(record - ring_.front().number)].done_seconds = now_seconds();
}

std::string CommState::ring_text(int last) const {
  const std::lock_guard lock(ring_mutex_);
  std::string text;
  const double now = now_seconds();
  const size_t shown = std::min(ring_.size(), static_cast<size_t>(std::max(0, last)));
  for (size_t i = ring_.size() - shown; i < ring_.size(); ++i) {
    const OpRecord& op = ring_[i];
    const bool done = op.done_seconds > 0;
    text += concat("#", op.number, " step ", op.step, " ", op.op, " ", op.group, " ",
                   human_bytes(static_cast<double>(op.bytes)), " ", name_of(op.dtype), " at ",
                   text_of(op.site), done ? " done in " : " pending for ",
                   seconds_text((done ? op.done_seconds : now) - op.started_seconds), "\n");
  }
  return text;
}

void CommState::add(std::shared_ptr<WorkImpl> work) { pending_.push_back(std::move(work)); }

void CommState::sweep() {
  std::erase_if(pending_, [](const auto& work) { return work->is_done(); });
}

void CommState::poll() {
  if (polling_ || pending_.empty()) return;
  struct Polling {
    bool& flag;
    explicit Polling(bool& f) : flag(f) { flag = true; }
    ~Polling() { flag = false; }
  } polling(polling_);
  // Testing may append the next phase of an operation.
  for (size_t i = 0; i < pending_.size(); ++i) {
    const std::shared_ptr<WorkImpl> work = pending_[i];
    if (!work->has_failed()) work->test();
  }
  sweep();
}

void CommState::wait(WorkImpl& work) {
  if (work.test()) {
    if (!polling_) sweep();
    return;
  }
  const double start = now_seconds(), until = start + deadline_seconds;
  double next_diagnosis = start + 1.0;
  for (int64_t tries = 0;; ++tries) {
    poll();
    if (work.test()) break;
    const double now = now_seconds();
    if (now >= until) {
      work.give_up();
      throw_deadline(work, now - start, step);
    }
    if (now >= next_diagnosis) {
      work.diagnose();
      next_diagnosis = now + 1.0;
    }
    constexpr double kLookSeconds = 50e-6;
    idle(tries,
         std::min({until, next_diagnosis, silent_operations > 0 ? now + kLookSeconds : until}));
  }
  sweep();
}

void CommState::abort(const std::string& reason) {
  for (const auto& work : pending_) work->give_up();
  wake_all(reason);
}

void CommState::drain() {
  const auto is_live = [](const auto& work) { return !work->is_done() && !work->has_failed(); };
  for (;;) {
    const auto live = std::find_if(pending_.begin(), pending_.end(), is_live);
    if (live == pending_.end()) break;
    const std::shared_ptr<WorkImpl> work = *live;
    wait(*work);
  }
  pending_.clear();
}

bool WorkImpl::test() {
  if (done_) return true;
  failed_ = true;  // unless everything returns
  const bool done = advance();
  if (done) {
    for (const Arrival& arrival : arrivals_) copy(arrival.host, arrival.device);
    arrivals_.clear();
  }
  failed_ = false;
  if (!done) return false;
  done_ = true;
  keep_.clear();
  if (call_.record >= 0) group_->state().finish(call_.record);
  return true;
}

void WorkImpl::wait() { group_->state().wait(*this); }

}  // namespace orthant
