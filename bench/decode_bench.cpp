// SPDX-License-Identifier: Apache-2.0
// Decoding: what a new token costs, beside what memory would need to be read for it.
//   decode_bench RUN [--precision P] [--batches 1,16] [--lengths 64,1024]   a table
//   decode_bench RUN [--precision P] --profile   a step by op
//   decode_bench RUN [--precision P] --long N    N tokens of one sequence, and what its cache holds
//   decode_bench RUN [--precision P] --serve     for each line "BATCH LENGTH STEPS" on stdin so
//                                                many greedy steps behind LENGTH tokens; prints
//                                                their seconds (bench/decode.py)
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/parallel_for.h"
#include "launch/process.h"
#include "tensor/ops/call.h"
#include "trainer/saved_model.h"

namespace orthant {
namespace {

// Memory that no cache holds, and how fast all threads read it.
class Reading {
 public:
  double bytes_per_second() {
    const uint64_t* words = static_cast<const uint64_t*>(data_.data());
    const double begin = now_seconds();
    parallel_for(kWords, 1 << 16, [&](int64_t first, int64_t last) {
      uint64_t sums[32] = {};
      for (int64_t j = first; j + 32 <= last; j += 32)
        for (int64_t k = 0; k < 32; ++k) sums[k] += words[j + k];
      uint64_t sum = 0;
      for (const uint64_t one : sums) sum += one;
      sink_ += sum;
    });
    return static_cast<double>(kWords) * 8 / (now_seconds() - begin);
  }

 private:
  static constexpr int64_t kWords = int64_t{1} << 26;  // half a GiB
  Tensor data_ = Tensor::zeros({kWords}, DType::kF64);
  std::atomic<uint64_t> sink_{0};
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Profile final : public ops::OpObserver {
 public:
  void observe(const char* op, std::initializer_list<const Tensor*>, double seconds) override {
    auto& [time, calls] = rows[op];
    time += seconds;
    ++calls;
  }
  std::map<std::string, std::pair<double, int64_t>> rows;
};

// Sequences of one length, with room to go on.
class Batch {
 public:
  Batch(const Transformer& model, size_t size, int64_t length)
      : model_(model), cache_(model.make_cache(size)) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < length; ++i)
      ids.push_back(static_cast<int32_t>(1 + i * 7919 % (model.config().vocab_size - 1)));
    next_.assign(size, NewTokens(ids));
    step();
  }
  // One greedy token of each.
  void step() {
    const Tensor logits = model_.decode(next_, cache_);
    const std::vector<double> values = logits.to_doubles();
    const int64_t vocab = logits.dim(1);
    for (size_t b = 0; b < next_.size(); ++b) {
      const auto row = values.begin() + static_cast<int64_t>(b) * vocab;
      next_[b] = NewTokens{static_cast<int32_t>(std::max_element(row, row + vocab) - row)};
    }
  }
  // Of a step: the median of some.
  double seconds(int steps = 21) {
    std::vector<double> times;
    for (int i = 0; i < steps; ++i) {
      const double begin = now_seconds();
      step();
      times.push_back(now_seconds() - begin);
    }
    return median(times);
  }

