// SPDX-License-Identifier: Apache-2.0
#include "trainer/verify_layout.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "parallel/comm/threads/run_ranks.h"
#include "parallel/pipeline/generators.h"

namespace orthant {
namespace {

// The word and the number of "ep4"; -1 without a number.
std::pair<std::string, int64_t> split_part(const std::string& part) {
  const size_t digits = std::min(part.find_first_of("0123456789"), part.size());
  int64_t number = -1;
  const auto result = std::from_chars(part.data() + digits, part.data() + part.size(), number);
  if (result.ptr != part.data() + part.size()) return {"", -1};
  return {part.substr(0, digits), number};
}

double relative(double got, double want) {
  if (!std::isfinite(got)) return std::numeric_limits<double>::infinity();
  return std::abs(got - want) / std::max(std::abs(want), 1e-12);
}

MicroBatch joined(const std::vector<MicroBatch>& rows) {
  MicroBatch all = rows.front();
  for (size_t i = 1; i < rows.size(); ++i) {
    const MicroBatch& row = rows[i];
    all.sequences += row.sequences;
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(all.ids, row.ids);
    append(all.labels, row.labels);
    append(all.positions, row.positions);
    append(all.doc_start, row.doc_start);
    append(all.sample_ids, row.sample_ids);
  }
  return all;
}

// How a comparison runs, beside the layout.
struct Trial {
  DType precision = DType::kF64;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double learning_rate = 0;
  int64_t steps = 3;
  bool gradients = false;
  const StepChoices* replay = nullptr;
};

class Verifier {
 public:
  Verifier(const RunConfig& config, const std::function<MicroBatch(int64_t, int64_t)>& rows,
           const VerifyLayoutOptions& options, const Group& world)
      : config_(config), rows_(rows), options_(options), world_(world) {
    weights_ = initial_values(planned({}, {.precision = DType::kF32}));
    exact_sgd_ = run({}, sgd(DType::kF64));
    exact_adamw_ = run({}, adamw(DType::kF64, options_.steps));
    if (config_.precision == DType::kBF16)
      exact_long_ = run({}, adamw(DType::kF64, options_.bf16_steps));
    if (config_.precision != DType::kF64)
      own_ =
          run({}, adamw(config_.precision,
                        config_.precision == DType::kBF16 ? options_.bf16_steps : options_.steps));
  }

  LayoutVerdict verify(const LayoutSpec& layout) const {
    LayoutVerdict verdict{.layout = layout};
    const LayoutRun sgd64 = run(layout, sgd(DType::kF64));
    const LayoutRun adamw64 = run(layout, adamw(DType::kF64, options_.steps));
    compare(verdict, "fp64 loss", losses(sgd64), losses(exact_sgd_), 1e-10);
    compare(verdict, "fp64 gradients", sgd64.gradients, exact_sgd_.gradients, 1e-10);
    compare(verdict, "fp64 SGD weights", sgd64.weights, exact_sgd_.weights, 1e-10);
    compare(verdict, "fp64 AdamW weights", adamw64.weights, exact_adamw_.weights, 1e-10);
    if (config_.precision == DType::kF32) {
      Trial trial = sgd(DType::kF32);
      trial.replay = &exact_sgd_.choices;
      const LayoutRun sgd32 = run(layout, trial);
      compare(verdict, "fp32 loss", losses(sgd32, 1), losses(exact_sgd_, 1), 1e-5);
      compare(verdict, "fp32 gradients", sgd32.gradients, exact_sgd_.gradients, 1e-5);
      compare(verdict, "fp32 SGD weights", sgd32.weights, exact_sgd_.weights, 1e-5);
    }
    if (config_.precision == DType::kF64) {
      verdict.first_bit_difference =
          orthant::first_bit_difference(bits_of(adamw64), bits_of(exact_adamw_));
      return verdict;
    }
    const bool bf16 = config_.precision == DType::kBF16;
    const LayoutRun own =
        run(layout, adamw(config_.precision, bf16 ? options_.bf16_steps : options_.steps));
    if (bf16) compare(verdict, "bf16 loss", losses(own), losses(exact_long_), 2e-2);
    verdict.first_bit_difference = orthant::first_bit_difference(bits_of(own), bits_of(own_));
    return verdict;
  }

