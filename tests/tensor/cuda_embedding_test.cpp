// SPDX-License-Identifier: Apache-2.0
// The bodies of embedding, embedding_grad and gather_rows, on the host.
#include "tests/tensor/cuda_bodies.h"

namespace orthant::testing {
namespace {

using CudaEmbedding = CudaBodies;

TEST_P(CudaEmbedding, EmbeddingAndGather) {
  const int64_t num_rows = 150, vocab = 11, width = 45;
  const Array table = Array(model(), vocab, width, 2).random(1);
  const Array dout = Array(model(), num_rows, width, 3).random(2);
  Array ids(DType::kI32, 1, num_rows);
  for (int64_t n = 0; n < num_rows; ++n)
    ids.set(0, n, n % 7 == 3 ? -1 : static_cast<double>(n * n % (vocab - 1)));
  compare("embedding", [&](const Backend& t, const BackendCall* call) {
    Array out = Array(model(), num_rows, width, 1).constant(9);
    const EmbeddingArgs args{table.view(), ids.view1(), out.view()};
    ok(t.embedding(call, &args));
    return Arrays{out};
  });
  compare("gather_rows", [&](const Backend& t, const BackendCall* call) {
    Array out = Array(model(), num_rows, width, 1).constant(9);
    const GatherRowsArgs args{table.view(), ids.view1(), out.view()};
    ok(t.gather_rows(call, &args));
    return Arrays{out};
  });
  compare("embedding_grad", [&](const Backend& t, const BackendCall* call) {
    Array dtable = Array(wide(), vocab, width, 1).random(3);
    const EmbeddingGradArgs args{ids.view1(), dout.view(), dtable.view()};
    ok(t.embedding_grad(call, &args));
    if (&t == &serial_) {  // rows are added in order of N: the same bits
      Array want = Array(wide(), vocab, width, 1).random(3);
      const EmbeddingGradArgs again{ids.view1(), dout.view(), want.view()};
      ok(cpu_.embedding_grad(call, &again));
      EXPECT_TRUE(want.bytes() == dtable.bytes());
    }
    return Arrays{dtable};
  });
  ids.set(0, 20, static_cast<double>(vocab));
  expect_refused([&](const Backend& t, const BackendCall* call) {
    Array out(model(), num_rows, width);
    const EmbeddingArgs args{table.view(), ids.view1(), out.view()};
    return t.embedding(call, &args);
  });
  expect_refused([&](const Backend& t, const BackendCall* call) {
    Array dtable(wide(), vocab, width);
    const EmbeddingGradArgs args{ids.view1(), dout.view(), dtable.view()};
    return t.embedding_grad(call, &args);
  });
}

ORTHANT_INSTANTIATE_BODIES(CudaEmbedding);

}  // namespace
}  // namespace orthant::testing
