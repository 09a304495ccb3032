// SPDX-License-Identifier: Apache-2.0
#include "layers/lora.h"

#include <algorithm>
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

// One part of the product with one of the adapters: of each expert, or the only one.
struct Part {
  std::vector<LogicalTensor> weights;
  LoraRule rule;
  size_t adapter;
  const NamedAdapter* named;
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

LogicalTensor factor(const std::string& name, const Shape& global,
                     const std::vector<int64_t>& begin, const Shape& shape, int64_t offset) {
  LogicalTensor t = whole_tensor(name, global, offset, 0.0);
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
      LogicalTensor t =
          factor(adapter_tensor(module_of(weight.name), "lora_A.weight", part.named->name),
                 {rank, whole_in}, {0, weight.begin[1]}, {rank, in}, offset);
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
    logical.push_back(
        factor(adapter_tensor(module_of(weight.name), "lora_B.weight", part.named->name),
               {weight.global_shape[0], rank}, {weight.begin[0], 0}, {rows, rank}, offset));
    offset += rows * rank;
  }
  const bool grouped = base.shape().rank() == 3;
  return build.store.add(
      {.name = adapter_tensor(base.name(), concat("lora_B.", part.place), part.named->name),
       .shape = grouped ? Shape{std::ssize(part.weights), rows, rank} : Shape{rows, rank},
       .dtype = base.dtype(),
       .device = base.device(),
       .logical = std::move(logical),
       .replicas = replicas,
       .rate = part.named->rules->config().plus_ratio});
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

const ChosenAdapters& AdapterSet::chosen() const {
  ORTHANT_CHECK(chosen_, kInternal,
                "a model has adapters by name, and nobody says which a row has");
  return *chosen_;
}

void AdapterSet::set_expert_rows(Tensor rows, int64_t num_experts) {
  expert_rows_ = std::move(rows);
  if (!chosen_) return;
  const Tensor host = expert_rows_.to(Device{});
  std::vector<int64_t> adapters;
  for (const int64_t row : host.span<int64_t>()) adapters.push_back(row / num_experts - 1);
  expert_choice_ = RowChoice(adapters, all_.size(), expert_rows_.device());
}

Var ProductAdapter::dropped(const Var& x, bool grouped) const {
  if (!set_->drops()) return {};
  const AdapterRows& rows = set_->rows();
  const bool all = x.value().dim(0) == rows.local.numel();
  const Tensor& tokens = grouped ? set_->expert_rows() : all ? rows.local : rows.own;
  return dropout(x, set_->dropout(), make_key(set_->seed(), RandomPurpose::kDropout, site_),
                 rows.step, {.tokens = tokens, .width = width_, .column = column_});
}

// With the rows that have each adapter.
LowRank ProductAdapter::low_of(const Var& x, bool grouped) const {
  if (!set_->are_named()) return low_;
  const ChosenAdapters& chosen = set_->chosen();
  const bool all = x.value().dim(0) == chosen.local.num_rows();
  const RowChoice& choice = grouped ? set_->chosen_by_experts() : all ? chosen.local : chosen.own;
  LowRank low = low_;
  for (size_t i = 0; i < low.parts.size(); ++i) low.parts[i].rows = choice.of(adapter_of_[i]);
  return low;
}

Var ProductAdapter::forward(const Var& x, Weight& base, const RowOffsets& offsets) const {
  const bool grouped = offsets != nullptr;
  const Var y = adapted_linear(x, base, low_of(x, grouped), offsets, dropped(x, grouped));
  return magnitudes_ ? magnitudes_->scale(y, offsets) : y;
}

Var ProductAdapter::forward_with(const Var& x, Weight& base, int64_t adapter) const {
  if (!set_->are_named()) return forward(x, base);
  LowRank low = low_;
  for (size_t i = 0; i < low.parts.size(); ++i)
    low.parts[i].rows = {.all = static_cast<int64_t>(adapter_of_[i]) == adapter};
  return adapted_linear(x, base, low);
}

bool ProductAdapter::is_of(int64_t adapter) const {
  const auto is_it = [&](size_t of) { return static_cast<int64_t>(of) == adapter; };
  return !set_->are_named() || std::any_of(adapter_of_.begin(), adapter_of_.end(), is_it);
}

void AdapterSet::set_magnitudes() const {
  for (const auto& magnitudes : magnitudes_) magnitudes->set();
}

std::shared_ptr<const ProductAdapter> ProductAdapter::make(
    const LayerBuilder& build, const Parameter& base, Cut cut,
    const std::vector<std::vector<LogicalTensor>>& parts, const std::string& input) {
  if (!build.adapters) return nullptr;
  std::vector<Part> adapted;
  const NamedAdapters& all = build.adapters->all();
  for (size_t k = 0; k < all.size(); ++k) {
    int64_t begin = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (const std::optional<LoraRule> rule = rule_of(*all[k].rules, parts[i]))
        adapted.push_back({parts[i], *rule, k, &all[k], i, begin});
      begin += parts[i].front().shape[0];
    }
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
    adapter->adapter_of_.push_back(part.adapter);
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
  if (all.front().rules->config().use_dora) {
    ORTHANT_CHECK(all.size() == 1, kInternal, "DoRA is not built beside other adapters");
    adapter->magnitudes_ = std::make_shared<const Magnitudes>(
        build, base, std::move(with_magnitudes), sum_over_inputs(build, base, cut));
    build.adapters->add(adapter->magnitudes_);
  }
  return adapter;
}

namespace {

// The rows of low that have the adapter, zeros in the others.
Var own_rows(const Var& low, const RowSet& set) {
  if (set.all) return low;
  const Tensor& value = low.value();
  if (set.is_none()) return Var(Tensor::zeros(value.shape(), value.dtype(), value.device()));
  return gather_rows(low, set.rows, set.rows.view({set.rows.numel(), 1}));
}

}  // namespace

std::vector<EmbeddingAdapter> EmbeddingAdapter::make(const LayerBuilder& build,
                                                     const Parameter& table, const DimPart& own) {
  std::vector<EmbeddingAdapter> made;
  if (!build.adapters) return made;
  const LogicalTensor& base = table.table().front();
  const std::string module = module_of(base.name);
  const NamedAdapters& all = build.adapters->all();
  for (size_t k = 0; k < all.size(); ++k) {
    const std::optional<LoraRule> rule = all[k].rules->of(module);
    if (!rule) continue;
    const auto name = [&](const char* kind) { return adapter_tensor(module, kind, all[k].name); };
    EmbeddingAdapter adapter;
    adapter.set_ = build.adapters;
    adapter.adapter_ = k;
    adapter.scale_ = rule->scale;
    // Other first values than beside a product, as in PEFT: rows of A are looked up, not
    // multiplied.
    adapter.a_ = &add_factor(
        build, {name("lora_embedding_A"), base.global_shape[0], rule->rank, own}, Replicas::kDense);
    adapter.b_ = &add_factor(build,
                             {.name = name("lora_embedding_B"),
                              .rows = base.global_shape[1],
                              .columns = rule->rank,
                              .init_std = 1.0},
                             beside_vocabulary(build));
    made.push_back(std::move(adapter));
  }
  return made;
}

Var EmbeddingAdapter::forward(const Tensor& ids) const {
  Var low = embedding(ids, *a_);
  if (set_->are_named()) low = own_rows(low, set_->chosen().local.of(adapter_));
  return scale(linear(low, *b_), scale_);
}

std::vector<LogitsAdapter> LogitsAdapter::make(const LayerBuilder& build, int64_t vocab,
                                               int64_t width, const DimPart& own) {
  std::vector<LogitsAdapter> made;
  if (!build.adapters) return made;
  const std::string module = "lm_head";
  const NamedAdapters& all = build.adapters->all();
  for (size_t k = 0; k < all.size(); ++k) {
    const std::optional<LoraRule> rule = all[k].rules->of(module);
    if (!rule) continue;
    const bool uniform = rule->init == LoraInit::kKaiming;
    LogitsAdapter adapter;
    adapter.set_ = build.adapters;
    adapter.adapter_ = k;
    adapter.scale_ = rule->scale;
    adapter.a_ =
        &add_factor(build,
                    {.name = adapter_tensor(module, "lora_A.weight", all[k].name),
                     .rows = rule->rank,
                     .columns = width,
                     .init_std = uniform ? 0.0 : 1.0 / static_cast<double>(rule->rank),
                     .init_bound = uniform ? 1.0 / std::sqrt(static_cast<double>(width)) : 0.0},
                    beside_vocabulary(build));
    adapter.b_ = &add_factor(build,
                             {.name = adapter_tensor(module, "lora_B.weight", all[k].name),
                              .rows = vocab,
                              .columns = rule->rank,
                              .own = own,
                              .rate = all[k].rules->config().plus_ratio},
                             Replicas::kDense);
    made.push_back(std::move(adapter));
  }
  return made;
}

HeadAdapter LogitsAdapter::of(const Var& x) const {
  Var low = scale(linear(x, *a_), scale_);
  if (set_->are_named()) low = own_rows(low, set_->chosen().last.of(adapter_));
  return {.low = low, .b = b_};
}

}  // namespace orthant
