// SPDX-License-Identifier: Apache-2.0
// Losses and gradients of distillation as torch has them (tests/golden/distillation).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "layers/likeliest_tokens.h"
#include "tensor/autograd/soft_loss.h"
#include "trainer/distill_config.h"

namespace orthant {
namespace {

using Json = nlohmann::json;

Json golden() {
  std::ifstream file(ORTHANT_SOURCE_DIR "/tests/golden/distillation/cases.json");
  return Json::parse(file);
}

Tensor matrix(const Json& all, const char* name) {
  return Tensor::from({all["rows"].get<int64_t>(), all["vocabulary"].get<int64_t>()},
                      all[name].get<std::vector<double>>(), DType::kF64);
}

// A head that gives its input back.
TensorWeight identity(int64_t size) {
  std::vector<double> values(static_cast<size_t>(size * size), 0.0);
  for (int64_t i = 0; i < size; ++i) values[static_cast<size_t>(i * (size + 1))] = 1.0;
  return TensorWeight(Tensor::from({size, size}, values, DType::kF64));
}

double mean(const Tensor& sums, int64_t stride, int64_t at, double count) {
  const std::vector<double> values = sums.to_doubles();
  double sum = 0;
  for (size_t i = static_cast<size_t>(at); i < values.size(); i += static_cast<size_t>(stride))
    sum += values[i];
  return sum / count;
}

TEST(DistillationGolden, LossesAndGradientsAreTorchs) {
  const Json all = golden();
  const Tensor student = matrix(all, "student"), teacher = matrix(all, "teacher");
  const auto labels = all["labels"].get<std::vector<int32_t>>();
  const int64_t rows = student.dim(0), vocabulary = student.dim(1);
  const double count = 3;  // of labels
  ASSERT_EQ(all["cases"].size(), 9U);
  for (const Json& one : all["cases"]) {
    SCOPED_TRACE(one["top_k"].dump() + " " + one["rest"].get<std::string>() + " " +
                 one["mix"].dump());
    DistillSection section;
    section.top_k = one["top_k"].get<int64_t>();
    section.kl = KlKind::kMixed;
    section.mix = one["mix"].get<double>();
    const double hard_weight = one["hard_weight"].get<double>();
    SoftTargets targets{.temperature = one["temperature"].get<double>(),
                        .forward = section.forward(),
                        .reverse = section.reverse(),
                        .weight = 1 - hard_weight,
                        .label_weight = hard_weight};
    if (section.top_k == 0) {
      targets.logits = [&](int64_t begin, int64_t end) {
        return teacher.slice(begin, end).clone();
      };
    } else {
      const LikeliestTokens found{Tensor::zeros({rows, section.top_k}, DType::kI32),
                                  Tensor::zeros({rows, section.top_k + 1}, DType::kF64)};
      find_likeliest(teacher, 0, targets.temperature, labels, {}, 0, found);
      targets.ids = found.ids;
      targets.log_probs = found.log_probs;
      if (one["rest"] == "none") {
        std::vector<double> kept;
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = 0; i < section.top_k; ++i)
            kept.push_back(found.log_probs.as<double>()[r * (section.top_k + 1) + i]);
        targets.log_probs = Tensor::from({rows, section.top_k}, kept, DType::kF64);
      }
    }
    TensorWeight head = identity(vocabulary);
    const Var x = Var::leaf(student);
    const HeadLoss loss =
        head_loss(x, head, Tensor::from_i32({rows}, labels), {}, {}, {}, &targets);
    backward(loss.sum, Tensor::from({1}, {{1.0}}, DType::kF64));
    EXPECT_NEAR(mean(loss.losses, 1, 0, count), one["loss"].get<double>(), 1e-12);
    EXPECT_NEAR(mean(loss.unweighted, 1, 0, count), one["lm_loss"].get<double>(), 1e-12);
    EXPECT_NEAR(mean(loss.soft, 2, 0, count), one["distill_loss"].get<double>(), 1e-12);
    EXPECT_EQ(mean(loss.soft, 2, 1, 1), one["agreement"].get<double>());
    const auto want = one["gradient"].get<std::vector<double>>();
    const std::vector<double> got = x.grad().to_doubles();
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i] / count, want[i], 1e-13) << i;
  }
}

TEST(DistillSection, SharesOfTheDivergences) {
  DistillSection section;
  const auto shares = [&](KlKind kl) {
    section.kl = kl;
    return std::pair(section.forward(), section.reverse());
  };
  section.mix = 0.3;
  EXPECT_EQ(shares(KlKind::kForward), std::pair(1.0, 0.0));
  EXPECT_EQ(shares(KlKind::kReverse), std::pair(0.0, 1.0));
  EXPECT_EQ(shares(KlKind::kMixed), std::pair(0.3, 0.7));
}

// Of equal logits the lower id comes first, whoever has it.
TEST(LikeliestTokens, TiesGoToTheLowerId) {
  const Tensor logits = Tensor::from({1, 5}, {{2.0, 7.0, 7.0, 2.0, 7.0}}, DType::kF64);
  const std::vector<int32_t> labels = {0};
  for (const bool in_parts : {false, true}) {
    const LikeliestTokens found{Tensor::zeros({1, 4}, DType::kI32),
                                Tensor::zeros({1, 5}, DType::kF64)};
    if (in_parts) {
      // The second part, to which the first one's tokens are told.
      const Tensor first = Tensor::from({1, 2}, {{2.0, 7.0}}, DType::kF64);
      Tensor told;
      const LikeliestTokens unused{Tensor::zeros({1, 4}, DType::kI32),
                                   Tensor::zeros({1, 5}, DType::kF64)};
      find_likeliest(
          first, 0, 1.0, labels, [&](const Tensor& own) { return told = own.clone(); }, 0, unused);
      find_likeliest(
          Tensor::from({1, 3}, {{7.0, 2.0, 7.0}}, DType::kF64), 2, 1.0, labels,
          [&](const Tensor& own) {
            const Tensor both = Tensor::empty({2, own.dim(1)}, DType::kF64);
            copy(told, both.slice(0, 1));
            copy(own, both.slice(1, 2));
            return both;
          },
          0, found);
    } else {
      find_likeliest(logits, 0, 1.0, labels, {}, 0, found);
    }
    const auto ids = found.ids.span<int32_t>();
    EXPECT_EQ(std::vector<int32_t>(ids.begin(), ids.end()), (std::vector<int32_t>{1, 2, 4, 0}));
    const double sum = 3 + 2 * std::exp(-5.0);
    EXPECT_NEAR(found.log_probs.as<double>()[0], -std::log(sum), 1e-14);
    EXPECT_NEAR(found.log_probs.as<double>()[4], -5 - std::log(sum), 1e-14);
  }
}

}  // namespace
}  // namespace orthant
