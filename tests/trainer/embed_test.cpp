// SPDX-License-Identifier: Apache-2.0
// Pooled hidden states: of every family those of transformers, of files those of the training
// pass.
#include "trainer/embed.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/data/files.h"
#include "tests/trainer/hub_model_testing.h"
#include "trainer/hub/import.h"
#include "trainer/scoring.h"

namespace orthant::testing {
namespace {

using Values = std::vector<double>;

class GoldenEmbedding : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Families, GoldenEmbedding, ::testing::ValuesIn(kGoldenModels),
                         [](const auto& info) { return info.param; });

// The golden files hold the first numbers of every token's hidden state.
TEST_P(GoldenEmbedding, IsMadeOfTheHiddenStatesOfTransformers) {
  const nlohmann::json golden = golden_model(GetParam());
  write_golden_folder(golden, test_folder() + "/model");
  import_model({.folder = test_folder() + "/model", .run_dir = test_folder() + "/run"});
  const SavedModel saved = load_saved_model("test", test_folder() + "/run", "fp64");
  const auto ids = golden["ids"].get<std::vector<int32_t>>();
  const auto hidden = golden["hidden"].get<std::vector<Values>>();
  Values mean(hidden[0].size());
  for (const Values& row : hidden)
    for (size_t i = 0; i < row.size(); ++i) mean[i] += row[i] / static_cast<double>(hidden.size());
  for (const auto& [pooling, want] : {std::pair{Pooling::kMean, mean},
                                      {Pooling::kLast, hidden.back()},
                                      {Pooling::kFirst, hidden.front()}}) {
    const Values got = pooled_hidden(*saved.model, ids, pooling);
    ASSERT_EQ(std::ssize(got), saved.config.model.hidden_size);
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(got[i], want[i], 1e-5) << pooling_names().of(pooling);
  }
}

class Embed : public ::testing::Test {
 protected:
  Embed() {
    import_model({.folder = std::string(ORTHANT_SOURCE_DIR) + "/tests/data/stories260k",
                  .run_dir = test_folder() + "/run"});
    saved_ = load_saved_model("test", test_folder() + "/run", "");
  }
  // The training pass over one row, rows [from, to) of it added up.
  Values sum_of(std::span<const int32_t> ids, size_t from, size_t to) const {
    Pass pass(document_row(ids), saved_.model->ranks(), saved_.model->device());
    const NoGradScope no_grad;
    const Values rows = saved_.model->forward(Var(), pass).value().to_doubles();
    Values sum(rows.size() / ids.size());
    for (size_t row = from; row < to; ++row)
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += rows[row * sum.size() + i];
    return sum;
  }
  std::vector<nlohmann::json> embedded(const std::string& lines, EmbedOptions options = {}) {
    options.documents.data = write_file("docs.jsonl", lines);
    options.output = test_folder() + "/out.jsonl";
    totals_ = embed_file(saved_, options);
    std::vector<nlohmann::json> result;
    std::ifstream in(options.output);
    for (std::string line; std::getline(in, line);) result.push_back(nlohmann::json::parse(line));
    return result;
  }

