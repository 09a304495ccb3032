// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/metrics.h"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/durable_file.h"
#include "base/error.h"
#include "base/log.h"

namespace orthant {
namespace {

using Json = nlohmann::json;

// The fields by name, in the order in which they are written: one list for writer and reader.
template <class Metrics, class Visit>
void visit_required(Metrics& m, const Visit& visit) {
  visit("step", m.step);
  visit("samples", m.samples);
  visit("tokens", m.tokens);
  visit("loss", m.loss);
  visit("lm_loss", m.lm_loss);
  visit("grad_norm", m.grad_norm);
  visit("learning_rate", m.learning_rate);
  visit("step_ms", m.step_ms);
  visit("tokens_per_second", m.tokens_per_second);
  visit("model_tflops", m.model_tflops);
  visit("mfu", m.mfu);
  visit("memory_peak_bytes", m.memory_peak_bytes);
}

template <class Metrics, class Visit>
void visit_optional(Metrics& m, const Visit& visit) {
  visit("epochs", m.epochs);
  visit("validation_loss", m.validation_loss);
  visit("validation_bits_per_byte", m.validation_bits_per_byte);
  visit("mtp_loss", m.mtp_loss);
  visit("balance_loss", m.balance_loss);
  visit("expert_load_max_over_mean", m.expert_load_max_over_mean);
  visit("expert_load_entropy", m.expert_load_entropy);
  visit("dropped_fraction", m.dropped_fraction);
}

std::string json_number(double value) { return std::isfinite(value) ? concat(value) : "null"; }
std::string json_number(int64_t value) { return concat(value); }

bool read_number(const Json& json, double& value) {
  if (!json.is_number() && !json.is_null()) return false;
  value = json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
  return true;
}
bool read_number(const Json& json, int64_t& value) {
  if (!json.is_number_integer()) return false;
  value = json.get<int64_t>();
  return true;
}

bool parse_line(const std::string& line, StepMetrics& m) {
  Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return false;
  bool good = json.contains("step");
  visit_required(m, [&](const char* name, auto& value) {
    const auto at = json.find(name);
    if (at == json.end()) return;
    good = read_number(*at, value) && good;
    json.erase(at);
  });
  visit_optional(m, [&](const char* name, std::optional<double>& value) {
    const auto at = json.find(name);
    if (at == json.end()) return;
    good = read_number(*at, value.emplace()) && good;
    json.erase(at);
  });
  if (const auto at = json.find("expert_loads"); at != json.end() && at->is_array()) {
    for (const Json& row : *at) {
      std::vector<double>& loads = m.expert_loads.emplace_back();
      for (const Json& load : row) {
        if (!read_number(load, loads.emplace_back())) loads.back() = 0;
      }
    }
    json.erase(at);
  }
  for (const auto& [name, value] : json.items()) {
    double number = 0;
    if (read_number(value, number))
      (name.starts_with("memory_") ? m.memory : m.extra).emplace_back(name, number);
  }
  return good;
}

// Line by line, since the file of a long run is large.
void cut_back(const std::string& path, int64_t last_step) {
  std::ifstream in(path);
  if (!in) throw_cannot_write(path, "read", errno);
  FileReplacement replacement(path);
  {
    std::ofstream out(replacement.temporary(), std::ios::trunc);
    std::string line;
    while (std::getline(in, line)) {
      StepMetrics metrics;
      if (parse_line(line, metrics) && metrics.step >= 1 && metrics.step <= last_step) {
        out << line << '\n';
      }
    }
    out.flush();
    if (!out) throw_cannot_write(path, "write", errno);
  }
  replacement.commit();
}

}  // namespace

bool has_other_losses(const StepMetrics& m) {
  return m.balance_loss || m.mtp_loss || std::abs(m.loss - m.lm_loss) > 0;
}

std::string to_json_line(const StepMetrics& metrics) {
  std::string text = "{";
  const auto put = [&](std::string_view name, const std::string& value) {
    text += concat(text.size() == 1 ? "" : ", ", "\"", name, "\": ", value);
  };
  visit_required(metrics,
                 [&](const char* name, const auto& value) { put(name, json_number(value)); });
  visit_optional(metrics, [&](const char* name, const std::optional<double>& value) {
    if (value) put(name, json_number(*value));
  });
  for (const auto& [name, value] : metrics.extra) {
    const std::string quoted = Json(name).dump(-1, ' ', false, Json::error_handler_t::replace);
    put(std::string_view(quoted).substr(1, quoted.size() - 2), json_number(value));
  }
  for (const auto& [name, value] : metrics.memory) put(name, json_number(value));
  if (!metrics.expert_loads.empty()) {
    std::string rows;
    for (const std::vector<double>& loads : metrics.expert_loads) {
      std::string row;
      for (const double load : loads) row += concat(row.empty() ? "" : ", ", json_number(load));
      rows += concat(rows.empty() ? "" : ", ", "[", row, "]");
    }
    put("expert_loads", concat("[", rows, "]"));
  }
  return text + "}";
}

std::vector<std::pair<std::string, double>> scalars_of(const StepMetrics& metrics) {
  std::vector<std::pair<std::string, double>> scalars;
  visit_required(metrics, [&](const char* name, const auto& value) {
    if (name != std::string_view("step")) scalars.emplace_back(name, static_cast<double>(value));
  });
  visit_optional(metrics, [&](const char* name, const std::optional<double>& value) {
    if (value) scalars.emplace_back(name, *value);
  });
  scalars.insert(scalars.end(), metrics.extra.begin(), metrics.extra.end());
  scalars.insert(scalars.end(), metrics.memory.begin(), metrics.memory.end());
  return scalars;
}

MetricsWriter::MetricsWriter(const std::string& path, int64_t last_step) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode)) cut_back(path, last_step);
  file_ = std::make_unique<AppendFile>(path);
}

void MetricsWriter::write(const StepMetrics& metrics) {
  file_->append(to_json_line(metrics) + "\n", concat("the line of step ", metrics.step));
}

std::vector<StepMetrics> read_metrics(const std::string& path) {
  std::ifstream in(path);
  ORTHANT_CHECK(in.is_open(), kMissingInput, path,
                ": cannot read the metrics: ", std::strerror(errno));
  std::vector<StepMetrics> steps;
  std::string line;
  while (std::getline(in, line)) {
    StepMetrics metrics;
    if (parse_line(line, metrics)) steps.push_back(std::move(metrics));
  }
  return steps;
}

}  // namespace orthant
