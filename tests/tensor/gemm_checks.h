// SPDX-License-Identifier: Apache-2.0
// What every matrix-product kernel must do, against sums in double precision.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/text.h"
#include "tensor/cpu/gemm.h"
#include "tensor/cpu/gemm/kernels.h"

namespace orthant::testing {

inline double read_element(const char* p, DType dtype) {
  if (dtype == DType::kF64) return *reinterpret_cast<const double*>(p);
  if (dtype == DType::kF32) return double{*reinterpret_cast<const float*>(p)};
  return static_cast<double>(static_cast<float>(*reinterpret_cast<const bf16*>(p)));
}

inline void write_element(char* p, DType dtype, double value) {
  if (dtype == DType::kF64) {
    *reinterpret_cast<double*>(p) = value;
  } else if (dtype == DType::kF32) {
    *reinterpret_cast<float*>(p) = static_cast<float>(value);
  } else {
    *reinterpret_cast<bf16*>(p) = bf16(static_cast<float>(value));
  }
}

// A small generator: tests need repeatable numbers, not good ones.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 2654435761u + 88172645463325252u) {}
  uint64_t next() {
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
    return state_;
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  double value() { return static_cast<double>(next() % 2001) / 1000.0 - 1.0; }

 private:
  uint64_t state_;
};

// A matrix whose last element is followed by a page that must not be touched; the gaps between its
// rows hold NaN, which would poison what reads them.
class Matrix {
 public:
  Matrix(DType dtype, int64_t rows, int64_t cols, int64_t gap = 0)
      : dtype(dtype), rows(rows), cols(cols), ld(cols + gap) {
    const int64_t used = element_bytes() * std::max<int64_t>(0, ld * (rows - 1) + cols);
    mapped_ = (used + kPage - 1) / kPage * kPage + kPage;
    base_ = static_cast<char*>(mmap(nullptr, static_cast<size_t>(mapped_), PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + mapped_ - kPage, kPage, PROT_NONE);
    data = base_ + mapped_ - kPage - used;
    for (int64_t i = 0; i < used / element_bytes(); ++i) {
      write_element(data + i * element_bytes(), dtype, std::numeric_limits<double>::quiet_NaN());
    }
  }
  ~Matrix() { munmap(base_, static_cast<size_t>(mapped_)); }
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;

  int64_t element_bytes() const { return size_of(dtype); }
  char* at(int64_t i, int64_t j) const { return data + (i * ld + j) * element_bytes(); }
  double get(int64_t i, int64_t j) const { return read_element(at(i, j), dtype); }
  void set(int64_t i, int64_t j, double value) { write_element(at(i, j), dtype, value); }
  void fill(Numbers& numbers) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) set(i, j, numbers.value());
    }
  }
  void copy_from(const Matrix& other, bool transposed) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) set(i, j, transposed ? other.get(j, i) : other.get(i, j));
    }
  }
  bool same_bits(const Matrix& other, int64_t row = 0, int64_t col = 0) const {
    for (int64_t i = 0; i < rows; ++i) {
      const size_t size = static_cast<size_t>(cols * element_bytes());
      if (std::memcmp(at(i, 0), other.at(row + i, col), size) != 0) return false;
    }
    return true;
  }
  bool gaps_untouched() const {
    for (int64_t i = 0; i + 1 < rows; ++i) {
      for (int64_t j = cols; j < ld; ++j) {
        if (!std::isnan(get(i, j))) return false;
      }
    }
    return true;
  }

  const DType dtype;
  const int64_t rows, cols, ld;
  char* data = nullptr;

 private:
  static constexpr int64_t kPage = 4096;
  int64_t mapped_ = 0;
  char* base_ = nullptr;
};

class Threads {
 public:
  explicit Threads(int count) : scope_(rank_) { rank_.num_threads = count; }

 private:
  RankContext rank_;
  ContextScope scope_;
};

struct Form {
  bool trans_a = false, trans_b = false, packed = false, accumulate = false;
  std::string text() const {
    return concat(trans_a ? "T" : "N", trans_b ? "T" : "N", packed ? " packed" : "",
                  accumulate ? " accumulate" : "");
  }
};

