// SPDX-License-Identifier: Apache-2.0
// tensor/cuda/comm.cpp on functions of CUDA and NCCL that write down how they are called: the
// linker takes these instead of the libraries'.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nccl.h>

#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "base/text.h"
#include "tensor/cuda/device.h"

namespace orthant::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Streams, events and communicators are numbers, from 1.
struct Library {
  std::vector<std::string> calls;
  std::deque<ncclResult_t> states;  // what ncclCommGetAsyncError answers; then success
  std::deque<cudaError_t> queries;  // what cudaEventQuery answers; then success
  std::string failing;              // the function that fails
  ncclConfig_t config = {};
  std::string comm_name;
  int num_made = 0, num_streams = 0, num_events = 0, num_comms = 0, group_depth = 0;
  bool was_cleared = false;  // the runtime's last error

  ncclResult_t nccl(const std::string& function, const std::string& arguments = "") {
    calls.push_back(function + "(" + arguments + ")");
    return function == failing ? ncclSystemError : ncclSuccess;
  }
  cudaError_t cuda(const std::string& function, const std::string& arguments = "") {
    calls.push_back(function + "(" + arguments + ")");
    return function == failing ? cudaErrorUnknown : cudaSuccess;
  }
  std::vector<std::string> take() { return std::exchange(calls, {}); }
};
Library library;

template <class T>
T number(int value) {
  return reinterpret_cast<T>(static_cast<intptr_t>(value));
}
int text_of(const void* handle) { return static_cast<int>(reinterpret_cast<intptr_t>(handle)); }

constexpr int kCompute = 90;

}  // namespace

cudaStream_t stream_of(const BackendCall*, const char*) { return number<cudaStream_t>(kCompute); }

}  // namespace orthant::cuda

using orthant::concat;
using orthant::cuda::library;
using orthant::cuda::number;
using orthant::cuda::text_of;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  EXPECT_EQ(flags, static_cast<unsigned>(cudaStreamNonBlocking));
  *stream = number<cudaStream_t>(++library.num_made);
  ++library.num_streams;
  return library.cuda("stream", concat(library.num_made));
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return --library.num_streams, cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  EXPECT_EQ(flags, static_cast<unsigned>(cudaEventDisableTiming));
  *event = number<cudaEvent_t>(++library.num_made);
  ++library.num_events;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t) { return --library.num_events, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return library.cuda("record", concat(text_of(event), " on ", text_of(stream)));
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  EXPECT_EQ(flags, 0U);
  return library.cuda("wait", concat(text_of(stream), " for ", text_of(event)));
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  library.cuda("query", concat(text_of(event)));
  if (library.queries.empty()) return cudaSuccess;
  const cudaError_t answer = library.queries.front();
  library.queries.pop_front();
  library.was_cleared = false;
  return answer;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  EXPECT_EQ(kind, cudaMemcpyDeviceToDevice);
  return library.cuda(
      "copy", concat(text_of(to), " from ", text_of(from), ", ", bytes, " on ", text_of(stream)));
}
cudaError_t cudaGetLastError() { return library.was_cleared = true, cudaSuccess; }
const char* cudaGetErrorString(cudaError_t) { return "CUDA's word"; }
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorName"; }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  for (size_t i = 0; i < sizeof(id->internal); ++i) id->internal[i] = static_cast<char>(i);
  return library.nccl("id");
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  for (size_t i = 0; i < sizeof(id.internal); ++i) EXPECT_EQ(id.internal[i], static_cast<char>(i));
  library.config = *config;
  library.comm_name = config->commName;
  const ncclResult_t result = library.nccl("init", concat(rank, " of ", size));
  if (result != ncclSuccess) return result;
  *comm = number<ncclComm_t>(++library.num_made);
  ++library.num_comms;
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* state) {
  *state = ncclSuccess;
  if (!library.states.empty()) {
    *state = library.states.front();
    library.states.pop_front();
  }
  return ncclSuccess;
}
ncclResult_t ncclGroupStart() { return ++library.group_depth, library.nccl("group"); }
ncclResult_t ncclGroupEnd() {
  --library.group_depth;
  const ncclResult_t result = library.nccl("end");
  return result == ncclSuccess ? ncclInProgress : result;
}
ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  EXPECT_EQ(type, ncclUint8);
  EXPECT_EQ(library.group_depth, 1);
  return library.nccl("send", concat(text_of(data), ", ", count, " to ", peer, " by ",
                                     text_of(comm), " on ", text_of(stream)));
}
ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  EXPECT_EQ(type, ncclUint8);
  EXPECT_EQ(library.group_depth, 1);
  return library.nccl("recv", concat(text_of(data), ", ", count, " from ", peer, " by ",
                                     text_of(comm), " on ", text_of(stream)));
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  const ncclResult_t result = library.nccl("finalize", concat(text_of(comm)));
  return result == ncclSuccess ? ncclInProgress : result;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  --library.num_comms;
  return library.nccl("destroy", concat(text_of(comm)));
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  --library.num_comms;
  return library.nccl("abort", concat(text_of(comm)));
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote error" : "NCCL's word";
}
const char* ncclGetLastError(ncclComm_t) { return "its last word"; }

}  // extern "C"

