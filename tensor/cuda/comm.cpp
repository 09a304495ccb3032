// SPDX-License-Identifier: Apache-2.0
// Messages between devices by NCCL, on communicators that do not block.
//
// (N1) NCCL refuses calls on a communicator that is busy (ncclInProgress): exchanges wait in a
//      queue, and every entry looks whether the first one can go on.
// (N2) The kernels of an exchange are in the stream only when NCCL is no longer busy with it; only
//      then is the event behind them recorded.
// (N3) Each communicator has a stream of its own: exchanges of different ones do not wait for each
//      other, in whatever order ranks post them.
#include <nccl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "tensor/cuda/device.h"

namespace orthant::cuda {
namespace {

struct Communicator;

struct Exchange {
  Communicator* owner;
  std::vector<BackendMessage> sends, recvs;
  const void* own_from;
  void* own_to;
  size_t own_bytes;
  cudaEvent_t posted = nullptr, ended = nullptr;
  bool is_launched = false, is_in_stream = false;

  ~Exchange() {  // failures here do not matter
    if (posted) cudaEventDestroy(posted);
    if (ended) cudaEventDestroy(ended);
  }
};

struct Communicator {
  std::string name;
  ncclComm_t nccl = nullptr;  // null when aborted
  cudaStream_t stream = nullptr;
  bool is_connected = false;
  std::deque<Exchange*> queue;  // not in the stream yet; the first may be launched

