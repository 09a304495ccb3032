# SPDX-License-Identifier: Apache-2.0
"""Planted bugs: learning from a teacher."""
from mutant import Mutant

GOLDEN = {"target": "test_trainer", "filter": "DistillationGolden*:LikeliestTokens*:DistillSection*"}
SLOPES = {"target": "test_tensor", "filter": "*OpTest*:*CudaCrossEntropy*"}
LAYOUTS = {"target": "test_layouts", "filter": "DistillationLayouts*"}
FILE = {"target": "test_data", "filter": "TeacherFile*"}


def program(test):
    return {"target": "orthant", "filter": f"test_distill.py Distill.{test}"}


STORED = program("test_a_file_is_as_good_as_the_teacher")
OTHERS = program("test_a_file_of_something_else_is_refused")
REFUSED = program("test_what_cannot_be_is_refused")

MUTANTS = [
    # The divergence.
    Mutant("the square of the temperature is forgotten", "SoftLoss::run", "row[0] *= targets_.temperature * targets_.temperature;",
           "row[0] *= 1;", **GOLDEN),
    Mutant("the gradient of the likeliest tokens forgets the temperature", "SoftLoss::run_likeliest", "targets_.weight * targets_.temperature",
           "targets_.weight", **SLOPES),
    Mutant("the gradient of all tokens forgets the temperature", "SoftLoss::run_whole", "targets_.weight * targets_.temperature",
           "targets_.weight", **SLOPES),
    Mutant("the teacher is asked at another temperature", "SoftLoss::run_whole",
           "if (targets_.temperature != 1) ops::scale(y, 1 / targets_.temperature, y);", "", **GOLDEN),
    Mutant("forward and reverse divergences change places", "tensor/cpu/kernels: divergence_rows", "expected(row, row.p)", "-expected(row, row.q)", **GOLDEN),
    Mutant("the reverse divergence's gradient is not centred", "tensor/cpu/kernels/divergence.cpp: write_gradient", "(row.difference(i, count) + kl)",
           "(row.difference(i, count) + kl * T{0})", **SLOPES),
    Mutant("distributions on a device are not normalised to each other", "Divergence::operator",
           "static_cast<T>(p.log_sum - q.log_sum)", "static_cast<T>(0 * (p.log_sum - q.log_sum))", **SLOPES),
    Mutant("the rest holds the likeliest tokens too", "SoftLoss::gather_events", "put(nothing, places, elements);", "", **GOLDEN),
    Mutant("the rest's share has the label taken out", "SoftLoss::run_likeliest", ".first_label = kNowhere", ".first_label = part_.first", **SLOPES),
    Mutant("sums of parts of the vocabulary are added as they are", "SoftLoss::gather_events", "part[1] * std::exp(part[0] - max)", "part[1]", **LAYOUTS),
    Mutant("every part takes the first columns of the gradient", "SoftLoss::run_whole", "columns_of(dx, part_.first, part_.first + chunk.own())",
           "columns_of(dx, 0 * part_.first, chunk.own())", **LAYOUTS),
    Mutant("tokens of the first chunk are every chunk's", "SoftLoss::run_likeliest", "targets_.log_probs.slice(chunk.begin, chunk.end)",
           "targets_.log_probs.slice(0, chunk.rows())", target="test_tensor", filter="SoftLossTest*"),
    Mutant("agreement counts tokens without a label", "SoftLoss::run", "if (host_labels.as<int32_t>()[r] < 0) row[1] = 0;", "(void)host_labels;", **LAYOUTS),
    Mutant("the gradient by labels is not weighed", "HeadChunks::soften", "ops::scale(dlogits, label_weight, dlogits);", "(void)label_weight;", **SLOPES),
    # The teacher's tokens.
    Mutant("of equal logits the higher id comes first", "layers/likeliest_tokens.cpp: comes_first", "a.id < b.id", "a.id > b.id", **GOLDEN),
    Mutant("what is displaced among the likeliest is lost", "layers/likeliest_tokens.cpp: Selection::add", "rest_.add(best_.front().logit);", "", **GOLDEN),
    Mutant("ids of a part count from 0", "find_likeliest", "first + static_cast<int64_t>(i)", "0 * first + static_cast<int64_t>(i)", **LAYOUTS),
    Mutant("the rest that other parts tell is lost", "layers/likeliest_tokens.cpp: Selection::hear", "if (told[1] > 0) rest_.add(told[0], told[1]);",
           "(void)told;", **LAYOUTS),
    # The objective.
    Mutant("labels have the teacher's weight", "Distillation::run", ".weight = 1.0 - section_.hard_weight", ".weight = section_.hard_weight", **LAYOUTS),
    Mutant("the rest counts though it should not", "Distillation::run", "section_.rest == RestKind::kNone", "section_.top_k < 0", **LAYOUTS),
    Mutant("mix is the share of the reverse divergence", "DistillSection::forward", "kl == KlKind::kMixed ? mix", "kl == KlKind::kMixed ? 1 - mix", **GOLDEN),
    Mutant("reverse is called forward", "DistillSection::forward", "kl == KlKind::kForward", "kl == KlKind::kReverse", **GOLDEN),
    Mutant("a teacher's stream has one rank's rows", "TeacherObjective::run", "head.all_rows(rows.value(), pass.labels.numel())", "rows.value()", **LAYOUTS),
    # The file.
    Mutant("a file's content is not compared", "TeacherFile::verify", "found == impl_->checksum", "found == impl_->checksum || !found.empty()", **FILE),
    Mutant("a file may lack labels", "TeacherFileWriter::Impl::finish", "written == info.labels", "written <= info.labels", **FILE),
    Mutant("labels are read one row on", "TeacherFile::read", "impl_->read_run(places[begin],", "impl_->read_run(places[begin] > 0 ? places[begin] - 1 : 0,", **FILE),
    Mutant("every example's labels have the first one's numbers", "place_example", "first_label + examples.num_trained_before(example)",
           "first_label + 0 * examples.num_trained_before(example)", **STORED),
    Mutant("held-out labels have the numbers of trained ones", "evaluation_options", ".first_label = first_label", ".first_label = 0 * first_label", **STORED),
    Mutant("labels of every source begin with 0", "read_all", "labels += examples->num_trained();", "(void)labels;",
           **program("test_a_file_has_all_sources_whatever_their_weights")),
    Mutant("a live teacher keeps more digits than a file", "TeacherObjective::run", "found.log_probs.to(wide_of(last_stage.dtype()))", "found.log_probs", **STORED),
    Mutant("a file of other data is taken", "open_teacher_file", "info.data == data.examples && info.labels == data.num_labels()", "!info.data.empty()", **OTHERS),
    Mutant("a file at another temperature is taken", "open_teacher_file", "info.temperature == d.temperature", "info.temperature > 0", **OTHERS),
    Mutant("a file of another teacher is taken", "open_teacher_file", "teacher.empty() || info.teacher == teacher", "teacher.empty() || !info.teacher.empty()", **OTHERS),
    # The loop.
    Mutant("the best checkpoint goes by labels alone", "trainer/finetune.cpp: evaluate", "const bool is_best = state.best_step < 0 || result.loss < state.best_loss;",
           "const bool is_best = state.best_step < 0 || *metrics.validation_loss < state.best_loss;", **program("test_ends_early_and_keeps_the_best")),
    Mutant("a run goes on with another teacher", "trainer/finetune.cpp: with_teacher", "if (stored != teacher)", "if (stored.empty() != teacher.empty())",
           **program("test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_stopped")),
    Mutant("a new model's texts begin as they like", "finetune", "  if (is_new && config.model.from.empty())\n"
           "    beginning.begins_with = take_texts(teaching.model(), config.run.dir, world);\n", "",
           **program("test_a_smaller_model_comes_near_to_its_teacher")),
    Mutant("a teacher of another vocabulary is taken", "check_same_vocabulary", "teacher.vocab_size() == learner.vocab_size()",
           "teacher.vocab_size() > 0 && learner.vocab_size() > 0", **REFUSED),
    Mutant("fine-tuning forgets that a teacher was asked for", "launch/command_finetune.cpp: run", "!config.distill.is_on()", "!config.distill.is_on() || config.distill.is_on()", **REFUSED),
    Mutant("the language loss of a run with a teacher is all of it", "trainer/finetune.cpp: train",
           "metrics.lm_loss = result.sums[Distillation::kLmLoss] / result.count;", "", **program("test_a_smaller_model_comes_near_to_its_teacher")),
]
