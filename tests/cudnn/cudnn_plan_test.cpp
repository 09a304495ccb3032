// SPDX-License-Identifier: Apache-2.0
// The graphs of attention in cuDNN's own hands, without a GPU: descriptors finalize, and engines
// for described devices compile.  Nothing is computed (tests/tensor/cudnn_graph_test.cpp does).
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <string>

#include "tensor/cuda/cudnn/plan.h"

namespace orthant::testing {
namespace {

using namespace cuda::cudnn;  // NOLINT

struct Case {
  const char* name;
  int64_t batch, length, heads, kv_heads, qk_dim, v_dim;
  bool documents = false;
};
std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

// Columns of one product, as training has them.
AttentionProblem problem_of(const Case& c, bool backward, bool any_order = false) {
  AttentionProblem p;
  p.backward = backward;
  p.any_order = any_order;
  p.has_documents = c.documents;
  p.batch = c.batch;
  p.length = c.length;
  p.heads = c.heads;
  p.kv_heads = c.kv_heads;
  p.qk_dim = c.qk_dim;
  p.v_dim = c.v_dim;
  p.q_stride = p.k_stride = p.v_stride = c.heads * c.qk_dim + c.kv_heads * (c.qk_dim + c.v_dim);
  p.o_stride = c.heads * c.v_dim;
  p.lse_stride = c.heads;
  if (backward) {
    p.do_stride = p.o_stride;
    p.dq_stride = p.dk_stride = p.dv_stride = p.q_stride;
  }
  return p;
}
Graph graph_of(const AttentionProblem& p) {
  return p.backward ? backward_graph(p) : forward_graph(p);
}

// An H200, or an A100, as cuDNN writes a device down (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION).
Descriptor described_device(bool hopper) {
  const std::string text =
      std::string(R"({"cudaDeviceId":0,"deviceName":"described","driverVer":13000,"isTccDriver":0,
"l2CacheSize":52428800,"maxBlockSize":[1024,1024,64],"maxCtasPerSM":32,
"maxGridSize":[2147483647,65535,65535],"maxRegistersPerSM":65536,"maxSharedMemoryPerBlock":49152,
"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"memClockRateKHz":2619000,"pciDeviceId":0,
"regsPerBlock":65536,"reservedSharedMemoryPerBlock":1024,"smClockRateKHz":1980000,
"supportCoopLaunch":1,"totalGlobalMem":80000000000,"warpSize":32,)") +
      (hopper
           ? R"("deviceVer":900,"maxSharedMemoryPerBlockOptin":232448,"multiProcessorCount":132})"
           : R"("deviceVer":800,"maxSharedMemoryPerBlockOptin":166912,"multiProcessorCount":108})");
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device
      .set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
           static_cast<int64_t>(text.size()), text.data())
      .finalize("device");
  return device;
}

class CudnnPlan : public ::testing::TestWithParam<Case> {
 protected:
  // cuDNN opens libcuda.so.1 by its name, and gets what is already there under it.
  static void SetUpTestSuite() {
    ASSERT_NE(dlopen(ORTHANT_FAKE_DRIVER, RTLD_NOW | RTLD_GLOBAL), nullptr) << dlerror();
  }
  // Empty, or why there is no plan.
  std::string plan(const AttentionProblem& p, bool hopper, int64_t* workspace_bytes) {
    const Descriptor device = described_device(hopper);
    const auto begin = std::chrono::steady_clock::now();
    try {
      *workspace_bytes =
          Plan(graph_of(p), {.handle = nullptr, .device = &device}).workspace_bytes();
    } catch (const CudnnError& error) {
      return error.what();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::cout << text_of(p) << ": " << static_cast<int>(took.count() * 1e3) << " ms, "
              << (*workspace_bytes >> 20) << " MiB\n";
    return "";
  }
};

TEST_P(CudnnPlan, OperationGraphsFinalize) {
  EXPECT_NO_THROW(operation_graph(graph_of(problem_of(GetParam(), false)), nullptr));
  for (const bool any_order : {false, true})
    EXPECT_NO_THROW(operation_graph(graph_of(problem_of(GetParam(), true, any_order)), nullptr));
}

TEST_P(CudnnPlan, HopperHasEnginesWithinTheWorkspaceThatPartsAllow) {
  int64_t workspace_bytes = 0;
  EXPECT_EQ(plan(problem_of(GetParam(), false), true, &workspace_bytes), "");
  EXPECT_LT(workspace_bytes, 1 << 20);
  for (const bool any_order : {false, true}) {
    const AttentionProblem whole = problem_of(GetParam(), true, any_order);
    const Part part = part_of(whole);
    ASSERT_GT(part.batch, 0);
    EXPECT_EQ(plan(cuda::cudnn::problem_of(whole, part), true, &workspace_bytes), "");
    EXPECT_LE(workspace_bytes, kMaxWorkspaceBytes + kMaxWorkspaceBytes / 8);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudnnPlan,
                         ::testing::Values(Case{"heads", 2, 1024, 4, 4, 64, 64},
                                           Case{"grouped", 2, 4096, 32, 8, 128, 128},
                                           Case{"latent", 1, 4096, 16, 16, 192, 128},
                                           Case{"odd_length", 3, 101, 4, 2, 64, 64},
                                           Case{"narrow", 2, 64, 4, 2, 24, 16},
                                           Case{"documents", 2, 2048, 8, 2, 128, 128, true}),
                         [](const auto& info) { return std::string(info.param.name); });

using CudnnPlanRefused = CudnnPlan;

TEST_F(CudnnPlanRefused, HeadsThatAreNoMultipleOfEight) {
  int64_t workspace_bytes = 0;
  const Case c{"", 2, 128, 4, 2, 60, 60};
  EXPECT_NE(plan(problem_of(c, false), true, &workspace_bytes), "");
  EXPECT_NE(plan(problem_of(c, true), true, &workspace_bytes), "");
}

// Ampere computes latent attention forward only: its gradient is for the plain kernels.
TEST_F(CudnnPlanRefused, AmpereHasNoGradientOfLatentAttention) {
  int64_t workspace_bytes = 0;
  const Case c{"", 1, 512, 4, 4, 192, 128};
  EXPECT_EQ(plan(problem_of(c, false), false, &workspace_bytes), "");
  EXPECT_NE(plan(problem_of(c, true), false, &workspace_bytes), "");
}

}  // namespace
}  // namespace orthant::testing