 private:
  const Transformer& model_;
  KvCache cache_;
  NextTokens next_;
};

double weight_bytes(const SavedModel& saved) {
  const ModelConfig& c = saved.config.model;
  return static_cast<double>(active_matmul_parameters(c)) *
         static_cast<double>(size_of(saved.config.precision));
}

double cache_bytes(const SavedModel& saved, size_t batch, int64_t length) {
  double width = 0;
  for (const auto& stage : saved.role->pipeline().stages()) {
    KvCache cache = stage->make_cache(1);
    for (int64_t i = stage->layers().begin; i < stage->layers().end; ++i) {
      const CacheRow& row = cache.layer(static_cast<size_t>(i - stage->layers().begin)).row();
      width += static_cast<double>(row.width() * size_of(row.dtype));
    }
  }
  return width * static_cast<double>(batch) * static_cast<double>(length);
}

// Reading and decoding take turns, so that a slow phase of the machine meets both.
void table(const SavedModel& saved, const std::vector<int64_t>& batches,
           const std::vector<int64_t>& lengths) {
  Reading reading;
  std::printf("%d threads, weights %.1f MB; medians of turns\n", context().num_threads,
              weight_bytes(saved) / 1e6);
  std::printf("%6s %7s %9s %9s %11s %9s\n", "batch", "length", "ms", "tokens/s", "reads GB/s",
              "of floor");
  for (const int64_t size : batches) {
    for (const int64_t length : lengths) {
      Batch batch(*saved.model, static_cast<size_t>(size), length);
      const double bytes =
          weight_bytes(saved) + cache_bytes(saved, static_cast<size_t>(size), length);
      std::vector<double> rates, times, shares;
      for (int turn = 0; turn < 15; ++turn) {
        rates.push_back(reading.bytes_per_second());
        times.push_back(batch.seconds(5));
        shares.push_back(bytes / rates.back() / times.back());
      }
      std::printf("%6lld %7lld %9.3f %9.1f %11.1f %8.0f%%\n", static_cast<long long>(size),
                  static_cast<long long>(length), median(times) * 1e3,
                  static_cast<double>(size) / median(times), median(rates) / 1e9,
                  100 * median(shares));
    }
  }
}

void profile(const SavedModel& saved, size_t batch, int64_t length) {
  Batch sequences(*saved.model, batch, length);
  sequences.seconds();
  Profile of_ops;
  ops::set_op_observer(&of_ops);
  const double begin = now_seconds();
  constexpr int kSteps = 20;
  for (int i = 0; i < kSteps; ++i) sequences.step();
  const double all = (now_seconds() - begin) / kSteps;
  ops::set_op_observer(nullptr);
  double sum = 0;
  for (const auto& [op, row] : of_ops.rows) {
    std::printf("%-22s %8.3f ms %6lld calls\n", op.c_str(), row.first / kSteps * 1e3,
                static_cast<long long>(row.second / kSteps));
    sum += row.first / kSteps;
  }
  std::printf("%-22s %8.3f ms, between ops %.3f ms\n", "a step", all * 1e3, (all - sum) * 1e3);
}

void write_long(const SavedModel& saved, int64_t tokens) {
  Batch batch(*saved.model, 1, 1);
  const double begin = now_seconds();
  std::printf("%9s %12s %10s\n", "tokens", "cache bytes", "seconds");
  for (int64_t i = 2; i <= tokens; ++i) {
    batch.step();
    if ((i & (i - 1)) == 0 || i == tokens)
      std::printf("%9lld %12lld %10.2f\n", static_cast<long long>(i),
                  static_cast<long long>(context().ledger->bytes(MemoryCategory::kCache)),
                  now_seconds() - begin);
  }
}

void serve(const SavedModel& saved) {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream numbers(line);
    int64_t size = 1, length = 64, steps = 1;
    numbers >> size >> length >> steps;
    Batch batch(*saved.model, static_cast<size_t>(size), length);
    batch.step();
    const double begin = now_seconds();
    for (int64_t i = 0; i < steps; ++i) batch.step();
    std::printf("%.6f\n", now_seconds() - begin);
    std::fflush(stdout);
  }
}

std::vector<int64_t> numbers_of(const std::string& list) {
  std::vector<int64_t> numbers;
  std::istringstream in(list);
  for (std::string one; std::getline(in, one, ',');) numbers.push_back(std::stoll(one));
  return numbers;
}

int run(int argc, char** argv) {
  std::map<std::string, std::string> options = {
      {"--precision", ""}, {"--batches", "1,16"}, {"--lengths", "64,1024"}, {"--long", ""}};
  std::string model, mode;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (options.contains(argument) && i + 1 < argc) {
      options[argument] = argv[++i];
    } else {
      (argument.starts_with("--") ? mode : model) = argument;
    }
  }
  start_ranks(600.0);
  const SavedModel saved = load_saved_model("decode_bench", model, options["--precision"]);
  const std::vector<int64_t> batches = numbers_of(options["--batches"]);
  const std::vector<int64_t> lengths = numbers_of(options["--lengths"]);
  if (!options["--long"].empty()) {
    write_long(saved, std::stoll(options["--long"]));
  } else if (mode == "--serve") {
    serve(saved);
  } else if (mode == "--profile") {
    profile(saved, static_cast<size_t>(batches.front()), lengths.front());
  } else {
    table(saved, batches, lengths);
  }
  return 0;
}

}  // namespace
}  // namespace orthant

int main(int argc, char** argv) {
  return orthant::run_guarded([&] { return orthant::run(argc, argv); });
}
