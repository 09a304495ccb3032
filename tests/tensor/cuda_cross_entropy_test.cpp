// SPDX-License-Identifier: Apache-2.0
// The bodies of cross_entropy and divergence with their gradients, on the host.
#include "tests/tensor/cuda_bodies.h"

namespace orthant::testing {
namespace {

using CudaCrossEntropy = CudaBodies;

TEST_P(CudaCrossEntropy, CrossEntropy) {
  for (const int64_t vocab : {1, 33, 1000, 9000}) {
    const int64_t n = 7;
    const Array logits = Array(wide(), n, vocab, 2).random(1, -8, 8);
    Array labels(DType::kI32, 1, n);
    for (int64_t r = 0; r < n; ++r)
      labels.set(0, r, r == 2 ? -100 : static_cast<double>(r * 997 % vocab));
    for (const bool wants_gradient : {true, false})
      compare("cross_entropy", [&](const Backend& t, const BackendCall* call) {
        Array losses(DType::kF64, 1, n), dlogits = Array(model(), n, vocab, 1).constant(5);
        const CrossEntropyArgs args{.logits = logits.view(),
                                    .labels = labels.view1(),
                                    .losses = losses.view1(),
                                    .dlogits = wants_gradient ? dlogits.view() : View{}};
        ok(t.cross_entropy(call, &args));
        return Arrays{losses, dlogits};
      });
    labels.set(0, 3, static_cast<double>(vocab));
    expect_refused([&](const Backend& t, const BackendCall* call) {
      Array losses(DType::kF64, 1, n);
      const CrossEntropyArgs args{
          .logits = logits.view(), .labels = labels.view1(), .losses = losses.view1()};
      return t.cross_entropy(call, &args);
    });
  }
}

// The middle of three parts: labels are in it, before it and behind it.
TEST_P(CudaCrossEntropy, PartOfAVocabulary) {
  const int64_t n = 7, vocab = 300, first = 250;
  const Array logits = Array(wide(), n, vocab, 2).random(1, -8, 8);
  Array labels(DType::kI32, 1, n);
  for (int64_t r = 0; r < n; ++r) labels.set(0, r, r == 2 ? -1 : static_cast<double>(r * 97));
  compare("vocab_sums", [&](const Backend& t, const BackendCall* call) {
    Array sums(DType::kF64, n, 3);
    const VocabSumsArgs args{logits.view(), labels.view1(), sums.view(), first};
    ok(t.vocab_sums(call, &args));
    return Arrays{sums};
  });
  Array sums = Array(DType::kF64, 3 * n, 3).random(2, 1, 9);
  compare("cross_entropy of a part", [&](const Backend& t, const BackendCall* call) {
    Array losses(DType::kF64, 1, n), dlogits(model(), n, vocab, 1);
    const CrossEntropyArgs args{.logits = logits.view(),
                                .labels = labels.view1(),
                                .sums = sums.view(),
                                .losses = losses.view1(),
                                .dlogits = dlogits.view(),
                                .first_label = first};
    ok(t.cross_entropy(call, &args));
    return Arrays{losses, dlogits};
  });
}

TEST_P(CudaCrossEntropy, Divergence) {
  const int64_t n = 5;
  for (const int64_t columns : {1, 33, 1000, 9000}) {
    const Array x = Array(wide(), n, columns, 2).random(1, -4, 4);
    const Array y = Array(wide(), n, columns, 1).random(2, -4, 4);
    Array labels(DType::kI32, 1, n);
    labels.set(0, 2, -1);
    for (const auto& [forward, reverse] : {std::pair(1.0, 0.0), {0.0, 1.0}, {0.25, 2.0}}) {
      for (const bool wants_gradient : {true, false})
        compare("divergence", [&](const Backend& t, const BackendCall* call) {
          Array losses(DType::kF64, 1, n), dx = Array(wide(), n, columns, 3).constant(5);
          const DivergenceArgs args{.x = x.view(),
                                    .y = y.view(),
                                    .labels = labels.view1(),
                                    .losses = losses.view1(),
                                    .dx = wants_gradient ? dx.view() : View{},
                                    .forward = forward,
                                    .reverse = reverse};
          ok(t.divergence(call, &args));
          return Arrays{losses, dx};
        });
    }
  }
}

ORTHANT_INSTANTIATE_BODIES(CudaCrossEntropy);

}  // namespace
}  // namespace orthant::testing
