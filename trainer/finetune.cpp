// SPDX-License-Identifier: Apache-2.0
#include "trainer/finetune.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "parallel/comm/transport.h"
#include "trainer/device.h"
#include "trainer/hub/export.h"
#include "trainer/loop_report.h"
#include "trainer/loop_state.h"
#include "trainer/pretrain_engine.h"
#include "trainer/run_beginning.h"
#include "trainer/step_loop.h"
#include "trainer/supervised_data.h"
#include "trainer/teaching.h"

namespace orthant {
namespace {

// What a checkpoint says beside its tensors.
struct FinetuneState : LoopState {
  double best_loss = 0;
  int64_t best_step = -1;  // none yet
  int64_t without_gain = 0;
  bool is_done = false;  // the run ended before max_steps
  std::string teacher;   // its fingerprint, where there is one
  void fields(FieldVisitor& v) {
    LoopState::fields(v);
    v.field("best_loss", best_loss, any_real(), "the lowest loss of held-out conversations");
    v.field("best_step", best_step, at_least(-1), "when it was so low");
    v.field("without_gain", without_gain, at_least(0), "evaluations since then");
    v.field("is_done", is_done, "the run ended early");
    v.field("teacher", teacher, any_text(), "fingerprint of the teacher's weights, if any");
  }
};

// With the steps that finetune.epochs come to.
RunPlan settle_epochs(const RunPlan& plan, const FinetuneSection& section,
                      const SupervisedData& data) {
  if (section.epochs == 0) return plan;
  const RunConfig& c = plan.config();
  const SupervisedRows rows(data.train, {.seed = static_cast<uint64_t>(c.run.seed),
                                         .sequence_length = c.batch.sequence_length,
                                         .packing = c.data.packing});
  int64_t wanted = 0;
  const auto whole = static_cast<int64_t>(section.epochs);
  for (int64_t e = 0; e < whole; ++e) wanted += rows.rows_of_epoch(e);
  wanted += std::llround((section.epochs - static_cast<double>(whole)) *
                         static_cast<double>(rows.rows_of_epoch(whole)));
  RunConfig open = plan.open_config();
  open.run.max_steps =
      std::max<int64_t>(1, (wanted + c.batch.global_batch_size - 1) / c.batch.global_batch_size);
  return RunPlan(open, plan.world_size());
}

// Answers to held-out conversations; each goes on from what stands before its first trained token.
// Collective.
std::vector<ReportSample> answers(const FinetuneConfig& config, const SupervisedData& data,
                                  const Role& role) {
  const int64_t held_out = data.validation ? data.validation->size() : 0;
  const Tokenizer& tokenizer = *data.tokenizer;
  const BaseTexts texts = base_texts(config, tokenizer);
  std::vector<GenerateOptions> wanted;
  for (int64_t i = 0; i < std::min(config.generation.samples, held_out); ++i) {
    const auto ids = data.validation->ids(i);
    const auto trained = data.validation->trained(i);
    const auto first = std::find(trained.begin(), trained.end(), 1) - trained.begin();
    wanted.push_back({.ids = {ids.begin(), ids.begin() + first},
                      .end_ids = texts.end_ids,
                      .sampling = config.generation.sampling,
                      .seed = config.run.seed});
  }
  std::vector<ReportSample> samples;
  for (std::string& text : write_samples(config, role, tokenizer, wanted))
    samples.push_back({tokenizer.decode(wanted[samples.size()].ids), std::move(text)});
  return samples;
}

std::string before_path(const RunSession& session) {
  return session.paths().file("samples-before.json");
}

// What the model answered before it was trained, for the report at the end.
void keep_answers_before(const std::vector<ReportSample>& samples, const RunSession& session) {
  if (!session.is_first() || samples.empty()) return;
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const ReportSample& sample : samples) all.push_back(valid_utf8(sample.completion));
  replace_file(before_path(session), all.dump(1) + "\n");
}

void add_answers_before(const RunSession& session, std::vector<ReportSample>& samples) {
  if (!path_exists(before_path(session))) return;
  const auto all = nlohmann::json::parse(read_text_file(before_path(session), 1 << 26), nullptr,
                                         /*allow_exceptions=*/false);
  for (size_t i = 0; all.is_array() && i < std::min(all.size(), samples.size()); ++i)
    if (all[i].is_string()) samples[i].before = all[i].get<std::string>();
}

// How the run stands, for the report's summary.
std::vector<std::pair<std::string, std::string>> facts_of(double trained_share,
                                                          const FinetuneState& state) {
  std::vector<std::pair<std::string, std::string>> facts;
  if (trained_share < 1)
    facts.emplace_back("trains",
                       concat(std::round(trained_share * 1e4) / 100, "% of the parameters"));
  if (state.best_step >= 0)
    facts.emplace_back("best checkpoint",
                       concat("step ", state.best_step, ", loss of held-out conversations ",
                              std::round(state.best_loss * 1e4) / 1e4));
  return facts;
}

double rounded(double value) { return std::round(value * 1e4) / 1e4; }

// Whether it is the best so far, and whether the run is to end.  Collective.
StepLoop::Verdict evaluate(const StepLoop& loop, const SupervisedEvaluation& batches,
                           const Teacher* teacher, int64_t patience, FinetuneState& state,
                           StepMetrics& metrics) {
  const EvaluationResult result = evaluate_all(loop.engine, batches, teacher);
  metrics.validation_loss = result.loss;
  std::string of_teacher;
  if (teacher) {
    metrics.validation_loss = result.sums[Distillation::kLmLoss] / result.count;
    add_distillation(result.sums, result.count, "validation_", metrics);
    of_teacher = concat(
        ", distillation loss ", rounded(result.sums[Distillation::kDistillLoss] / result.count),
        ", agreement ", rounded(100 * result.sums[Distillation::kAgreement] / result.count), "%");
  }
  const bool is_best = state.best_step < 0 || result.loss < state.best_loss;
  if (is_best) {
    state.best_loss = result.loss;
    state.best_step = metrics.step;
  }
  state.without_gain = is_best ? 0 : state.without_gain + 1;
  log::info("step ", metrics.step, ": validation loss ", rounded(*metrics.validation_loss),
            of_teacher, " over ", with_thousands(batches.num_labels()), " tokens",
            is_best ? ", the best so far" : "");
  state.is_done = patience > 0 && state.without_gain >= patience;
  if (state.is_done)
    log::info("no better for ", counted(state.without_gain, "evaluation"), ": the run ends, best ",
              "at step ", state.best_step);
  return {is_best, state.is_done};
}

// The steps that are left.  teacher: may be null.
void train(const FinetuneConfig& config, const SupervisedData& data, const Teacher* teacher,
           FinetuneState& state, StepLoop& loop) {
  const Group& data_ranks = loop.engine.role().groups().data;
  const SupervisedBatches batches =
      make_supervised_batches(config, data, loop.sizes, 2 * config.parallel.context_parallel_size);
  loop.batches = [&](int64_t step) {
    std::vector<MicroBatch> share =
        batches.step_share(step - 1, data_ranks.rank(), data_ranks.size());
    if (teacher) teacher->look_at(share);
    return share;
  };
  loop.epochs_at = [&](int64_t samples) { return batches.epochs_at(samples); };
  loop.uses_at = [&](int64_t samples) { return batches.rows().uses_at(samples); };
  loop.add_metrics = [teacher](const StepResult& result, StepMetrics& metrics) {
    metrics.extra.emplace_back("trained_tokens", result.count);
    if (!teacher) return;
    metrics.lm_loss = result.sums[Distillation::kLmLoss] / result.count;
    add_distillation(result.sums, result.count, "", metrics);
  };
  std::optional<SupervisedEvaluation> evaluation;
  if (config.evaluation.interval > 0) {
    evaluation.emplace(make_supervised_evaluation(config, data, data_ranks));
    loop.evaluate = [&](StepMetrics& metrics) {
      const StepLoop::Verdict verdict =
          evaluate(loop, *evaluation, teacher, config.finetune.patience, state, metrics);
      loop.outcome.facts = facts_of(loop.trained_share, state);
      return verdict;
    };
  }
  loop.outcome.loop = teacher ? "distillation" : "fine-tuning";
  loop.outcome.command = teacher ? "distill" : "finetune";
  loop.outcome.facts = facts_of(loop.trained_share, state);
  run_steps(loop);
}

// RUN/adapter, for PEFT and for --adapter: the best, where held-out conversations say which is.
// What PEFT cannot hold stays in the run alone.
void export_best(const RunSession& session, const FinetuneState& state) {
  const RunPaths& paths = session.paths();
  const int64_t step = state.best_step >= 0 ? state.best_step : session.step();
  const std::string folder = paths.file("adapter");
  try {
    remove_tree(folder);
    export_model({.model = concat(paths.checkpoints(), "/", step_name(step)), .folder = folder});
    log::info("adapter: ", folder, ", of step ", step, ", opens in PEFT");
  } catch (const Error& error) {
    log::warn("adapter: no folder for PEFT: ", error.what());
  }
}

std::vector<std::string> with_teacher(std::vector<std::string> changes, const std::string& stored,
                                      const std::string& teacher) {
  if (stored != teacher)
    changes.push_back("distill.teacher: is not the one that the run began with");
  return changes;
}

}  // namespace

