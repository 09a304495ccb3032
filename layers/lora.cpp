// SPDX-License-Identifier: Apache-2.0
#include "layers/lora.h"

#include <cmath>

#include "base/error.h"
#include "layers/builder.h"
#include "layers/dora.h"

namespace orthant {
namespace {

// Of what ranks hold whole beside a product that they cut.
Replicas partial_sums_beside(Replicas base) {
  return base == Replicas::kExpert ? Replicas::kExpertRows : Replicas::kRows;
}

// One part of the product: of each expert, or the only one.
struct Part {
  std::vector<LogicalTensor> weights;
  LoraRule rule;
  size_t place;   // among the product's parts
  int64_t begin;  // of its columns
  int64_t rows() const { return weights.front().shape[0]; }
};

std::optional<LoraRule> rule_of(const LoraRules& rules, const std::vector<LogicalTensor>& weights) {
  const auto of = [&](const LogicalTensor& weight) { return rules.of(module_of(weight.name)); };
  const std::optional<LoraRule> first = of(weights.front());
  for (const LogicalTensor& weight : weights) {
    const std::optional<LoraRule> rule = of(weight);
    ORTHANT_CHECK(rule.has_value() == first.has_value() &&
                      (!rule || (rule->rank == first->rank && rule->scale == first->scale)),
                  kConfig, "lora: ", weights.front().name, " and ", weight.name,
                  " are computed together: want adapters of one rank and alpha beside both, or "
                  "beside none");
  }
  return first;
}

LogicalTensor factor(const LogicalTensor& base, const char* name, const Shape& global,
                     const std::vector<int64_t>& begin, const Shape& shape, int64_t offset) {
  LogicalTensor t = whole_tensor(module_of(base.name) + name, global, offset, 0.0);
  t.begin = begin;
  t.shape = shape;
  return t;
}

// A of all parts: [experts, ranks, in].
ParameterUse& add_a(const LayerBuilder& build, const Parameter& base,
                    const std::vector<Part>& parts, Replicas replicas) {
  const int64_t experts = std::ssize(parts.front().weights), in = base.shape()[-1];
  int64_t ranks = 0;
  for (const Part& part : parts) ranks += part.rule.rank;
  std::vector<LogicalTensor> logical;
  int64_t offset = 0;
  for (int64_t e = 0; e < experts; ++e) {
    for (const Part& part : parts) {
      const LogicalTensor& weight = part.weights[static_cast<size_t>(e)];
      const int64_t rank = part.rule.rank, whole_in = weight.global_shape[1];
      LogicalTensor t = factor(weight, ".lora_A.weight", {rank, whole_in}, {0, weight.begin[1]},
                               {rank, in}, offset);
      if (part.rule.init == LoraInit::kKaiming) {
        t.init_bound = 1.0 / std::sqrt(static_cast<double>(whole_in));
      } else {
        t.init_std = 1.0 / static_cast<double>(rank);
      }
      offset += rank * in;
      logical.push_back(std::move(t));
    }
  }
  const bool grouped = base.shape().rank() == 3;
  return build.store.add({.name = base.name() + ".lora_A",
                          .shape = grouped ? Shape{experts, ranks, in} : Shape{ranks, in},
                          .dtype = base.dtype(),
                          .device = base.device(),
                          .logical = std::move(logical),
                          .replicas = replicas});
}

// B of one part: [experts, rows, rank], 0 at first.
ParameterUse& add_b(const LayerBuilder& build, const Parameter& base, const Part& part,
                    Replicas replicas) {
  const int64_t rows = part.rows(), rank = part.rule.rank;
  std::vector<LogicalTensor> logical;
  int64_t offset = 0;
  for (const LogicalTensor& weight : part.weights) {
    logical.push_back(factor(weight, ".lora_B.weight", {weight.global_shape[0], rank},
                             {weight.begin[0], 0}, {rows, rank}, offset));
    offset += rows * rank;
  }
  const bool grouped = base.shape().rank() == 3;
  return build.store.add(
      {.name = concat(base.name(), ".lora_B.", part.place),
       .shape = grouped ? Shape{std::ssize(part.weights), rows, rank} : Shape{rows, rank},
       .dtype = base.dtype(),
       .device = base.device(),
       .logical = std::move(logical),
       .replicas = replicas,
       .rate = build.adapters->rules().config().plus_ratio});
}

// A matrix of which this rank holds the rows `own`.
struct Factor {
  std::string name;
  int64_t rows, columns;
  DimPart own = {};
  double init_std = 0, init_bound = 0;
  double rate = 1.0;
};

ParameterUse& add_factor(const LayerBuilder& build, const Factor& f, Replicas replicas) {
  const DimPart own = f.own.within(f.rows);
  LogicalTensor t = whole_tensor(f.name, {f.rows, f.columns}, 0, f.init_std);
  t.init_bound = f.init_bound;
  t.begin[0] = own.begin;
  t.shape[0] = own.size;
  return build.store.add({.name = f.name,
                          .shape = t.shape,
                          .dtype = build.dtype,
                          .device = build.device,
                          .logical = {t},
                          .replicas = replicas,
                          .rate = f.rate});
}

// Of what tensor-parallel ranks hold whole beside what they cut by the vocabulary.
Replicas beside_vocabulary(const LayerBuilder& build) {
  return build.ranks.tensor.size() == 1 ? Replicas::kDense : Replicas::kRows;
}

// Over the ranks that hold the same rows of a product, each for a part of its inputs.
std::function<std::vector<double>(std::span<const double>)> sum_over_inputs(
    const LayerBuilder& build, const Parameter& base, Cut cut) {
  if (cut != Cut::kInputs) return {};
  if (base.replicas() != Replicas::kExpert)
    return [group = build.ranks.tensor](std::span<const double> own) { return group.sum(own); };
  // Expert-tensor ranks have no group of their own: every rank has a place in a sum over all that
  // hold experts, which its expert-tensor ranks share.
  const RankGroups& ranks = build.ranks;
  return [group = ranks.experts, rank = static_cast<size_t>(ranks.expert_rank()),
          places = static_cast<size_t>(ranks.expert_parallel_size)](std::span<const double> own) {
    std::vector<double> all(places * own.size(), 0.0);
    std::copy(own.begin(), own.end(), all.begin() + static_cast<std::ptrdiff_t>(rank * own.size()));
    all = group.sum(all);
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(rank * own.size());
    return std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(own.size()));
  };
}

}  // namespace

