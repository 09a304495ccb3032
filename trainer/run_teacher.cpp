// SPDX-License-Identifier: Apache-2.0
#include "trainer/run_teacher.h"

#include "base/checksum.h"
#include "base/error.h"
#include "base/log.h"
#include "trainer/agree.h"
#include "trainer/pretrain_engine.h"
#include "trainer/run/progress.h"
#include "trainer/run_beginning.h"
#include "trainer/saved_model.h"

namespace orthant {
namespace {

constexpr const char* kKey = "distill.teacher.from";

// The learner's layout, with experts where the teacher has them too.
ParallelConfig layout_of(const RunConfig& learner, const ModelConfig& teacher) {
  ParallelConfig layout = learner.parallel;
  layout.pipeline_layers.clear();
  if (teacher.is_moe() && learner.model.is_moe()) return layout;
  layout.expert_parallel_size = layout.expert_tensor_parallel_size = 1;
  return layout;
}

RoleOptions role_of(const RunPlan& plan, const SavedModel& saved, const ParallelConfig& layout,
                    Device device) {
  const RunConfig& learner = plan.config();
  const ModelConfig& model = saved.config.model;
  const int64_t length = learner.batch.sequence_length;
  ORTHANT_CHECK(model.max_position_embeddings >= length, kConfig, kKey, ": the teacher knows ",
                model.max_position_embeddings, " positions, and batch.sequence_length is ", length);
  try {
    check_layout(model, layout, plan.world_size(), length);
    return {.name = "teacher",
            .stages = {.model = model,
                       .moe = saved.config.moe,
                       .dtype = learner.precision,
                       .device = device,
                       .schedule = layout.pipeline_schedule,
                       .chunks = static_cast<int>(layout.pipeline_chunks),
                       .layers = split_stages(model, length, std::ssize(plan.stage_layers()), {}),
                       .adapters = saved.adapters,
                       .quantization = quantization_rules(saved.config)}};
  } catch (const Error& error) {
    throw Error(error.kind(),
                concat(kKey, ": the teacher stands on the run's layout: ", error.what()));
  }
}

}  // namespace

std::string teacher_fingerprint(const Manifest& manifest) {
  const std::string both = base_of_adapters(manifest).fingerprint + weights_fingerprint(manifest);
  return xxh3_128_hex(both.data(), both.size());
}

void check_same_vocabulary(const Tokenizer& teacher, const Tokenizer& learner) {
  if (teacher.name() == learner.name()) return;
  ORTHANT_CHECK(teacher.vocab_size() == learner.vocab_size(), kConfig, kKey,
                ": want the vocabulary of the model that learns, ", learner.vocab_size(),
                " tokens (", learner.name(), "), got ", teacher.vocab_size(), " (", teacher.name(),
                ")");
  for (int32_t id = 0; id < teacher.vocab_size(); ++id)
    ORTHANT_CHECK(teacher.token_text(id) == learner.token_text(id), kConfig, kKey,
                  ": want the vocabulary of the model that learns: token ", id, " is '",
                  learner.token_text(id), "' there, and '", teacher.token_text(id),
                  "' of the teacher");
}

RunTeacher make_run_teacher(const FinetuneConfig& config, const RunPlan& plan,
                            const Tokenizer& tokenizer, const Group& world, Device device) {
  const std::string checkpoint = first_rank_does(world, [&] { return teacher_checkpoint(config); });
  const SavedModel saved = read_saved_model(
      kKey, checkpoint, {.precision = precision_names().of(config.precision)}, world.rank() == 0);
  check_same_vocabulary(*saved.tokenizer, tokenizer);
  const ModelConfig& model = saved.config.model;
  ORTHANT_CHECK(model.vocab_size == config.model.vocab_size, kConfig, kKey,
                ": want model.vocab_size ", config.model.vocab_size, ", got ", model.vocab_size);
  const ParallelConfig layout = layout_of(config, model);
  const auto role = std::make_shared<Role>(
      role_of(plan, saved, layout, device),
      make_rank_groups(world, layout, model.num_key_value_heads), saved.weights);
  log::info("teacher: ", checkpoint, ", ", with_thousands(total_parameters(model)),
            " parameters, frozen");
  return {std::make_shared<LiveTeacher>(role, config.distill, teacher_fingerprint(saved.manifest)),
          saved.manifest};
}

std::shared_ptr<const TeacherFile> open_teacher_file(const FinetuneConfig& config,
                                                     const SupervisedData& data,
                                                     const std::string& teacher,
                                                     const Group& world) {
  const std::string& path = config.distill.teacher.log_probs;
  std::shared_ptr<const TeacherFile> file;
  every_rank_does(world, [&] {
    file = std::make_shared<TeacherFile>(path);
    const TeacherFileInfo& info = file->info();
    const auto want = [&](bool is_so, const char* what, const auto& wanted, const auto& found) {
      ORTHANT_CHECK(is_so, kData, "distill.teacher.log_probs: ", path, " is of another ", what,
                    ": want ", wanted, ", got ", found,
                    "; orthant distill CONFIG --teacher-log-probs FILE writes one of this run");
    };
    const DistillSection& d = config.distill;
    want(info.tokenizer == data.tokenizer->name(), "tokenizer", data.tokenizer->name(),
         info.tokenizer);
    want(info.vocab_size == config.model.vocab_size, "vocabulary", config.model.vocab_size,
         info.vocab_size);
    want(info.data == data.examples && info.labels == data.num_labels(), "content of the data",
         data.examples, info.data);
    want(teacher.empty() || info.teacher == teacher, "teacher", teacher, info.teacher);
    want(info.top_k == d.top_k, "distill.top_k", d.top_k, info.top_k);
    want(info.temperature == d.temperature, "distill.temperature", d.temperature, info.temperature);
    if (world.rank() == 0) file->verify();
  });
  log::info("teacher: ", path, ", ", with_thousands(file->info().labels), " labels, the ",
            file->info().top_k, " likeliest tokens of each");
  return file;
}

}  // namespace orthant