  SavedModel saved_;
  EmbedTotals totals_;
};

constexpr const char* kLines =
    "{\"text\": \"Once upon a time\", \"id\": \"first\"}\n\n"
    "{\"tokens\": [1, 403, 407, 261, 378], \"id\": 7}\n{\"text\": \"a\"}\n";

TEST_F(Embed, WritesTheMeanOfTheTrainingPassInFullPrecision) {
  const auto lines = embedded(kLines);
  ASSERT_EQ(lines.size(), 3u);
  std::vector<int32_t> ids = saved_.begin;
  for (const int32_t id : saved_.tokenizer->encode("Once upon a time")) ids.push_back(id);
  Values want = sum_of(ids, 0, ids.size());
  for (double& value : want) value /= static_cast<double>(ids.size());
  EXPECT_EQ(lines[0]["embedding"].get<Values>(), want);
  EXPECT_EQ(lines[0]["id"], "first");
  EXPECT_EQ(lines[0]["line"], 1);
  EXPECT_EQ(lines[1]["id"], 7);
  EXPECT_EQ(lines[1]["line"], 3);
  EXPECT_FALSE(lines[2].contains("id"));
  EXPECT_EQ(totals_.documents, 3);
  EXPECT_EQ(totals_.tokens, std::ssize(ids) + 5 + std::ssize(saved_.begin) +
                                std::ssize(saved_.tokenizer->encode("a")));
}

TEST_F(Embed, PoolsAndNormalizesAsAsked) {
  const std::vector<int32_t> ids = {1, 403, 407, 261, 378};
  EXPECT_EQ(embedded(kLines, {.pooling = Pooling::kLast})[1]["embedding"].get<Values>(),
            sum_of(ids, 4, 5));
  EXPECT_EQ(embedded(kLines, {.pooling = Pooling::kFirst})[1]["embedding"].get<Values>(),
            sum_of(ids, 0, 1));
  const auto plain = embedded(kLines)[1]["embedding"].get<Values>();
  const auto unit = embedded(kLines, {.normalize = true})[1]["embedding"].get<Values>();
  EXPECT_NEAR(std::inner_product(unit.begin(), unit.end(), unit.begin(), 0.0), 1, 1e-12);
  const double length =
      std::sqrt(std::inner_product(plain.begin(), plain.end(), plain.begin(), 0.0));
  for (size_t i = 0; i < unit.size(); ++i) EXPECT_NEAR(unit[i] * length, plain[i], 1e-12);
}

TEST_F(Embed, LeavesOutBadLinesWhereItIsAskedTo) {
  const DocumentOptions documents{
      .data = write_file("docs.jsonl", "{\"text\": \"\"}\n{\"text\": \"a\"}\n{\n[1]\n"),
      .bad_lines = BadLines::kSkip};
  for (const char* name : {"/out.jsonl", "/out.h5"})
    EXPECT_EQ(
        embed_file(saved_, {.documents = documents, .output = test_folder() + name}).documents, 1);
}

// In windows: every token once, with half a window before it at least.
TEST_F(Embed, ReadsLongDocumentsInWindows) {
  const auto longest = static_cast<size_t>(saved_.config.model.max_position_embeddings);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < longest + 40; ++i) ids.push_back(static_cast<int32_t>(3 + i * 37 % 500));
  Values want = sum_of(std::span(ids).first(longest), 0, longest);
  const std::span<const int32_t> second = std::span(ids).subspan(longest / 2);
  const Values more = sum_of(second, longest - longest / 2, second.size());
  for (size_t i = 0; i < want.size(); ++i)
    want[i] = (want[i] + more[i]) / static_cast<double>(ids.size());
  const Values got = pooled_hidden(*saved_.model, ids, Pooling::kMean);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12);
  EXPECT_EQ(pooled_hidden(*saved_.model, ids, Pooling::kLast),
            sum_of(second, second.size() - 1, second.size()));
}

TEST_F(Embed, WritesAllOrNothing) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"{\"tokens\": []}", "docs.jsonl:3: an empty document"},
      {"{\"text\": \"\"}", "docs.jsonl:3: an empty document"},
      {"{\"x\": 1}", "docs.jsonl:3: want text, tokens or messages"},
      {"{\"tokens\": [512]}", "docs.jsonl:3: tokens: want ids below 512, got 512"}};
  for (const char* output : {"out.jsonl", "out.h5"})
    for (const auto& [line, words] : bad) {
      const std::string data = write_file("docs.jsonl", "{\"text\": \"a\"}\n\n" + line + "\n");
      const std::string path = write_file(output, "older");
      expect_error(ErrorKind::kData, {words},
                   [&] { embed_file(saved_, {.documents = {.data = data}, .output = path}); });
      EXPECT_EQ(read_bytes(path), "older");
    }
  expect_error(ErrorKind::kUsage, {"out.npy", ".jsonl or .h5"}, [&] {
    embed_file(saved_,
               {.documents = {.data = write_file("docs.jsonl", kLines)}, .output = "out.npy"});
  });
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(test_folder()))
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
}

}  // namespace
}  // namespace orthant::testing