Var ProductAdapter::dropped(const Var& x, bool grouped) const {
  if (!set_->drops()) return {};
  const AdapterRows& rows = set_->rows();
  const bool all = x.value().dim(0) == rows.local.numel();
  const Tensor& tokens = grouped ? set_->expert_rows() : all ? rows.local : rows.own;
  return dropout(x, set_->rules().config().dropout,
                 make_key(set_->seed(), RandomPurpose::kDropout, site_), rows.step,
                 {.tokens = tokens, .width = width_, .column = column_});
}

Var ProductAdapter::forward(const Var& x, Weight& base, const RowOffsets& offsets) const {
  const Var y = adapted_linear(x, base, low_, offsets, dropped(x, offsets != nullptr));
  return magnitudes_ ? magnitudes_->scale(y, offsets) : y;
}

void AdapterSet::set_magnitudes() const {
  for (const auto& magnitudes : magnitudes_) magnitudes->set();
}

std::shared_ptr<const ProductAdapter> ProductAdapter::make(
    const LayerBuilder& build, const Parameter& base, Cut cut,
    const std::vector<std::vector<LogicalTensor>>& parts, const std::string& input) {
  if (!build.adapters) return nullptr;
  std::vector<Part> adapted;
  int64_t begin = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (const std::optional<LoraRule> rule = rule_of(build.adapters->rules(), parts[i]))
      adapted.push_back({parts[i], *rule, i, begin});
    begin += parts[i].front().shape[0];
  }
  if (adapted.empty()) return nullptr;
  const Replicas whole = cut == Cut::kNone ? base.replicas() : partial_sums_beside(base.replicas());
  auto adapter = std::make_shared<ProductAdapter>();
  const LogicalTensor& first = parts.front().front();
  adapter->set_ = build.adapters;
  adapter->site_ = input + ".lora";
  adapter->width_ = first.global_shape[1];
  adapter->column_ = first.begin[1];
  ParameterUse& a = add_a(build, base, adapted, cut == Cut::kOutputs ? whole : base.replicas());
  adapter->low_.a = &a;
  const Replicas of_outputs = cut == Cut::kInputs ? whole : base.replicas();
  std::vector<Magnitudes::Part> with_magnitudes;
  int64_t rank_begin = 0;
  for (const Part& part : adapted) {
    ParameterUse& b = add_b(build, base, part, of_outputs);
    adapter->low_.parts.push_back({.b = &b, .begin = part.begin, .scale = part.rule.scale});
    with_magnitudes.push_back({.weights = part.weights,
                               .begin = part.begin,
                               .rank_begin = rank_begin,
                               .rank = part.rule.rank,
                               .a = &a.parameter(),
                               .b = &b.parameter(),
                               .scale = part.rule.scale,
                               .replicas = of_outputs});
    rank_begin += part.rule.rank;
  }
  if (build.adapters->rules().config().use_dora) {
    adapter->magnitudes_ = std::make_shared<const Magnitudes>(
        build, base, std::move(with_magnitudes), sum_over_inputs(build, base, cut));
    build.adapters->add(adapter->magnitudes_);
  }
  return adapter;
}

