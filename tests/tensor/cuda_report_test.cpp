// SPDX-License-Identifier: Apache-2.0
// The errors of the CUDA plugin: every op names its operands, the device and who refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <stdexcept>
#include <string>

#include "tensor/cuda/report.h"

namespace orthant::testing {
namespace {

using ::testing::HasSubstr;

Backend failing_table() {
  Backend table{};
#define ORTHANT_FAIL(op, Args)                                                                   \
  table.op = [](const BackendCall* call, const Args*) {                                          \
    if (call && call->error)                                                                     \
      std::snprintf(call->error, static_cast<size_t>(call->error_size), #op ": cudaMalloc: no"); \
    return 1;                                                                                    \
  };
  ORTHANT_OPS(ORTHANT_FAIL)
#undef ORTHANT_FAIL
  table.add = [](const BackendCall*, const BinaryArgs*) -> int { throw std::runtime_error("oh"); };
  table.scale = [](const BackendCall*, const ScaleArgs*) { return 0; };
  cuda::report_errors(table, [] { return 3; });
  return table;
}

class CudaReport : public ::testing::Test {
 protected:
  const Backend table_ = failing_table();
  char error_[512] = "untouched";
  const BackendCall call_{.stream = nullptr, .error = error_, .error_size = sizeof(error_)};
  const View matrix_{nullptr, DType::kBF16, 2, {2, 3}, 3}, row_{nullptr, DType::kF32, 1, {3}, 3};
};

TEST_F(CudaReport, NamesOperandsDeviceAndReason) {
  const MatmulArgs args{matrix_, row_, matrix_, 0, 0, 0, nullptr};
  EXPECT_EQ(table_.matmul(&call_, &args), 1);
  EXPECT_STREQ(error_, "matmul(a bf16 [2, 3], b f32 [3], c bf16 [2, 3]) on cuda:3: cudaMalloc: no");
}

TEST_F(CudaReport, LeavesOutWhatIsNotGiven) {
  const AttentionGradArgs args{
      .forward = {.q = matrix_, .k = matrix_, .lse = row_}, .do_ = matrix_, .dv = row_};
  EXPECT_EQ(table_.attention_grad(&call_, &args), 1);
  EXPECT_STREQ(error_,
               "attention_grad(forward.q bf16 [2, 3], forward.k bf16 [2, 3], forward.lse f32 [3], "
               "do_ bf16 [2, 3], dv f32 [3]) on cuda:3: cudaMalloc: no");
}

TEST_F(CudaReport, KeepsTheReasonWhereRoomIsShort) {
  char error[64] = "";
  const BackendCall call{.stream = nullptr, .error = error, .error_size = sizeof(error)};
  const MatmulArgs args{matrix_, row_, matrix_, 0, 0, 0, nullptr};
  EXPECT_EQ(table_.matmul(&call, &args), 1);
  EXPECT_STREQ(error, "matmul(a bf16 [2, 3], b f32 [3], ...) on cuda:3: cudaMalloc: no");
}

TEST_F(CudaReport, AnExceptionIsAnError) {
  const BinaryArgs args{row_, row_, row_};
  EXPECT_EQ(table_.add(&call_, &args), 1);
  EXPECT_STREQ(error_, "add(a f32 [3], b f32 [3], y f32 [3]) on cuda:3: oh");
  EXPECT_EQ(table_.add(nullptr, &args), 1);
}

TEST_F(CudaReport, SuccessSaysNothing) {
  const ScaleArgs args{row_, row_, 2};
  EXPECT_EQ(table_.scale(&call_, &args), 0);
  EXPECT_STREQ(error_, "untouched");
}

// All views of all arguments are [2, 3]: as many shapes stand in the text as there are views.
template <class Args>
void expect_all_views(const char* op, const Args& given,
                      int (*function)(const BackendCall*, const Args*), int views) {
  char error[512] = "";
  const BackendCall call{.stream = nullptr, .error = error, .error_size = sizeof(error)};
  EXPECT_EQ(function(&call, &given), 1) << op;
  const std::string text = error;
  int found = 0;
  for (size_t at = text.find("[2, 3]"); at != std::string::npos; at = text.find("[2, 3]", at + 1))
    ++found;
  EXPECT_EQ(found, views) << text;
  EXPECT_THAT(text, HasSubstr(std::string(op) + "("));
  EXPECT_THAT(text, HasSubstr(") on cuda:3: "));
}

TEST_F(CudaReport, EveryOpListsItsViews) {
  const View v = matrix_;
  expect_all_views<GroupedMatmulArgs>("grouped_matmul", {{}, v, v, v}, table_.grouped_matmul, 3);
  expect_all_views<EmbeddingArgs>("embedding", {v, v, v}, table_.embedding, 3);
  expect_all_views<EmbeddingGradArgs>("embedding_grad", {v, v, v}, table_.embedding_grad, 3);
  expect_all_views<RmsNormArgs>("rms_norm", {v, v, v, v}, table_.rms_norm, 4);
  expect_all_views<RmsNormGradArgs>("rms_norm_grad", {v, v, v, v, v, v}, table_.rms_norm_grad, 6);
  expect_all_views<RotaryArgs>("rotary", {v, v, v, v, v}, table_.rotary, 5);
  expect_all_views<AttentionArgs>("attention", {v, v, v, v, v, v}, table_.attention, 6);
  expect_all_views<AttentionGradArgs>("attention_grad", {{v, v, v, v, v, v}, v, v, v, v},
                                      table_.attention_grad, 10);
  expect_all_views<PagedAttentionArgs>("paged_attention", {v, v, v, v, v, v},
                                       table_.paged_attention, 6);
  expect_all_views<SwigluArgs>("swiglu", {v, v}, table_.swiglu, 2);
  expect_all_views<SwigluGradArgs>("swiglu_grad", {v, v, v}, table_.swiglu_grad, 3);
  expect_all_views<SoftmaxArgs>("softmax", {v, v}, table_.softmax, 2);
  expect_all_views<SoftmaxGradArgs>("softmax_grad", {v, v, v}, table_.softmax_grad, 3);
  expect_all_views<VocabSumsArgs>("vocab_sums", {v, v, v}, table_.vocab_sums, 3);
  expect_all_views<CrossEntropyArgs>("cross_entropy", {v, v, v, v, v}, table_.cross_entropy, 5);
  expect_all_views<DivergenceArgs>("divergence", {v, v, v, v, v}, table_.divergence, 5);
  expect_all_views<ScaleColumnsArgs>("scale_columns", {v, v, v}, table_.scale_columns, 3);
  expect_all_views<ScaleColumnsGradArgs>("scale_columns_grad", {v, v, v, v, v},
                                         table_.scale_columns_grad, 5);
  expect_all_views<CastArgs>("cast", {v, v}, table_.cast, 2);
  expect_all_views<FillArgs>("fill", {v}, table_.fill, 1);
  expect_all_views<DropoutArgs>("dropout", {v, v, v}, table_.dropout, 3);
  expect_all_views<GatherRowsArgs>("gather_rows", {v, v, v}, table_.gather_rows, 3);
  expect_all_views<CombineArgs>("combine", {v, v, v, v}, table_.combine, 4);
  expect_all_views<CombineGradArgs>("combine_grad", {v, v, v, v, v, v}, table_.combine_grad, 6);
  expect_all_views<RouterArgs>("router", {v, v, v, v, v, v, v, v, v, v, v, v, v, v, v},
                               table_.router, 15);
  expect_all_views<RouterGradArgs>("router_grad", {v, v, v, v, v, v, v, v, v, v},
                                   table_.router_grad, 10);
  expect_all_views<DropTokensArgs>("drop_tokens", {v, v, v, v, v, v}, table_.drop_tokens, 6);
  expect_all_views<DispatchPlanArgs>("dispatch_plan", {v, v, v}, table_.dispatch_plan, 3);
  expect_all_views<AdamwArgs>("adamw", {v, v, v, v, v}, table_.adamw, 5);
  expect_all_views<SgdArgs>("sgd", {v, v, v}, table_.sgd, 3);
  expect_all_views<SumSquaresArgs>("sum_squares", {v, v}, table_.sum_squares, 2);
}

}  // namespace
}  // namespace orthant::testing
