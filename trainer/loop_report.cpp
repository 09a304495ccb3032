// SPDX-License-Identifier: Apache-2.0
#include "trainer/loop_report.h"

#include <unistd.h>

#include <cmath>

#include "base/clock.h"
#include "base/context.h"
#include "base/log.h"
#include "data/compression.h"
#include "optim/schedule.h"
#include "tensor/cpu/isa.h"
#include "trainer/run/memory_report.h"

namespace orthant {
namespace {

double hundredths(double value) { return std::round(value * 1e2) / 1e2; }
double rounded(double value) { return std::round(value * 1e4) / 1e4; }

// For the console: bytes of half a character, and control characters that a terminal would obey,
// replaced.
std::string printable(const std::string& text) {
  std::string result = valid_utf8(text);
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') c = '?';
  }
  return result;
}

std::string shape_text(const ModelConfig& m) {
  std::string shape = concat(m.num_hidden_layers, " layers, width ", m.hidden_size, ", ",
                             m.num_attention_heads, " heads");
  if (m.is_moe()) {
    shape += concat(", ", m.n_routed_experts, " routed experts (", m.num_experts_per_tok,
                    " a token) and ", m.n_shared_experts, " shared");
  }
  if (m.num_nextn_predict_layers > 0) shape += ", a layer for multi-token prediction";
  return shape;
}

std::string host_name() {
  char host[256] = "";
  gethostname(host, sizeof(host) - 1);
  return host;
}

void warn_of_schedule(const RunConfig& config) {
  const ScheduleConfig& schedule = config.schedule;
  if (schedule.warmup_steps >= schedule.total_steps) {
    log::warn("schedule.warmup_steps: ", schedule.warmup_steps, " is no less than the ",
              counted(schedule.total_steps, "step"),
              " of the schedule: the learning rate never reaches its peak, or only at the end");
  }
  if (config.run.max_steps > schedule.total_steps &&
      learning_rate_at(schedule, config.optimizer.learning_rate, config.run.max_steps) == 0.0) {
    log::warn("schedule.total_steps: the learning rate is 0 from step ", schedule.total_steps,
              " on, and the run has ", config.run.max_steps,
              ": nothing is learned there; give a larger schedule.total_steps, or a "
              "schedule.min_learning_rate");
  }
}

std::string percent(double share) { return concat(std::round(share * 1e3) / 10, "%"); }

// Of several sources: a weight does not say how often a small one is repeated.
void describe_mixture(const RunConfig& config, const Loader& loader) {
  const auto uses = loader.uses_at(config.batch.sizes().samples_after(config.run.max_steps));
  if (uses.size() == 1) return;
  for (const SourceUse& use : uses)
    log::info("data: ", use.name, ": weight ", use.weight, ", ", percent(use.share),
              " of the samples, ", with_thousands(use.windows), " windows; ",
              hundredths(use.epochs), " passes by step ", config.run.max_steps);
  if (config.evaluation.interval > 0 && config.data.validation.empty())
    log::info("data: validation is that of the first source, ", uses.front().name,
              " (data.validation names another)");
}

std::string data_fact(const std::vector<SourceUse>& uses) {
  std::string text;
  for (const SourceUse& use : uses)
    text += concat(text.empty() ? "" : "; ", uses.size() > 1 ? percent(use.share) + " " : "",
                   use.name, ", ", hundredths(use.epochs), use.epochs == 1 ? " pass" : " passes");
  return text;
}

}  // namespace

void describe_run(const RunPlan& plan, const RunSession& session, const Loader& loader) {
  const RunConfig& config = plan.config();
  const auto count = [](int64_t n) { return with_thousands(n); };
  log::info(config.run.name, ": ", count(total_parameters(config.model)), " parameters (",
            count(active_matmul_parameters(config.model)), " active), ",
            precision_names().of(config.precision), " on ", counted(session.world().size(), "rank"),
            " of ", counted(context().num_threads, "thread"), ", ",
            cpu::name_of(cpu::active_isa()));
  log::info("data: ", count(loader.num_windows()), " windows of ", config.batch.sequence_length,
            " tokens; a step: ", config.batch.global_batch_size, " sequences in ",
            config.batch.micro_batches(), " micro-batches; steps ", session.next_step(), " to ",
            config.run.max_steps);
  describe_mixture(config, loader);
  if (config.batch.ramp_samples > 0) {
    log::info("batch: grows from ", count(config.batch.ramp_start), " sequences to ",
              count(config.batch.global_batch_size), " by ", count(config.batch.ramp_increment),
              ", over ", count(config.batch.sizes().ramp_steps()), " steps");
  }
  if (config.parallel.pipeline_parallel_size > 1) log::info("pipeline: ", plan.pipeline_text());
  warn_of_schedule(config);
  log::info("first step after ", hundredths(now_seconds() - session.start_seconds()), " s (",
            hundredths(session.seconds_before_data()), " s before data was opened); run directory ",
            session.paths().dir);
}

void write_run_report(const RunConfig& config, const RunSession& session,
                      const std::string& config_yaml, const RunOutcome& outcome) {
  const ModelConfig& m = config.model;
  const size_t fullest = fullest_rank(outcome.memory);
  const RunPaths& paths = session.paths();
  std::vector<std::pair<std::string, std::string>> facts = outcome.facts;
  const std::vector<std::pair<std::string, std::string>> of_run = {
      {"model", shape_text(m)},
      {"parameters", concat(with_thousands(total_parameters(m)), ", ",
                            with_thousands(active_matmul_parameters(m)), " active")},
      {"layout",
       concat(config.parallel.text(), ", ", counted(context().num_threads, "thread"), " a rank")},
      {"data", data_fact(outcome.sources)},
      {"memory",
       concat("at most ", held_text(outcome.memory[fullest].at_peak), ", on rank ", fullest)},
      {"precision", concat(precision_names().of(config.precision), " at level ",
                           cpu::name_of(cpu::active_isa()))},
      {"machine", host_name()}};
  facts.insert(facts.begin(), of_run.begin(), of_run.end());
  write_report(
      paths.report(),
      {.title = config.run.name,
       .subtitle = concat(outcome.loop, ", step ", session.step(), " of ", config.run.max_steps),
       .facts = facts,
       .metrics = read_metrics(paths.metrics()),
       .pipeline = outcome.pipeline ? std::optional(compare_with_prediction(*outcome.pipeline))
                                    : std::nullopt,
       .samples = outcome.samples,
       .config_yaml = config_yaml,
       .next_commands = {concat("orthant generate ", paths.dir, " --prompt \"...\""),
                         concat("orthant ", outcome.command, " ", paths.config(),
                                " run.max_steps=", 2 * config.run.max_steps)}});
}

void log_outcome(const RunSession& session, const RunOutcome& outcome) {
  for (const ReportSample& sample : outcome.samples)
    log::info("sample: ", printable(sample.prompt + sample.completion));
  log_memory(outcome.memory);
  log::info("model: ", session.paths().dir, "; report: ", session.paths().report());
}

void log_outcome(const RunConfig& config, const RunSession& session, const Datasets& data,
                 const RunOutcome& outcome) {
  log_outcome(session, outcome);
  if (outcome.bits_per_byte) {
    const double gzip =
        gzip_bits_per_byte(*data.validation, *data.tokenizer, config.evaluation.tokens);
    log::info("validation: ", rounded(*outcome.bits_per_byte),
              " bits per byte (gzip -9: ", rounded(gzip), ")");
  }
}

}  // namespace orthant
