// SPDX-License-Identifier: Apache-2.0
// What the tests of the CPU kernels share: strided arrays of any type, tables of both
// instruction-set levels, gradients by finite differences.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/philox.h"
#include "tensor/backend.h"
#include "tensor/cpu/isa.h"
#include "tensor/cpu/kernels/kernels.h"

namespace orthant::testing {

// A matrix in memory as kernels see it: `pad` elements between rows that nobody may touch.
class Array {
 public:
  Array() = default;
  Array(DType dtype, int64_t rows, int64_t cols, int64_t pad = 0)
      : dtype_(dtype), rows_(rows), cols_(cols), stride_(cols + pad) {
    bytes_.resize(static_cast<size_t>(rows * stride_ * bytes_of(dtype)), '\x5A');
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) set(r, c, 0);
  }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  DType dtype() const { return dtype_; }
  View view() const {
    return {const_cast<char*>(bytes_.data()), dtype_, 2, {rows_, cols_}, stride_};
  }
  View view1() const {  // the same memory as one dimension; wants pad 0
    return {const_cast<char*>(bytes_.data()), dtype_, 1, {rows_ * cols_}, rows_ * cols_};
  }
  View columns(int64_t first, int64_t count) const {
    View result = view();
    result.data = const_cast<char*>(bytes_.data()) + first * bytes_of(dtype_);
    result.shape[1] = count;
    return result;
  }
  double get(int64_t r, int64_t c) const {
    const char* p = bytes_.data() + (r * stride_ + c) * bytes_of(dtype_);
    switch (dtype_) {
      case DType::kF64:
        return read<double>(p);
      case DType::kF32:
        return static_cast<double>(read<float>(p));
      case DType::kBF16:
        return static_cast<double>(static_cast<float>(read<bf16>(p)));
      case DType::kI32:
        return read<int32_t>(p);
      case DType::kI64:
        return static_cast<double>(read<int64_t>(p));
      case DType::kI8:
        return read<int8_t>(p);
      default:
        return read<uint8_t>(p);
    }
  }
  void set(int64_t r, int64_t c, double value) {
    char* p = bytes_.data() + (r * stride_ + c) * bytes_of(dtype_);
    switch (dtype_) {
      case DType::kF64:
        return write(p, value);
      case DType::kF32:
        return write(p, static_cast<float>(value));
      case DType::kBF16:
        return write(p, bf16(static_cast<float>(value)));
      case DType::kI32:
        return write(p, static_cast<int32_t>(value));
      case DType::kI64:
        return write(p, static_cast<int64_t>(value));
      case DType::kI8:
        return write(p, static_cast<int8_t>(value));
      default:
        return write(p, static_cast<uint8_t>(value));
    }
  }
  double at(int64_t i) const { return get(i / cols_, i % cols_); }
  Array& random(uint64_t seed, double low = -1, double high = 1) {
    const PhiloxKey key = make_key(seed, RandomPurpose::kTest, "cpu kernels");
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t c = 0; c < cols_; ++c)
        set(r, c,
            low + (high - low) * philox_uniform(key, 0, static_cast<uint64_t>(r * cols_ + c)));
    return *this;
  }
  Array& constant(double value) {
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t c = 0; c < cols_; ++c) set(r, c, value);
    return *this;
  }
  const std::vector<char>& bytes() const { return bytes_; }
  std::string row_bytes(int64_t row, int64_t first, int64_t count) const {
    const int64_t size = bytes_of(dtype_);
    return {bytes_.data() + (row * stride_ + first) * size, static_cast<size_t>(count * size)};
  }
  bool padding_is_untouched() const {
    const int64_t size = bytes_of(dtype_);
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t i = (r * stride_ + cols_) * size; i < (r + 1) * stride_ * size; ++i)
        if (bytes_[static_cast<size_t>(i)] != '\x5A') return false;
    return true;
  }

 private:
  static int64_t bytes_of(DType dtype) {
    switch (dtype) {
      case DType::kF64:
      case DType::kI64:
        return 8;
      case DType::kF32:
      case DType::kI32:
        return 4;
      case DType::kBF16:
        return 2;
      default:
        return 1;
    }
  }
  template <class T>
  static T read(const char* p) {
    T value;
    std::memcpy(static_cast<void*>(&value), p, sizeof(T));
    return value;
  }
  template <class T>
  static void write(char* p, T value) {
    std::memcpy(p, static_cast<const void*>(&value), sizeof(T));
  }
  DType dtype_ = DType::kF32;
  int64_t rows_ = 0, cols_ = 0, stride_ = 0;
  std::vector<char> bytes_;
};

