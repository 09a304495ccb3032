// SPDX-License-Identifier: Apache-2.0
#include "tensor/cpu/product_rate.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <memory>
#include <numeric>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/parallel_for.h"
#include "base/processors.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/gemm/kernels.h"
#include "tensor/cpu/gemm/scratch.h"

namespace orthant::cpu {
namespace {

// What the calling thread has run for: time that other processes took does not count.
double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// A product whose operands stay in a thread's own caches.
class Product {
 public:
  explicit Product(DType dtype)
      : a_(kRows * kDepth, dtype), b_(kColumns * kDepth, dtype), c_(kRows * kColumns, dtype) {
    args_ = {.m = kRows,
             .n = kColumns,
             .k = kDepth,
             .dtype = dtype,
             .out_dtype = dtype,
             .a = a_.bytes.data(),
             .lda = kDepth,
             .b = b_.bytes.data(),
             .ldb = kDepth,
             .trans_b = true,
             .c = c_.bytes.data(),
             .ldc = kColumns};
  }
  void multiply(const GemmKernel& kernel) { gemm_with(kernel, args_); }
  static double rate(double seconds) {
    return 2.0 * kRows * kColumns * kDepth / std::max(seconds, 1e-9);
  }

 private:
  static constexpr int64_t kRows = 128, kColumns = 256, kDepth = 512;

  struct Operand {
    Operand(int64_t elements, DType dtype) : bytes(elements * size_of(dtype)) {
      std::memset(bytes.data(), 0x3f, static_cast<size_t>(bytes.size()));  // about 1 in any type
    }
    AlignedBytes bytes;
  };
  Operand a_, b_, c_;
  GemmArgs args_;
};

}  // namespace

IsaRates measure_isa_rates(Isa highest) {
  constexpr int kRounds = 6, kMoreRounds = 12;
  IsaRates rates{};
  if (highest <= Isa::kAvx512) return rates;
  Product product(DType::kBF16);
  RankContext alone{.num_threads = 1};  // other ranks may be busy with theirs
  const ContextScope scope(alone);
  const auto measure_all = [&] {  // in turn: what slows the machine for a while slows all levels
    for (int level = static_cast<int>(Isa::kAvx512); level <= static_cast<int>(highest); ++level) {
      const double begin = thread_seconds();
      product.multiply(gemm_kernel(static_cast<Isa>(level), DType::kBF16));
      double& rate = rate_of(rates, static_cast<Isa>(level));
      rate = std::max(rate, Product::rate(thread_seconds() - begin));
    }
  };
  for (int i = 0; i < kRounds; ++i) measure_all();
  // The usual choice is left only for a difference that lasts.
  for (int i = 0; i < kMoreRounds && choose_isa(highest, rates) != highest; ++i) measure_all();
  return rates;
}

double measure_threads_rate(DType dtype) {
  constexpr double kWarmUp = 0.005, kMeasured = 0.03, kEnd = 0.037;
  const GemmKernel& kernel = active_kernel(dtype);
  const int threads = context().num_threads;
  std::vector<std::unique_ptr<Product>> products;
  for (int i = 0; i < threads; ++i) products.push_back(std::make_unique<Product>(dtype));
  std::vector<double> best(products.size(), 0.0);
  const double start = now_seconds();
  // Products count that begin after all threads have come and end before the first one leaves; of a
  // thread that came too late, the first.
  parallel_for_each(threads, [&](int64_t thread) {
    RankContext alone{.num_threads = 1};
    const ContextScope scope(alone);
    double& rate = best[static_cast<size_t>(thread)];
    for (double begin = now_seconds() - start; begin < kEnd || rate == 0;) {
      products[static_cast<size_t>(thread)]->multiply(kernel);
      const double end = now_seconds() - start;
      const bool all_at_work = begin >= kWarmUp && end <= kWarmUp + kMeasured;
      if (all_at_work || begin >= kEnd) rate = std::max(rate, Product::rate(end - begin));
      begin = end;
    }
  });
  const double sum = std::accumulate(best.begin(), best.end(), 0.0);
  return sum * std::min(1.0, static_cast<double>(processors().usable()) / threads);
}

}  // namespace orthant::cpu