// Runs C (+)= A B from matrices that are stored as `form` says.
inline void run_gemm(const cpu::GemmKernel& kernel, const Form& form, const Matrix& a,
                     const Matrix& b, Matrix& c) {
  const int64_t k = form.trans_a ? a.rows : a.cols;
  const cpu::PackedMatrixPtr packed(
      form.packed ? cpu::pack_matrix_with(kernel, k, c.cols, b.data, b.ld, form.trans_b) : nullptr);
  cpu::gemm_with(kernel, {.m = c.rows,
                          .n = c.cols,
                          .k = k,
                          .dtype = a.dtype,
                          .out_dtype = c.dtype,
                          .a = a.data,
                          .lda = a.ld,
                          .trans_a = form.trans_a,
                          .b = form.packed ? nullptr : b.data,
                          .ldb = b.ld,
                          .trans_b = form.trans_b,
                          .packed_b = packed.get(),
                          .c = c.data,
                          .ldc = c.ld,
                          .accumulate = form.accumulate});
}

// a [m, k] and b [k, n] plain; `before` is what C held.
inline void expect_near_reference(const Matrix& a, const Matrix& b, const Matrix& before,
                                  const Matrix& c, bool accumulate, Numbers& numbers) {
  const double unit = a.dtype == DType::kF64 ? 0x1p-53 : 0x1p-24;
  const int64_t all = c.rows * c.cols, checked = std::min<int64_t>(all, 300);
  for (int64_t s = 0; s < checked; ++s) {
    const int64_t at = all <= 300 ? s : numbers.below(all), i = at / c.cols, j = at % c.cols;
    double sum = accumulate ? before.get(i, j) : 0.0, size = std::abs(sum);
    for (int64_t k = 0; k < a.cols; ++k) {
      sum += a.get(i, k) * b.get(k, j);
      size += std::abs(a.get(i, k) * b.get(k, j));
    }
    double tolerance = unit * (static_cast<double>(a.cols) + 4.0) * size;
    if (c.dtype == DType::kBF16) tolerance += 0x1p-8 * std::abs(sum);
    ASSERT_NEAR(c.get(i, j), sum, tolerance) << "element " << i << ", " << j;
  }
}

inline void check_product(const cpu::GemmKernel& kernel, DType out, int64_t m, int64_t n, int64_t k,
                          const Form& form, uint64_t seed) {
  SCOPED_TRACE(concat(name_of(kernel.isa), " ", name_of(kernel.dtype), " to ", name_of(out), " ",
                      form.text(), " m ", m, " n ", n, " k ", k));
  Threads threads(seed % 8 == 0 ? 3 : 1);
  Numbers numbers(seed);
  const int64_t gap = numbers.below(4);
  Matrix a(kernel.dtype, m, k), b(kernel.dtype, k, n), before(out, m, n, gap), c(out, m, n, gap);
  a.fill(numbers), b.fill(numbers), before.fill(numbers);
  if (form.accumulate) c.copy_from(before, false);
  Matrix stored_a(kernel.dtype, form.trans_a ? k : m, form.trans_a ? m : k, gap);
  Matrix stored_b(kernel.dtype, form.trans_b ? n : k, form.trans_b ? k : n, gap);
  stored_a.copy_from(a, form.trans_a);
  stored_b.copy_from(b, form.trans_b);
  run_gemm(kernel, form, stored_a, stored_b, c);
  expect_near_reference(a, b, before, c, form.accumulate, numbers);
  EXPECT_TRUE(c.gaps_untouched());
}

inline std::vector<DType> outputs_of(const cpu::GemmKernel& kernel) {
  if (kernel.dtype == DType::kBF16) return {DType::kBF16, DType::kF32};
  return {kernel.dtype};
}

