// SPDX-License-Identifier: Apache-2.0
// Folders become run directories and folders again.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "checkpoint/reader.h"
#include "checkpoint/safetensors_folder.h"
#include "model/decoder.h"
#include "tensor/autograd/ops.h"
#include "tests/data/files.h"
#include "tests/trainer/hub_folder_testing.h"
#include "trainer/evaluate.h"
#include "trainer/hub/export.h"
#include "trainer/hub/hub_model.h"
#include "trainer/hub/import.h"
#include "trainer/saved_model.h"
#include "trainer/scoring.h"

namespace orthant::testing {
namespace {

std::string bytes_of(const SafetensorsFolder& folder, const std::string& name) {
  const SafetensorsEntry& entry = *folder.find(name);
  std::string bytes(static_cast<size_t>(entry.end - entry.begin), '\0');
  folder.read(name, 0, bytes.data(), std::ssize(bytes));
  return bytes;
}

// The tensors of both, to the bit.
void expect_same_tensors(const std::string& a, const std::string& b) {
  const SafetensorsFolder left(a), right(b);
  EXPECT_EQ(left.names(), right.names());
  for (const std::string& name : left.names()) {
    ASSERT_NE(right.find(name), nullptr) << name;
    EXPECT_EQ(left.find(name)->shape, right.find(name)->shape) << name;
    EXPECT_EQ(left.find(name)->dtype, right.find(name)->dtype) << name;
    EXPECT_TRUE(bytes_of(left, name) == bytes_of(right, name)) << name;
  }
}

TEST(HubImport, Stories260kWritesOnAsInTransformersAndComesBackToTheBit) {
  const ImportResult result = import_model({.folder = kStories, .run_dir = run()});
  EXPECT_EQ(result.parameters, 260'032);
  EXPECT_TRUE(verify_checkpoint(result.checkpoint).ok);
  const SavedModel saved = load_saved_model("test", run(), "");
  std::ifstream file(std::string(kStories) + "/greedy.json");
  const auto want = Json::parse(file)["tokens"].get<std::vector<int32_t>>();
  EXPECT_EQ(saved.begin, std::vector<int32_t>{want[0]});
  const DecodeCallbacks likeliest{.choose = [](int64_t, int64_t, const std::vector<double>& row) {
    return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  }};
  const auto got = Decoder({saved.model}).run({{saved.begin, 200}}, likeliest)[0];
  EXPECT_EQ(got, std::vector<int32_t>(want.begin() + 1, want.end()));
  EXPECT_EQ(export_model({.model = run(), .folder = out()}).family, "llama");
  expect_same_tensors(out(), kStories);
}

TEST(HubImport, EveryFamilyComesBackToTheBitAlsoInShards) {
  for (const std::string& name : kGoldenModels) {
    SCOPED_TRACE(name);
    const std::string folder = test_folder() + "/" + name;
    write_golden_folder(golden_model(name), folder);
    const ImportResult result =
        import_model({.folder = folder, .run_dir = folder + "-run", .shard_bytes = 100'000});
    EXPECT_TRUE(verify_checkpoint(result.checkpoint).ok);
    const ExportResult exported =
        export_model({.model = folder + "-run", .folder = folder + "-out", .shard_bytes = 70'000});
    EXPECT_GT(exported.files, 1);
    EXPECT_EQ(exported.family, golden_model(name)["config"]["model_type"]);
    expect_same_tensors(folder, folder + "-out");
  }
}

std::vector<double> values_of(const HubModel& model, const std::string& name) {
  for (const ImportTensor& tensor : model.tensors()) {
    if (tensor.name != name) continue;
    const std::string bytes = model.read(tensor);
    const Tensor host = Tensor::empty(tensor.shape, tensor.dtype);
    std::memcpy(host.data(), bytes.data(), bytes.size());
    return host.to_doubles();
  }
  ADD_FAILURE() << "no tensor " << name;
  return {};
}

TEST(HubImport, ExpertsMayBeFusedAsTransformers5HoldsThem) {
  Folder split("qwen3_moe"), fused("qwen3_moe");
  const int64_t experts = 6, inner = 22, width = 40;
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = concat("model.layers.", layer, ".mlp.experts.");
    Tensor gate_up = Tensor::empty({experts, 2 * inner, width}, DType::kF32);
    Tensor down = Tensor::empty({experts, width, inner}, DType::kF32);
    for (int64_t e = 0; e < experts; ++e) {
      const std::string expert = concat(prefix, e, ".");
      copy(fused.take(expert + "gate_proj.weight"),
           gate_up.slice(e, e + 1).view({2 * inner, width}).slice(0, inner));
      copy(fused.take(expert + "up_proj.weight"),
           gate_up.slice(e, e + 1).view({2 * inner, width}).slice(inner, 2 * inner));
      copy(fused.take(expert + "down_proj.weight"), down.slice(e, e + 1).view({width, inner}));
    }
    fused[prefix + "gate_up_proj"] = gate_up;
    fused[prefix + "down_proj"] = down;
  }
  const HubModel want(split.write());
  std::vector<std::vector<double>> values;
  for (const ImportTensor& tensor : want.tensors()) values.push_back(values_of(want, tensor.name));
  const HubModel got(fused.write());
  ASSERT_EQ(got.tensors().size(), values.size());
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(values_of(got, want.tensors()[i].name), values[i]) << want.tensors()[i].name;
}

TEST(HubImport, HalfPrecisionKeepsItsValues) {
  Folder folder;
  const std::string name = "model.norm.weight";
  const uint16_t bits[] = {0x3C00, 0xC000, 0x7BFF, 0x0001, 0x8400, 0x3555};
  const double want[] = {1.0,           -2.0, 65504.0, std::ldexp(1.0, -24), -std::ldexp(1.0, -14),
                         0.333251953125};
  const Tensor half = Tensor::zeros({40}, DType::kF16);
  std::memcpy(half.data(), bits, sizeof(bits));
  folder[name] = half;
  const HubModel model(folder.write());
  const std::vector<double> got = values_of(model, name);
  for (size_t i = 0; i < std::size(want); ++i) EXPECT_EQ(got[i], want[i]) << i;
}

TEST(HubImport, Fp8BlocksAreMultipliedOut) {
  Folder folder;
  const std::string name = "model.layers.1.mlp.up_proj.weight";  // [53, 40]
  folder.config["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {32, 16}}};
  const Tensor codes = Tensor::zeros({53, 40}, DType::kF8E4M3);
  auto* bytes = static_cast<unsigned char*>(codes.data());
  bytes[0] = 0x38, bytes[17] = 0xC4, bytes[52 * 40 + 39] = 0x7E, bytes[1] = 0x01;
  folder[name] = codes;
  folder[name + "_scale_inv"] =
      Tensor::from({2, 3}, {{0.5, 3.0, 1.0, 1.0, 1.0, 0.25}}, DType::kF32);
  const HubModel model(folder.write());
  const std::vector<double> got = values_of(model, name);
  EXPECT_EQ(got[0], 0.5);                      // 1.0 * 0.5
  EXPECT_EQ(got[17], -9.0);                    // -3.0 * 3.0
  EXPECT_EQ(got[52 * 40 + 39], 112.0);         // 448 * 0.25
  EXPECT_EQ(got[1], std::ldexp(1.0, -9) / 2);  // the smallest, times 0.5
  EXPECT_EQ(got[2], 0.0);
}

TEST(HubImport, LayersForMultiTokenPredictionSurvive) {
  Folder folder("deepseek_v3");
  folder.config["num_nextn_predict_layers"] = 1;
  folder["model.layers.3.enorm.weight"] = Tensor::from({2}, {{1.0, 2.0}}, DType::kF32);
  folder["model.layers.3.eh_proj.weight"] = Tensor::from({2, 1}, {{3.0, 4.0}}, DType::kBF16);
  const std::string path = folder.write();
  import_model({.folder = path, .run_dir = run()});
  load_saved_model("test", run(), "");
  export_model({.model = run(), .folder = out()});
  expect_same_tensors(path, out());
  std::ifstream config(out() + "/config.json");
  EXPECT_EQ(Json::parse(config)["num_nextn_predict_layers"], 1);
}

// A tiny DeepSeek-V3 with a layer for multi-token prediction, as such folders have it.
Folder with_mtp_layer() {
  Folder folder("deepseek_v3");
  folder.config["num_nextn_predict_layers"] = 1;
  const std::string last = "model.layers.2.", layer = "model.layers.3.";
  const auto add = [&](const std::string& name, const Shape& shape) {
    folder[layer + name] = Tensor::from(shape, golden_weights(name, shape.numel()), DType::kF32);
  };
  const Named tensors = folder.tensors;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(last)) add(name.substr(last.size()), tensor.shape());
  const int64_t width = folder.config["hidden_size"];
  for (const char* norm : {"enorm.weight", "hnorm.weight", "shared_head.norm.weight"})
    add(norm, {width});
  add("eh_proj.weight", {width, 2 * width});
  folder[layer + "embed_tokens.weight"] = folder["model.embed_tokens.weight"];
  folder[layer + "shared_head.head.weight"] = folder["lm_head.weight"];
  return folder;
}

TEST(HubImport, ALayerForMultiTokenPredictionIsTheModelsWhereItIsAskedFor) {
  const std::string path = with_mtp_layer().write();
  import_model({.folder = path, .run_dir = run(), .predicts_further = true});
  const Manifest manifest = read_manifest(find_checkpoint("test", run()));
  for (const ManifestTensor& tensor : manifest.tensors)
    EXPECT_FALSE(tensor.name.starts_with("hub.")) << tensor.name;
  EXPECT_NE(manifest.find("model.layers.3.eh_proj.weight"), nullptr);
  load_saved_model("test", run(), "");  // does without
  export_model({.model = run(), .folder = out()});
  expect_same_tensors(path, out());
  std::ifstream config(out() + "/config.json");
  EXPECT_EQ(Json::parse(config)["num_nextn_predict_layers"], 1);
  // Its rotary pairs are put in order as everywhere.
  const std::string rotary = "self_attn.kv_a_proj_with_mqa.weight";
  Folder folder = with_mtp_layer();
  folder["model.layers.3." + rotary] = folder["model.layers.2." + rotary];
  const HubModel model(open_published(folder.write()), "byte", true);
  EXPECT_EQ(values_of(model, "model.layers.3." + rotary),
            values_of(model, "model.layers.2." + rotary));
}

TEST(HubImport, ALayerForMultiTokenPredictionThatDoesNotFitIsRefused) {
  Folder folder = with_mtp_layer();
  const auto import = [&] {
    import_model({.folder = folder.write(), .run_dir = run(), .predicts_further = true});
  };
  const std::string head = "model.layers.3.shared_head.head.weight";
  folder[head] = Tensor::zeros(folder[head].shape(), DType::kF32);
  expect_error(ErrorKind::kData, {head, "want lm_head.weight once more"}, import);
  folder = with_mtp_layer();
  folder.take("model.layers.3.hnorm.weight");
  expect_error(ErrorKind::kData, {"model.layers.3.hnorm.weight", "is missing"}, import);
  folder = Folder("deepseek_v3");
  folder.config["num_nextn_predict_layers"] = 0;
  expect_error(ErrorKind::kConfig, {"num_nextn_predict_layers: want 1 layer", "got 0"}, import);
  EXPECT_FALSE(std::filesystem::exists(run()));
}

// Past the longest sequence each token is scored once, and sees half a sequence at least.
TEST(HubImport, LongTextsAreScoredInWindows) {
  Folder folder;
  folder.config["max_position_embeddings"] = 16;
  import_model({.folder = folder.write(), .run_dir = run()});
  const SavedModel saved = load_saved_model("test", run(), "fp64");
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 45; ++i) ids.push_back((i * 37 + 5) % 517);
  const std::vector<double> all = log_probabilities(*saved.model, ids);
  ASSERT_EQ(all.size(), 44U);
  const auto part = [&](size_t begin, size_t end) {
    return log_probabilities(*saved.model, std::span(ids).subspan(begin, end - begin));
  };
  const std::vector<double> first = part(0, 17), second = part(8, 24), third = part(16, 32);
  for (size_t i = 0; i < 15; ++i) EXPECT_EQ(all[i], part(0, 16)[i]) << i;
  for (size_t i = 16; i < 23; ++i) EXPECT_EQ(all[i], second[i - 8]) << i;
  for (size_t i = 24; i < 31; ++i) EXPECT_EQ(all[i], third[i - 16]) << i;
  EXPECT_TRUE(part(0, 1).empty());
  expect_error(ErrorKind::kData, {"want a token in [0, 517), got 517"}, [&] {
    log_probabilities(*saved.model, std::vector<int32_t>{1, 517});
  });
}

TEST(HubImport, NumbersThatOverflowEndAnEvaluation) {
  Folder folder;
  folder["model.norm.weight"] = Tensor::from({40}, std::vector<double>(40, 3e38), DType::kF32);
  import_model({.folder = folder.write(), .run_dir = run()});
  write_file("data.jsonl", "{\"tokens\": [1, 2, 3]}\n");
  const SavedModel saved = load_saved_model("test", run(), "");
  expect_error(ErrorKind::kNumeric, {"data.jsonl:1", "no probability"}, [&] {
    evaluate_file(saved, {.documents = {.data = test_folder() + "/data.jsonl"}});
  });
}

TEST(HubImport, AnyLongestSequenceIsPlannedWithoutItsTable) {
  const std::vector<double> frequencies(4, 1.0);
  const RotaryTable table =
      make_rotary_table(int64_t{1} << 50, frequencies, 1.0, DType::kF32, {DeviceType::kMeta, 0});
  EXPECT_EQ(table.cos.dim(0), int64_t{1} << 50);
  Folder folder;
  folder.config["max_position_embeddings"] = 2'147'483'647;
  EXPECT_EQ(HubModel(folder.write()).tensors().size(), 30);
}

}  // namespace
}  // namespace orthant::testing
