// SPDX-License-Identifier: Apache-2.0
#include "trainer/finetune.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/clock.h"
#include "base/context.h"
#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/directory.h"
#include "checkpoint/file_io.h"
#include "parallel/comm/transport.h"
#include "trainer/device.h"
#include "trainer/generate.h"
#include "trainer/hub/export.h"
#include "trainer/pretrain_engine.h"
#include "trainer/pretrain_metrics.h"
#include "trainer/pretrain_report.h"
#include "trainer/pretrain_state.h"
#include "trainer/run/memory_report.h"
#include "trainer/run_loop.h"
#include "trainer/supervised_data.h"

namespace orthant {
namespace {

// What a checkpoint says beside its tensors.
struct FinetuneState : PretrainState {
  double best_loss = 0;
  int64_t best_step = -1;  // none yet
  int64_t without_gain = 0;
  bool is_done = false;  // the run ended before max_steps
  void fields(FieldVisitor& v) {
    PretrainState::fields(v);
    v.field("best_loss", best_loss, any_real(), "the lowest validation loss");
    v.field("best_step", best_step, at_least(-1), "when it was so low");
    v.field("without_gain", without_gain, at_least(0), "evaluations since then");
    v.field("is_done", is_done, "the run ended early");
  }
};

FinetuneConfig with_section(RunConfig config, const FinetuneSection& section) {
  FinetuneConfig whole;
  static_cast<RunConfig&>(whole) = std::move(config);
  whole.finetune = section;
  return whole;
}

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

// A run under way.
struct Finetuning {
  const FinetuneConfig& config;
  const std::string& yaml;
  const SupervisedData& data;
  const BatchSizes& sizes;
  RunSession& session;
  Engine& engine;
  double trained_share;
  FinetuneState& state;
  RunOutcome outcome;
};

// Answers to held-out conversations; each goes on from what stands before its first trained token.
// Collective.
std::vector<ReportSample> answers(const Finetuning& run) {
  const GenerationConfig& g = run.config.generation;
  std::vector<GenerateOptions> wanted;
  const int64_t held_out = run.data.validation ? run.data.validation->size() : 0;
  const Tokenizer& tokenizer = *run.data.tokenizer;
  const BaseTexts texts = base_texts(run.config, tokenizer);
  for (int64_t i = 0; i < std::min(g.samples, held_out); ++i) {
    const auto ids = run.data.validation->ids(i);
    const auto trained = run.data.validation->trained(i);
    const auto first = std::find(trained.begin(), trained.end(), 1) - trained.begin();
    wanted.push_back({.ids = {ids.begin(), ids.begin() + first},
                      .end_ids = texts.end_ids,
                      .sampling = g.sampling,
                      .seed = run.config.run.seed});
  }
  if (wanted.empty()) return {};
  const Decoder decoder =
      run.engine.role().pipeline().decoder({.latent = g.mla, .max_sequences = g.max_sequences});
  std::vector<ReportSample> samples;
  std::vector<Generated> written = generate(decoder, tokenizer, wanted);
  for (size_t i = 0; i < written.size(); ++i)
    samples.push_back({tokenizer.decode(wanted[i].ids), std::move(written[i].text)});
  return samples;
}

std::string before_path(const RunSession& session) {
  return session.paths().file("samples-before.json");
}

// What the model answered before it was trained, for the report at the end.
void keep_answers_before(const Finetuning& run) {
  const std::vector<ReportSample> samples = answers(run);
  if (!run.session.is_first() || samples.empty()) return;
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const ReportSample& sample : samples) all.push_back(valid_utf8(sample.completion));
  replace_file(before_path(run.session), all.dump(1) + "\n");
}

void add_answers_before(const RunSession& session, std::vector<ReportSample>& samples) {
  if (!path_exists(before_path(session))) return;
  const auto all = nlohmann::json::parse(read_text_file(before_path(session), 1 << 26), nullptr,
                                         /*allow_exceptions=*/false);
  for (size_t i = 0; all.is_array() && i < std::min(all.size(), samples.size()); ++i)
    if (all[i].is_string()) samples[i].before = all[i].get<std::string>();
}

// Whether the run is to end here.  Collective.
bool evaluate(Finetuning& run, const SupervisedEvaluation& batches, StepMetrics& metrics) {
  const EvaluationResult result =
      run.engine.evaluate([&](int64_t i) { return batches.batch(i); }, batches.num_batches());
  metrics.validation_loss = result.loss;
  FinetuneState& state = run.state;
  const bool is_best = state.best_step < 0 || result.loss < state.best_loss;
  if (is_best) {
    state.best_loss = result.loss;
    state.best_step = metrics.step;
  }
  state.without_gain = is_best ? 0 : state.without_gain + 1;
  log::info("step ", metrics.step, ": validation loss ", std::round(result.loss * 1e4) / 1e4,
            " over ", with_thousands(batches.num_labels()), " tokens",
            is_best ? ", the best so far" : "");
  const int64_t patience = run.config.finetune.patience;
  state.is_done = patience > 0 && state.without_gain >= patience;
  if (state.is_done)
    log::info("no better for ", counted(state.without_gain, "evaluation"), ": the run ends, best ",
              "at step ", state.best_step);
  return state.is_done;
}

void report(Finetuning& run) {
  run.outcome.loop = "fine-tuning";
  run.outcome.command = "finetune";
  run.outcome.facts.clear();
  if (run.trained_share < 1)
    run.outcome.facts.emplace_back(
        "trains", concat(std::round(run.trained_share * 1e4) / 100, "% of the parameters"));
  if (run.state.best_step >= 0)
    run.outcome.facts.emplace_back("best checkpoint",
                                   concat("step ", run.state.best_step, ", validation loss ",
                                          std::round(run.state.best_loss * 1e4) / 1e4));
  if (run.session.is_first()) write_run_report(run.config, run.session, run.yaml, run.outcome);
}

void train(Finetuning& run) {
  const FinetuneConfig& config = run.config;
  Role& role = run.engine.role();
  const Group &data_ranks = role.groups().data, &world = run.session.world();
  const SupervisedBatches batches = make_supervised_batches(
      config, run.data, run.sizes, 2 * config.parallel.context_parallel_size);
  std::optional<SupervisedEvaluation> evaluation;
  if (config.evaluation.interval > 0)
    evaluation.emplace(make_supervised_evaluation(config, run.data, data_ranks));
  const RunMeasures measures{config, run.sizes,
                             [&](int64_t samples) { return batches.epochs_at(samples); },
                             peak_of_all(config, role.device(), world), run.trained_share};
  SkipWatch skips;
  MemoryPeaks memory;  // of all steps
  while (run.session.has_next()) {
    const int64_t step = run.session.next_step();
    const bool last = run.session.is_last(step);
    const double begin = now_seconds();
    const std::vector<MicroBatch> share =
        batches.step_share(step - 1, data_ranks.rank(), data_ranks.size());
    const bool recorded = records_step(config, run.session, step);
    if (recorded) role.pipeline().record_next_step();
    context().ledger->reset_peaks();
    const StepResult result = run.engine.step(share, step, run.session.wants_stop());
    const MemoryPeaks step_memory = context().ledger->peaks();
    memory.merge(step_memory);
    skips.see(step, result, run.session);
    StepMetrics metrics = metrics_of(measures, step, result, now_seconds() - begin);
    metrics.memory_peak_bytes = step_memory.total();
    metrics.extra.emplace_back("trained_tokens", result.count);
    if (step % config.logging.interval == 0 || last)
      metrics.memory = memory_metrics(gather_peaks(world, step_memory));
    bool is_done = false;
    if (evaluation && (last || step % config.evaluation.interval == 0) && !result.stop_requested)
      is_done = evaluate(run, *evaluation, metrics);
    if (recorded) run.outcome.pipeline = keep_timeline(role.pipeline().last_record(), run.session);
    run.session.end_step(metrics,
                         {.stop = result.stop_requested,
                          .is_good = std::isfinite(metrics.loss) && skips.weights_are_good(),
                          .is_best = metrics.validation_loss && run.state.best_step == step,
                          .is_done = is_done});
    if (metrics.validation_loss || last) {
      run.outcome.memory = gather_peaks(world, memory);
      run.outcome.sources = batches.rows().uses_at(metrics.samples);
      report(run);
    }
  }
  run.outcome.memory = gather_peaks(world, memory);
  run.outcome.sources = batches.rows().uses_at(run.sizes.samples_after(run.session.step()));
}

// RUN/adapter, for PEFT and for --adapter: the best, where held-out conversations say which is.
// What PEFT cannot hold stays in the run alone.
void export_best(const Finetuning& run) {
  const RunPaths& paths = run.session.paths();
  const int64_t step = run.state.best_step >= 0 ? run.state.best_step : run.session.step();
  const std::string folder = paths.file("adapter");
  try {
    remove_tree(folder);
    export_model({.model = concat(paths.checkpoints(), "/", step_name(step)), .folder = folder});
    log::info("adapter: ", folder, ", of step ", step, ", opens in PEFT");
  } catch (const Error& error) {
    log::warn("adapter: no folder for PEFT: ", error.what());
  }
}

}  // namespace

