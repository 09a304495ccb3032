// SPDX-License-Identifier: Apache-2.0
#include "trainer/pretrain.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <optional>

#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "data/compression.h"
#include "moe/statistics.h"
#include "parallel/comm/transport.h"
#include "tensor/cpu/isa.h"
#include "trainer/agree.h"
#include "trainer/datasets.h"
#include "trainer/device.h"
#include "trainer/engine.h"
#include "trainer/event_file.h"
#include "trainer/generate.h"
#include "trainer/memory_plan.h"
#include "trainer/memory_report.h"
#include "trainer/metrics.h"
#include "trainer/progress.h"
#include "trainer/report.h"
#include "trainer/run_dir.h"
#include "trainer/throughput.h"
#include "trainer/training_state.h"

namespace orthant {
namespace {

// Updates that may fail in a row before the run is given up: the state before them is still the
// checkpoint's.
constexpr int64_t kMaxSkippedInARow = 10;

double rounded(double value) { return std::round(value * 1e4) / 1e4; }
double hundredths(double value) { return std::round(value * 1e2) / 1e2; }

// For the console: bytes of half a character, and control characters that a terminal would obey,
// replaced.
std::string printable(const std::string& text) {
  std::string result = valid_utf8(text);
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') c = '?';
  }
  return result;
}

bool may_change_on_resume(const std::string& difference) {
  static constexpr const char* kFree[] = {"device",         "run.max_steps", "run.name",
                                          "run.dir",        "run.resume",    "run.accept_changes",
                                          "data.bad_lines", "parallel.",     "evaluation.",
                                          "checkpoint.",    "logging.",      "generation."};
  return std::any_of(std::begin(kFree), std::end(kFree),
                     [&](const char* key) { return difference.starts_with(key); });
}

class Pretrainer {
 public:
  Pretrainer(const PretrainOptions& options, const Group& world)
      : options_(options), config_(options.config), world_(world), paths_{options.config.run.dir} {}

  PretrainResult run();

 private:
  bool is_first() const { return world_.rank() == 0; }
  void open_run();
  void describe_run();
  void keep_schedule(const Manifest& manifest);
  void resume(const Manifest& manifest);
  void check_same_run(const Manifest& manifest);
  void save(int64_t step);
  std::string saved_text() const {
    return saved_step_ < 0 ? std::string("no checkpoint was saved")
                           : concat("the newest checkpoint is step ", saved_step_);
  }
  StepMetrics train_step(int64_t step, bool& stop);
  // Steps whose timeline is kept: the last, and until then one that is not the first of this job.
  bool is_recorded(int64_t step) const {
    return config_.parallel.pipeline_parallel_size > 1 &&
           (step == first_step_ + 1 || step == config_.run.max_steps);
  }
  void record_pipeline();
  void evaluate(StepMetrics& metrics);
  void finish();
  void write_report(const std::vector<MemoryPeaks>& memory);
  void make_samples();