namespace orthant::cuda {
namespace {

class CudaComm : public ::testing::Test {
 protected:
  CudaComm() { library = {}; }
  ~CudaComm() override {
    if (comm_) {
      EXPECT_EQ(table_.destroy(&call_, comm_), 0) << text_;
    }
    EXPECT_EQ(library.num_comms, 0);
    EXPECT_EQ(library.num_streams, 0);
    EXPECT_EQ(library.num_events, 0);
    EXPECT_EQ(library.group_depth, 0);
  }

  // Communicator 2 on stream 1.
  void connect() {
    BackendCommId id;
    ASSERT_EQ(table_.make_id(&call_, &id), 0);
    const BackendCommArgs args{.id = id, .rank = 1, .size = 4, .name = "dp"};
    ASSERT_EQ(table_.create(&call_, &args, &comm_), 0) << text_;
  }
  void* post(const std::vector<BackendMessage>& sends, const std::vector<BackendMessage>& recvs,
             int64_t own_bytes = 0) {
    const ExchangeArgs args{.sends = sends.data(),
                            .recvs = recvs.data(),
                            .num_sends = static_cast<int32_t>(sends.size()),
                            .num_recvs = static_cast<int32_t>(recvs.size()),
                            .own_from = number<void*>(700),
                            .own_to = number<void*>(800),
                            .own_bytes = own_bytes};
    void* ticket = nullptr;
    EXPECT_EQ(table_.exchange(&call_, comm_, &args, &ticket), 0) << text_;
    return ticket;
  }
  bool is_done(void* ticket) {
    int32_t done = -1;
    EXPECT_EQ(table_.query(&call_, ticket, &done), 0) << text_;
    return done == 1;
  }
  static BackendMessage message(int peer, int address, int64_t bytes) {
    return {.peer = peer, .data = number<void*>(address), .bytes = bytes};
  }

