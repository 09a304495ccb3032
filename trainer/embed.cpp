// SPDX-License-Identifier: Apache-2.0
#include "trainer/embed.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "base/user_output.h"
#include "data/embedding_file.h"
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
  explicit JsonLines(const std::string& path) : out_(path) {}
  void add(const DocumentLines& document, const std::vector<double>& vector) override {
    nlohmann::ordered_json line = document.name();
    line["embedding"] = vector;
    out_.write(line.dump() + "\n");
  }
  void commit() override { out_.commit(); }

 private:
  UserOutput out_;
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

// An empty text has none, whatever its model begins texts with.
std::vector<int32_t> ids_of(DocumentLines& documents) {
  const nlohmann::json& line = documents.value();
  std::vector<int32_t> ids = documents.ids();
  ORTHANT_CHECK(!ids.empty() && !(line.contains("text") && line["text"] == ""), kData,
                documents.where(), ": an empty document has no embedding");
  return ids;
}

// How many vectors there will be.
int64_t count_documents(const SavedModel& model, const EmbedOptions& options) {
  if (options.documents.bad_lines == BadLines::kFail) return count_lines(options.documents.data);
  DocumentLines documents("embed", model, options.documents);
  int64_t count = 0;
  while (documents.next()) count += documents.use([&] { ids_of(documents); });
  return count;
}

std::unique_ptr<Output> open_output(const SavedModel& model, const EmbedOptions& options) {
  if (!is_hdf5_output(options.output)) return std::make_unique<JsonLines>(options.output);
  return std::make_unique<Hdf5File>(EmbeddingFileOptions{
      .path = output_place(options.output).path,
      .documents = count_documents(model, options),
      .width = model.config.model.hidden_size,
      .attributes = {{"model", model.manifest.directory},
                     {"data", options.documents.data},
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

bool is_hdf5_output(const std::string& path) {
  const bool is_hdf5 = path.ends_with(".h5") || path.ends_with(".hdf5");
  const bool is_file = output_place(path).is_replaced;
  ORTHANT_CHECK(is_hdf5 || path.ends_with(".jsonl") || !is_file, kUsage, "embed: --output: ", path,
                ": want a file that ends in .jsonl or .h5");
  ORTHANT_CHECK(is_file || !is_hdf5, kUsage, "embed: --output: ", path,
                ": HDF5 wants a file, not a device or pipe");
  return is_hdf5;
}

EmbedTotals embed_file(const SavedModel& model, const EmbedOptions& options) {
  const std::unique_ptr<Output> output = open_output(model, options);
  DocumentLines documents("embed", model, options.documents);
  EmbedTotals totals;
  for (int64_t done = 1; documents.next(); ++done) {
    documents.use([&] {
      const std::vector<int32_t> ids = ids_of(documents);
      std::vector<double> vector = pooled_hidden(*model.model, ids, options.pooling);
      check_numbers(vector, documents.where());
      if (options.normalize) normalize(vector, documents.where());
      output->add(documents, vector);
      ++totals.documents;
      totals.tokens += std::ssize(ids);
    });
    if (options.progress) options.progress(totals, done);
  }
  documents.tell();
  ORTHANT_CHECK(totals.documents > 0, kData, options.documents.data,
                ": has no line; want documents");
  output->commit();
  return totals;
}

}  // namespace orthant
