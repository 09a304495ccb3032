// SPDX-License-Identifier: Apache-2.0
#include "trainer/routing_inspection.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "moe/statistics.h"
#include "trainer/run/progress.h"
#include "trainer/scoring.h"

namespace orthant {
namespace {

constexpr size_t kDistinctive = 8;  // tokens shown of an expert

void count(const LayerRouting& routing, std::span<const int32_t> tokens, size_t domain,
           LayerInspection& layer) {
  const Tensor host = routing.ids.to(Device{});
  const int64_t slots = host.dim(1);
  for (int64_t i = 0; i < host.numel(); ++i) {
    const auto expert = static_cast<size_t>(host.as<int32_t>()[i]);
    layer.counts[domain][expert] += 1;
    layer.tokens[expert][tokens[static_cast<size_t>(i / slots)]] += 1;
  }
}

double total_of(const std::vector<double>& counts) {
  double total = 0;
  for (const double n : counts) total += n;
  return total;
}

std::string number(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

// A token as it can be printed in one line.
std::string token_text(const Tokenizer& tokenizer, int32_t token) {
  if (token == tokenizer.end_of_document()) return "<end>";
  std::string text;
  for (const char c : valid_utf8(tokenizer.decode({&token, 1}))) {
    if (c == '\n') {
      text += "\\n";
    } else if (c == '\t') {
      text += "\\t";
    } else {
      text += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return concat("'", text, "'");
}

}  // namespace

std::vector<double> LayerInspection::loads() const {
  std::vector<double> sum(tokens.size(), 0.0);
  for (const std::vector<double>& domain : counts)
    for (size_t e = 0; e < sum.size(); ++e) sum[e] += domain[e];
  return sum;
}

RoutingInspection inspect_routing(const Transformer& model, std::vector<RoutingDomain> domains) {
  const ModelConfig& config = model.config();
  const auto experts = static_cast<size_t>(config.n_routed_experts);
  const NoGradScope no_grad;
  RoutingInspection result{.domains = std::move(domains)};
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    if (!config.is_moe_layer(layer)) continue;
    result.layers.push_back(
        {.layer = layer,
         .counts = std::vector(result.domains.size(), std::vector<double>(experts, 0.0)),
         .tokens = std::vector<std::map<int32_t, double>>(experts)});
  }
  const auto longest = static_cast<size_t>(config.max_position_embeddings);
  for (size_t d = 0; d < result.domains.size(); ++d) {
    const std::vector<int32_t>& tokens = result.domains[d].tokens;
    for (size_t begin = 0; begin < tokens.size(); begin += longest) {
      const std::span<const int32_t> row(tokens.data() + begin,
                                         std::min(longest, tokens.size() - begin));
      Pass pass(document_row(row), model.ranks(), model.device());
      model.forward(Var(), pass);
      for (size_t i = 0; i < result.layers.size(); ++i)
        count(pass.moe.routings[i], row, d, result.layers[i]);
    }
  }
  return result;
}

std::vector<int32_t> distinctive_tokens(const LayerInspection& layer, int64_t expert,
                                        size_t wanted) {
  std::map<int32_t, double> all;
  for (const auto& of_expert : layer.tokens)
    for (const auto& [token, n] : of_expert) all[token] += n;
  const std::vector<double> loads = layer.loads();
  const double total = total_of(loads), here = loads[static_cast<size_t>(expert)];
  std::vector<std::pair<double, int32_t>> ranked;  // best first
  for (const auto& [token, n] : layer.tokens[static_cast<size_t>(expert)]) {
    const double p = n / here, q = all[token] / total;
    if (p > q) ranked.emplace_back(-p * std::log(p / q), token);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<int32_t> tokens;
  for (size_t i = 0; i < std::min(wanted, ranked.size()); ++i) tokens.push_back(ranked[i].second);
  return tokens;
}

std::string routing_table(const RoutingInspection& inspection, const Tokenizer& tokenizer) {
  std::string text;
  for (const RoutingDomain& domain : inspection.domains)
    text += concat(domain.name, ": ", with_thousands(std::ssize(domain.tokens)), " tokens\n");
  for (const LayerInspection& layer : inspection.layers) {
    const std::vector<double> loads = layer.loads(), relative = relative_loads(loads);
    const LoadStatistics load = load_statistics(loads);
    text += concat("\nlayer ", layer.layer, ": greatest load over mean ",
                   number("%.2f", load.max_over_mean), ", entropy ", number("%.3f", load.entropy),
                   " of 1\nexpert  load");
    const bool several = inspection.domains.size() > 1;
    for (const RoutingDomain& domain : inspection.domains)
      if (several) text += "  % of " + domain.name;
    text += "  most distinctive tokens\n";
    for (size_t e = 0; e < loads.size(); ++e) {
      text += number("%6.0f", static_cast<double>(e)) + number("%6.2f", relative[e]);
      for (size_t d = 0; several && d < inspection.domains.size(); ++d) {
        const double all = total_of(layer.counts[d]);
        const std::string share = number("%.1f", all > 0 ? 100 * layer.counts[d][e] / all : 0.0);
        const size_t width = inspection.domains[d].name.size() + 7;
        text += std::string(width > share.size() ? width - share.size() : 1, ' ') + share;
      }
      text += " ";
      for (const int32_t token : distinctive_tokens(layer, static_cast<int64_t>(e), kDistinctive))
        text += " " + token_text(tokenizer, token);
      text += "\n";
    }
  }
  return text;
}

std::string routing_json(const RoutingInspection& inspection, const Tokenizer& tokenizer) {
  using Json = nlohmann::ordered_json;
  Json json{{"domains", Json::array()}, {"layers", Json::array()}};
  for (const RoutingDomain& domain : inspection.domains)
    json["domains"].push_back({{"name", domain.name}, {"tokens", domain.tokens.size()}});
  for (const LayerInspection& layer : inspection.layers) {
    const std::vector<double> loads = layer.loads(), relative = relative_loads(loads);
    const LoadStatistics load = load_statistics(loads);
    Json experts = Json::array();
    for (size_t e = 0; e < loads.size(); ++e) {
      Json domains = Json::array(), tokens = Json::array();
      for (const std::vector<double>& counts : layer.counts) {
        const double all = total_of(counts);
        domains.push_back(all > 0 ? counts[e] / all : 0.0);
      }
      for (const int32_t token : distinctive_tokens(layer, static_cast<int64_t>(e), kDistinctive))
        tokens.push_back({{"id", token},
                          {"text", token_text(tokenizer, token)},
                          {"count", layer.tokens[e].at(token)}});
      experts.push_back({{"tokens", loads[e]},
                         {"load", relative[e]},
                         {"share_of_domain", std::move(domains)},
                         {"distinctive", std::move(tokens)}});
    }
    json["layers"].push_back({{"layer", layer.layer},
                              {"load_max_over_mean", load.max_over_mean},
                              {"load_entropy", load.entropy},
                              {"experts", std::move(experts)}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace orthant