  const PretrainOptions& options_;
  RunConfig config_;
  std::string config_yaml_;
  Group world_;
  RunPaths paths_;
  std::unique_ptr<RunLock> lock_;
  Datasets data_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Loader> loader_;
  std::optional<EvaluationBatches> evaluation_;
  std::unique_ptr<CheckpointWriter> writer_;
  std::unique_ptr<MetricsWriter> metrics_;
  std::unique_ptr<EventFile> events_;
  std::vector<ReportSample> samples_;
  int64_t step_ = 0, first_step_ = 1;  // done; of this job
  int64_t saved_step_ = -1;
  int64_t skipped_in_a_row_ = 0;
  MemoryPeaks step_memory_, memory_;  // of this rank: of the last step, and of all
  double peak_flops_ = 0;             // of all ranks
  double seconds_before_data_ = 0;    // from the start of the process
  std::optional<double> bits_per_byte_;
  std::optional<PipelineRecord> pipeline_;  // the newest
};

void Pretrainer::open_run() {
  first_rank_does(world_, [&] {
    check_inputs(config_);  // a run that cannot begin leaves nothing behind
    create_run_dir(paths_);
    lock_ = std::make_unique<RunLock>(paths_);
    return std::string();
  });
  log::open_file(paths_.log_file(world_.rank()));
  seconds_before_data_ = now_seconds() - options_.start_seconds;
  world_ = connect_devices(world_, device_of(config_.device), config_.parallel.device_transport);
  data_ = open_datasets(config_, world_);
  const std::optional<Manifest> manifest = find_newest_valid(world_, paths_.checkpoints());
  if (manifest) keep_schedule(*manifest);
  config_yaml_ = options_.to_yaml(config_);
  engine_ = std::make_unique<Engine>(config_, world_);
  writer_ = std::make_unique<CheckpointWriter>(
      world_, paths_.checkpoints(),
      CheckpointWriter::Options{
          .run_id = config_.run.name,
          .keep = config_.checkpoint.keep,
          .asynchronous = config_.checkpoint.asynchronous,
          .timeout_seconds = std::max(60.0, config_.parallel.timeout_seconds)});
  for (const auto& stage : engine_->pipeline().stages()) stage->check_routing();
  if (config_.model.is_moe())
    log::info("routing: checked in ", counted(config_.model.num_moe_layers(), "layer"),
              " that a token which chooses an expert is counted for it and sent to its weights ",
              "(docs/balance.md)");
  if (manifest) resume(*manifest);
  if (is_first()) {
    write_file_atomically(paths_.config(), config_yaml_);
    if (!data_.tokenizer->model_file().empty())
      write_file_atomically(paths_.tokenizer(), data_.tokenizer->model_file());
    metrics_ = std::make_unique<MetricsWriter>(paths_.metrics(), step_);
    if (config_.logging.tensorboard) events_ = std::make_unique<EventFile>(paths_.dir, step_);
  }
  const Group& data_ranks = engine_->groups().data;
  loader_ = make_loader(config_, data_, data_ranks);
  if (config_.evaluation.interval > 0)
    evaluation_.emplace(make_evaluation(config_, data_, data_ranks));
  const double rate = config_.logging.peak_tflops > 0 ? config_.logging.peak_tflops * 1e12
                                                      : measure_product_rate(config_.dtype());
  peak_flops_ = world_.sum(rate);
}

void Pretrainer::check_same_run(const Manifest& manifest) {
  ORTHANT_CHECK(config_.run.resume != "never", kConfig, "run.dir: ", paths_.dir,
                " holds a checkpoint of step ", manifest.step,
                ", and run.resume is never; use another run.dir, or run.resume: auto to go on");
  std::string changed;
  for (const std::string& difference : options_.differences(manifest.configuration, config_yaml_)) {
    if (!may_change_on_resume(difference)) changed += "\n  " + difference;
  }
  const auto fingerprint = manifest.extra.find("data_fingerprint");
  if (fingerprint == manifest.extra.end() || fingerprint->second != data_.fingerprint)
    changed += "\n  the training data is not the same";
  if (!changed.empty()) {
    const std::string text =
        concat("run.dir: ", paths_.dir, " holds a checkpoint of step ", manifest.step,
               " of a run that differs (then -> now):", changed);
    ORTHANT_CHECK(config_.run.accept_changes, kConfig, text,
                  "\nuse another run.dir, or run.accept_changes: true to go on with the changes");
    log::warn(text);
  }
  const std::string isa(cpu::name_of(cpu::active_isa()));
  const auto written_at = manifest.extra.find("isa");
  if (written_at != manifest.extra.end() && written_at->second != isa) {
    log::warn("the checkpoint was written at instruction-set level ", written_at->second,
              ", this job runs at ", isa,
              ": the run goes on, but not with the same bits (ORTHANT_ISA=", written_at->second,
              " keeps them where offered)");
  }
}

// A schedule whose end the user did not give ends where it did when the run began: a larger
// run.max_steps goes on at the minimum, and does not bend the curve behind the steps that were
// taken.
void Pretrainer::keep_schedule(const Manifest& manifest) {
  const auto stored = manifest.extra.find("total_steps");
  if (!config_.schedule.follows_max_steps || stored == manifest.extra.end()) return;
  const int64_t total = std::stoll(stored->second);
  if (total == config_.schedule.total_steps) return;
  config_.schedule.total_steps = total;
  log::info("schedule.total_steps: ", total, ", as when the run began; give the key to change it");
}

void Pretrainer::resume(const Manifest& manifest) {
  check_same_run(manifest);
  load_tensors(world_, manifest, training_tensors(*engine_),
               {.unused_prefixes = {}, .verify_files = false});
  engine_->optimizer().values_from_masters();
  engine_->set_updates(std::stoll(manifest.extra.at("updates")));
  step_ = saved_step_ = manifest.step;
  log::info("resuming from step ", step_, " (", manifest.directory, ")");
}

void Pretrainer::describe_run() {
  const auto count = [](int64_t n) { return with_thousands(n); };
  log::info(config_.run.name, ": ", count(total_parameters(config_.model)), " parameters (",
            count(active_matmul_parameters(config_.model)), " active), ", config_.precision, " on ",
            counted(world_.size(), "rank"), " of ", counted(context().num_threads, "thread"), ", ",
            cpu::name_of(cpu::active_isa()));
  log::info("data: ", count(loader_->num_windows()), " windows of ", config_.batch.sequence_length,
            " tokens; a step: ", config_.batch.global_batch_size, " sequences in ",
            config_.batch.micro_batches(), " micro-batches; steps ", step_ + 1, " to ",
            config_.run.max_steps);
  if (config_.batch.ramp_samples > 0) {
    log::info("batch: grows from ", count(config_.batch.ramp_start), " sequences to ",
              count(config_.batch.global_batch_size), " by ", count(config_.batch.ramp_increment),
              ", over ", count(config_.batch.sizes().ramp_steps()), " steps");
  }
  if (engine_->groups().pipeline.size() > 1) log::info("pipeline: ", pipeline_text(config_));
  if (config_.schedule.warmup_steps >= config_.schedule.total_steps) {
    log::warn("schedule.warmup_steps: ", config_.schedule.warmup_steps, " is no less than the ",
              counted(config_.schedule.total_steps, "step"),
              " of the schedule: the learning rate never reaches its peak, or only at the end");
  }
  log::info("first step after ", hundredths(now_seconds() - options_.start_seconds), " s (",
            hundredths(seconds_before_data_), " s before data was opened); run directory ",
            paths_.dir);
}

StepMetrics Pretrainer::train_step(int64_t step, bool& stop) {
  const double begin = now_seconds();
  const Group& data_ranks = engine_->groups().data;
  const int64_t per_rank = config_.batch.micro_batches_of_step(step) / data_ranks.size();
  std::vector<Batch> batches;
  for (int64_t i = 0; i < per_rank; ++i)
    batches.push_back(loader_->micro_batch(step - 1, data_ranks.rank() * per_rank + i));
  if (is_recorded(step)) engine_->pipeline().record_next_step();
  context().ledger->reset_peaks();
  const StepResult result = engine_->step(batches, step, options_.stop && options_.stop->load());
  step_memory_ = context().ledger->peaks();
  memory_.merge(step_memory_);
  stop = result.stop_requested;
  skipped_in_a_row_ = result.skipped ? skipped_in_a_row_ + 1 : 0;
  if (result.skipped) {
    log::warn("step ", step, ": gradient norm ", result.grad_norm, ", nothing was updated");
    ORTHANT_CHECK(skipped_in_a_row_ < kMaxSkippedInARow, kNumeric,
                  "the gradient norm was not finite in ", kMaxSkippedInARow,
                  " steps in a row; lower optimizer.learning_rate or look at the data; ",
                  saved_text());
  }
  const double seconds = now_seconds() - begin;
  const int64_t samples = config_.batch.sizes().samples_after(step);
  const int64_t tokens = config_.batch.sizes().size_of_step(step) * config_.batch.sequence_length;
  const double flops = flops_per_token(config_.model, config_.batch.sequence_length) *
                       static_cast<double>(tokens) / seconds;
  // The ceiling was measured in a moment; a machine that is shared may show more later.
  peak_flops_ = std::max(peak_flops_, flops);
  StepMetrics metrics{.step = step,
                      .samples = samples,
                      .tokens = samples * config_.batch.sequence_length,
                      .loss = result.lm_loss + result.balance_loss,
                      .lm_loss = result.lm_loss,
                      .grad_norm = result.grad_norm,
                      .learning_rate = result.learning_rate,
                      .step_ms = seconds * 1e3,
                      .tokens_per_second = static_cast<double>(tokens) / seconds,
                      .model_tflops = flops / 1e12,
                      .mfu = flops / peak_flops_,
                      .memory_peak_bytes = step_memory_.total()};
  if (step % config_.logging.interval == 0 || step == config_.run.max_steps)
    metrics.memory = memory_metrics(gather_peaks(world_, step_memory_));
  if (config_.model.is_moe()) {
    metrics.balance_loss = result.balance_loss;
    const RoutingStatistics routing = routing_statistics(result.expert_counts, result.dropped);
    metrics.expert_load_max_over_mean = routing.max_over_mean;
    metrics.expert_load_entropy = routing.entropy;
    metrics.dropped_fraction = routing.dropped_fraction;
    if (step % config_.logging.interval == 0) {
      for (const std::vector<double>& counts : result.expert_counts)
        metrics.expert_loads.push_back(relative_loads(counts));
    }
  }
  return metrics;
}

// A picture is no reason to end a run.
void Pretrainer::record_pipeline() {
  if (!is_first()) return;
  pipeline_ = engine_->pipeline().last_record();
  try {
    write_file_atomically(paths_.pipeline(), to_json(*pipeline_));
  } catch (const Error& error) {
    log::warn("the pipeline's timeline of step ", pipeline_->step, " is not kept: ", error.what());
  }
}

void Pretrainer::evaluate(StepMetrics& metrics) {
  const EvaluationResult result = engine_->evaluate(
      [&](int64_t i) { return evaluation_->batch(i); }, evaluation_->num_batches());
  metrics.validation_loss = result.loss;
  bits_per_byte_ =
      result.total_nats / std::numbers::ln2 / static_cast<double>(evaluation_->num_bytes());
  metrics.validation_bits_per_byte = *bits_per_byte_;
  log::info("step ", metrics.step, ": validation loss ", rounded(result.loss), ", ",
            rounded(*bits_per_byte_), " bits per byte over ",
            with_thousands(evaluation_->num_bytes()), " bytes");
}

void Pretrainer::save(int64_t step) {
  if (saved_step_ == step) return;
  writer_->save(step, training_tensors(*engine_),
                {.samples = config_.batch.sizes().samples_after(step),
                 .layout = config_.parallel.text(),
                 .configuration = config_yaml_,
                 .extra = {{"isa", std::string(cpu::name_of(cpu::active_isa()))},
                           {"data_fingerprint", data_.fingerprint},
                           {"tokenizer", data_.tokenizer->name()},
                           {"updates", std::to_string(engine_->updates())},
                           {"total_steps", std::to_string(config_.schedule.total_steps)}}});
  saved_step_ = step;
}

PretrainResult Pretrainer::run() {
  open_run();
  if (step_ >= config_.run.max_steps) {
    log::info("nothing to do: ", paths_.dir, " is at step ", step_, " of run.max_steps ",
              config_.run.max_steps);
    return {.step = step_};
  }
  describe_run();
  first_step_ = step_ + 1;
  bool stop = false;
  {
    Progress progress({.max_steps = config_.run.max_steps,
                       .log_interval = config_.logging.interval,
                       .bar = config_.logging.progress == "auto",
                       .samples_after = [sizes = config_.batch.sizes()](int64_t steps) {
                         return sizes.samples_after(steps);
                       }});
    while (step_ < config_.run.max_steps && !stop) {
      const int64_t step = step_ + 1;
      StepMetrics metrics = train_step(step, stop);
      step_ = step;
      const bool last = step == config_.run.max_steps;
      if (evaluation_ && (last || step % config_.evaluation.interval == 0) && !stop)
        evaluate(metrics);
      if (is_recorded(step)) record_pipeline();
      if (metrics_) metrics_->write(metrics);
      if (events_) events_->write(metrics);
      progress.step(metrics);
      writer_->poll();
      const bool due = config_.checkpoint.interval > 0 && step % config_.checkpoint.interval == 0;
      // A single bad step leaves the weights as they were; more in a row say that the weights are
      // spoilt, and those are not worth keeping over the ones before.
      const bool usable = std::isfinite(metrics.loss) && skipped_in_a_row_ < 2;
      ORTHANT_CHECK(usable || !last, kNumeric, "the run ended with loss ", metrics.loss,
                    " and gradient norm ", metrics.grad_norm,
                    "; lower optimizer.learning_rate or look at the data; ", saved_text());
      if (usable && (last || stop || due)) save(step);
      if (metrics.validation_loss && !last) write_report(gather_peaks(world_, memory_));
    }
  }
  ORTHANT_CHECK(writer_->finish(), kCannotWrite, "the last checkpoint, step ", step_,
                ", could not be written to ", paths_.checkpoints());
  if (step_ < config_.run.max_steps) {
    log::info("stopped by a signal after step ", step_,
              "; saved: the same command goes on from there");
    return {.step = step_, .interrupted = true};
  }
  finish();
  return {.step = step_};
}

void Pretrainer::make_samples() {
  for (int64_t i = 0; i < config_.generation.samples; ++i) {
    samples_.push_back(
        {config_.generation.prompt, generate(engine_->model(), *data_.tokenizer,
                                             {.prompt = config_.generation.prompt,
                                              .max_new_tokens = config_.generation.max_new_tokens,
                                              .temperature = config_.generation.temperature,
                                              .top_k = config_.generation.top_k,
                                              .top_p = config_.generation.top_p,
                                              .seed = config_.run.seed,
                                              .sample = i})});
  }
}

void Pretrainer::write_report(const std::vector<MemoryPeaks>& memory) {
  if (!is_first()) return;
  const size_t fullest = fullest_rank(memory);
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  const ModelConfig& m = config_.model;
  std::string shape = concat(m.num_hidden_layers, " layers, width ", m.hidden_size, ", ",
                             m.num_attention_heads, " heads");
  if (m.is_moe()) {
    shape += concat(", ", m.n_routed_experts, " routed experts (", m.num_experts_per_tok,
                    " a token) and ", m.n_shared_experts, " shared");
  }
  orthant::write_report(
      paths_.report(),
      {.title = config_.run.name,
       .subtitle = concat("pre-training, step ", step_, " of ", config_.run.max_steps),
       .facts = {{"model", shape},
                 {"parameters", concat(with_thousands(total_parameters(m)), ", ",
                                       with_thousands(active_matmul_parameters(m)), " active")},
                 {"layout", concat(config_.parallel.text(), ", ",
                                   counted(context().num_threads, "thread"), " a rank")},
                 {"memory",
                  concat("at most ", held_text(memory[fullest].at_peak), ", on rank ", fullest)},
                 {"precision",
                  concat(config_.precision, " at level ", cpu::name_of(cpu::active_isa()))},
                 {"machine", host}},
       .metrics = read_metrics(paths_.metrics()),
       .pipeline = pipeline_ ? std::optional(compare_with_prediction(*pipeline_)) : std::nullopt,
       .samples = samples_,
       .config_yaml = config_yaml_,
       .next_commands = {concat("orthant generate ", paths_.dir, " --prompt \"...\""),
                         concat("orthant pretrain ", paths_.config(),
                                " run.max_steps=", 2 * config_.run.max_steps)}});
}

void Pretrainer::finish() {
  // All ranks take part in decoding: each holds a part of the model that others need.  Not of the
  // layers or of a sequence: decoding wants these whole.
  const ParallelConfig& parallel = config_.parallel;
  if (parallel.pipeline_parallel_size == 1 && parallel.context_parallel_size == 1 &&
      engine_->pipeline().stages().size() == 1) {
    make_samples();
  } else if (config_.generation.samples > 0) {
    log::info("no samples: ranks share layers or sequences; orthant generate ", paths_.dir,
              " makes them on one rank");
  }
  const std::vector<MemoryPeaks> memory = gather_peaks(world_, memory_);
  if (!is_first()) return;
  for (const ReportSample& sample : samples_) {
    log::info("sample: ", printable(sample.prompt + sample.completion));
  }
  log_memory(memory);
  write_report(memory);
  log::info("model: ", paths_.dir, "; report: ", paths_.report());
  if (bits_per_byte_) {
    const double gzip =
        gzip_bits_per_byte(*data_.validation, *data_.tokenizer, config_.evaluation.tokens);
    log::info("validation: ", rounded(*bits_per_byte_), " bits per byte (gzip -9: ", rounded(gzip),
              ")");
  }
}

}  // namespace

PretrainResult pretrain(const PretrainOptions& options, const Group& world) {
  return Pretrainer(options, world).run();
}

}  // namespace orthant