 private:
  Trial sgd(DType precision) const {
    return {.precision = precision,
            .optimizer = OptimizerKind::kSgd,
            .learning_rate = 0.1,
            .steps = options_.steps,
            .gradients = true};
  }
  Trial adamw(DType precision, int64_t steps) const {
    return {.precision = precision,
            .optimizer = OptimizerKind::kAdamW,
            .learning_rate = config_.optimizer.learning_rate,
            .steps = steps};
  }

  RunPlan planned(const LayoutSpec& layout, const Trial& trial) const {
    RunConfig c = config_;
    c.precision = trial.precision;
    c.batch.ramp_start = c.batch.ramp_increment = c.batch.ramp_samples = 0;
    c.run.determinism = Determinism::kLayout;
    c.optimizer.kind = trial.optimizer;
    c.optimizer.learning_rate = trial.learning_rate;
    // Never 0, which would compare nothing.
    c.schedule = {.shape = ScheduleShape::kConstant,
                  .warmup_steps = trial.optimizer == OptimizerKind::kAdamW ? trial.steps : 0};
    return RunPlan(layout.applied_to(c), layout.ranks());
  }

  LayoutRun run(const LayoutSpec& layout, const Trial& trial) const {
    const RunPlan plan = planned(layout, trial);
    const RunConfig& config = plan.config();
    const int64_t sequences = config.batch.micro_batch_size;
    const MicroBatchSource batches = [&](int64_t step, int64_t micro_batch) {
      std::vector<MicroBatch> rows;
      for (int64_t r = 0; r < sequences; ++r)
        rows.push_back(rows_(step, micro_batch * sequences + r));
      return joined(rows);
    };
    const LayoutRunOptions options{.steps = trial.steps,
                                   .gradients = trial.gradients,
                                   .weights = weights_,
                                   .replay = trial.replay};
    if (layout.ranks() == 1) return run_layout(plan, batches, options, Group::self());
    if (world_.size() > 1) return run_layout(plan, batches, options, world_);
    LayoutRun result;
    run_ranks(layout.ranks(),
              [&](const Group& ranks) {
                LayoutRun own = run_layout(plan, batches, options, ranks);
                if (ranks.rank() == 0) result = std::move(own);
              },
              {.deadline_seconds = config.parallel.timeout_seconds});
    return result;
  }

  static NamedValues losses(const LayoutRun& run, size_t steps = 0) {
    NamedValues values;
    for (size_t i = 0; i < (steps ? steps : run.steps.size()); ++i) {
      values["lm_loss"].push_back(run.steps[i].objective_loss);
      values["balance_loss"].push_back(run.steps[i].balance_loss);
      for (const double sum : run.steps[i].sums) values["mtp_loss"].push_back(sum);
      values["grad_norm"].push_back(run.steps[i].grad_norm);
    }
    return values;
  }

  // Losses step by step, tensors in the norm of docs/numerics.md.
  static void compare(LayoutVerdict& verdict, const std::string& name, const NamedValues& got,
                      const NamedValues& want, double tolerance) {
    WorstDifference worst;
    if (name.ends_with("loss")) {
      for (const auto& [kind, values] : want) {
        if (name.starts_with("bf16") && kind == "grad_norm") continue;
        for (size_t i = 0; i < values.size(); ++i) {
          const double d = relative(got.at(kind)[i], values[i]);
          if (worst.tensor.empty() || d > worst.error) worst = {d, concat(kind, ", step ", i + 1)};
        }
      }
    } else {
      worst = worst_difference(got, want);
    }
    verdict.measures.push_back({name, worst.error, tolerance, worst.tensor});
  }

