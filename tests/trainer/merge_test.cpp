// SPDX-License-Identifier: Apache-2.0
// Merged models compute what base and adapter compute, are rounded once, and keep what a run keeps.
#include "trainer/hub/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "checkpoint/reader.h"
#include "tests/trainer/peft_testing.h"
#include "trainer/adapters.h"
#include "trainer/hub/export.h"
#include "trainer/hub/hub_folder.h"

namespace orthant::testing {
namespace {

std::string whole() { return test_folder() + "/whole"; }

Manifest manifest_of(const std::string& run) { return read_manifest(find_checkpoint("test", run)); }

Tensor tensor_of(const std::string& run, const std::string& name) {
  const Manifest manifest = manifest_of(run);
  const SafetensorsReader file(manifest.directory + "/" + manifest.files.front().name);
  return file.read_tensor(name);
}

class Merge : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Peft, Merge, ::testing::ValuesIn(kGoldenAdapters),
                         [](const auto& info) { return info.param; });

TEST_P(Merge, ComputesWhatBaseAndAdapterCompute) {
  AdapterFolder folder(GetParam());
  folder.import_base();
  const MergeResult result =
      merge_model({.model = base_run(), .run_dir = whole(), .adapter = folder.write()});
  EXPECT_LT(result.difference, 2e-4);  // in the run's fp32
  EXPECT_GT(result.largest, 0.5);
  const Json hub = golden_model(folder.golden["model"]);
  const auto ids = hub["ids"].get<std::vector<int32_t>>();
  const auto kept = hub["kept_ids"].get<std::vector<size_t>>();
  const auto apart =
      log_probs_of(load_saved_model("test", base_run(), "fp64", adapter_path()), ids, kept);
  EXPECT_LT(
      largest_difference(log_probs_of(load_saved_model("test", whole(), "fp64"), ids, kept), apart),
      1e-12);
  // And so does the folder that it is exported into.
  export_model({.model = whole(), .folder = out()});
  import_model({.folder = out(), .run_dir = test_folder() + "/again"});
  EXPECT_LT(largest_difference(
                log_probs_of(load_saved_model("test", test_folder() + "/again", "fp64"), ids, kept),
                apart),
            1e-12);
}

TEST(MergeModel, NamesItsBaseAndKeepsWhatARunKeeps) {
  AdapterFolder folder("llama");
  folder.import_base();
  const MergeResult result =
      merge_model({.model = base_run(), .run_dir = whole(), .adapter = folder.write()});
  EXPECT_EQ(result.base_fingerprint, weights_fingerprint(manifest_of(base_run())));
  EXPECT_EQ(result.merged, 22);
  EXPECT_FALSE(result.was_untied);
  const Manifest manifest = manifest_of(whole());
  EXPECT_THAT(manifest.extra.at("merged_into"), ::testing::HasSubstr(result.base_fingerprint));
  EXPECT_THAT(manifest.configuration, ::testing::HasSubstr("rank: 0"));
  for (const char* file : {"/config.yaml", "/hub/config.json", "/tokenizer.model"})
    EXPECT_TRUE(std::filesystem::exists(whole() + file)) << file;
}

// A sum that was rounded before it is added to bf16 weights would be off by up to half a step more.
TEST(MergeModel, RoundsOnceToTheDtypeOfTheBase) {
  Folder base("llama");
  for (auto& [name, tensor] : base.tensors) tensor = tensor.to(DType::kBF16);
  import_model({.folder = base.write(), .run_dir = base_run()});
  AdapterFolder folder("llama", DType::kF32);
  merge_model({.model = base_run(), .run_dir = whole(), .adapter = folder.write()});
  const std::string module = "model.layers.1.self_attn.q_proj";
  const Tensor merged = tensor_of(whole(), module + ".weight");
  EXPECT_EQ(merged.dtype(), DType::kBF16);
  const std::string key = "base_model.model." + module;
  const std::vector<double> a = folder[key + ".lora_A.weight"].to_doubles(),
                            b = folder[key + ".lora_B.weight"].to_doubles(),
                            w = base[module + ".weight"].to_doubles();
  std::vector<double> want(w.size());
  for (size_t i = 0; i < 56; ++i)
    for (size_t j = 0; j < 40; ++j) {
      double sum = w[i * 40 + j];
      for (size_t k = 0; k < 3; ++k) sum += b[i * 3 + k] * a[k * 40 + j] / std::sqrt(3.0);
      want[i * 40 + j] = sum;
    }
  EXPECT_EQ(merged.to_doubles(), Tensor::from({56, 40}, want, DType::kBF16).to_doubles());
}

// complaints of tied models: one end is adapted, and the merged weight would change both.
TEST(MergeModel, UntiesHeadAndEmbedding) {
  AdapterFolder folder("llama");
  folder.golden["model"] = "llama3_rope_tied";
  folder.import_base();
  folder.tensors.clear();
  const auto add = [&](const std::string& key, const Shape& shape) {
    folder["base_model.model." + key] =
        Tensor::from(shape, golden_weights("lora_" + key, shape.numel()), DType::kF64);
  };
  add("model.embed_tokens.lora_embedding_A", {3, 517});
  add("model.embed_tokens.lora_embedding_B", {40, 3});
  const Json hub = golden_model("llama3_rope_tied");
  const auto ids = hub["ids"].get<std::vector<int32_t>>();
  const auto kept = hub["kept_ids"].get<std::vector<size_t>>();
  for (const bool has_head : {false, true}) {
    if (has_head) {
      add("lm_head.lora_A.weight", {3, 40});
      add("lm_head.lora_B.weight", {517, 3});
    }
    std::filesystem::remove_all(whole());
    std::filesystem::remove_all(out());
    const MergeResult result =
        merge_model({.model = base_run(), .run_dir = whole(), .adapter = folder.write()});
    EXPECT_TRUE(result.was_untied);
    const auto apart =
        log_probs_of(load_saved_model("test", base_run(), "fp64", adapter_path()), ids, kept);
    const auto got = log_probs_of(load_saved_model("test", whole(), "fp64"), ids, kept);
    EXPECT_LT(largest_difference(got, apart), 1e-12);
    EXPECT_GT(largest_difference(
                  log_probs_of(load_saved_model("test", base_run(), "fp64"), ids, kept), apart),
              1e-2);
    export_model({.model = whole(), .folder = out()});
    EXPECT_EQ(Json::parse(read_bytes(out() + "/config.json")).value("tie_word_embeddings", false),
              false);
    EXPECT_NE(SafetensorsFolder(out()).find("lm_head.weight"), nullptr);
  }
}

TEST(MergeModel, RefusesWhatItCannotMergeAndLeavesNothing) {
  AdapterFolder folder("llama");
  folder.import_base();
  folder.write();
  const auto expect = [](const MergeOptions& options, ErrorKind kind, const std::string& text) {
    try {
      merge_model(options);
      ADD_FAILURE() << "was merged";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr(text));
    }
  };
  expect({.model = base_run(), .run_dir = whole()}, ErrorKind::kConfig, "has no adapters");
  expect({.model = base_run(), .run_dir = whole(), .adapter = "nowhere"}, ErrorKind::kMissingInput,
         "nowhere does not exist");
  expect({.model = base_run(), .run_dir = base_run(), .adapter = adapter_path()},
         ErrorKind::kCannotWrite, "is a run already");
  AdapterFolder bad("llama");
  bad["base_model.model.model.layers.2.self_attn.o_proj.lora_B.weight"].as<double>()[3] = NAN;
  expect({.model = base_run(), .run_dir = whole(), .adapter = bad.write()}, ErrorKind::kData,
         "NaN");
  EXPECT_FALSE(std::filesystem::exists(whole()));
}

}  // namespace
}  // namespace orthant::testing
