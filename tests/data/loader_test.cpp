// SPDX-License-Identifier: Apache-2.0
#include "data/loader.h"

#include <algorithm>
#include <map>

#include "data/evaluation.h"
#include "tests/data/files.h"

namespace orthant {
namespace {

// A .jsonl of documents of many lengths; every byte depends on its place.
std::string make_corpus(const std::string& name, int documents, double fraction) {
  std::string lines;
  for (int d = 0; d < documents; ++d) {
    lines += "{\"text\": \"";
    for (int i = 0; i < 1 + d * 13 % 40; ++i)
      lines.push_back(static_cast<char>('a' + (d + i * 3) % 26));
    lines += "\"}\n";
  }
  return prepared(name, {write_file(name + ".jsonl", lines)}, fraction);
}

std::shared_ptr<Corpus> train(const std::string& path) { return Corpus::open(path, Split::kTrain); }

void expect_equal(const MicroBatch& a, const MicroBatch& b) {
  EXPECT_EQ(a.sequences, b.sequences);
  EXPECT_EQ(a.length, b.length);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_EQ(a.doc_start, b.doc_start);
  EXPECT_EQ(a.sample_ids, b.sample_ids);
}

TEST(MicroBatch, MarksDocumentsInARow) {
  MicroBatch batch = make_padding_batch(2, 6, 9);
  const std::vector<int32_t> tokens = {1, 2, 9, 3, 9, 9, 4};  // 9 ends a document; one is empty
  fill_row(batch, 1, tokens, 9, 77);
  const auto row = [&](const std::vector<int32_t>& v, size_t r) {
    return std::vector<int32_t>(v.begin() + static_cast<int64_t>(r * 6),
                                v.begin() + static_cast<int64_t>(r * 6 + 6));
  };
  EXPECT_EQ(row(batch.ids, 1), (std::vector<int32_t>{1, 2, 9, 3, 9, 9}));
  EXPECT_EQ(row(batch.labels, 1), (std::vector<int32_t>{2, 9, -1, 9, -1, -1}));
  EXPECT_EQ(row(batch.doc_start, 1), (std::vector<int32_t>{0, 0, 0, 3, 3, 5}));
  EXPECT_EQ(row(batch.positions, 1), (std::vector<int32_t>{0, 1, 2, 0, 1, 0}));
  // The other row is padding.
  EXPECT_EQ(row(batch.ids, 0), std::vector<int32_t>(6, 9));
  EXPECT_EQ(row(batch.labels, 0), std::vector<int32_t>(6, -1));
  EXPECT_EQ(row(batch.doc_start, 0), (std::vector<int32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(row(batch.positions, 0), std::vector<int32_t>(6, 0));
  EXPECT_EQ(batch.sample_ids, (std::vector<int64_t>{-1, 77}));
  EXPECT_EQ(batch.num_labels(), 3);
}

// The token after the next, within the document and the row; a row's last token has a next one.
TEST(MicroBatch, TokensAfterTheNextStayInTheDocument) {
  MicroBatch batch = make_padding_batch(2, 6, 9);
  fill_row(batch, 0, std::vector<int32_t>{1, 2, 9, 3, 4, 5, 6}, 9, 0);
  fill_row(batch, 1, std::vector<int32_t>{7, 8, 7, 8}, 9, 1);
  batch.labels[6] = kIgnoredLabel;  // a prompt's
  const NextColumns next = next_columns(batch);
  EXPECT_EQ(next.ids, (std::vector<int32_t>{2, 9, -1, 4, 5, 6, 8, 7, 8, -1, -1, -1}));
  EXPECT_EQ(next.labels, (std::vector<int32_t>{9, -1, -1, 5, 6, -1, -1, 8, -1, -1, -1, -1}));
}

TEST(MicroBatch, PadsAShortRow) {
  MicroBatch batch = make_padding_batch(1, 4, 9);
  fill_row(batch, 0, std::vector<int32_t>{1, 2, 3}, 9, 0);
  EXPECT_EQ(batch.ids, (std::vector<int32_t>{1, 2, 9, 9}));
  EXPECT_EQ(batch.labels, (std::vector<int32_t>{2, 3, -1, -1}));
  EXPECT_EQ(batch.doc_start, (std::vector<int32_t>{0, 0, 2, 3}));
  expect_error(ErrorKind::kInternal, {"fill_row"},
               [&] { fill_row(batch, 0, std::vector<int32_t>(6), 9, 0); });
}

// Row r of micro-batch m of step t is sample t * global + m * micro + r, read straight from the
// corpora.
TEST(Loader, IsWhatTheSamplerSays) {
  const auto a = train(make_corpus("a", 90, 0)), b = train(make_corpus("b", 50, 0));
  const LoaderOptions options{
      .sequence_length = 16, .micro_batch_size = 3, .sizes = {12}, .seed = 5};
  Loader loader({{a, 3.0}, {b, 1.0}}, options);
  const Sampler sampler(
      5, {{num_windows(a->num_tokens(), 16), 3.0}, {num_windows(b->num_tokens(), 16), 1.0}});
  for (int64_t step = 0; step < 9; ++step)
    for (int64_t micro = 0; micro < 4; ++micro) {
      MicroBatch want = make_padding_batch(3, 16, 256);
      for (int64_t row = 0; row < 3; ++row) {
        const int64_t sample = step * 12 + micro * 3 + row;
        const SampleOrigin origin = sampler.origin(sample);
        std::vector<int32_t> tokens(17);
        (origin.source == 0 ? a : b)->read(origin.window * 16, tokens);
        fill_row(want, row, tokens, 256, sample);
      }
      expect_equal(loader.micro_batch(step, micro), want);
    }
  EXPECT_EQ(loader.num_windows(),
            num_windows(a->num_tokens(), 16) + num_windows(b->num_tokens(), 16));
}

TEST(Loader, RanksPartitionTheSameSamples) {
  const std::string path = make_corpus("a", 90, 0);
  std::map<int64_t, std::vector<int32_t>> one;  // sample: ids and labels
  for (const int64_t ranks : {1, 2, 4, 8}) {
    std::map<int64_t, std::vector<int32_t>> seen;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const int64_t count = 8 / ranks;
      Loader loader({{train(path)}}, {.sequence_length = 8,
                                      .micro_batch_size = 2,
                                      .sizes = {16},
                                      .seed = 3,
                                      .rank = rank,
                                      .num_ranks = ranks,
                                      .prefetch = rank % 3});
      for (int64_t step = 0; step < 20; ++step)
        for (int64_t m = 0; m < count; ++m) {
          const MicroBatch batch = loader.micro_batch(step, rank * count + m);
          for (size_t row = 0; row < 2; ++row) {
            std::vector<int32_t> content(batch.ids.begin() + static_cast<int64_t>(row * 8),
                                         batch.ids.begin() + static_cast<int64_t>(row * 8 + 8));
            content.insert(content.end(), batch.labels.begin() + static_cast<int64_t>(row * 8),
                           batch.labels.begin() + static_cast<int64_t>(row * 8 + 8));
            EXPECT_TRUE(seen.emplace(batch.sample_ids[row], content).second);
          }
        }
    }
    EXPECT_EQ(seen.size(), 320u);
    EXPECT_EQ(seen.begin()->first, 0);
    EXPECT_EQ(seen.rbegin()->first, 319);
    if (ranks == 1) one = seen;
    EXPECT_EQ(seen, one) << ranks << " ranks";
  }
}

TEST(Loader, AnswersInAnyOrder) {
  const std::string path = make_corpus("a", 90, 0);
  LoaderOptions options{.sequence_length = 8,
                        .micro_batch_size = 2,
                        .sizes = {8},
                        .rank = 1,
                        .num_ranks = 2,
                        .prefetch = 3};
  Loader ahead({{train(path)}}, options);
  options.prefetch = 0;
  Loader direct({{train(path)}}, options);
  const std::vector<std::pair<int64_t, int64_t>> calls = {{0, 2}, {0, 3}, {1, 2}, {5, 2},
                                                          {5, 2}, {5, 3}, {6, 2}, {2, 0},
                                                          {6, 3}, {7, 2}, {0, 1}, {0, 2}};
  for (const auto& [step, micro] : calls)
    expect_equal(ahead.micro_batch(step, micro), direct.micro_batch(step, micro));
  expect_error(ErrorKind::kInternal, {"micro-batch 4"}, [&] { ahead.micro_batch(0, 4); });
  EXPECT_GE(ahead.take_stall_seconds(), 0.0);
}

TEST(Loader, EndsCleanlyAtAnyMoment) {
  const auto corpus = train(make_corpus("a", 90, 0));
  for (int i = 0; i < 50; ++i) {
    Loader loader({{corpus}}, {.sequence_length = 8, .micro_batch_size = 2, .sizes = {8}});
    if (i % 3) loader.micro_batch(i, 0);
  }
}

TEST(Loader, BackgroundErrorsComeOutAtTheCall) {
  const std::string path = make_corpus("a", 90, 0);
  const auto corpus = train(path);
  {  // more than half of the file is tokens: its middle is one of them
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<int64_t>(std::filesystem::file_size(path)) / 2);
    file.put('\x7f');
  }
  Loader loader({{corpus}}, {.sequence_length = 8, .micro_batch_size = 2, .sizes = {8}});
  for (int i = 0; i < 3; ++i)
    expect_error(ErrorKind::kData, {path, "checksum"}, [&] { loader.micro_batch(i, 0); });
}

TEST(Loader, RefusesWhatDoesNotFit) {
  const auto corpus = train(prepared("s", {write_file("s.txt", "short")}, 0));  // 6 tokens
  expect_error(ErrorKind::kData, {"s.h5", "6 tokens", "at least 7"}, [&] {
    Loader({{corpus}}, {.sequence_length = 6, .micro_batch_size = 1, .sizes = {1}});
  });
  expect_error(ErrorKind::kConfig, {"multiple"}, [&] {
    Loader({{corpus}}, {.sequence_length = 2, .micro_batch_size = 2, .sizes = {3}});
  });
  expect_error(ErrorKind::kConfig, {"rank 1 of 3"}, [&] {
    Loader({{corpus}},
           {.sequence_length = 2, .micro_batch_size = 1, .sizes = {2}, .rank = 1, .num_ranks = 3});
  });
  expect_error(ErrorKind::kConfig, {"data.train"},
               [&] { Loader({}, {.sequence_length = 2, .micro_batch_size = 1, .sizes = {2}}); });
}

// On a ramp the steps take one sample after the other, on any number of ranks.
TEST(Loader, FollowsTheRamp) {
  const std::string path = make_corpus("a", 90, 0);
  const BatchSizes sizes{.global = 16, .start = 4, .increment = 4, .ramp_samples = 40};
  for (const int64_t ranks : {1, 2}) {
    std::vector<int64_t> seen;
    std::vector<std::unique_ptr<Loader>> loaders;
    for (int64_t rank = 0; rank < ranks; ++rank)
      loaders.push_back(std::make_unique<Loader>(std::vector<LoaderSource>{{train(path)}},
                                                 LoaderOptions{.sequence_length = 8,
                                                               .micro_batch_size = 2,
                                                               .sizes = sizes,
                                                               .rank = rank,
                                                               .num_ranks = ranks}));
    for (int64_t step = 0; step < 12; ++step) {
      const int64_t count = sizes.size_of_step(step + 1) / 2 / ranks;
      for (int64_t m = 0; m < count * ranks; ++m) {
        const MicroBatch batch = loaders[static_cast<size_t>(m / count)]->micro_batch(step, m);
        seen.insert(seen.end(), batch.sample_ids.begin(), batch.sample_ids.end());
      }
      expect_error(ErrorKind::kInternal, {"outside"},
                   [&] { loaders[0]->micro_batch(step, count * ranks); });
    }
    for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<int64_t>(i));
    EXPECT_EQ(static_cast<int64_t>(seen.size()), sizes.samples_after(12));
  }
}

TEST(EvaluationBatches, CoverEveryTokenOnceOnAnyNumberOfRanks) {
  const std::string path = make_corpus("a", 90, 0.4);
  const auto corpus = Corpus::open(path, Split::kValidation);
  const std::vector<int32_t> tokens = all_tokens(path, Split::kValidation);
  const auto tokenizer = make_tokenizer("byte");
  for (const int64_t ranks : {1, 2, 3, 16})
    for (const int64_t length : {7, 16}) {
      std::map<int64_t, int32_t> labels;  // by index of the label in the split
      int64_t num_batches = -1;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const EvaluationBatches batches(
            corpus, *tokenizer,
            {.sequence_length = length, .micro_batch_size = 4, .rank = rank, .num_ranks = ranks});
        if (num_batches < 0) num_batches = batches.num_batches();
        EXPECT_EQ(batches.num_batches(), num_batches);
        EXPECT_EQ(batches.num_tokens(), corpus->num_tokens() - 1);
        EXPECT_EQ(batches.num_bytes(), corpus->num_bytes() - corpus->num_documents());
        for (int64_t i = 0; i < batches.num_batches(); ++i) {
          const MicroBatch batch = batches.batch(i);
          EXPECT_EQ(batch.num_tokens(), 4 * length);
          for (size_t k = 0; k < batch.labels.size(); ++k) {
            EXPECT_TRUE(batch.ids[k] >= 0 && batch.ids[k] <= 256);
            if (batch.labels[k] == kIgnoredLabel) continue;
            const int64_t window = batch.sample_ids[k / static_cast<size_t>(length)];
            const int64_t at = window * length + static_cast<int64_t>(k) % length;
            EXPECT_EQ(batch.ids[k], tokens[static_cast<size_t>(at)]);
            EXPECT_TRUE(labels.emplace(at + 1, batch.labels[k]).second);
          }
        }
      }
      std::map<int64_t, int32_t> want;
      for (size_t i = 1; i < tokens.size(); ++i)
        if (tokens[i - 1] != 256) want.emplace(i, tokens[i]);
      EXPECT_EQ(labels, want) << ranks << " ranks, length " << length;
      // With the byte tokenizer there are as many labels as bytes: the first byte of a document
      // is none, its end is one.
      EXPECT_EQ(static_cast<int64_t>(want.size()), corpus->num_bytes());
    }
}