  const RunConfig& config_;
  const std::function<MicroBatch(int64_t, int64_t)>& rows_;
  const VerifyLayoutOptions& options_;
  Group world_;
  NamedValues weights_;
  LayoutRun exact_sgd_, exact_adamw_, exact_long_, own_;
};

}  // namespace

RunConfig LayoutSpec::applied_to(RunConfig c) const {
  ParallelConfig& p = c.parallel;
  p.data_parallel_size = data_parallel_size;
  p.tensor_parallel_size = tensor_parallel_size;
  p.sequence_parallel = sequence_parallel;
  p.context_parallel_size = context_parallel_size;
  p.context_parallel_kind = ulysses ? ContextKind::kUlysses : ContextKind::kRing;
  p.pipeline_parallel_size = pipeline_parallel_size;
  p.pipeline_chunks = pipeline_chunks;
  p.pipeline_layers.clear();
  if (!pipeline_schedule.empty()) p.pipeline_schedule = pipeline_schedule;
  if (ranks() == 1) p.pipeline_schedule = "1f1b";
  p.expert_parallel_size = expert_parallel_size;
  p.expert_tensor_parallel_size = expert_tensor_parallel_size;
  p.recompute = recompute;
  if (zero_stage >= 0) p.zero_stage = zero_stage;
  if (micro_batch_size > 0) c.batch.micro_batch_size = micro_batch_size;
  return c;
}

namespace {

// Error(kUsage) when a layout has no such part.
void set_part(LayoutSpec& layout, const std::string& part) {
  const auto [word, number] = split_part(part);
  const std::pair<const char*, int64_t*> sizes[] = {
      {"dp", &layout.data_parallel_size},     {"tp", &layout.tensor_parallel_size},
      {"ep", &layout.expert_parallel_size},   {"etp", &layout.expert_tensor_parallel_size},
      {"mb", &layout.micro_batch_size},       {"cp", &layout.context_parallel_size},
      {"pp", &layout.pipeline_parallel_size}, {"chunks", &layout.pipeline_chunks},
  };
  for (const auto& [name, size] : sizes) {
    if (word != name || number < 1 || number > 4096) continue;
    *size = number;
    return;
  }
  if (part == "recompute") {
    layout.recompute = Recompute::kFull;
  } else if (part == "selective") {
    layout.recompute = Recompute::kSelective;
  } else if (part == "nosp") {
    layout.sequence_parallel = false;
  } else if (part == "ulysses") {
    layout.ulysses = true;
  } else if (std::ranges::count(pipeline::schedule_names(), part) > 0) {
    layout.pipeline_schedule = part;
  } else if (part == "zero0" || part == "zero1") {
    layout.zero_stage = number;
  } else {
    throw_error(
        ErrorKind::kUsage,
        concat("layout '", layout.text, "': '", part,
               "' is none of dpN, tpN, nosp, cpN, ulysses, ppN, a pipeline schedule, chunksN, "
               "epN, etpN, mbN, zero0, zero1, recompute, selective (joined by +, as dp4+ep2)"));
  }
}

}  // namespace

LayoutSpec parse_layout(const std::string& text) {
  LayoutSpec layout{.text = text};
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('+', at), text.size());
    set_part(layout, text.substr(at, end - at));
    at = end + 1;
  }
  return layout;
}

