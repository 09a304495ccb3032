// SPDX-License-Identifier: Apache-2.0
#include "trainer/distill_config.h"

#include "base/problems.h"

namespace orthant {

const EnumNames<KlKind>& kl_kind_names() {
  static const EnumNames<KlKind> names = {
      {KlKind::kForward, "forward"}, {KlKind::kReverse, "reverse"}, {KlKind::kMixed, "mixed"}};
  return names;
}

const EnumNames<RestKind>& rest_kind_names() {
  static const EnumNames<RestKind> names = {{RestKind::kBucket, "bucket"},
                                            {RestKind::kNone, "none"}};
  return names;
}

void TeacherSection::fields(FieldVisitor& v) {
  v.field("from", from, any_path(),
          "the teacher: a published model's folder, a run directory or one of its checkpoints, "
          "with the same vocabulary; it stands on the run's ranks, frozen");
  v.field("log_probs", log_probs, any_path(),
          "what the teacher said of this data before, in place of the teacher itself: a file of "
          "orthant distill CONFIG --teacher-log-probs FILE");
}

void DistillSection::fields(FieldVisitor& v) {
  v.may_change_on_resume([&] {  // the same one elsewhere
    v.block("teacher", "whom the model learns from",
            [this](FieldVisitor& inner) { teacher.fields(inner); });
  });
  v.field("top_k", top_k, at_least(0),
          "the teacher's likeliest tokens that its distribution is given by at each position; 0 = "
          "all of the vocabulary");
  v.field("temperature", temperature, positive(),
          "both distributions are softmax(logits / temperature); the divergence is multiplied by "
          "its square");
  v.field("kl", kl, kl_kind_names(),
          "forward: KL(teacher | model), which covers all that the teacher says; reverse: KL(model "
          "| teacher), which keeps to what it says most; mixed: both");
  v.field("mix", mix, unit_interval(), "share of the forward divergence in kl mixed");
  v.field("rest", rest, rest_kind_names(),
          "tokens that are not among the top_k: bucket: they count as one more, with what both "
          "give to all of them together; none: both distributions are over the top_k alone");
  v.field("hard_weight", hard_weight, unit_interval(),
          "weight of the loss by labels; the divergence from the teacher has the other part");
}

void DistillSection::validate(int64_t vocab_size) const {
  Problems problems;
  problems.want(is_on(), "distill.teacher.from: want a teacher, a published model's folder or a ",
                "run directory, or distill.teacher.log_probs, got nothing");
  problems.want(top_k <= vocab_size, "distill.top_k: ", top_k, " is more than the ", vocab_size,
                " tokens of the vocabulary (0 takes all)");
  problems.want(top_k > 0 || teacher.log_probs.empty(),
                "distill.top_k: 0 wants the teacher itself, distill.teacher.log_probs has its "
                "likeliest tokens: give the number that it was written with");
  problems.want(rest == RestKind::kBucket || top_k != 1,
                "distill.rest: none leaves one token with distill.top_k 1, of which there is "
                "nothing to learn; want bucket, or more tokens");
  problems.raise();
}

}  // namespace orthant
