// SPDX-License-Identifier: Apache-2.0
// What a model learns from a teacher, and how: the block of orthant distill.
#pragma once

#include <string>

#include "base/config/fields.h"

namespace orthant {

enum class KlKind { kForward, kReverse, kMixed };
const EnumNames<KlKind>& kl_kind_names();
// What stands for tokens that are not among the teacher's likeliest (tensor/autograd/soft_loss.h).
enum class RestKind { kBucket, kNone };
const EnumNames<RestKind>& rest_kind_names();  // bucket, none

struct TeacherSection {
  std::string from, log_probs;
  void fields(FieldVisitor& v);
};

struct DistillSection {
  TeacherSection teacher;
  int64_t top_k = 64;  // 0: all tokens
  double temperature = 1.0;
  KlKind kl = KlKind::kForward;
  double mix = 0.5;  // share of the forward one in kMixed
  RestKind rest = RestKind::kBucket;
  double hard_weight = 0.5;

  void fields(FieldVisitor& v);
  bool is_on() const { return !teacher.from.empty() || !teacher.log_probs.empty(); }
  // Shares of KL(teacher | model) and KL(model | teacher).
  double forward() const {
    return kl == KlKind::kMixed ? mix : static_cast<double>(kl == KlKind::kForward);
  }
  double reverse() const { return 1.0 - forward(); }
  // Error(kConfig): keys that do not go together, or more tokens than the vocabulary has.
  void validate(int64_t vocab_size) const;
};

}  // namespace orthant
