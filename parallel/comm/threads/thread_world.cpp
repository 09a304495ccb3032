// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/threads/thread_world.h"

#include "base/error.h"

namespace orthant {

ThreadWorld::ThreadWorld(int size)
    : left_(static_cast<size_t>(size)), pages_(static_cast<size_t>(size)) {
  for (int rank = 0; rank < size; ++rank) inboxes_.push_back(std::make_unique<Inbox>());
}

void ThreadWorld::deliver(int to, const MessageKey& key, Message message) {
  Inbox& box = inbox(to);
  {
    const std::lock_guard lock(box.mutex);
    box.messages.emplace(key, std::move(message));
    ++box.version;
  }
  box.changed.notify_one();
}

void ThreadWorld::wake_all() {
  for (const auto& box : inboxes_) {
    {
      const std::lock_guard lock(box->mutex);
      ++box->version;
    }
    box->changed.notify_one();
  }
}

void ThreadWorld::abort(int rank, const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    if (aborted_.load()) return;
    reason_ = concat("rank ", rank, " ended: ", reason);
    aborted_.store(true);
  }
  wake_all();
}

void ThreadWorld::check_alive() const {
  if (!aborted_.load()) return;
  const std::lock_guard lock(mutex_);
  throw_error(ErrorKind::kComm, reason_);
}

void ThreadWorld::leave(int rank) {
  left_[static_cast<size_t>(rank)].store(true);
  wake_all();
}

std::string ThreadWorld::unreceived() {
  std::string text;
  for (int rank = 0; rank < size(); ++rank) {
    Inbox& box = inbox(rank);
    const std::lock_guard lock(box.mutex);
    for (const auto& [key, message] : box.messages) {
      text += concat(text.empty() ? "" : "; ", message.call.op, " of ", message.bytes, " bytes of ",
                     name_of(message.call.dtype), " to rank ", rank, " at ",
                     text_of(message.call.site));
    }
  }
  return text;
}

int ThreadWorld::group_id(int parent, int64_t split, int color) {
  const std::lock_guard lock(mutex_);
  const int next = static_cast<int>(group_ids_.size()) + 1;  // 0 is the world
  return group_ids_.try_emplace({parent, split, color}, next).first->second;
}

}  // namespace orthant
