// SPDX-License-Identifier: Apache-2.0
// The operations of Group under a real mpirun: against the same calls on ranks that are threads,
// bit by bit, and what a rank sees when another one is late or wrong.
//   mpirun -n 3 group_mpi            prints "ok"
//   mpirun -n 3 group_mpi mismatch   also checks calls that do not fit; ends through MPI_Abort,
//   code 0 mpirun -n 3 group_mpi abort      ends with exit code 77
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "base/philox.h"
#include "parallel/comm/mpi/mpi_world.h"
#include "parallel/comm/threads/run_ranks.h"

using namespace orthant;

namespace {

Tensor random(const Shape& shape, DType dtype, int rank, uint64_t which) {
  const PhiloxKey key = make_key(3, RandomPurpose::kTest, "mpi");
  std::vector<double> values;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    values.push_back(
        philox_normal(key, static_cast<uint64_t>(rank) * 100 + which, static_cast<uint64_t>(i)));
  }
  return Tensor::from(shape, values, dtype);
}

int64_t rows_of(int64_t count, int from, int to) {
  return count == 0 ? 0 : count + (3 * from + 2 * to) % 5;
}

using Results = std::vector<Tensor>;

// Everything that Group does, with all works of one size under way at once; the results of this
// rank in a fixed order.
Results all_operations(const Group& group, int64_t count) {
  const int rank = group.rank(), size = group.size();
  Results results;
  std::vector<Work> works;
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
    results.push_back(random({count, 3}, dtype, rank, 1));
    works.push_back(group.all_reduce(results.back()));
  }
  std::vector<int64_t> send_rows, recv_rows, gather_rows, scatter_rows;
  int64_t sent = 0, received = 0, gathered = 0, scattered = 0;
  for (int r = 0; r < size; ++r) {
    sent += send_rows.emplace_back(rows_of(count, rank, r));
    received += recv_rows.emplace_back(rows_of(count, r, rank));
    gathered += gather_rows.emplace_back(rows_of(count, r, 0));
    scattered += scatter_rows.emplace_back(rows_of(count, r, 1));
  }
  results.push_back(Tensor::empty({received, 3}, DType::kF32));
  works.push_back(group.all_to_all(random({sent, 3}, DType::kF32, rank, 2), send_rows,
                                   results.back(), recv_rows));
  results.push_back(Tensor::empty({gathered, 3}, DType::kF32));
  works.push_back(
      group.all_gather(random({gather_rows[static_cast<size_t>(rank)], 3}, DType::kF32, rank, 3),
                       results.back(), gather_rows));
  results.push_back(Tensor::empty({scatter_rows[static_cast<size_t>(rank)], 3}, DType::kF64));
  works.push_back(group.reduce_scatter(random({scattered, 3}, DType::kF64, rank, 4), results.back(),
                                       scatter_rows));
  for (int root = 0; root < size; ++root) {
    results.push_back(random({count, 2}, DType::kF32, rank, 5));
    works.push_back(group.broadcast(results.back(), root));
  }
  for (int peer = 0; peer < size; ++peer) {
    if (peer == rank) continue;
    works.push_back(group.send(random({count + peer}, DType::kF32, rank, 6), peer));
    works.push_back(group.send(random({count}, DType::kF32, rank, 7), peer));
    results.push_back(Tensor::empty({count + rank}, DType::kF32));
    works.push_back(group.recv(results.back(), peer));
    results.push_back(Tensor::empty({count}, DType::kF32));
    works.push_back(group.recv(results.back(), peer));
  }
  if (rank % 2) group.progress();
  for (size_t i = 0; i < works.size(); ++i) {
    works[(i + static_cast<size_t>(rank)) % works.size()].wait();
  }
  results.push_back(Tensor::from({1}, std::vector<double>{group.sum(0.1 * rank)}, DType::kF64));
  results.push_back(
      Tensor::from({1}, std::vector<double>{double(group.max(5 - rank))}, DType::kF64));
  for (const std::string& text : group.gather_text(std::string(static_cast<size_t>(rank), 'x'))) {
    results.push_back(Tensor::from({1}, std::vector<double>{double(text.size())}, DType::kF64));
  }
  group.barrier();
  return results;
}

Results on_world_and_parts(const Group& world, int64_t count) {
  Results results = all_operations(world, count);
  const Group part = world.split(world.rank() % 2, -world.rank(), "part");
  for (const Tensor& tensor : all_operations(part, count)) results.push_back(tensor);
  return results;
}

void check_equal(const Results& a, const Results& b, int64_t count) {
  ORTHANT_CHECK(a.size() == b.size(), kInternal, a.size(), " results against ", b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ORTHANT_CHECK(a[i].shape() == b[i].shape() &&
                      (a[i].bytes() == 0 || std::memcmp(a[i].data(), b[i].data(),
                                                        static_cast<size_t>(a[i].bytes())) == 0),
                  kInternal, "count ", count, ": result ", i, " differs from that of threads");
  }
}

