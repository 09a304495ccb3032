// SPDX-License-Identifier: Apache-2.0
// Hyper-parameters of a GGUF file as a config.json.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/rope_scaling.h"
#include "trainer/hub/gguf_model.h"

namespace orthant {
namespace {

using Json = nlohmann::ordered_json;

constexpr GgufArchitecture kArchitectures[] = {
    {.name = "llama", .model_type = "llama", .moe_type = "mixtral", .pairs_rows = true},
    {.name = "qwen2", .model_type = "qwen2"},
    {.name = "qwen3", .model_type = "qwen3"},
};
constexpr int64_t kMaxExperts = 4096;

// Keys behind "ARCHITECTURE." that are whole numbers, and what config.json calls them.
struct Key {
  const char* theirs;
  const char* ours;
  bool is_needed = true;
};
constexpr Key kCounts[] = {
    {"block_count", "num_hidden_layers"},
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads", false},
    {"expert_count", "num_local_experts", false},
    {"expert_used_count", "num_experts_per_tok", false},
};
constexpr Key kReals[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"rope.freq_base", "rope_theta", false},
};
// Those that are looked at elsewhere in this file, or say nothing.
constexpr std::string_view kOthers[] = {"vocab_size",
                                        "attention.key_length",
                                        "attention.value_length",
                                        "rope.dimension_count",
                                        "rope.scaling.type",
                                        "rope.scaling.factor",
                                        "rope.scaling.original_context_length",
                                        "rope.scaling.finetuned",
                                        "rope.scaling.attn_factor",
                                        "tensor_data_layout"};

class ConfigOf {
 public:
  explicit ConfigOf(const GgufReader& file) : file_(file), kind_(gguf_architecture(file)) {}

  std::string text() {
    check_keys();
    for (const Key& key : kCounts)
      if (const int64_t* value = find<int64_t>(key.theirs, key.is_needed))
        json_[key.ours] = checked(*value, key.theirs);
    for (const Key& key : kReals)
      if (const double* value = find<double>(key.theirs, key.is_needed))
        json_[key.ours] = checked(*value, key.theirs);
    add_family();
    check_layers();
    json_["head_dim"] = gguf_head_dim(file_);
    json_["vocab_size"] = gguf_vocabulary(file_);
    json_["hidden_act"] = "silu";
    json_["tie_word_embeddings"] = file_.find("output.weight") == nullptr;
    json_["torch_dtype"] = dtype();
    if (const Json scaling = rope_scaling(); !scaling.is_null()) json_["rope_scaling"] = scaling;
    for (const auto& [theirs, ours] :
         {std::pair{"bos", "bos_token_id"}, {"eos", "eos_token_id"}, {"padding", "pad_token_id"}})
      if (const auto id = gguf_token_id(file_, theirs)) json_[ours] = *id;
    return json_.dump(2) + "\n";
  }

 private:
  std::string key(const char* name) const { return concat(kind_.name, ".", name); }
  std::string what(const char* name) const {
    return concat(file_.path(), ": metadata ", key(name));
  }

  template <class T>
  const T* find(const char* name, bool is_needed = false) const {
    const T* value = file_.value<T>(key(name));
    ORTHANT_CHECK(value || !is_needed, kData, what(name), ": is missing");
    return value;
  }
  int64_t checked(int64_t value, const char* name) const {
    ORTHANT_CHECK(0 <= value && value < int64_t{1} << 31, kConfig, what(name),
                  ": want 0 to 2^31 - 1, got ", value);
    return value;
  }
  double checked(double value, const char* name) const {
    ORTHANT_CHECK(std::isfinite(value) && value > 0, kConfig, what(name),
                  ": want more than 0, got ", value);
    return value;
  }

  // A key that is not known may say what the model computes.
  void check_keys() const {
    const std::string prefix = concat(kind_.name, ".");
    for (const auto& [name, value] : file_.metadata()) {
      if (!name.starts_with(prefix)) continue;
      const std::string own = name.substr(prefix.size());
      const auto is_it = [&](const Key& key) { return own == key.theirs; };
      ORTHANT_CHECK(std::ranges::any_of(kCounts, is_it) || std::ranges::any_of(kReals, is_it) ||
                        std::ranges::find(kOthers, own) != std::end(kOthers),
                    kConfig, file_.path(), ": metadata ", name,
                    ": what it means is not built, or not known here");
    }
  }