inline void check_all_forms(const cpu::GemmKernel& kernel, int draws) {
  const int64_t ms[] = {0, 1, 2, 3, 11, 12, 13, 16, 17, 31, 33, 50};
  const int64_t ns[] = {0, 1, 7, 15, 16, 17, 31, 32, 33, 70};
  const int64_t ks[] = {0, 1, 2, 3, 15, 16, 31, 32, 33, 64, 129, 517};
  Numbers numbers(static_cast<uint64_t>(kernel.dtype) + 7);
  uint64_t seed = 1;
  for (const DType out : outputs_of(kernel)) {
    for (int bits = 0; bits < 16; ++bits) {
      const Form form{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
      for (int draw = 0; draw < draws; ++draw) {
        check_product(kernel, out, ms[numbers.below(12)], ns[numbers.below(10)],
                      ks[numbers.below(12)], form, ++seed);
      }
    }
    // Longer than one pass over k.
    for (const bool accumulate : {false, true}) {
      check_product(kernel, out, 14, 35, 6151, {.accumulate = accumulate}, ++seed);
      check_product(kernel, out, 45, 3, 3075, {.trans_a = true, .accumulate = accumulate}, ++seed);
      check_product(kernel, out, 5, 40, 3201, {.packed = true, .accumulate = accumulate}, ++seed);
    }
  }
}

// The contract: bits depend on the row of op(A), the column of op(B) and k alone.
inline void check_bits(const cpu::GemmKernel& kernel, int64_t m, int64_t n, int64_t k) {
  for (const DType out : outputs_of(kernel)) {
    SCOPED_TRACE(concat(name_of(kernel.isa), " ", name_of(kernel.dtype), " to ", name_of(out),
                        " m ", m, " n ", n, " k ", k));
    Numbers numbers(11);
    Matrix a(kernel.dtype, m, k), b(kernel.dtype, k, n), at(kernel.dtype, k, m),
        bt(kernel.dtype, n, k), want(out, m, n);
    a.fill(numbers), b.fill(numbers);
    at.copy_from(a, true), bt.copy_from(b, true);
    run_gemm(kernel, {}, a, b, want);
    for (int bits = 0; bits < 8; ++bits) {
      const Form form{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
      const int counts[] = {1, 2, 5};
      Threads threads(counts[bits % 3]);
      Matrix c(out, m, n, 1);
      run_gemm(kernel, form, form.trans_a ? at : a, form.trans_b ? bt : b, c);
      EXPECT_TRUE(c.same_bits(want)) << form.text();
    }
    Threads one(1);
    // Pieces of C by themselves: other m and n, other places in a block.
    for (int draw = 0; draw < 24; ++draw) {
      const int64_t row = numbers.below(m), col = numbers.below(n);
      const int64_t rows = 1 + numbers.below(std::min<int64_t>(m - row, draw < 12 ? 4 : m));
      const int64_t cols = 1 + numbers.below(std::min<int64_t>(n - col, draw < 12 ? 4 : n));
      Matrix c(out, rows, cols);
      cpu::gemm_with(kernel, {.m = rows,
                              .n = cols,
                              .k = k,
                              .dtype = kernel.dtype,
                              .out_dtype = out,
                              .a = a.at(row, 0),
                              .lda = a.ld,
                              .b = b.at(0, col),
                              .ldb = b.ld,
                              .c = c.data,
                              .ldc = c.ld});
      EXPECT_TRUE(c.same_bits(want, row, col))
          << rows << " x " << cols << " at " << row << ", " << col;
    }
    // The finished sum is added to C, in C's accumulator type.
    Matrix sums(kernel.dtype == DType::kF64 ? DType::kF64 : DType::kF32, m, n);
    Matrix added(out, m, n), before(out, m, n);
    before.fill(numbers);
    added.copy_from(before, false);
    run_gemm(kernel, {}, a, b, sums.dtype == out ? want : sums);
    run_gemm(kernel, {.accumulate = true}, a, b, added);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        const double sum = (sums.dtype == out ? want : sums).get(i, j);
        if (out == DType::kF64) {
          ASSERT_EQ(added.get(i, j), before.get(i, j) + sum);
        } else {
          const float f = static_cast<float>(before.get(i, j)) + static_cast<float>(sum);
          ASSERT_EQ(added.get(i, j), out == DType::kBF16
                                         ? static_cast<double>(static_cast<float>(bf16(f)))
                                         : static_cast<double>(f));
        }
      }
    }
  }
}

// Infinity times zero is NaN in its row and column, and filling adds none.
inline void check_non_finite(const cpu::GemmKernel& kernel) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const DType out : outputs_of(kernel)) {
    for (const int64_t k : {1, 3, 33, 64}) {
      Matrix a(kernel.dtype, 19, k), b(kernel.dtype, k, 37), c(out, 19, 37);
      Numbers numbers(5);
      a.fill(numbers), b.fill(numbers);
      for (int64_t j = 0; j < b.cols; ++j) b.set(k - 1, j, j == 36 ? 0.0 : 1.0);
      a.set(18, k - 1, infinity);
      run_gemm(kernel, {}, a, b, c);
      for (int64_t i = 0; i < c.rows; ++i) {
        for (int64_t j = 0; j < c.cols; ++j) {
          if (i < 18) {
            ASSERT_TRUE(std::isfinite(c.get(i, j)));
          } else if (j < 36) {
            ASSERT_EQ(c.get(i, j), infinity);
          } else {
            ASSERT_TRUE(std::isnan(c.get(i, j)));
          }
        }
      }
    }
  }
}