FinetuneResult finetune(const FinetuneOptions& options, const Group& host_world) {
  const auto config_of = [&](const RunConfig& config) {
    return FinetuneConfig(config, options.sections);
  };
  const auto yaml_of = [&](const RunPlan& plan) { return to_yaml(config_of(plan.open_config())); };
  agree_on_configuration<FinetuneConfig>(yaml_of(options.plan), host_world);
  const SupervisedData data = open_supervised_data(config_of(options.plan.config()), host_world);
  const RunPlan settled = settle_epochs(options.plan, options.sections.finetune, data);
  const std::string yaml = yaml_of(settled);
  const RunConfig& given = settled.config();
  const Device device = device_of(given.device);
  RunSession session(session_options(given, options.stop, options.start_seconds),
                     connect_devices(host_world, device, given.parallel.device_transport));
  const Group& world = session.world();
  if (session.is_first()) tell_data_report(data, session.paths().dir);
  FinetuneState stored, state;
  session.read([&](FieldVisitor& v) { stored.fields(v); });
  const RunPlan plan = going_on(settled, stored);
  const FinetuneConfig config = config_of(plan.config());
  const BatchSizes sizes = settle_sizes(config, session.checkpoint(), stored);
  const bool is_new = !session.checkpoint();
  RunBeginning beginning = begin_from_base(config, is_new ? nullptr : &stored.base, world);
  Teaching teaching(config, plan, data, world, device);
  if (is_new && config.model.from.empty())
    beginning.begins_with = take_texts(teaching.model(), config.run.dir, world);
  Engine engine = pretrain_engine(plan, world, device, beginning.weights, teaching.objective());
  Role& role = engine.role();
  teaching.begin(role);
  const TrainedShare trained = check_trained(role, lora_rules(config).get());
  check_routing(config, role);
  session.begin({.configuration = yaml,
                 .changes =
                     [&](const std::string& stored_yaml) {
                       return with_teacher(
                           run_changes(plan, stored, differences<FinetuneConfig>(stored_yaml, yaml),
                                       data.fingerprint, data.tokenizer->name()),
                           stored.teacher, teaching.fingerprint());
                     },
                 .layout = config.parallel.text(),
                 .state =
                     [&](FieldVisitor& v) {
                       state.fields(v);
                       role.fields(v);
                     },
                 .samples_after = [&](int64_t step) { return sizes.samples_after(step); }},
                {role.saved()});
  state.teacher = teaching.fingerprint();
  static_cast<LoopState&>(state) = {
      .data_fingerprint = data.fingerprint,
      .tokenizer = data.tokenizer->name(),
      .begins_with = is_new ? beginning.begins_with : stored.begins_with,
      .total_steps = config.schedule.total_steps,
      .sequence_length = config.batch.sequence_length,
      .base = beginning.base};
  session.remember(state.best_step, state.is_done);
  keep_tokenizer(session, *data.tokenizer);
  if (session.is_first()) keep_chat_template(config, session.paths().dir);
  if (session.is_first())
    for (const std::string& line : summary_of(config, data)) log::info("data: ", line);
  describe_training(trained);
  if (!session.has_next()) {
    log::info("nothing to do: ", config.run.dir, " is at step ", session.step(),
              state.is_done ? ", where it ended early"
                            : concat(" of run.max_steps ", config.run.max_steps));
    return {.step = session.step()};
  }
  if (is_new) keep_answers_before(answers(config, data, role), session);
  StepLoop loop{config, yaml, sizes, session, engine, trained.share()};
  train(config, data, teaching.teacher(), state, loop);
  if (!session.finish()) return {.step = session.step(), .interrupted = true};
  loop.outcome.samples = answers(config, data, role);
  if (session.is_first()) {
    add_answers_before(session, loop.outcome.samples);
    write_run_report(config, session, yaml, loop.outcome);
    log_outcome(session, loop.outcome);
    if (config.lora.is_on()) export_best(session, state);
  }
  return {.step = session.step()};
}

}  // namespace orthant
