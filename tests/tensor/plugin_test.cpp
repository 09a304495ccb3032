// SPDX-License-Identifier: Apache-2.0
// The plugin loader, and the arithmetic of the CUDA plugin that needs no device.
#include "tensor/plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "tensor/cuda/matmul_plan.h"
#include "tensor/ops/call.h"
#include "tensor/tensor.h"

namespace orthant {
namespace {

using testing::HasSubstr;

TEST(Plugin, MissingFileGivesTheLinkersWord) {
  std::string why_not;
  EXPECT_EQ(open_plugin("/nowhere/liborthant_cuda.so", why_not), nullptr);
  EXPECT_THAT(why_not, HasSubstr("/nowhere/liborthant_cuda.so: cannot open shared object file"));
}

TEST(Plugin, LibraryWithoutEntryIsRefused) {
  std::string why_not;
  EXPECT_EQ(open_plugin("libm.so.6", why_not), nullptr);
  EXPECT_THAT(why_not, HasSubstr("not a plugin"));
  EXPECT_THAT(why_not, HasSubstr(kBackendEntryName));
}

TEST(Plugin, TableOfAnotherVersionIsRefused) {
  Backend table = cpu_backend();
  EXPECT_EQ(fault_of(table), "");
  table.version = kBackendVersion + 1;
  EXPECT_THAT(fault_of(table), HasSubstr(concat("want backend version ", kBackendVersion, ", got ",
                                                kBackendVersion + 1)));
}

TEST(Plugin, TableWithAHoleIsRefused) {
  Backend table = cpu_backend();
  table.router_grad = nullptr;
  table.copy = nullptr;
  EXPECT_EQ(fault_of(table), "no function for copy, router_grad");
}

TEST(Plugin, CommunicationIsWholeOrAbsent) {
  Backend table = cpu_backend();
  EXPECT_EQ(table.comm, nullptr);
  BackendComm comm{};
  comm.poll = [](const BackendCall*, void*, int32_t*) { return 0; };
  table.comm = &comm;
  EXPECT_EQ(fault_of(table),
            "no function for comm.make_id, comm.create, comm.exchange, comm.query, comm.release, "
            "comm.abort, comm.destroy");
}

bool is_built() {
  const auto program = std::filesystem::read_symlink("/proc/self/exe");
  return std::filesystem::exists(program.parent_path() / kCudaPluginFile);
}

TEST(Plugin, BuiltPluginHasACompleteTable) {
  if (!is_built()) GTEST_SKIP() << "no " << kCudaPluginFile << " beside the test";
  std::string why_not;
  const Backend* plugin = cuda_plugin(why_not);
  ASSERT_NE(plugin, nullptr) << why_not;
  EXPECT_EQ(plugin, cuda_plugin(why_not));
  EXPECT_STREQ(plugin->name, "cuda");
  EXPECT_THAT(plugin->libraries, HasSubstr("cuBLASLt"));
  EXPECT_EQ(fault_of(*plugin), "");
  EXPECT_NE(plugin->comm, nullptr);
}

TEST(Plugin, SaysWhyThereIsNoDevice) {
  std::string why_not;
  if (try_cuda_backend(why_not)) GTEST_SKIP() << "a device is here";
  if (is_built()) {
    EXPECT_THAT(why_not, HasSubstr("NVIDIA"));
  } else {
    EXPECT_THAT(why_not, HasSubstr("no CUDA plugin"));
  }
  try {
    Tensor::empty({2}, DType::kF32, Device{.type = DeviceType::kCuda, .index = 0});
    FAIL() << "an error was expected";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_THAT(error.what(), HasSubstr(why_not));
  }
}

// A call without a device fails with the op's name and the library's word, and does not crash.
TEST(Plugin, CallsWithoutADeviceFailInWords) {
  std::string why_not;
  const Backend* plugin = cuda_plugin(why_not);
  if (!plugin || try_cuda_backend(why_not)) GTEST_SKIP() << "wants the plugin and no device";
  char text[512] = "";
  const BackendCall call{.stream = nullptr, .error = text, .error_size = sizeof(text)};
  void* block = nullptr;
  EXPECT_NE(plugin->allocate(&call, 64, &block), 0);
  EXPECT_THAT(text, HasSubstr("allocate: cudaMalloc: "));
  EXPECT_NE(plugin->allocate_host(&call, 64, &block), 0);
  EXPECT_THAT(text, HasSubstr("allocate_host: cudaHostAlloc: "));
  BackendCommArgs comm{.id = {}, .rank = 0, .size = 1, .name = "world"};
  EXPECT_EQ(plugin->comm->make_id(&call, &comm.id), 0);  // NCCL needs no device for that
  EXPECT_NE(plugin->comm->create(&call, &comm, &block), 0);
  EXPECT_THAT(text, HasSubstr("create: cuda"));
  EXPECT_NE(plugin->synchronize(&call), 0);
  EXPECT_THAT(text, HasSubstr("synchronize: "));
  float host[4] = {};
  const View view{.data = host, .dtype = DType::kF32, .rank = 2, .shape = {2, 2}, .row_stride = 2};
  const MatmulArgs args{.a = view, .b = view, .c = view};
  EXPECT_NE(plugin->matmul(&call, &args), 0);
  EXPECT_THAT(text, HasSubstr("matmul(a f32 [2, 2], b f32 [2, 2], c f32 [2, 2]) on cuda:0: cuda"));
  // Heads of 8 in bf16 go to cuDNN, heads of 7 to the plain kernels.
  alignas(16) static char memory[64];
  for (const int64_t dim : {int64_t{8}, int64_t{7}}) {
    const View heads{memory, DType::kBF16, 2, {1, dim}, 8};
    const View lse{memory, DType::kF32, 2, {1, 1}, 1};
    const AttentionArgs attend{.q = heads,
                               .k = heads,
                               .v = heads,
                               .o = heads,
                               .lse = lse,
                               .doc_start = {},
                               .batch = 1,
                               .q_len = 1,
                               .q_stride = 1,
                               .kv_len = 1,
                               .kv_stride = 1,
                               .heads = 1,
                               .kv_heads = 1,
                               .qk_dim = dim,
                               .v_dim = dim,
                               .scale = 1};
    EXPECT_NE(plugin->attention(&call, &attend), 0);
    EXPECT_THAT(text, HasSubstr(concat("attention(q bf16 [1, ", dim, "], ")));
    EXPECT_THAT(text,
                HasSubstr(dim == 8 ? "cudnnCreate: CUDNN_STATUS" : "cuda:0: cudaSetDevice: "));
  }
}

TEST(Plugin, OpsHearWhetherSumsMayBeMadeInAnyOrder) {
  RankContext rank;
  const ContextScope scope(rank);
  for (const bool any_order : {false, true}) {
    rank.any_order = any_order;
    int heard = -1;
    ops::checked(Device{}, "listen", {}, [&](const Backend&, const BackendCall* call) {
      heard = call->any_order;
      return 0;
    });
    EXPECT_EQ(heard, any_order ? 1 : 0);
  }
}

// --- tensor/cuda/matmul_plan.h -------------------------------------------------------------------

using Matrix = std::vector<double>;

// What cuBLASLt computes: result = op(first) op(second) (+ result), all column-major.
void column_major_product(const cuda::MatmulPlan& plan, const double* first, const double* second,
                          double* result, bool accumulate) {
  const auto check = [](const cuda::ColumnMajor& matrix, bool transposed, int64_t rows,
                        int64_t cols) {
    EXPECT_EQ(transposed ? matrix.cols : matrix.rows, rows);
    EXPECT_EQ(transposed ? matrix.rows : matrix.cols, cols);
    EXPECT_GE(matrix.ld, matrix.rows);
  };
  check(plan.first, plan.transpose_first, plan.m, plan.k);
  check(plan.second, plan.transpose_second, plan.k, plan.n);
  check(plan.result, false, plan.m, plan.n);
  const auto at = [](const double* data, const cuda::ColumnMajor& matrix, bool transposed,
                     int64_t row, int64_t col) {
    return transposed ? data[row * matrix.ld + col] : data[col * matrix.ld + row];
  };
  for (int64_t col = 0; col < plan.n; ++col) {
    for (int64_t row = 0; row < plan.m; ++row) {
      double sum = accumulate ? result[col * plan.result.ld + row] : 0.0;
      for (int64_t i = 0; i < plan.k; ++i)
        sum += at(first, plan.first, plan.transpose_first, row, i) *
               at(second, plan.second, plan.transpose_second, i, col);
      result[col * plan.result.ld + row] = sum;
    }
  }
}

Matrix numbers(int64_t count, int seed) {  // small integers: sums are exact
  Matrix values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<double>((i * 7 + static_cast<size_t>(seed) * 5) % 13) - 6.0;
  return values;
}

View view_of(Matrix& data, int64_t rows, int64_t cols, int64_t stride) {
  return {.data = data.data(),
          .dtype = DType::kF64,
          .rank = 2,
          .shape = {rows, cols},
          .row_stride = stride};
}

TEST(MatmulPlan, GivesTheCpusProducts) {
  constexpr int64_t m = 3, n = 5, k = 4, pad = 3;
  for (const int bits : {0, 1, 2, 3, 4, 5, 6, 7}) {
    const bool trans_a = bits & 1, trans_b = bits & 2, accumulate = bits & 4;
    const int64_t a_rows = trans_a ? k : m, a_cols = trans_a ? m : k;
    const int64_t b_rows = trans_b ? n : k, b_cols = trans_b ? k : n;
    Matrix a = numbers(a_rows * (a_cols + pad), 1), b = numbers(b_rows * (b_cols + 2 * pad), 2);
    Matrix c = numbers(m * (n + 1), 3), wanted = c;
    MatmulArgs args{.a = view_of(a, a_rows, a_cols, a_cols + pad),
                    .b = view_of(b, b_rows, b_cols, b_cols + 2 * pad),
                    .c = view_of(wanted, m, n, n + 1),
                    .trans_a = trans_a,
                    .trans_b = trans_b,
                    .accumulate = accumulate};
    ASSERT_EQ(cpu_backend().matmul(nullptr, &args), 0);
    column_major_product(cuda::plan_matmul(cuda::product_of(args)), b.data(), a.data(), c.data(),
                         accumulate);
    EXPECT_EQ(c, wanted) << "case " << bits;
  }
}

TEST(MatmulPlan, StrideOfASingleRowIsLegal) {
  const auto plan = cuda::plan_matmul(
      {.m = 1, .n = 5, .k = 4, .trans_a = false, .trans_b = false, .lda = 0, .ldb = 5, .ldc = 1});
  EXPECT_EQ(plan.second.ld, 4);
  EXPECT_EQ(plan.result.ld, 5);
}

TEST(MatmulPlan, GivesTheCpusGroupedProducts) {
  constexpr int64_t in = 4, out = 3, experts = 4;
  const std::vector<int64_t> offsets = {0, 2, 2, 5, 6};  // the second expert has no rows
  const int64_t rows = offsets.back();
  for (const ProductForm form :
       {ProductForm::kForward, ProductForm::kDataGrad, ProductForm::kWeightGrad}) {
    for (const bool accumulate : {false, true}) {
      const bool is_weight_grad = form == ProductForm::kWeightGrad;
      if (accumulate && !is_weight_grad) continue;
      const int64_t x_cols = form == ProductForm::kDataGrad ? out : in;
      const int64_t y_cols = form == ProductForm::kDataGrad ? in : out;
      Matrix x = numbers(rows * (x_cols + 2), 1), w = numbers(experts * out * in, 2),
             y = numbers(rows * (y_cols + 1), 3);
      Matrix wanted_w = w, wanted_y = y;
      GroupedMatmulArgs args{.form = form,
                             .x = view_of(x, rows, x_cols, x_cols + 2),
                             .w = view_of(wanted_w, 0, in, in),
                             .y = view_of(wanted_y, rows, y_cols, y_cols + 1),
                             .offsets = offsets.data(),
                             .accumulate = accumulate};
      args.w.rank = 3;
      args.w.shape[0] = experts, args.w.shape[1] = out, args.w.shape[2] = in;
      ASSERT_EQ(cpu_backend().grouped_matmul(nullptr, &args), 0);
      const auto data = [&](cuda::Operand operand) {
        return operand == cuda::Operand::kX   ? x.data()
               : operand == cuda::Operand::kW ? w.data()
                                              : y.data();
      };
      for (int64_t e = 0; e < experts; ++e) {
        const cuda::ExpertProduct part = cuda::expert_product(args, e);
        column_major_product(cuda::plan_matmul(part.product), data(part.b) + part.b_offset,
                             data(part.a) + part.a_offset, data(part.c) + part.c_offset,
                             accumulate);
      }
      EXPECT_EQ(w, wanted_w);
      EXPECT_EQ(y, wanted_y);
    }
  }
}

}  // namespace
}  // namespace orthant
