// SPDX-License-Identifier: Apache-2.0
#include "data/document_encoder.h"

#include "base/context.h"
#include "base/philox.h"
#include "data/bpe/merging.h"
#include "tests/data/tokenizer_golden.h"

namespace orthant {
namespace {

using Ids = std::vector<int32_t>;
using Json = nlohmann::json;

// All golden texts behind each other, in an order of their own, with the special ones among them.
std::string long_text(uint64_t seed, size_t count) {
  const std::vector<std::string> texts = golden_texts()["texts"];
  const PhiloxKey key = make_key(seed, RandomPurpose::kTest, "texts");
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    const auto draw = philox(key, i, 0);
    text += texts[draw.x[0] % texts.size()];
    if (draw.x[1] % 8 == 0) text += '\n';
    if (draw.x[1] % 31 == 0) text += '\xff';
  }
  return text;
}

// The pieces that a text is cut into at random, between characters or not.
std::vector<std::string_view> pieces_of(std::string_view text, uint64_t seed, size_t longest) {
  const PhiloxKey key = make_key(seed, RandomPurpose::kTest, "pieces");
  std::vector<std::string_view> pieces;
  for (uint64_t i = 0; !text.empty(); ++i) {
    const size_t size = std::min(text.size(), 1 + philox(key, i, 0).x[0] % longest);
    pieces.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return pieces;
}

Ids joined(const Tokenizer& tokenizer, const std::vector<std::string_view>& pieces) {
  Ids ids;
  std::string text;
  bool ended = false;
  DocumentEncoder encoder(tokenizer, [&](const DocumentEncoder::Output& output) {
    EXPECT_FALSE(ended);
    ids.insert(ids.end(), output.ids.begin(), output.ids.end());
    text += output.text;
    ended = output.ends_document;
  });
  std::string whole;
  for (const std::string_view piece : pieces) {
    encoder.text(Split::kTrain, piece);
    whole += piece;
  }
  encoder.end_document();
  encoder.finish();
  EXPECT_TRUE(ended);
  EXPECT_EQ(text, whole);
  return ids;
}

TEST(DocumentEncoder, PiecesGiveTheIdsOfTheWhole) {
  for (const std::string& name : kGoldenTokenizers) {
    const auto tokenizer = golden_tokenizer(name);
    for (const uint64_t seed : {1, 2}) {
      const std::string text = long_text(seed, 400);
      const Ids want = tokenizer->encode(text);
      for (const size_t longest : {200, 3000, 20000})
        EXPECT_EQ(joined(*tokenizer, pieces_of(text, seed, longest)), want) << name << longest;
    }
  }
}

// From every cut that a part tells of, the rest is encoded as in the whole.
void expect_cuts(const Tokenizer& tokenizer, const std::string& text, size_t least = 5) {
  const Ids want = tokenizer.encode(text);
  const EncodedPart part =
      tokenizer.encode_part({.text = text, .want_bytes = text.size(), .ends = true});
  EXPECT_EQ(part.ids, want);
  EXPECT_EQ(part.bytes, text.size());
  EXPECT_GE(part.first_cuts.size(), least);
  for (const EncodedPart::Cut& cut : part.first_cuts) {
    Ids ids(want.begin(), want.begin() + static_cast<std::ptrdiff_t>(cut.num_ids));
    const Ids rest = tokenizer.encode(text.substr(cut.bytes), cut.bytes > 0);
    ids.insert(ids.end(), rest.begin(), rest.end());
    EXPECT_EQ(ids, want) << "cut at " << cut.bytes << ": " << text.substr(0, cut.bytes);
  }
}

TEST(DocumentEncoder, EveryCutIsOne) {
  for (const std::string& name : kGoldenTokenizers) {
    SCOPED_TRACE(name);
    const auto tokenizer = golden_tokenizer(name);
    const size_t least = name == "odd" ? 0 : 5;
    for (const uint64_t seed : {7, 8, 9}) expect_cuts(*tokenizer, long_text(seed, 60), least);
  }
  for (const Json& variant : golden_texts()["variants"]) {
    SCOPED_TRACE(variant["change"].dump());
    Json root = Json::parse(read_bytes(golden_path(variant["file"].get<std::string>() + ".json")));
    root.update(variant["change"]);
    const auto tokenizer =
        parse_tokenizer_json({.tokenizer = root.dump(), .config = "", .label = "t.json"});
    for (const uint64_t seed : {4, 5}) {
      expect_cuts(*tokenizer, long_text(seed, 60), 0);
      const std::string text = long_text(seed, 300);
      EXPECT_EQ(joined(*tokenizer, pieces_of(text, seed, 900)), tokenizer->encode(text));
    }
  }
}

// A tokenizer that cuts as it is told to.
std::unique_ptr<SequenceTokenizer> cut_by(const std::vector<Json>& patterns) {
  Json root = Json::parse(read_bytes(golden_path("gpt2.json")));
  Json stages = Json::array();
  for (const Json& pattern : patterns)
    stages.push_back({{"type", "Split"}, {"pattern", pattern}, {"behavior", "Isolated"}});
  stages.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  root["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", stages}};
  return parse_tokenizer_json({.tokenizer = root.dump(), .config = "", .label = "t.json"});
}

// Where a match of one stage is cut again by the next, the place is no cut.
TEST(DocumentEncoder, CutsOutsideOfMatches) {
  const auto tokenizer = cut_by({{{"Regex", "[a-z]{3}"}}, {{"String", "e"}}});
  expect_cuts(*tokenizer, "these are the letters that are cut again, here and there");
}

// How far a match looks ahead is up to the expression.
TEST(DocumentEncoder, WaitsForWhatAMatchLooksAt) {
  const auto tokenizer = cut_by({{{"Regex", "th(?=x*y)|[a-z]"}}});
  const std::string text = "th" + std::string(60, 'x') + "y";
  ASSERT_NE(tokenizer->encode(text), tokenizer->encode(text.substr(0, 62)));
  for (size_t size = 1; size < text.size(); ++size)
    EXPECT_EQ(tokenizer->encode_part({.text = text.substr(0, size), .want_bytes = 1}).bytes, 0u);
  EXPECT_EQ(tokenizer->encode_part({.text = text + std::string(20, '.'), .want_bytes = 1}).bytes,
            2u);
}

// Whatever follows a text: what a part gave before it was there holds.
TEST(DocumentEncoder, APartDoesNotDependOnWhatFollows) {
  const std::vector<std::string> texts = {long_text(9, 40), "ab\n" + std::string(60, ' ') + "\nb c",
                                          "x" + std::string(60, '\n') + std::string(60, ' ') + "y",
                                          "12345 " + std::string(90, '7')};
  for (const std::string& name : kGoldenTokenizers) {
    const auto tokenizer = golden_tokenizer(name);
    for (const std::string& text : texts) {
      const Ids want = tokenizer->encode(text);
      for (size_t size = 1; size<text.size(); size += text.size()> 500 ? 19 : 1) {
        for (const size_t want_bytes :
             {size_t{1}, std::min<size_t>(3, size), size / 2, size - size / 8}) {
          const EncodedPart part =
              tokenizer->encode_part({.text = text.substr(0, size), .want_bytes = want_bytes});
          if (part.bytes == 0) continue;
          ASSERT_LE(part.bytes, size);
          Ids ids = part.ids;
          const Ids rest = tokenizer->encode(text.substr(part.bytes), true);
          ids.insert(ids.end(), rest.begin(), rest.end());
          ASSERT_EQ(ids, want) << name << " of " << size << " bytes";
        }
      }
    }
  }
}

TEST(DocumentEncoder, ThreadsChangeNothing) {
  const auto tokenizer = golden_tokenizer("qwen3");
  const std::string text = long_text(5, 60000);
  const auto pieces = pieces_of(text, 5, 400000);
  RankContext one, four;
  one.num_threads = 1;
  four.num_threads = 4;
  const ContextScope outer(one);
  const Ids want = joined(*tokenizer, pieces);
  EXPECT_EQ(want, tokenizer->encode(text));
  const ContextScope scope(four);
  EXPECT_EQ(joined(*tokenizer, pieces), want);
}

TEST(DocumentEncoder, KeepsSplitsAndDocumentsApart) {
  const auto tokenizer = golden_tokenizer("llama2");
  std::array<Ids, 2> got;
  DocumentEncoder encoder(*tokenizer, [&](const DocumentEncoder::Output& output) {
    Ids& ids = got[static_cast<size_t>(output.split)];
    ids.insert(ids.end(), output.ids.begin(), output.ids.end());
    if (output.ends_document) ids.push_back(-1);
  });
  encoder.text(Split::kTrain, "one two ");
  encoder.text(Split::kTrain, "three");
  encoder.text(Split::kValidation, "four");
  encoder.end_document();
  encoder.text(Split::kTrain, "five");
  encoder.end_document();
  encoder.finish();
  Ids train = tokenizer->encode("one two three"), validation = tokenizer->encode("four");
  train.push_back(-1);
  for (const int32_t id : tokenizer->encode("five")) train.push_back(id);
  train.push_back(-1);
  validation.push_back(-1);
  EXPECT_EQ(got[0], train);
  EXPECT_EQ(got[1], validation);
}

// Words of any length, by the rule itself: the lowest rank, of equals the leftmost.
TEST(Merging, JoinsLowestRanksFirst) {
  const PhiloxKey key = make_key(3, RandomPurpose::kTest, "merges");
  MergeScratch scratch;
  for (uint64_t round = 0; round < 60; ++round) {
    MergeTable table(40);
    for (uint32_t rank = 0; rank < 40; ++rank) {
      const auto draw = philox(key, round, rank);
      const auto most = 4 + rank;
      table.add(static_cast<int32_t>(draw.x[0] % most), static_cast<int32_t>(draw.x[1] % most),
                {rank, static_cast<int32_t>(4 + rank)});
    }
    Ids ids;
    for (uint64_t i = 0; i < 5 + round * 4; ++i)
      ids.push_back(static_cast<int32_t>(philox(key, round, 1000 + i).x[0] % 4));
    Ids want = ids;
    for (;;) {
      size_t best = 0;
      MergeTable::Merge merge;
      for (size_t i = 0; i + 1 < want.size(); ++i) {
        const MergeTable::Merge here = table.find(want[i], want[i + 1]);
        if (here.rank < merge.rank) best = i, merge = here;
      }
      if (merge.rank == MergeTable::kNoRank) break;
      want[best] = merge.token;
      want.erase(want.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    merge_tokens(table, ids, scratch);
    EXPECT_EQ(ids, want) << round;
  }
}

}  // namespace
}  // namespace orthant
