// SPDX-License-Identifier: Apache-2.0
// Messages between fake devices of one process, as unforgiving as NCCL's: the exchanges of a
// communicator run one after the other on every rank, messages are matched by their order alone,
// one whose sizes differ never arrives, and memory is read and written only while an exchange runs.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

#include "base/clock.h"
#include "tests/fake_device/fake_control.h"
#include "tests/fake_device/fake_cuda.h"

namespace orthant::testing {
namespace {

struct End;

struct Exchange {
  End* end;
  std::vector<BackendMessage> sends, recvs;  // that have not arrived
  const void* own_from;
  void* own_to;
  int64_t own_bytes;
  double earliest_end;
  bool done = false;
};

struct Hub {
  std::vector<End*> ends;  // by rank; null: not there yet
  int num_there = 0;
};

struct End {
  Hub* hub;
  int rank, device;
  std::deque<Exchange*> posted;  // the first one runs
  bool aborted = false;
  uint64_t num_posted = 0;
};

std::mutex mutex;  // guards everything below
std::map<int64_t, Hub> hubs;
int64_t num_ids = 0;

bool is_ready(const End& end) {
  if (end.rank == fake_control().absent_rank) return false;
  return end.hub->num_there == static_cast<int>(end.hub->ends.size());
}

Exchange* running(const End* end) {
  const bool moves = end && !end->aborted && end->rank != fake_control().stalled_rank;
  return moves && !end->posted.empty() ? end->posted.front() : nullptr;
}

// Moves the messages of one exchange that its peers' running exchanges take.
void deliver(Exchange& exchange, double now) {
  const int me = exchange.end->rank;
  std::erase_if(exchange.sends, [&](const BackendMessage& send) {
    Exchange* peer = running(exchange.end->hub->ends[static_cast<size_t>(send.peer)]);
    if (!peer || std::max(peer->earliest_end, exchange.earliest_end) > now) return false;
    const auto recv = std::find_if(peer->recvs.begin(), peer->recvs.end(),
                                   [&](const BackendMessage& r) { return r.peer == me; });
    if (recv == peer->recvs.end() || recv->bytes != send.bytes) return false;
    std::memcpy(recv->data, send.data, static_cast<size_t>(send.bytes));
    peer->recvs.erase(recv);
    ++fake_control().num_messages;
    return true;
  });
}

void progress(Hub& hub) {
  if (hub.num_there < static_cast<int>(hub.ends.size())) return;
  const double now = now_seconds();
  for (End* end : hub.ends) {
    if (Exchange* exchange = running(end)) deliver(*exchange, now);
  }
  for (End* end : hub.ends) {
    Exchange* exchange = running(end);
    if (!exchange || !exchange->sends.empty() || !exchange->recvs.empty()) continue;
    if (exchange->earliest_end > now) continue;
    if (exchange->own_bytes > 0)
      std::memcpy(exchange->own_to, exchange->own_from, static_cast<size_t>(exchange->own_bytes));
    exchange->done = true;
    end->posted.pop_front();
  }
}

int check(const BackendCall* call, const End& end) {
  if (end.aborted) return fail(call, "the communicator was aborted");
  if (end.rank == fake_control().failing_rank) return fail(call, "the link is down");
  return 0;
}

int make_id(const BackendCall*, BackendCommId* id) {
  const std::lock_guard lock(mutex);
  *id = {};
  const int64_t number = ++num_ids;
  std::memcpy(id->bytes + 100, &number, sizeof(number));  // all 128 bytes have to be handed on
  return 0;
}

int create(const BackendCall* call, const BackendCommArgs* args, void** comm) {
  const std::lock_guard lock(mutex);
  int64_t number = 0;
  std::memcpy(&number, args->id.bytes + 100, sizeof(number));
  if (number < 1 || number > num_ids) return fail(call, "an id that nobody made");
  Hub& hub = hubs[number];
  hub.ends.resize(static_cast<size_t>(args->size));
  End*& end = hub.ends[static_cast<size_t>(args->rank)];
  if (end) return fail(call, "two ranks took one place");
  *comm = end = new End{.hub = &hub, .rank = args->rank, .device = current_device()};
  ++hub.num_there;
  ++fake_control().num_comms;
  return 0;
}

int poll(const BackendCall* call, void* comm, int32_t* ready) {
  const std::lock_guard lock(mutex);
  const End& end = *static_cast<End*>(comm);
  *ready = is_ready(end);
  return check(call, end);
}

int exchange(const BackendCall* call, void* comm, const ExchangeArgs* args, void** ticket) {
  const std::lock_guard lock(mutex);
  End& end = *static_cast<End*>(comm);
  if (const int status = check(call, end)) return status;
  if (current_device() != end.device) return fail(call, "the thread is on another device");
  const auto is_here = [&](const BackendMessage& message) {
    return message.bytes > 0 && message.peer != end.rank &&
           device_of_address(message.data) == end.device;
  };
  if (!std::all_of(args->sends, args->sends + args->num_sends, is_here) ||
      !std::all_of(args->recvs, args->recvs + args->num_recvs, is_here))
    return fail(call, "an empty message, one to this rank, or memory of another device");
  // Different for every exchange and rank, so that nothing ends in the order of posting by chance.
  const uint64_t mix = (++end.num_posted * 7 + static_cast<uint64_t>(end.rank) * 5) % 8;
  *ticket = new Exchange{
      .end = &end,
      .sends = {args->sends, args->sends + args->num_sends},
      .recvs = {args->recvs, args->recvs + args->num_recvs},
      .own_from = args->own_from,
      .own_to = args->own_to,
      .own_bytes = args->own_bytes,
      .earliest_end = now_seconds() + fake_control().delay_seconds * static_cast<double>(mix) / 7};
  end.posted.push_back(static_cast<Exchange*>(*ticket));
  ++fake_control().num_exchanges;
  return 0;
}

int query(const BackendCall* call, void* ticket, int32_t* done) {
  const std::lock_guard lock(mutex);
  auto& exchange = *static_cast<Exchange*>(ticket);
  progress(*exchange.end->hub);
  *done = exchange.done;
  return exchange.done ? 0 : check(call, *exchange.end);
}

void release(void* ticket) {
  const std::lock_guard lock(mutex);
  auto* exchange = static_cast<Exchange*>(ticket);
  if (!exchange->done && !exchange->end->aborted) std::fputs("fake: released too early\n", stderr);
  std::erase(exchange->end->posted, exchange);
  delete exchange;
}

int abort(const BackendCall*, void* comm) {
  const std::lock_guard lock(mutex);
  End& end = *static_cast<End*>(comm);
  if (!end.aborted) ++fake_control().num_aborts;
  end.aborted = true;
  return 0;
}

// A hub goes with its last end; a peer may still wait in vain.
int destroy(const BackendCall* call, void* comm) {
  const std::lock_guard lock(mutex);
  auto* end = static_cast<End*>(comm);
  const bool is_idle = end->posted.empty() || end->aborted;
  end->hub->ends[static_cast<size_t>(end->rank)] = nullptr;
  delete end;
  --fake_control().num_comms;
  return is_idle ? 0 : fail(call, "destroyed with exchanges under way");
}

}  // namespace

const BackendComm& fake_comm() {
  static const BackendComm table{.make_id = make_id,
                                 .create = create,
                                 .poll = poll,
                                 .exchange = exchange,
                                 .query = query,
                                 .release = release,
                                 .abort = abort,
                                 .destroy = destroy};
  return table;
}

}  // namespace orthant::testing