  // A layer has a tensor at least, and no more experts than anybody has trained: what is planned
  // takes no more memory than such a file could need.
  void check_layers() const {
    const int64_t layers = json_["num_hidden_layers"];
    const int64_t experts = json_.value("num_local_experts", int64_t{0});
    const char* part = experts > 0 ? "ffn_gate_exps" : "";
    const int64_t tensors = std::ranges::count_if(file_.tensors(), [&](const GgufTensor& tensor) {
      return tensor.name.find(part) != std::string::npos;
    });
    ORTHANT_CHECK(layers <= tensors, kData, what("block_count"), ": want no more layers than the ",
                  tensors, " tensors ", part, experts > 0 ? ", got " : "there are, got ", layers);
    ORTHANT_CHECK(experts <= kMaxExperts, kData, what("expert_count"), ": want at most ",
                  kMaxExperts, ", got ", experts);
  }

  void add_family() {
    const bool has_experts = json_.value("num_local_experts", int64_t{0}) > 0;
    ORTHANT_CHECK(!has_experts || kind_.moe_type, kConfig, what("expert_count"),
                  ": experts of this architecture are not read");
    if (!has_experts) {
      json_.erase("num_local_experts");
      json_.erase("num_experts_per_tok");
    }
    if (std::string_view(kind_.name).starts_with("qwen")) json_["use_sliding_window"] = false;
    json_["model_type"] = has_experts ? kind_.moe_type : kind_.model_type;
  }

  // The type of the matrices.
  const char* dtype() const {
    const GgufTensor* embedding = file_.find("token_embd.weight");
    const auto is_bf16 = [](const GgufTensor& t) { return t.format->dtype == DType::kBF16; };
    if (std::ranges::any_of(file_.tensors(), is_bf16)) return "bfloat16";
    return embedding && embedding->format->dtype == DType::kF16 ? "float16" : "float32";
  }

  Json rope_scaling() const {
    const std::string* type = find<std::string>("rope.scaling.type");
    const bool has_factors = file_.find(kGgufRopeFactors) != nullptr;
    if (!type || *type == "none") return has_factors ? llama3_scaling() : Json();
    ORTHANT_CHECK(!has_factors, kConfig, file_.path(), ": tensor ", kGgufRopeFactors,
                  ": is not built beside rope.scaling.type ", *type);
    ORTHANT_CHECK(*type == "linear" || *type == "yarn", kConfig, what("rope.scaling.type"),
                  ": want none, linear or yarn, got '", *type, "'");
    Json scaling = {
        {"rope_type", *type},
        {"factor", checked(*find<double>("rope.scaling.factor", true), "rope.scaling.factor")}};
    if (*type == "linear") return scaling;
    scaling["original_max_position_embeddings"] =
        checked(*find<int64_t>("rope.scaling.original_context_length", true),
                "rope.scaling.original_context_length");
    const double* attention = find<double>("rope.scaling.attn_factor");
    ORTHANT_CHECK(!attention || *attention == 1.0, kConfig, what("rope.scaling.attn_factor"),
                  ": want 1, got ", attention ? *attention : 1.0);
    return scaling;
  }

  // The file has what each frequency is divided by; config.json has the numbers that this was
  // computed from.  Those of all models so far are tried: the largest divisor is the factor, the
  // other two 1 and 4, the original length a power of two.
  Json llama3_scaling() const {
    const GgufTensor& tensor = *file_.find(kGgufRopeFactors);
    const int64_t dim = gguf_head_dim(file_);
    ORTHANT_CHECK(tensor.format->id == 0 && tensor.shape == Shape({dim / 2}), kData, file_.path(),
                  ": tensor ", tensor.name, ": want F32 ", Shape({dim / 2}).text(), ", got ",
                  tensor.format->name, " ", tensor.shape.text());
    std::vector<float> divisors(static_cast<size_t>(dim / 2));
    file_.read(tensor, 0, dim / 2, divisors.data());
    const double* base = find<double>("rope.freq_base");
    const double theta = base ? *base : 10000.0, factor = std::ranges::max(divisors);
    if (std::ranges::all_of(divisors, [](float d) { return d == 1.0F; })) return Json();
    for (int64_t length = 16; length <= int64_t{1} << 24; length *= 2) {
      const RopeScaling tried{.rope_type = RopeType::kLlama3,
                              .factor = factor,
                              .original_max_position_embeddings = length,
                              .low_freq_factor = 1.0,
                              .high_freq_factor = 4.0};
      if (factor >= 1 && divides_so(tried, dim, theta, divisors))
        return {{"rope_type", "llama3"},
                {"factor", factor},
                {"low_freq_factor", 1.0},
                {"high_freq_factor", 4.0},
                {"original_max_position_embeddings", length}};
    }
    throw_error(ErrorKind::kConfig,
                concat(file_.path(), ": tensor ", tensor.name, ": its factors are not those of ",
                       "Llama 3's scaling with low_freq_factor 1 and high_freq_factor 4; others ",
                       "are not built"));
  }
  static bool divides_so(const RopeScaling& scaling, int64_t dim, double theta,
                         const std::vector<float>& divisors) {
    const std::vector<double> plain = RopeScaling{}.frequencies(dim, theta);
    const std::vector<double> scaled = scaling.frequencies(dim, theta);
    for (size_t i = 0; i < plain.size(); ++i)
      if (!(std::abs(plain[i] / scaled[i] / static_cast<double>(divisors[i]) - 1) < 1e-4))
        return false;
    return true;
  }