std::shared_ptr<const EmbeddingAdapter> EmbeddingAdapter::make(const LayerBuilder& build,
                                                               const Parameter& table,
                                                               const DimPart& own) {
  const LogicalTensor& base = table.table().front();
  const std::string module = module_of(base.name);
  const auto rule = build.adapters ? build.adapters->rules().of(module) : std::nullopt;
  if (!rule) return nullptr;
  auto adapter = std::make_shared<EmbeddingAdapter>();
  adapter->scale_ = rule->scale;
  // Other first values than beside a product, as in PEFT: rows of A are looked up, not multiplied.
  adapter->a_ =
      &add_factor(build, {module + ".lora_embedding_A", base.global_shape[0], rule->rank, own},
                  Replicas::kDense);
  adapter->b_ = &add_factor(build,
                            {.name = module + ".lora_embedding_B",
                             .rows = base.global_shape[1],
                             .columns = rule->rank,
                             .init_std = 1.0},
                            beside_vocabulary(build));
  return adapter;
}

Var EmbeddingAdapter::forward(const Tensor& ids) const {
  return scale(linear(embedding(ids, *a_), *b_), scale_);
}

std::shared_ptr<const LogitsAdapter> LogitsAdapter::make(const LayerBuilder& build, int64_t vocab,
                                                         int64_t width, const DimPart& own) {
  const std::string module = "lm_head";
  const auto rule = build.adapters ? build.adapters->rules().of(module) : std::nullopt;
  if (!rule) return nullptr;
  const bool uniform = rule->init == LoraInit::kKaiming;
  auto adapter = std::make_shared<LogitsAdapter>();
  adapter->scale_ = rule->scale;
  adapter->a_ =
      &add_factor(build,
                  {.name = module + ".lora_A.weight",
                   .rows = rule->rank,
                   .columns = width,
                   .init_std = uniform ? 0.0 : 1.0 / static_cast<double>(rule->rank),
                   .init_bound = uniform ? 1.0 / std::sqrt(static_cast<double>(width)) : 0.0},
                  beside_vocabulary(build));
  adapter->b_ = &add_factor(build,
                            {.name = module + ".lora_B.weight",
                             .rows = vocab,
                             .columns = rule->rank,
                             .own = own,
                             .rate = build.adapters->rules().config().plus_ratio},
                            Replicas::kDense);
  return adapter;
}

HeadAdapter LogitsAdapter::of(const Var& x) const {
  return {.low = scale(linear(x, *a_), scale_), .b = b_};
}

}  // namespace orthant
