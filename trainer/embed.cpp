// SPDX-License-Identifier: Apache-2.0
#include "trainer/embed.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <memory>

#include "base/durable_file.h"
#include "base/error.h"
#include "data/embedding_file.h"
#include "trainer/document_lines.h"
#include "trainer/scoring.h"

namespace orthant {
namespace {

class Output {
 public:
  virtual ~Output() = default;
  virtual void add(const DocumentLines& document, const std::vector<double>& vector) = 0;
  virtual void commit() = 0;
};

class JsonLines final : public Output {
 public:
  explicit JsonLines(const std::string& path) : path_(path), replacement_(path) {
    out_.open(replacement_.temporary(), std::ios::binary);
  }
  void add(const DocumentLines& document, const std::vector<double>& vector) override {
    nlohmann::ordered_json line = {{"line", document.line()}};
    if (document.value().contains("id")) line["id"] = document.value()["id"];
    line["embedding"] = vector;
    out_ << line.dump() << '\n';
  }
  void commit() override {
    out_.close();
    if (!out_) throw_cannot_write(path_, "write", errno);
    replacement_.commit();
  }

 private:
  std::string path_;
  FileReplacement replacement_;
  std::ofstream out_;
};

class Hdf5File final : public Output {
 public:
  explicit Hdf5File(const EmbeddingFileOptions& options) : file_(options) {}
  void add(const DocumentLines& document, const std::vector<double>& vector) override {
    file_.add(document.line(), vector);
  }
  void commit() override { file_.commit(); }

 private:
  EmbeddingFile file_;
};

int64_t count_lines(const std::string& path) {
  LineReader lines(path);
  std::string line;
  int64_t count = 0;
  while (lines.next(line)) ++count;
  return count;
}

std::unique_ptr<Output> open_output(const SavedModel& model, const EmbedOptions& options) {
  const std::string& path = options.output;
  if (path.ends_with(".jsonl")) return std::make_unique<JsonLines>(path);
  ORTHANT_CHECK(path.ends_with(".h5") || path.ends_with(".hdf5"), kUsage, "embed: --output: ", path,
                ": want a file that ends in .jsonl or .h5");
  return std::make_unique<Hdf5File>(EmbeddingFileOptions{
      .path = path,
      .documents = count_lines(options.data),
      .width = model.config.model.hidden_size,
      .attributes = {{"model", model.manifest.directory},
                     {"data", options.data},
                     {"pooling", pooling_names().of(options.pooling)},
                     {"normalized", options.normalize ? "yes" : "no"},
                     {"precision", precision_names().of(model.config.precision)}}});
}

void check_numbers(std::span<const double> vector, const std::string& where) {
  for (const double value : vector)
    ORTHANT_CHECK(std::isfinite(value), kNumeric, where, ": the model gives ", value,
                  " as a hidden state: are its weights numbers?");
}

void normalize(std::vector<double>& vector, const std::string& where) {
  double squares = 0;
  for (const double value : vector) squares += value * value;
  ORTHANT_CHECK(squares > 0, kNumeric, where, ": a vector of zeros has no direction: leave out ",
                "--normalize");
  for (double& value : vector) value /= std::sqrt(squares);
}

}  // namespace

const EnumNames<Pooling>& pooling_names() {
  static const EnumNames<Pooling> names = {
      {Pooling::kMean, "mean"}, {Pooling::kLast, "last"}, {Pooling::kFirst, "first"}};
  return names;
}

std::vector<double> pooled_hidden(const Transformer& model, std::span<const int32_t> ids,
                                  Pooling pooling) {
  ORTHANT_CHECK(!ids.empty(), kData, "a document without a token has no hidden state");
  if (pooling == Pooling::kFirst) ids = ids.first(1);  // it sees no other one
  std::vector<double> pooled(static_cast<size_t>(model.config().hidden_size));
  const auto count = static_cast<double>(ids.size());
  for_hidden_rows(model, ids, [&](const Tensor& hidden, int64_t begin) {
    const std::vector<double> rows = hidden.to_doubles();
    const int64_t last = std::ssize(ids) - 1;
    for (int64_t row = 0; row < hidden.dim(0); ++row) {
      if (pooling == Pooling::kLast && begin + row != last) continue;
      const double* values = rows.data() + static_cast<size_t>(row) * pooled.size();
      for (size_t i = 0; i < pooled.size(); ++i) pooled[i] += values[i];
    }
  });
  if (pooling == Pooling::kMean)
    for (double& value : pooled) value /= count;
  return pooled;
}

EmbedTotals embed_file(const SavedModel& model, const EmbedOptions& options) {
  const std::unique_ptr<Output> output = open_output(model, options);
  DocumentLines documents("embed", model, options.data);
  EmbedTotals totals;
  while (documents.next()) {
    const std::vector<int32_t> ids = documents.ids();
    ORTHANT_CHECK(!ids.empty(), kData, documents.where(), ": an empty document has no embedding");
    std::vector<double> vector = pooled_hidden(*model.model, ids, options.pooling);
    check_numbers(vector, documents.where());
    if (options.normalize) normalize(vector, documents.where());
    output->add(documents, vector);
    ++totals.documents;
    totals.tokens += std::ssize(ids);
  }
  ORTHANT_CHECK(totals.documents > 0, kData, options.data, ": has no line; want documents");
  output->commit();
  return totals;
}

}  // namespace orthant
