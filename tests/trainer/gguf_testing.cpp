// SPDX-License-Identifier: Apache-2.0
#include "tests/trainer/gguf_testing.h"

#include <filesystem>
#include <fstream>
#include <map>

#include "checkpoint/safetensors.h"
#include "model/rope_scaling.h"
#include "tests/data/files.h"
#include "tests/trainer/hub_model_testing.h"

namespace orthant::testing {
namespace {

using Json = nlohmann::json;

constexpr const char* kStories = ORTHANT_SOURCE_DIR "/tests/data/stories260k";

std::vector<float> weights(const std::string& name, const Shape& shape) {
  const std::vector<double> wide = golden_weights(name, shape.numel());
  return {wide.begin(), wide.end()};
}
std::string bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}
Shape shape_of(const Json& dims) {
  Shape shape;
  for (const Json& dim : dims) shape.push_back(dim.get<int64_t>());
  return shape;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

// "blk.3.attn_q.weight" of "model.layers.3.self_attn.q_proj.weight"; of one expert, the matrix of
// all of them.
std::string gguf_name(std::string name) {
  for (const auto& [ours, theirs] :
       std::vector<std::pair<const char*, const char*>>{{"model.embed_tokens", "token_embd"},
                                                        {"model.norm", "output_norm"},
                                                        {"lm_head", "output"},
                                                        {"model.layers", "blk"},
                                                        {"input_layernorm", "attn_norm"},
                                                        {"post_attention_layernorm", "ffn_norm"},
                                                        {"self_attn.q_proj", "attn_q"},
                                                        {"self_attn.k_proj", "attn_k"},
                                                        {"self_attn.v_proj", "attn_v"},
                                                        {"self_attn.o_proj", "attn_output"},
                                                        {"self_attn.q_norm", "attn_q_norm"},
                                                        {"self_attn.k_norm", "attn_k_norm"},
                                                        {"mlp.gate_proj", "ffn_gate"},
                                                        {"mlp.up_proj", "ffn_up"},
                                                        {"mlp.down_proj", "ffn_down"},
                                                        {"block_sparse_moe.gate", "ffn_gate_inp"}})
    name = replaced(name, ours, theirs);
  const size_t experts = name.find("block_sparse_moe.experts.");
  if (experts == name.npos) return name;
  const std::map<char, std::string> parts = {{'1', "gate"}, {'2', "down"}, {'3', "up"}};
  return name.substr(0, experts) + "ffn_" + parts.at(name[name.rfind(".w") - 1]) + "_exps.weight";
}

// Row (head, half, i) of a folder is row (head, i, half) there.
std::vector<float> paired_rows(const std::vector<float>& rows, int64_t head_dim, int64_t cols) {
  std::vector<float> result(rows.size());
  const int64_t heads = std::ssize(rows) / head_dim / cols, half = head_dim / 2;
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < half; ++i)
      for (int64_t side = 0; side < 2; ++side)
        std::copy_n(rows.begin() + (h * head_dim + side * half + i) * cols, cols,
                    result.begin() + (h * head_dim + 2 * i + side) * cols);
  return result;
}

int64_t head_dim_of(const Json& config) {
  if (config.contains("head_dim")) return config["head_dim"].get<int64_t>();
  return config["hidden_size"].get<int64_t>() / config["num_attention_heads"].get<int64_t>();
}

void add_hyper_parameters(const Json& config, const std::string& arch, GgufFile& file) {
  const auto put = [&](const char* theirs, const char* ours) {
    if (config.contains(ours))
      file.set(arch + "." + theirs, gguf_u32(config[ours].get<uint32_t>()));
  };
  file.set("general.architecture", gguf_string(arch));
  put("block_count", "num_hidden_layers");
  put("context_length", "max_position_embeddings");
  put("embedding_length", "hidden_size");
  put("feed_forward_length", "intermediate_size");
  put("attention.head_count", "num_attention_heads");
  put("attention.head_count_kv", "num_key_value_heads");
  put("attention.key_length", "head_dim");
  put("attention.value_length", "head_dim");
  put("expert_count", "num_local_experts");
  put("expert_used_count", "num_experts_per_tok");
  put("vocab_size", "vocab_size");
  const Json& rope = config["rope_parameters"];
  file.set(arch + ".attention.layer_norm_rms_epsilon",
           gguf_f32(config["rms_norm_eps"].get<float>()));
  file.set(arch + ".rope.freq_base", gguf_f32(rope["rope_theta"].get<float>()));
  if (rope["rope_type"] == "yarn") {
    file.set(arch + ".rope.scaling.type", gguf_string("yarn"));
    file.set(arch + ".rope.scaling.factor", gguf_f32(rope["factor"].get<float>()));
    file.set(arch + ".rope.scaling.original_context_length",
             gguf_u32(rope["original_max_position_embeddings"].get<uint32_t>()));
  }
}

// What each frequency is divided by, as the converter computes it of Llama 3's configuration.
void add_rope_factors(const Json& config, GgufFile& file) {
  const Json& rope = config["rope_parameters"];
  if (rope["rope_type"] != "llama3") return;
  const double low = rope["low_freq_factor"], high = rope["high_freq_factor"];
  const double old = rope["original_max_position_embeddings"], factor = rope["factor"];
  std::vector<float> divisors;
  const int64_t dim = head_dim_of(config);
  for (int64_t i = 0; i < dim; i += 2) {
    const double wave = 2 * 3.14159265358979323846 *
                        std::pow(rope["rope_theta"].get<double>(),
                                 static_cast<double>(i) / static_cast<double>(dim));
    const double smooth = (old / wave - low) / (high - low);
    divisors.push_back(static_cast<float>(wave < old / high ? 1
                                          : wave > old / low
                                              ? factor
                                              : 1 / ((1 - smooth) / factor + smooth)));
  }
  file.add("rope_freqs.weight", {dim / 2}, 0, bytes_of(divisors));
}

}  // namespace

