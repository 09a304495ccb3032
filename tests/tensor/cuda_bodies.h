// SPDX-License-Identifier: Apache-2.0
// What the tests of the CUDA kernels' bodies share: the bodies run on the host (cuda_serial.h),
// against the CPU backend, which is what of the CUDA kernels can be proved without a GPU.  Every
// case runs with lanes and rows in both orders, which must give the same bits.
#pragma once

#include "tensor/cpu/drop_tokens.h"
#include "tests/tensor/cpu_testing.h"
#include "tests/tensor/cuda_serial.h"

namespace orthant::testing {

using Arrays = std::vector<Array>;
using Compute = std::function<Arrays(const Backend&, const BackendCall*)>;

class CudaBodies : public ::testing::TestWithParam<DType> {
 protected:
  CudaBodies() : scope_(rank_), serial_(serial_backend()) {
    cpu::isa_scalar::fill_kernels(cpu_);
    cpu_.drop_tokens = cpu::drop_tokens;
    call_.error = error_;
    call_.error_size = sizeof(error_);
  }
  ~CudaBodies() override { serial_reverse = false; }
  DType model() const { return GetParam(); }
  DType wide() const { return wide_of(model()); }

  // The outputs of `run` with both backends, `factor` times the usual tolerance apart.
  void compare(const char* what, const Compute& run, double factor = 1) {
    const Arrays want = run(cpu_, &call_);
    serial_reverse = false;
    const Arrays got = run(serial_, &call_);
    serial_reverse = true;
    const Arrays reversed = run(serial_, &call_);
    serial_reverse = false;
    ASSERT_EQ(got.size(), want.size());
    for (size_t k = 0; k < want.size(); ++k) {
      const std::string name = std::string(what) + " output " + std::to_string(k);
      expect_near(
          got[k], [&](int64_t r, int64_t c) { return want[k].get(r, c); },
          factor * tolerance(got[k].dtype() == DType::kBF16 ? model() : wide()), name);
      EXPECT_TRUE(got[k].bytes() == reversed[k].bytes()) << name << " depends on the order";
    }
  }
  // Both backends refuse, with the same words after the name of the op.
  void expect_refused(const std::function<int(const Backend&, const BackendCall*)>& run) {
    EXPECT_NE(run(cpu_, &call_), 0);
    const std::string want = error_;
    error_[0] = 0;
    EXPECT_NE(run(serial_, &call_), 0);
    EXPECT_EQ(want, error_);
  }
  void ok(int status) const { ASSERT_EQ(status, 0) << error_; }

  RankContext rank_;
  ContextScope scope_;
  Backend cpu_{}, serial_{};
  char error_[256] = "";
  BackendCall call_;
};

// The cases of a file, in every type that the kernels compute in.
#define ORTHANT_INSTANTIATE_BODIES(Suite)                                                         \
  INSTANTIATE_TEST_SUITE_P(All, Suite, ::testing::Values(DType::kF64, DType::kF32, DType::kBF16), \
                           [](const auto& info) { return std::string(name_of(info.param)); })

}  // namespace orthant::testing
