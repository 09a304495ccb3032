// SPDX-License-Identifier: Apache-2.0
// A second loop out of the public seams alone: a student of which only the head trains, on rows
// with a weight for each token, from memory; a judge, frozen, whose scores make the weights; both
// saved.
// test_second_loop.py kills it and goes on.
//
//   mpirun -n N mpi_second_loop DIR STEPS tp=2|pp=2   prints what every rank agrees on
#include <cstdlib>
#include <cstring>

#include "parallel/comm/mpi/mpi_world.h"
#include "tests/mpi/mpi_test.h"
#include "trainer/engine.h"
#include "trainer/weight_source.h"

namespace orthant {
namespace {

constexpr int64_t kVocab = 31, kLength = 12, kMicroBatches = 4;  // of a step
constexpr uint64_t kSeed = 5;

ModelConfig small_model() {
  ModelConfig model;
  model.vocab_size = kVocab;
  model.hidden_size = 16;
  model.num_hidden_layers = 2;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.intermediate_size = 24;
  model.resolve(kLength);
  return model;
}

RoleOptions role_named(const char* name, int stages) {
  const ModelConfig model = small_model();
  return {.name = name,
          .stages = {.model = model, .layers = split_stages(model, kLength, stages, {})}};
}

// Where this loop's rows come from: a pure function of the step and the micro-batch.  Every token
// but the first follows from the one before, so there is something to learn.
MicroBatch rows_of(int64_t step, int64_t micro_batch) {
  MicroBatch batch = make_padding_batch(2, kLength, 0);
  for (int64_t row = 0; row < batch.sequences; ++row) {
    const int64_t sample = (step * kMicroBatches + micro_batch) * batch.sequences + row;
    std::vector<int32_t> tokens = {static_cast<int32_t>(1 + sample * 11 % (kVocab - 1))};
    while (std::ssize(tokens) <= kLength)
      tokens.push_back(1 + (7 * tokens.back() + 3) % static_cast<int32_t>(kVocab - 1));
    fill_row(batch, row, tokens, 0, sample);
  }
  return batch;
}

// The judge's surprise at a token is the token's weight.
void weigh(const Engine& judge, std::vector<MicroBatch>& batches) {
  const std::vector<std::vector<double>> scores = judge.score(batches);
  for (size_t i = 0; i < batches.size(); ++i)
    batches[i].token_columns[LanguageModeling::kWeights] = scores[i];
}

struct LoopState {
  double weight_seen = 0;  // over all steps
  void fields(FieldVisitor& v) {
    v.field("weight_seen", weight_seen, any_real(), "sum of the tokens' weights");
  }
};

std::string run_loop(const Group& world, const std::string& dir, int64_t steps,
                     const ParallelConfig& layout) {
  const RankGroups ranks = make_rank_groups(world, layout, small_model().num_key_value_heads);
  RunSession session({.name = "second",
                      .dir = dir,
                      .max_steps = steps,
                      .save_interval = 2,
                      .log_interval = 100,
                      .progress_bar = false,
                      .tensorboard = false},
                     world);
  RoleOptions student_options = role_named("student", ranks.pipeline.size());
  student_options.training =
      RoleTraining{.trains = [](const std::string& name) { return name == "lm_head.weight"; }};
  const auto student = std::make_shared<Role>(student_options, ranks, random_weights(kSeed));
  const auto judge = std::make_shared<Role>(role_named("judge", ranks.pipeline.size()), ranks,
                                            random_weights(kSeed + 1));
  const auto objective = std::make_shared<LanguageModeling>();
  Engine teacher(judge, objective, {}), engine(student, objective, {.learning_rate = 0.05});
  LoopState state;
  session.begin({.configuration = "second loop\n",
                 .changes = [](const std::string&) { return std::vector<std::string>(); },
                 .layout = layout.text(),
                 .state =
                     [&](FieldVisitor& v) {
                       state.fields(v);
                       student->fields(v);
                     }},
                {student->saved(), judge->saved()});
  const int64_t own = kMicroBatches / ranks.data.size();
  while (session.has_next()) {
    const int64_t step = session.next_step();
    std::vector<MicroBatch> batches;
    for (int64_t i = 0; i < own; ++i) batches.push_back(rows_of(step, ranks.data.rank() * own + i));
    weigh(teacher, batches);
    const StepResult result = engine.step(batches, step);
    state.weight_seen += result.count;
    session.end_step({.step = step,
                      .loss = result.objective_loss,
                      .lm_loss = result.objective_loss,
                      .grad_norm = result.grad_norm,
                      .extra = {{"weight_seen", state.weight_seen}}},
                     {});
  }
  session.finish();
  int64_t training = 0;
  for (const auto& parameter : student->store().all()) training += parameter->trainable();
  if (training > 1 || judge->trains()) return "more than the head trains\n";
  return student->updates() == steps ? "" : "updates were not counted on\n";
}

}  // namespace
}  // namespace orthant

int main(int argc, char** argv) {
  using namespace orthant;
  return testing::run_mpi_test("second_loop", [&](const Group& world) -> std::string {
    if (const char* failpoint = std::getenv("ORTHANT_FAILPOINT")) context().failpoint = failpoint;
    ParallelConfig layout;
    for (int i = 3; i < argc; ++i)
      (std::strncmp(argv[i], "tp=", 3) == 0 ? layout.tensor_parallel_size
                                            : layout.pipeline_parallel_size) = argv[i][3] - '0';
    layout.resolve(world.size());
    layout.check_model(world.size(), {.heads = 4, .kv_heads = 2, .sequence_length = kLength});
    return run_loop(world, argv[1], std::atoll(argv[2]), layout);
  });
}