  ~Communicator() {
    if (stream) cudaStreamDestroy(stream);
  }
};

int fail_nccl(const BackendCall* call, const char* op, const char* expression, ncclResult_t result,
              ncclComm_t nccl) {
  const std::string name(expression, std::strcspn(expression, "("));
  const char* last = ncclGetLastError(nccl);
  const std::string what = name + ": " + ncclGetErrorString(result) +
                           (last && *last ? std::string(" (") + last + ")" : std::string());
  return fail(call, op, what.c_str());
}

// Returns from the enclosing function unless NCCL has begun or done what was asked.
#define NCCL_CHECK(call, op, nccl, expression)                                   \
  do {                                                                           \
    const ncclResult_t nccl_check_result = (expression);                         \
    if (nccl_check_result != ncclSuccess && nccl_check_result != ncclInProgress) \
      return fail_nccl(call, op, #expression, nccl_check_result, nccl);          \
  } while (false)

// Whether NCCL is busy; fails when the communicator has.
int check_state(const BackendCall* call, const char* op, Communicator& comm, bool* is_busy) {
  if (!comm.nccl) return fail(call, op, "the communicator was aborted");
  ncclResult_t state = ncclSuccess;
  NCCL_CHECK(call, op, comm.nccl, ncclCommGetAsyncError(comm.nccl, &state));
  *is_busy = state == ncclInProgress;
  if (state == ncclSuccess || state == ncclInProgress) return 0;
  return fail_nccl(call, op, "communicator", state, comm.nccl);
}

int add_messages(const BackendCall* call, const Exchange& exchange, ncclComm_t nccl,
                 cudaStream_t stream) {
  for (const BackendMessage& message : exchange.sends)
    NCCL_CHECK(call, "exchange", nccl,
               ncclSend(message.data, static_cast<size_t>(message.bytes), ncclUint8, message.peer,
                        nccl, stream));
  for (const BackendMessage& message : exchange.recvs)
    NCCL_CHECK(call, "exchange", nccl,
               ncclRecv(message.data, static_cast<size_t>(message.bytes), ncclUint8, message.peer,
                        nccl, stream));
  return 0;
}

int launch(const BackendCall* call, Exchange& exchange) {
  const Communicator& comm = *exchange.owner;
  exchange.is_launched = true;
  CUDA_CHECK(call, "exchange", cudaStreamWaitEvent(comm.stream, exchange.posted, 0));
  if (exchange.own_bytes > 0 && exchange.own_from != exchange.own_to)
    CUDA_CHECK(call, "exchange",
               cudaMemcpyAsync(exchange.own_to, exchange.own_from, exchange.own_bytes,
                               cudaMemcpyDeviceToDevice, comm.stream));
  if (exchange.sends.empty() && exchange.recvs.empty()) return 0;
  NCCL_CHECK(call, "exchange", comm.nccl, ncclGroupStart());
  const int status = add_messages(call, exchange, comm.nccl, comm.stream);
  const ncclResult_t ended = ncclGroupEnd();  // also after a failure: the group is the thread's
  if (status != 0) return status;
  NCCL_CHECK(call, "exchange", comm.nccl, ended);
  return 0;
}

// Brings exchanges into the stream, in their order, as far as NCCL lets them.
int advance(const BackendCall* call, const char* op, Communicator& comm) {
  for (;;) {
    bool is_busy = false;
    CUDA_TRY(check_state(call, op, comm, &is_busy));
    if (is_busy) return 0;
    comm.is_connected = true;
    if (comm.queue.empty()) return 0;
    Exchange& first = *comm.queue.front();
    if (!first.is_launched) {
      CUDA_TRY(launch(call, first));
      continue;
    }
    CUDA_CHECK(call, op, cudaEventRecord(first.ended, comm.stream));
    first.is_in_stream = true;
    comm.queue.pop_front();
  }
}

int make_id(const BackendCall* call, BackendCommId* id) {
  static_assert(sizeof(BackendCommId) == sizeof(ncclUniqueId));
  ncclUniqueId made = {};
  NCCL_CHECK(call, "make_id", nullptr, ncclGetUniqueId(&made));
  std::copy(std::begin(made.internal), std::end(made.internal), id->bytes);
  return 0;
}

int create(const BackendCall* call, const BackendCommArgs* args, void** comm) {
  auto made = std::make_unique<Communicator>();
  made->name = args->name;
  CUDA_CHECK(call, "create", cudaStreamCreateWithFlags(&made->stream, cudaStreamNonBlocking));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = made->name.c_str();
  ncclUniqueId id = {};
  std::copy(std::begin(args->id.bytes), std::end(args->id.bytes), id.internal);
  NCCL_CHECK(call, "create", nullptr,
             ncclCommInitRankConfig(&made->nccl, args->size, id, args->rank, &config));
  *comm = made.release();
  return 0;
}

int poll(const BackendCall* call, void* comm, int32_t* ready) {
  auto& self = *static_cast<Communicator*>(comm);
  *ready = 0;
  CUDA_TRY(advance(call, "poll", self));
  *ready = self.is_connected;
  return 0;
}

int exchange(const BackendCall* call, void* comm, const ExchangeArgs* args, void** ticket) {
  auto& self = *static_cast<Communicator*>(comm);
  cudaStream_t compute = stream_of(call, "exchange");
  if (!compute) return 1;
  auto made =
      std::make_unique<Exchange>(Exchange{.owner = &self,
                                          .sends = {args->sends, args->sends + args->num_sends},
                                          .recvs = {args->recvs, args->recvs + args->num_recvs},
                                          .own_from = args->own_from,
                                          .own_to = args->own_to,
                                          .own_bytes = static_cast<size_t>(args->own_bytes)});
  for (cudaEvent_t* event : {&made->posted, &made->ended})
    CUDA_CHECK(call, "exchange", cudaEventCreateWithFlags(event, cudaEventDisableTiming));
  CUDA_CHECK(call, "exchange", cudaEventRecord(made->posted, compute));
  self.queue.push_back(made.get());
  if (const int status = advance(call, "exchange", self)) {
    std::erase(self.queue, made.get());
    return status;
  }
  *ticket = made.release();
  return 0;
}

int query(const BackendCall* call, void* ticket, int32_t* done) {
  auto& self = *static_cast<Exchange*>(ticket);
  *done = 0;
  CUDA_TRY(advance(call, "exchange", *self.owner));
  if (!self.is_in_stream) return 0;
  const cudaError_t state = cudaEventQuery(self.ended);
  if (state == cudaErrorNotReady) {
    cudaGetLastError();  // no error, but the next check would take it for one
    return 0;
  }
  CUDA_CHECK(call, "exchange", state);
  *done = 1;
  return 0;
}

void release(void* ticket) {
  auto* self = static_cast<Exchange*>(ticket);
  std::erase(self->owner->queue, self);
  delete self;
}

int abort(const BackendCall* call, void* comm) {
  auto& self = *static_cast<Communicator*>(comm);
  ncclComm_t nccl = self.nccl;
  self.nccl = nullptr;
  if (nccl) NCCL_CHECK(call, "abort", nullptr, ncclCommAbort(nccl));
  return 0;
}

// What NCCL has to do before a communicator may go; a peer that is gone must not hold it up.
int finalize(const BackendCall* call, Communicator& comm) {
  constexpr int kTries = 50000, kPauseMicroseconds = 200;
  NCCL_CHECK(call, "destroy", comm.nccl, ncclCommFinalize(comm.nccl));
  for (int i = 0; i < kTries; ++i) {
    bool is_busy = false;
    CUDA_TRY(check_state(call, "destroy", comm, &is_busy));
    if (!is_busy) return 0;
    usleep(kPauseMicroseconds);
  }
  return fail(call, "destroy", "ncclCommFinalize does not end");
}

int destroy(const BackendCall* call, void* comm) {
  const std::unique_ptr<Communicator> self(static_cast<Communicator*>(comm));
  if (!self->nccl) return 0;
  if (!self->is_connected) return abort(call, comm);
  if (const int status = finalize(call, *self)) {
    abort(nullptr, comm);
    return status;
  }
  NCCL_CHECK(call, "destroy", nullptr, ncclCommDestroy(self->nccl));
  return 0;
}

}  // namespace

const BackendComm& communication() {
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

}  // namespace orthant::cuda