FinetuneResult finetune(const FinetuneOptions& options, const Group& host_world) {
  const auto yaml_of = [&](const RunPlan& plan) {
    return to_yaml(with_section(plan.open_config(), options.section));
  };
  agree_on_configuration<FinetuneConfig>(yaml_of(options.plan), host_world);
  const SupervisedData data =
      open_supervised_data(with_section(options.plan.config(), options.section), host_world);
  const RunPlan settled = settle_epochs(options.plan, options.section, data);
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
  const FinetuneConfig config = with_section(plan.config(), options.section);
  const BatchSizes sizes = settle_sizes(config, session.checkpoint(), stored);
  const bool is_new = !session.checkpoint();
  const RunBeginning beginning = begin_from_base(config, is_new ? nullptr : &stored.base, world);
  Engine engine = pretrain_engine(plan, world, device, beginning.weights);
  Role& role = engine.role();
  const TrainedShare trained = check_trained(role, lora_rules(config).get());
  check_routing(config, role);
  session.begin({.configuration = yaml,
                 .changes =
                     [&](const std::string& stored_yaml) {
                       return run_changes(plan, stored,
                                          differences<FinetuneConfig>(stored_yaml, yaml),
                                          data.fingerprint, data.tokenizer->name());
                     },
                 .layout = config.parallel.text(),
                 .state =
                     [&](FieldVisitor& v) {
                       state.fields(v);
                       role.fields(v);
                     },
                 .samples_after = [&](int64_t step) { return sizes.samples_after(step); }},
                {role.saved()});
  static_cast<PretrainState&>(state) = {
      .data_fingerprint = data.fingerprint,
      .tokenizer = data.tokenizer->name(),
      .begins_with = is_new ? beginning.begins_with : stored.begins_with,
      .total_steps = config.schedule.total_steps,
      .sequence_length = config.batch.sequence_length,
      .base = beginning.base};
  session.remember(state.best_step, state.is_done);
  keep_tokenizer(session, *data.tokenizer);
  if (session.is_first()) keep_chat_template(config, session.paths().dir);
  Finetuning run{config, yaml, data, sizes, session, engine, trained.share(), state, {}};
  if (session.is_first())
    for (const std::string& line : summary_of(config, data)) log::info("data: ", line);
  describe_training(trained);
  if (!session.has_next()) {
    log::info("nothing to do: ", config.run.dir, " is at step ", session.step(),
              state.is_done ? ", where it ended early"
                            : concat(" of run.max_steps ", config.run.max_steps));
    return {.step = session.step()};
  }
  if (is_new) keep_answers_before(run);
  train(run);
  if (!session.finish()) return {.step = session.step(), .interrupted = true};
  run.outcome.samples = answers(run);
  if (session.is_first()) {
    add_answers_before(session, run.outcome.samples);
    report(run);
    log_outcome(session, run.outcome);
    if (config.lora.is_on()) export_best(run);
  }
  return {.step = session.step()};
}

}  // namespace orthant