  const GgufReader& file_;
  const GgufArchitecture& kind_;
  Json json_;
};

}  // namespace

const GgufArchitecture& gguf_architecture(const GgufReader& file) {
  const auto* name = file.value<std::string>("general.architecture");
  ORTHANT_CHECK(name, kData, file.path(), ": metadata general.architecture: is missing");
  std::string known;
  for (const GgufArchitecture& architecture : kArchitectures) {
    if (*name == architecture.name) return architecture;
    known += concat(known.empty() ? "" : ", ", architecture.name);
  }
  throw_error(ErrorKind::kConfig, concat(file.path(), ": metadata general.architecture: want one ",
                                         "of ", known, ", got '", *name, "', which is not read"));
}

int64_t gguf_head_dim(const GgufReader& file) {
  const std::string prefix = concat(gguf_architecture(file).name, ".");
  const auto find = [&](const char* key) { return file.value<int64_t>(prefix + key); };
  const int64_t *heads = find("attention.head_count"), *width = find("embedding_length");
  const int64_t* given = find("attention.key_length");
  ORTHANT_CHECK(heads && width && *heads > 0, kData, file.path(), ": metadata ", prefix,
                "attention.head_count, embedding_length: want both, more than 0");
  const int64_t dim = given ? *given : *width / *heads;
  ORTHANT_CHECK((given || *width % *heads == 0) && 2 <= dim && dim <= 1 << 20 && dim % 2 == 0,
                kConfig, file.path(), ": metadata ", prefix,
                given ? "attention.key_length" : "embedding_length",
                ": want heads of an even width of at least 2, got ", dim);
  for (const char* same : {"attention.value_length", "rope.dimension_count"})
    ORTHANT_CHECK(!find(same) || *find(same) == dim, kConfig, file.path(), ": metadata ", prefix,
                  same, ": want the width of a head, ", dim, ", got ", *find(same));
  return dim;
}

int64_t gguf_vocabulary(const GgufReader& file) {
  const GgufTensor* embedding = file.find("token_embd.weight");
  ORTHANT_CHECK(embedding && embedding->shape.rank() == 2, kData, file.path(),
                ": tensor token_embd.weight: want a matrix, got ",
                embedding ? embedding->shape.text() : "none");
  const std::string key = concat(gguf_architecture(file).name, ".vocab_size");
  const auto* said = file.value<int64_t>(key);
  ORTHANT_CHECK(!said || *said == embedding->shape[0], kData, file.path(), ": metadata ", key,
                ": is ", *said, ", but tensor token_embd.weight has ", embedding->shape[0],
                " rows");
  return embedding->shape[0];
}

std::optional<int64_t> gguf_token_id(const GgufReader& file, const std::string& name) {
  const std::string key = concat("tokenizer.ggml.", name, "_token_id");
  const auto* id = file.value<int64_t>(key);
  if (!id || *id == -1 || *id == (int64_t{1} << 32) - 1) return std::nullopt;  // -1: none
  const int64_t vocabulary = gguf_vocabulary(file);
  ORTHANT_CHECK(0 <= *id && *id < vocabulary, kData, file.path(), ": metadata ", key,
                ": want an id of the vocabulary of ", vocabulary, ", got ", *id);
  return *id;
}

std::string gguf_config(const GgufReader& file) {
  const auto* parts = file.value<int64_t>("split.count");
  ORTHANT_CHECK(!parts || *parts <= 1, kConfig, file.path(), ": metadata split.count: is one of ",
                *parts, " files; join them first (llama-gguf-split --merge)");
  return ConfigOf(file).text();
}

std::string gguf_generation_config(const GgufReader& file) {
  Json json = Json::object();
  std::vector<int64_t> ends;
  for (const char* name : {"eos", "eot", "eom"}) {
    const std::optional<int64_t> id = gguf_token_id(file, name);
    if (id && std::ranges::find(ends, *id) == ends.end()) ends.push_back(*id);
  }
  if (const auto id = gguf_token_id(file, "bos")) json["bos_token_id"] = *id;
  if (ends.size() == 1) json["eos_token_id"] = ends.front();
  if (ends.size() > 1) json["eos_token_id"] = ends;
  return json.dump(2) + "\n";
}

}  // namespace orthant