void check_against_threads(const Group& world) {
  for (const int64_t count : {0, 1, 10, 1000, 30000}) {
    const Results mine = on_world_and_parts(world, count);
    Results theirs;
    std::mutex mutex;
    run_ranks(world.size(), [&](const Group& threads) {
      Results results = on_world_and_parts(threads, count);
      const std::lock_guard lock(mutex);
      if (threads.rank() == world.rank()) theirs = std::move(results);
    });
    check_equal(mine, theirs, count);
  }
}

// The text of the error that `f` must throw.
template <class F>
std::string error_text(F f) {
  try {
    f();
  } catch (const Error& error) {
    ORTHANT_CHECK(error.kind() == ErrorKind::kComm, kInternal, "not kComm: ", error.what());
    return error.what();
  }
  throw_error(ErrorKind::kInternal, "nothing was thrown");
}

void check_contains(const std::string& text, const std::string& part) {
  ORTHANT_CHECK(text.find(part) != std::string::npos, kInternal, "no '", part, "' in: ", text);
}

void check_deadline(const Group& world) {
  const double before = world.deadline_seconds();
  world.barrier();
  if (world.rank() == 1) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    world.barrier();
  } else {
    world.set_deadline_seconds(0.4);
    const double start = now_seconds();
    const std::string text = error_text([&] { world.barrier(); });
    ORTHANT_CHECK(now_seconds() - start < 1.2, kInternal, "the deadline came late");
    check_contains(text, "barrier on group world");
    check_contains(text, "for rank 1 ");
    check_contains(text, "group_mpi_main.cpp:");
    check_contains(world.ring_text(1), "pending");
  }
  world.set_deadline_seconds(before);
  world.barrier();
}

double barrier_us(const Group& world) {
  const double start = now_seconds();
  for (int i = 0; i < 1000; ++i) world.barrier();
  return (now_seconds() - start) * 1e3;
}

void check_mismatches(const Group& world) {
  // Of size: every rank sends another number of bytes than its neighbour wants.
  const Tensor from = Tensor::zeros({world.rank() + 1}, DType::kF32);
  const Tensor to = Tensor::zeros({(world.rank() + 1) * world.size()}, DType::kF32);
  const std::string sizes = error_text([&] { world.all_gather(from, to).wait(); });
  check_contains(sizes, "disagree on operation");
  world.barrier();
  // Of kind: found after a second, long before the deadline.
  const double start = now_seconds();
  const std::string kinds = error_text([&] {
    if (world.rank() == 0) {
      world.barrier();
    } else {
      world.all_reduce(Tensor::zeros({4}, DType::kF32)).wait();
    }
  });
  check_contains(kinds, "disagree on operation");
  check_contains(kinds, world.rank() == 0 ? "is in a sum" : "is in barrier");
  ORTHANT_CHECK(now_seconds() - start < 10, kInternal, "the mismatch was found late");
}

}  // namespace

int main(int argc, char** argv) {
  RankContext context;
  const ContextScope scope(context);
  try {
    ORTHANT_CHECK(launched_by_mpi(), kUsage, "group_mpi: start it with mpirun");
    const Group world = mpi_world();
    context.rank = world.rank();
    context.world_size = world.size();
    if (argc > 1 && std::string(argv[1]) == "abort") {
      if (world.rank() == world.size() - 1) abort_mpi(77);
      world.barrier();
    }
    check_against_threads(world);
    set_mpi_chunk_bytes(1000);
    check_against_threads(world);
    set_mpi_chunk_bytes(int64_t{1} << 30);
    set_mpi_stage_everything(true);
    check_against_threads(world);
    set_mpi_stage_everything(false);
    world.set_check_collectives(true);
    check_against_threads(world);
    const double checked_us = barrier_us(world);
    world.set_check_collectives(false);
    if (world.size() > 1) check_deadline(world);
    const double unchecked_us = barrier_us(world);
    if (world.rank() == 0)
      std::printf("ok: %.1f us a barrier, %.1f us checked\n", unchecked_us, checked_us);
    if (argc > 1 && std::string(argv[1]) == "mismatch") {
      check_mismatches(world);
      if (world.rank() == 0) std::printf("ok: mismatches found\n");
      std::fflush(stdout);
      // Operations were left behind that never complete: no orderly end.
      std::this_thread::sleep_for(std::chrono::seconds(2));
      abort_mpi(0);
    }
    finalize_mpi();
  } catch (const Error& error) {
    std::fprintf(stderr, "rank %d: %s\n", context.rank, error.what());
    abort_mpi(error.exit_code());
  }
  return 0;
}