std::string why_not(const LayoutSpec& layout, const RunConfig& config) {
  try {
    RunPlan(layout.applied_to(config), layout.ranks());
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::vector<LayoutSpec> default_layouts(const RunConfig& config, int max_ranks) {
  std::vector<LayoutSpec> layouts;
  const auto offer = [&](const std::string& text) { layouts.push_back(parse_layout(text)); };
  offer("dp1+recompute");
  offer("dp1+selective");
  offer("dp1+mb1");
  for (int ranks = 2; ranks <= max_ranks; ranks *= 2) {
    offer(concat("dp", ranks));
    offer(concat("tp", ranks));
    offer(concat("cp", ranks));
    offer(concat("pp", ranks));
    offer(concat("cp", ranks, "+ulysses"));
    for (const char* schedule : {"gpipe", "interleaved", "zb_h1", "dualpipev"})
      if (ranks == 2) offer(concat("pp2+", schedule));
    if (ranks >= 4) offer("pp2+cp2");
    if (ranks >= 4) offer("tp2+cp2");
    if (ranks >= 4) offer("tp2+pp2");
    if (ranks >= 4) offer(concat("pp2+zb_h1+tp", ranks / 2));
    if (ranks >= 4) offer(concat("dp", ranks / 2, "+tp2+nosp"));
    if (!config.model.is_moe()) continue;
    for (int ep = 2; ep <= ranks; ep *= 2) offer(concat("dp", ranks, "+ep", ep));
    offer(concat("dp", ranks, "+etp2"));
    if (ranks >= 4) offer(concat("dp", ranks, "+ep2+etp2+recompute"));
    if (ranks >= 4) offer(concat("dp", ranks / 2, "+tp2+ep", ranks));
  }
  return layouts;
}

bool LayoutVerdict::passed() const {
  return std::all_of(measures.begin(), measures.end(),
                     [](const LayoutMeasure& m) { return m.passed(); });
}

RunConfig scaled_down(RunConfig c) {
  ModelConfig& m = c.model;
  const auto at_most = [](int64_t& value, int64_t limit) { value = std::min(value, limit); };
  const int64_t kv = m.num_key_value_heads > 0 ? m.num_key_value_heads : m.num_attention_heads;
  const int64_t heads_per_kv = std::max<int64_t>(1, m.num_attention_heads / kv);
  m.num_key_value_heads = std::min<int64_t>(kv, 4);
  m.num_attention_heads = m.num_key_value_heads * heads_per_kv;
  m.head_dim = m.is_latent() ? 0 : std::min<int64_t>(m.head_dim > 0 ? m.head_dim : 16, 16);
  at_most(m.kv_lora_rank, 24);
  at_most(m.q_lora_rank, 24);
  at_most(m.qk_nope_head_dim, 12);
  at_most(m.qk_rope_head_dim, 8);
  at_most(m.v_head_dim, 16);
  at_most(m.hidden_size, 64);
  at_most(m.intermediate_size, 96);
  at_most(m.moe_intermediate_size, 32);
  at_most(m.first_k_dense_replace, 1);
  at_most(m.num_hidden_layers, 4);  // a pipeline of two ranks with two stages each
  at_most(c.batch.sequence_length, 64);
  if (m.max_position_embeddings > 0) at_most(m.max_position_embeddings, 64);
  const int64_t micro_batches =
      c.batch.global_batch_size > 0 ? c.batch.global_batch_size / c.batch.micro_batch_size : 8;
  at_most(c.batch.micro_batch_size, 2);
  c.batch.global_batch_size = c.batch.micro_batch_size * std::clamp<int64_t>(micro_batches, 8, 16);
  return c;
}

std::vector<LayoutVerdict> verify_layouts(
    const RunConfig& config, const std::function<MicroBatch(int64_t step, int64_t row)>& rows,
    const VerifyLayoutOptions& options, const Group& world,
    const std::function<void(const LayoutVerdict&)>& on_verdict) {
  for (const LayoutSpec& layout : options.layouts) {
    ORTHANT_CHECK(world.size() == 1 || layout.ranks() == world.size(), kUsage, "layout ",
                  layout.text, " has ", layout.ranks(), " ranks, the job ", world.size(),
                  "; without mpirun any layout runs, its ranks as threads");
  }
  const Verifier verifier(config, rows, options, world);
  std::vector<LayoutVerdict> verdicts;
  for (const LayoutSpec& layout : options.layouts) {
    verdicts.push_back(verifier.verify(layout));
    on_verdict(verdicts.back());
  }
  return verdicts;
}

}  // namespace orthant
