// SPDX-License-Identifier: Apache-2.0
#include "trainer/run/pipeline_record.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "parallel/pipeline/generators.h"
#include "parallel/pipeline/measured_costs.h"

namespace orthant {
namespace {

using Json = nlohmann::ordered_json;
using pipeline::Action;
using pipeline::Program;
using pipeline::Span;

Json to_json(const Span& span) {
  return {{"action", pipeline::name_of(span.action.act)},
          {"stage", span.action.stage},
          {"micro_batch", span.action.micro_batch},
          {"start", span.start},
          {"end", span.end}};
}

// Throws what nlohmann throws, or Error, where the text is no record.
Span read_span(const Json& json, const Action& wanted) {
  const bool is_wanted = json.at("action").get<std::string>() == pipeline::name_of(wanted.act) &&
                         json.at("stage").get<int>() == wanted.stage &&
                         json.at("micro_batch").get<int>() == wanted.micro_batch;
  ORTHANT_CHECK(is_wanted, kData, "want ", text_of(wanted), ", got ", json.dump());
  const Span span{wanted, json.at("start").get<double>(), json.at("end").get<double>()};
  ORTHANT_CHECK(span.start >= 0 && span.end >= span.start, kData, text_of(wanted),
                ": want an end behind its start, got ", json.dump());
  return span;
}

PipelineRecord read_record(const Json& json) {
  const Json& ranks = json.at("spans");
  const int num_ranks = json.at("ranks").get<int>();
  const int micro_batches = json.at("micro_batches").get<int>();
  // Before a schedule of that size is made.
  ORTHANT_CHECK(
      num_ranks >= 1 && std::ssize(ranks) == num_ranks && micro_batches <= std::ssize(ranks.at(0)),
      kData, "want spans of every rank and micro-batch");
  PipelineRecord record{
      .step = json.at("step").get<int64_t>(),
      .schedule = pipeline::make_schedule(json.at("schedule").get<std::string>(), num_ranks,
                                          micro_batches, json.at("chunks").get<int>())};
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const Program& program = record.schedule.programs[rank];
    ORTHANT_CHECK(ranks[rank].size() == program.size(), kData, "rank ", rank, ": want ",
                  program.size(), " spans, got ", ranks[rank].size());
    auto& spans = record.timeline.ranks.emplace_back();
    for (size_t i = 0; i < program.size(); ++i)
      spans.push_back(read_span(ranks[rank][i], program[i]));
  }
  return record;
}

}  // namespace

std::string to_json(const PipelineRecord& record) {
  Json json{{"step", record.step},
            {"schedule", record.schedule.name},
            {"ranks", record.schedule.ranks},
            {"micro_batches", record.schedule.micro_batches},
            {"chunks", record.schedule.chunks},
            {"unit", "seconds"},
            {"spans", Json::array()}};
  for (const auto& spans : record.timeline.ranks) {
    Json& rank = json["spans"].emplace_back(Json::array());
    for (const Span& span : spans) rank.push_back(to_json(span));
  }
  return json.dump() + "\n";
}

PipelineRecord read_pipeline_record(const std::string& path) {
  std::ifstream file(path);
  ORTHANT_CHECK(file.good(), kMissingInput, path,
                ": cannot be read; a run with pipeline_parallel_size above 1 writes it at its "
                "second and its last step");
  try {
    return read_record(Json::parse(file));
  } catch (const std::exception& error) {
    throw_error(ErrorKind::kData, concat(path, ": no record of a pipeline's step: ", error.what()));
  }
}

PipelineComparison compare_with_prediction(const PipelineRecord& record) {
  const pipeline::Simulation run =
      simulate(record.schedule, mean_costs(record.schedule, record.timeline));
  const std::string what = concat(record.schedule.name, ", step ", record.step, ", seconds");
  return {
      .timelines = {{"predicted: " + what, run.timeline}, {"measured: " + what, record.timeline}},
      .predicted_bubble = run.timeline.bubble_share(),
      .measured_bubble = record.timeline.bubble_share()};
}

std::string PipelineComparison::text() const {
  std::array<char, 128> line;
  std::snprintf(line.data(), line.size(),
                "bubble: predicted %.1f %%, measured %.1f %%: %.1f points apart",
                100 * predicted_bubble, 100 * measured_bubble,
                100 * std::abs(measured_bubble - predicted_bubble));
  return line.data();
}

}  // namespace orthant