  const BackendComm& table_ = communication();
  char text_[256] = "";
  BackendCall call_{.error = text_, .error_size = sizeof(text_)};
  void* comm_ = nullptr;
};

TEST_F(CudaComm, ConnectsWithoutBlocking) {
  connect();
  EXPECT_THAT(library.take(), ElementsAre("id()", "stream(1)", "init(1 of 4)"));
  EXPECT_EQ(library.config.blocking, 0);
  EXPECT_EQ(library.config.magic, 0xcafebeefU);
  EXPECT_EQ(library.comm_name, "dp");
  library.states = {ncclInProgress, ncclInProgress};
  int32_t ready = -1;
  for (const int want : {0, 0, 1}) {
    ASSERT_EQ(table_.poll(&call_, comm_, &ready), 0);
    EXPECT_EQ(ready, want);
  }
  library.states = {ncclSuccess, ncclInProgress, ncclInProgress};
  EXPECT_EQ(table_.poll(&call_, comm_, &ready), 0);
}

TEST_F(CudaComm, AnExchangeIsOneGroupBetweenTwoEvents) {
  connect();
  library.take();
  void* ticket = post({message(0, 100, 8), message(3, 108, 24)}, {message(2, 200, 16)}, 40);
  // It begins behind what was computed, and ends with an event of its own.
  EXPECT_THAT(library.take(),
              ElementsAre("record(3 on 90)", "wait(1 for 3)", "copy(800 from 700, 40 on 1)",
                          "group()", "send(100, 8 to 0 by 2 on 1)", "send(108, 24 to 3 by 2 on 1)",
                          "recv(200, 16 from 2 by 2 on 1)", "end()", "record(4 on 1)"));
  library.queries = {cudaErrorNotReady};
  EXPECT_FALSE(is_done(ticket));
  EXPECT_TRUE(library.was_cleared);
  EXPECT_TRUE(is_done(ticket));
  EXPECT_THAT(library.take(), ElementsAre("query(4)", "query(4)"));
  table_.release(ticket);
}

TEST_F(CudaComm, TheEndIsRecordedWhenNcclIsNoLongerBusy) {
  connect();
  library.take();
  library.states = {ncclSuccess, ncclInProgress, ncclInProgress};
  void* ticket = post({message(0, 100, 8)}, {});
  EXPECT_EQ(library.take().back(), "end()");
  EXPECT_FALSE(is_done(ticket));
  EXPECT_THAT(library.take(), IsEmpty());
  EXPECT_TRUE(is_done(ticket));
  EXPECT_THAT(library.take(), ElementsAre("record(4 on 1)", "query(4)"));
  table_.release(ticket);
}

TEST_F(CudaComm, ExchangesWaitForABusyCommunicatorAndKeepTheirOrder) {
  connect();
  library.take();
  library.states = {ncclInProgress, ncclInProgress};
  void* first = post({message(0, 100, 8)}, {});
  void* second = post({message(0, 200, 8)}, {});
  // Where computation stood is noted at once; NCCL hears of nothing.
  EXPECT_THAT(library.take(), ElementsAre("record(3 on 90)", "record(5 on 90)"));
  EXPECT_TRUE(is_done(second));
  EXPECT_THAT(library.take(),
              ElementsAre("wait(1 for 3)", "group()", "send(100, 8 to 0 by 2 on 1)", "end()",
                          "record(4 on 1)", "wait(1 for 5)", "group()",
                          "send(200, 8 to 0 by 2 on 1)", "end()", "record(6 on 1)", "query(6)"));
  EXPECT_TRUE(is_done(first));
  table_.release(first);
  table_.release(second);
}

TEST_F(CudaComm, NothingToSayNeedsNoGroup) {
  connect();
  library.take();
  void* ticket = post({}, {});
  EXPECT_THAT(library.take(), ElementsAre("record(3 on 90)", "wait(1 for 3)", "record(4 on 1)"));
  EXPECT_TRUE(is_done(ticket));
  table_.release(ticket);
}

TEST_F(CudaComm, AFailedMessageStillEndsTheGroup) {
  connect();
  library.failing = "recv";
  const BackendMessage send = message(0, 100, 8), recv = message(0, 200, 8);
  const ExchangeArgs args{.sends = &send, .recvs = &recv, .num_sends = 1, .num_recvs = 1};
  void* ticket = nullptr;
  EXPECT_NE(table_.exchange(&call_, comm_, &args, &ticket), 0);
  EXPECT_EQ(ticket, nullptr);
  EXPECT_STREQ(text_, "exchange: ncclRecv: NCCL's word (its last word)");
  EXPECT_EQ(library.group_depth, 0);
  library.failing = "";
}

TEST_F(CudaComm, AFailureInTheBackgroundIsReported) {
  connect();
  void* ticket = post({message(0, 100, 8)}, {});
  library.states = {ncclRemoteError, ncclRemoteError};
  int32_t done = -1;
  EXPECT_NE(table_.query(&call_, ticket, &done), 0);
  EXPECT_EQ(done, 0);
  EXPECT_THAT(text_, HasSubstr("communicator: remote error (its last word)"));
  int32_t ready = -1;
  EXPECT_NE(table_.poll(&call_, comm_, &ready), 0);
  EXPECT_EQ(ready, 0);
  library.take();
  EXPECT_EQ(table_.abort(&call_, comm_), 0);
  EXPECT_EQ(table_.abort(&call_, comm_), 0);
  EXPECT_THAT(library.take(), ElementsAre("abort(2)"));
  EXPECT_NE(table_.query(&call_, ticket, &done), 0);
  EXPECT_STREQ(text_, "exchange: the communicator was aborted");
  table_.release(ticket);
  EXPECT_EQ(table_.destroy(&call_, comm_), 0);  // with nothing left to tell NCCL
  comm_ = nullptr;
  EXPECT_THAT(library.take(), IsEmpty());
}

TEST_F(CudaComm, AnAbortForgetsWhatWaits) {
  connect();
  library.states = {ncclInProgress};
  void* ticket = post({message(0, 100, 8)}, {});
  EXPECT_EQ(table_.abort(&call_, comm_), 0);
  table_.release(ticket);
}

TEST_F(CudaComm, IsFinalizedBeforeItGoes) {
  connect();
  int32_t ready = 0;
  ASSERT_EQ(table_.poll(&call_, comm_, &ready), 0);
  library.take();
  library.states = {ncclInProgress, ncclInProgress};
  EXPECT_EQ(table_.destroy(&call_, comm_), 0);
  comm_ = nullptr;
  EXPECT_THAT(library.take(), ElementsAre("finalize(2)", "destroy(2)"));
  EXPECT_THAT(library.states, IsEmpty());
}

TEST_F(CudaComm, IsAbortedWhereItNeverConnectedOrCannotEnd) {
  connect();
  library.take();
  EXPECT_EQ(table_.destroy(&call_, comm_), 0);
  EXPECT_THAT(library.take(), ElementsAre("abort(2)"));
  connect();
  int32_t ready = 0;
  ASSERT_EQ(table_.poll(&call_, comm_, &ready), 0);
  library.take();
  library.states = {ncclInProgress, ncclSystemError};
  EXPECT_NE(table_.destroy(&call_, comm_), 0);
  comm_ = nullptr;
  EXPECT_THAT(library.take(), ElementsAre("finalize(4)", "abort(4)"));
}

TEST_F(CudaComm, FailuresNameTheFunctionAndItsWord) {
  library.failing = "init";
  const BackendCommArgs args{.id = {}, .rank = 0, .size = 2, .name = "x"};
  BackendCommId id;
  ASSERT_EQ(table_.make_id(&call_, &id), 0);
  BackendCommArgs with_id = args;
  with_id.id = id;
  void* comm = nullptr;
  EXPECT_NE(table_.create(&call_, &with_id, &comm), 0);
  EXPECT_EQ(comm, nullptr);
  EXPECT_STREQ(text_, "create: ncclCommInitRankConfig: NCCL's word (its last word)");
  library.failing = "id";
  EXPECT_NE(table_.make_id(&call_, &id), 0);
  EXPECT_STREQ(text_, "make_id: ncclGetUniqueId: NCCL's word (its last word)");
  library.failing = "";
  connect();
  library.failing = "wait";
  const ExchangeArgs nothing{};
  void* ticket = nullptr;
  EXPECT_NE(table_.exchange(&call_, comm_, &nothing, &ticket), 0);
  EXPECT_STREQ(text_, "exchange: cudaStreamWaitEvent: CUDA's word (cudaErrorName)");
  library.failing = "";
}

}  // namespace
}  // namespace orthant::cuda