// Every form of the grouped product has the bits of one product per expert.
inline void check_grouped(const cpu::GemmKernel& kernel) {
  using cpu::GroupedForm;
  const int64_t offsets[] = {0, 5, 5, 38, 39, 103}, experts = 5, rows = 103, in = 45, out = 70;
  const DType dtype = kernel.dtype;
  Numbers numbers(3);
  Matrix x(dtype, rows, in, 2), dy(dtype, rows, out, 1), w(dtype, experts * out, in);
  x.fill(numbers), dy.fill(numbers), w.fill(numbers);
  auto slice = [](const Matrix& of, int64_t begin, int64_t end) {
    auto part = std::make_unique<Matrix>(of.dtype, end - begin, of.cols);
    for (int64_t i = 0; i < part->rows; ++i) {
      for (int64_t j = 0; j < part->cols; ++j) part->set(i, j, of.get(begin + i, j));
    }
    return part;
  };
  for (const GroupedForm form : {GroupedForm::kForward, GroupedForm::kDataGrad}) {
    const bool forward = form == GroupedForm::kForward;
    const Matrix& input = forward ? x : dy;
    for (const bool packed : {false, true}) {
      for (const int count : {1, 4}) {
        Threads threads(count);
        std::vector<cpu::PackedMatrixPtr> owners;
        std::vector<const cpu::PackedMatrix*> pointers;
        for (int64_t e = 0; e < experts && packed; ++e) {
          owners.emplace_back(cpu::pack_matrix_with(kernel, forward ? in : out, forward ? out : in,
                                                    w.at(e * out, 0), in, forward));
          pointers.push_back(owners.back().get());
        }
        Matrix y(dtype, rows, forward ? out : in, 3);
        const bool accumulate = count == 4;
        y.fill(numbers);
        Matrix before(dtype, rows, y.cols);
        before.copy_from(y, false);
        cpu::grouped_gemm_with(kernel, {.form = form,
                                        .num_experts = experts,
                                        .in = in,
                                        .out = out,
                                        .offsets = offsets,
                                        .dtype = dtype,
                                        .w_dtype = dtype,
                                        .x = input.data,
                                        .ldx = input.ld,
                                        .y = y.data,
                                        .ldy = y.ld,
                                        .w = w.data,
                                        .packed_w = packed ? pointers.data() : nullptr,
                                        .accumulate = accumulate});
        for (int64_t e = 0; e < experts; ++e) {
          const auto part = slice(input, offsets[e], offsets[e + 1]);
          const auto weight = slice(w, e * out, (e + 1) * out);
          const auto want = slice(before, offsets[e], offsets[e + 1]);
          run_gemm(kernel, {.trans_b = forward, .accumulate = accumulate}, *part, *weight, *want);
          EXPECT_TRUE(want->same_bits(y, offsets[e], 0)) << "expert " << e << " packed " << packed;
        }
        EXPECT_TRUE(y.gaps_untouched());
      }
    }
  }
  for (const DType w_dtype : outputs_of(kernel)) {
    for (const bool accumulate : {false, true}) {
      for (const int count : {1, 4}) {
        Threads threads(count);
        Matrix dw(w_dtype, experts * out, in), want(w_dtype, experts * out, in);
        dw.fill(numbers);
        want.copy_from(dw, false);
        cpu::grouped_gemm_with(kernel, {.form = GroupedForm::kWeightGrad,
                                        .num_experts = experts,
                                        .in = in,
                                        .out = out,
                                        .offsets = offsets,
                                        .dtype = dtype,
                                        .w_dtype = w_dtype,
                                        .x = x.data,
                                        .ldx = x.ld,
                                        .y = dy.data,
                                        .ldy = dy.ld,
                                        .w = dw.data,
                                        .accumulate = accumulate});
        for (int64_t e = 0; e < experts; ++e) {
          const auto part_x = slice(x, offsets[e], offsets[e + 1]);
          const auto part_y = slice(dy, offsets[e], offsets[e + 1]);
          const auto part = slice(want, e * out, (e + 1) * out);
          run_gemm(kernel, {.trans_a = true, .accumulate = accumulate}, *part_y, *part_x, *part);
          EXPECT_TRUE(part->same_bits(dw, e * out, 0)) << "expert " << e;
        }
      }
    }
  }
}

}  // namespace orthant::testing