GgufFile gguf_of_golden(const std::string& name) {
  const Json golden = golden_model(name), &config = golden["config"];
  const std::string type = config["model_type"];
  const std::string arch = type.starts_with("qwen") ? type : "llama";
  GgufFile file;
  add_hyper_parameters(config, arch, file);
  add_pieces(read_bytes(std::string(kStories) + "/tokenizer.model"), file);
  for (const auto& [tensor, dims] : golden["shapes"].items()) {
    const Shape shape = shape_of(dims);
    std::vector<float> values = weights(tensor, shape);
    const std::string there = gguf_name(tensor);
    const bool is_turned = there.ends_with("attn_q.weight") || there.ends_with("attn_k.weight");
    if (arch == "llama" && is_turned) values = paired_rows(values, head_dim_of(config), shape[1]);
    GgufFile::Tensor& target = file[there];
    target.data += bytes_of(values);
    if (target.dims.empty()) {
      for (int i = shape.rank(); i-- > 0;) target.dims.push_back(static_cast<uint64_t>(shape[i]));
      if (there.ends_with("_exps.weight"))
        target.dims.push_back(config["num_local_experts"].get<uint64_t>());
    }
  }
  add_rope_factors(config, file);
  return file;
}

void write_golden_folder_f32(const std::string& name, const std::string& folder) {
  const Json golden = golden_model(name);
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/config.json") << golden["config"].dump(2);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& [tensor, dims] : golden["shapes"].items()) {
    const Shape shape = shape_of(dims);
    tensors.emplace_back(tensor,
                         Tensor::from(shape, golden_weights(tensor, shape.numel()), DType::kF32));
  }
  write_safetensors(folder + "/model.safetensors", tensors, {{"format", "pt"}});
  std::filesystem::copy_file(std::string(kStories) + "/tokenizer.model",
                             folder + "/tokenizer.model");
}

namespace {

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes[0]);
    bytes.remove_prefix(1);
    value |= uint64_t{byte & 127U} << shift;
    if (byte < 128) return value;
  }
}
// A field of a protocol buffer: its number, and its bytes or number.
struct Field {
  uint64_t number = 0, value = 0;
  std::string_view bytes;
};
Field take_field(std::string_view& bytes) {
  const uint64_t tag = take_varint(bytes);
  Field field{.number = tag >> 3};
  if ((tag & 7) == 0) {
    field.value = take_varint(bytes);
    return field;
  }
  const size_t size = (tag & 7) == 2 ? take_varint(bytes) : (tag & 7) == 5 ? 4 : 8;
  field.bytes = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return field;
}

}  // namespace

// sentencepiece_model.proto: ModelProto.pieces is 1, with piece 1, score 2, type 3 (NORMAL where it
// is not said).  The types' numbers are those of GGUF.
void add_pieces(const std::string& model, GgufFile& file) {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (std::string_view rest = model; !rest.empty();) {
    const Field piece = take_field(rest);
    if (piece.number != 1) continue;
    tokens.emplace_back(), scores.push_back(0), types.push_back(1);
    for (std::string_view inner = piece.bytes; !inner.empty();) {
      const Field field = take_field(inner);
      if (field.number == 1) tokens.back() = field.bytes;
      if (field.number == 2) std::memcpy(&scores.back(), field.bytes.data(), 4);
      if (field.number == 3) types.back() = static_cast<int32_t>(field.value);
    }
  }
  file.set("tokenizer.ggml.model", gguf_string("llama"));
  file.set("tokenizer.ggml.pre", gguf_string("default"));
  file.set("tokenizer.ggml.tokens", gguf_texts(tokens));
  file.set("tokenizer.ggml.scores", gguf_numbers<float>(6, scores));
  file.set("tokenizer.ggml.token_type", gguf_numbers<int32_t>(5, types));
  file.set("tokenizer.ggml.bos_token_id", gguf_u32(1));
  file.set("tokenizer.ggml.eos_token_id", gguf_u32(2));
  file.set("tokenizer.ggml.unknown_token_id", gguf_u32(0));
}

void add_byte_level(const Json& tokenizer, const std::string& pre, GgufFile& file) {
  std::map<int64_t, std::pair<std::string, int32_t>> by_id;
  for (const auto& [token, id] : tokenizer["model"]["vocab"].items())
    by_id[id.get<int64_t>()] = {token, 1};
  for (const Json& token : tokenizer["added_tokens"])
    by_id[token["id"].get<int64_t>()] = {token["content"], token["special"] ? 3 : 4};
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  for (const auto& [id, token] : by_id) {
    while (std::ssize(tokens) < id) {  // the converter fills gaps so
      types.push_back(5);
      tokens.push_back(concat("[PAD", tokens.size(), "]"));
    }
    tokens.push_back(token.first), types.push_back(token.second);
  }
  for (const Json& merge : tokenizer["model"]["merges"])
    merges.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : concat(merge[0].get<std::string>(), " ", merge[1].get<std::string>()));
  file.set("tokenizer.ggml.model", gguf_string("gpt2"));
  file.set("tokenizer.ggml.pre", gguf_string(pre));
  file.set("tokenizer.ggml.tokens", gguf_texts(tokens));
  file.set("tokenizer.ggml.token_type", gguf_numbers<int32_t>(5, types));
  file.set("tokenizer.ggml.merges", gguf_texts(merges));
}

}  // namespace orthant::testing