TEST(EvaluationBatches, StopAtTheCap) {
  const std::string path = make_corpus("a", 90, 0.4);
  const auto corpus = Corpus::open(path, Split::kValidation);
  const auto tokenizer = make_tokenizer("byte");
  const EvaluationBatches batches(corpus, *tokenizer,
                                  {.sequence_length = 8, .micro_batch_size = 2, .max_tokens = 100});
  EXPECT_EQ(batches.num_tokens(), 100);
  EXPECT_EQ(batches.num_batches(), 7);  // 12 full windows and one of 4 tokens
  const std::vector<int32_t> tokens = all_tokens(path, Split::kValidation);
  int64_t labels = 0, want = 0, bytes = 0;
  for (int64_t i = 0; i < 7; ++i) labels += batches.batch(i).num_labels();
  for (size_t i = 0; i < 100; ++i) want += tokens[i] != 256;
  for (size_t i = 1; i < 101; ++i) bytes += tokens[i] != 256 && tokens[i - 1] != 256;
  EXPECT_EQ(labels, want);
  EXPECT_EQ(batches.num_bytes(), bytes);
}

// Bytes of the text behind the labels, found without the tokenizer: the text less what its first
// tokens stand for.
TEST(EvaluationBatches, CountTheBytesOfSubWordLabels) {
  const std::vector<std::string> documents = {"Before we proceed any further", "hear me speak.\n",
                                              "caf\xC3\xA9 \xE2\x96\x81 speak"};
  const std::string folder = std::string(ORTHANT_SOURCE_DIR) + "/tests/golden/sentencepiece/";
  for (const char* name : {"unigram", "bpe", "dummy_space"}) {
    const std::string model = folder + name + ".model";
    const auto tokenizer = make_tokenizer(model);
    PrepareOptions options{.output = test_folder() + "/" + name + ".h5", .tokenizer = model};
    int64_t want = 0;
    std::string lines;
    for (const std::string& document : documents) {
      std::string escaped = document;
      if (const size_t at = escaped.find('\n'); at != std::string::npos)
        escaped.replace(at, 1, "\\n");
      lines += "{\"text\": \"" + escaped + "\"}\n";
      const std::vector<int32_t> ids = tokenizer->encode(document);
      want += static_cast<int64_t>(document.size() -
                                   tokenizer->decode(std::span(ids).subspan(0, 1)).size());
    }
    options.validation_inputs = {write_file("t.jsonl", lines)};
    const PrepareReport report = prepare(options);
    EXPECT_TRUE(report.gives_text_back);
    EXPECT_EQ(report.num_unknown_tokens, 0);
    const auto corpus = Corpus::open(options.output, Split::kValidation);
    EXPECT_EQ(corpus->tokenizer_name(), tokenizer->name());
    const EvaluationBatches batches(corpus, *tokenizer,
                                    {.sequence_length = 5, .micro_batch_size = 2});
    EXPECT_EQ(batches.num_bytes(), want) << name;
    // A cap inside the text: what is left out is what the last tokens stand for.
    const EvaluationBatches part(
        corpus, *tokenizer,
        {.sequence_length = 5, .micro_batch_size = 2, .max_tokens = corpus->num_tokens() - 3});
    const std::vector<int32_t> all = all_tokens(options.output, Split::kValidation);
    EXPECT_EQ(part.num_bytes(),
              want - static_cast<int64_t>(tokenizer->decode(std::span(all).last(2), true).size()));
    expect_error(ErrorKind::kConfig, {tokenizer->name(), "byte"}, [&] {
      EvaluationBatches(corpus, *make_tokenizer("byte"),
                        {.sequence_length = 5, .micro_batch_size = 2});
    });
  }
}

}  // namespace
}  // namespace orthant
