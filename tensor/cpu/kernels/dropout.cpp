// SPDX-License-Identifier: Apache-2.0
// Dropout.  Element i is kept when uniform_from(word i % 4 of philox(key, step, i / 4)) >= p: a
// pure function of the key and i, so that the gradient is the same call (base/philox.h).
#include "tensor/cpu/kernels/kernels.h"
#include "tensor/cpu/kernels/rows.h"

namespace orthant::cpu::ORTHANT_ISA {
namespace {

constexpr int kGroups = 16;  // counters per call of random_words

// The words of philox(key, step, first_group + g) for g in [0, kGroups), in order of elements.
// base/philox.h has the same function for one counter; the tests compare them.
void random_words(const DropoutArgs& args, uint64_t first_group, uint32_t* words) {
#pragma omp simd
  for (int g = 0; g < kGroups; ++g) {
    const uint64_t index = first_group + static_cast<uint64_t>(g);
    uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
    uint32_t c2 = static_cast<uint32_t>(args.step), c3 = static_cast<uint32_t>(args.step >> 32);
    uint32_t k0 = args.key0, k1 = args.key1;
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
      c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
      c1 = static_cast<uint32_t>(p1);
      c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c3 = static_cast<uint32_t>(p0);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    words[4 * g] = c0;
    words[4 * g + 1] = c1;
    words[4 * g + 2] = c2;
    words[4 * g + 3] = c3;
  }
}

template <class M>
void drop_span(const DropoutArgs& args, const M* x, M* y, uint64_t first, int64_t n,
               uint32_t threshold, Wide<M> factor) {
  uint32_t words[4 * kGroups];
  for (int64_t i = 0; i < n;) {
    const uint64_t index = first + static_cast<uint64_t>(i);
    const int64_t skip = static_cast<int64_t>(index % 4);
    random_words(args, index / 4, words);
    const int64_t count = min_of(n - i, 4 * kGroups - skip);
    const uint32_t* word = words + skip;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j)
      narrow(word[j] >= threshold ? widen(x[i + j]) * factor : Wide<M>{0}, y + i + j);
    i += count;
  }
}

int dropout(const BackendCall* call, const DropoutArgs* args) {
  const double p = args->probability;
  if (!(p >= 0.0 && p < 1.0)) return fail(call, "dropout", "want 0 <= probability < 1");
  // (bits + 0.5) * 2^-32 >= p, without rounding.
  const double bound = __builtin_ceil(p * 0x1p32 - 0.5);
  if (bound >= 0x1p32) return fail(call, "dropout", "the probability is too close to 1");
  const uint32_t threshold = static_cast<uint32_t>(bound);
  return with_dtype(call, "dropout", args->x.dtype, [&]<class M>(M) {
    const Rows<M> x = rows_of<M>(args->x), y = rows_of<M>(args->y);
    const Wide<M> factor = static_cast<Wide<M>>(1.0 / (1.0 - p));
    const int64_t* tokens = static_cast<const int64_t*>(args->tokens.data);
    for_rows(y.rows, y.cols, [&](int64_t r) {
      const int64_t first = tokens[r] * args->row_width + args->first_column;
      drop_span<M>(*args, x[r], y[r], static_cast<uint64_t>(first), y.cols, threshold, factor);
    });
    return 0;
  });
}

}  // namespace

void fill_dropout(Backend& table) { table.dropout = dropout; }

}  // namespace orthant::cpu::ORTHANT_ISA
