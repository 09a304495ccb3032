// SPDX-License-Identifier: Apache-2.0
#include "trainer/evaluate.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/user_output.h"
#include "checkpoint/json_strict.h"
#include "trainer/scoring.h"

namespace orthant {
namespace {

using Json = nlohmann::json;

class Evaluation {
 public:
  Evaluation(const SavedModel& model, const EvaluateOptions& options)
      : model_(model), options_(options), lines_("evaluate", model, options.documents) {
    if (!options.log_probs.empty()) out_.emplace(options.log_probs);
  }

  EvaluationTotals run() {
    for (int64_t done = 1; lines_.next(); ++done) {
      lines_.use([&] {
        if (lines_.value().contains("choices"))
          question(lines_.value(), lines_.where());
        else
          document(lines_.where());
      });
      if (options_.progress) options_.progress(totals_, done);
    }
    lines_.tell();
    ORTHANT_CHECK(totals_.documents + totals_.questions > 0, kData, options_.documents.data,
                  ": has no line; want documents or questions");
    if (out_) out_->commit();
    return totals_;
  }

 private:
  // Of text; a dummy space before a document's first token is none.
  int64_t bytes_of(int32_t token, bool is_first) const {
    const Tokenizer& tokenizer = *model_.tokenizer;
    if (token >= tokenizer.vocab_size()) return 0;
    return tokenizer.text_bytes(token) -
           (is_first ? static_cast<int64_t>(tokenizer.dummy_bytes(token)) : 0);
  }

  void document(const std::string& where) {
    const std::vector<int32_t> ids = lines_.ids(", or prompt and choices");
    const std::vector<double> log_probs = log_probabilities(*model_.model, ids);
    ++totals_.documents;
    const bool has_begin = !ids.empty() && !model_.begin.empty() && ids[0] == model_.begin[0];
    for (size_t i = 0; i < log_probs.size(); ++i) {
      ORTHANT_CHECK(std::isfinite(log_probs[i]), kNumeric, where, ": the model gives token ", i + 1,
                    " no probability, but ", log_probs[i], ": are its weights numbers?");
      totals_.nats -= log_probs[i];
      ++totals_.tokens;
      totals_.bytes += bytes_of(ids[i + 1], has_begin && i == 0);
    }
    write({{"ids", ids}, {"log_probs", log_probs}});
  }

  // The answers' log-likelihoods behind the prompt.  White space at the prompt's end is the
  // answer's, as tokenizers put it.
  void question(const Json& value, const std::string& where) {
    std::string prompt = json_string(json_member(value, "prompt", where), where + ": prompt");
    const Json& choices = value["choices"];
    ORTHANT_CHECK(choices.is_array() && choices.size() > 1, kData, where,
                  ": choices: want two texts at least, got ", json_excerpt(choices));
    const size_t answer = answer_of(value, choices, where);
    const size_t kept = prompt.find_last_not_of(" \t\n") + 1;
    const std::string space = prompt.substr(kept);
    prompt.resize(kept);
    const size_t context = lines_.encode(prompt).size();
    std::vector<double> sums, per_byte;
    for (const Json& choice : choices) {
      const std::string text = space + json_string(choice, where + ": choices");
      const std::vector<int32_t> ids = lines_.encode(prompt + text);
      ORTHANT_CHECK(context >= 1 && ids.size() > context, kData, where,
                    ": want a prompt, and choices of a token at least behind it");
      const std::vector<double> log_probs = log_probabilities(*model_.model, ids);
      const double sum = std::accumulate(log_probs.begin() + static_cast<ptrdiff_t>(context) - 1,
                                         log_probs.end(), 0.0);
      sums.push_back(sum);
      per_byte.push_back(sum / static_cast<double>(std::max<size_t>(1, text.size())));
    }
    const auto best = [](const std::vector<double>& of) {
      return static_cast<size_t>(std::max_element(of.begin(), of.end()) - of.begin());
    };
    const size_t chosen = best(sums);
    ++totals_.questions;
    totals_.right += chosen == answer;
    totals_.right_per_byte += best(per_byte) == answer;
    write({{"log_likelihoods", sums}, {"chosen", chosen}, {"answer", answer}});
  }

  void write(const nlohmann::ordered_json& scores) {
    if (!out_) return;
    nlohmann::ordered_json line = lines_.name();
    line.update(scores);
    out_->write(line.dump() + "\n");
  }

  static size_t answer_of(const Json& value, const Json& choices, const std::string& where) {
    const Json& answer = json_member(value, "answer", where);
    const size_t place =
        answer.is_string() ? static_cast<size_t>(std::find(choices.begin(), choices.end(), answer) -
                                                 choices.begin())
                           : static_cast<size_t>(json_count(answer, where + ": answer"));
    ORTHANT_CHECK(place < choices.size(), kData, where, ": answer: want one of the ",
                  choices.size(), " choices, or its place from 0, got ", json_excerpt(answer));
    return place;
  }

  const SavedModel& model_;
  const EvaluateOptions& options_;
  DocumentLines lines_;
  EvaluationTotals totals_;
  std::optional<UserOutput> out_;
};

}  // namespace

double EvaluationTotals::bits_per_byte() const {
  return nats / std::log(2.0) / static_cast<double>(bytes);
}

EvaluationTotals evaluate_file(const SavedModel& model, const EvaluateOptions& options) {
  return Evaluation(model, options).run();
}

}  // namespace orthant