// Largest difference that rounding explains, for values of order 1 after a few operations.
inline double tolerance(DType dtype) {
  return dtype == DType::kF64 ? 1e-12 : dtype == DType::kF32 ? 4e-6 : 1e-2;
}

// Every element of `got` against a reference, relative to max(1, |reference|).
inline void expect_near(const Array& got, const std::function<double(int64_t, int64_t)>& want,
                        double relative, const std::string& what) {
  for (int64_t r = 0; r < got.rows(); ++r) {
    for (int64_t c = 0; c < got.cols(); ++c) {
      const double w = want(r, c), g = got.get(r, c);
      ASSERT_LE(std::fabs(g - w), relative * std::fmax(1.0, std::fabs(w)))
          << what << " at [" << r << ", " << c << "]: got " << g << ", want " << w;
    }
  }
  EXPECT_TRUE(got.padding_is_untouched()) << what << ": wrote between rows";
}

// dx against five-point differences of `objective` in every element of x (f64).
inline void expect_gradient(Array* x, const Array& dx, const std::function<double()>& objective,
                            const std::string& what) {
  double largest = 1e-3;
  for (int64_t r = 0; r < x->rows(); ++r)
    for (int64_t c = 0; c < x->cols(); ++c) largest = std::fmax(largest, std::fabs(dx.get(r, c)));
  const double h = 1e-3;
  for (int64_t r = 0; r < x->rows(); ++r) {
    for (int64_t c = 0; c < x->cols(); ++c) {
      const double before = x->get(r, c);
      const auto at = [&](double step) {
        x->set(r, c, before + step);
        return objective();
      };
      const double slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      x->set(r, c, before);
      ASSERT_NEAR(dx.get(r, c), slope, 1e-7 * largest) << what << " [" << r << ", " << c << "]";
    }
  }
}

inline double inner(const Array& a, const Array& b) {
  double sum = 0;
  for (int64_t r = 0; r < a.rows(); ++r)
    for (int64_t c = 0; c < a.cols(); ++c) sum += a.get(r, c) * b.get(r, c);
  return sum;
}

// One level of kernels and one element type.
struct KernelCase {
  cpu::Isa isa;
  DType dtype;
};
inline std::vector<KernelCase> kernel_cases(const std::vector<DType>& dtypes = {
                                                DType::kF64, DType::kF32, DType::kBF16}) {
  std::vector<KernelCase> cases;
  for (const cpu::Isa isa : {cpu::Isa::kScalar, cpu::Isa::kAvx512})
    for (const DType dtype : dtypes)
      if (isa <= cpu::detected_isa()) cases.push_back({isa, dtype});
  return cases;
}
inline std::string case_name(const ::testing::TestParamInfo<KernelCase>& info) {
  return std::string(cpu::name_of(info.param.isa)) + "_" + std::string(name_of(info.param.dtype));
}

class CpuKernels : public ::testing::TestWithParam<KernelCase> {
 protected:
  CpuKernels() : scope_(rank_) {
    if (GetParam().isa == cpu::Isa::kScalar) {
      cpu::isa_scalar::fill_kernels(table_);
    } else {
      cpu::isa_avx512::fill_kernels(table_);
    }
    call_.error = error_;
    call_.error_size = sizeof(error_);
  }
  DType model() const { return GetParam().dtype; }
  DType wide() const { return wide_of(model()); }
  double close() const { return tolerance(model()); }
  void ok(int status) { ASSERT_EQ(status, 0) << error_; }

  // The outputs of `run` must have the same bits with 1, 2 and 3 threads.
  void expect_same_for_threads(const std::function<std::vector<char>()>& run) {
    rank_.num_threads = 1;
    const std::vector<char> one = run();
    for (const int threads : {2, 3}) {
      rank_.num_threads = threads;
      EXPECT_TRUE(run() == one) << threads << " threads change the result";
    }
    rank_.num_threads = 1;
  }

  RankContext rank_;
  ContextScope scope_;
  Backend table_{};
  char error_[256] = "";
  BackendCall call_;
};

}  // namespace orthant::testing
