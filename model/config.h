// SPDX-License-Identifier: Apache-2.0
// The model, in the key names of a Hugging Face config.json.
#pragma once

#include <string>
#include <vector>

#include "base/config/fields.h"
#include "model/family.h"
#include "model/rope_scaling.h"
#include "moe/config.h"
#include "tensor/backend.h"

namespace orthant {

class Problems;

// What a layer's tokens see: everything before them, or sliding_window tokens.
struct LayerType {
  std::string type = "full_attention";
  void fields(FieldVisitor& v);
};

// A name of `architectures`, which says the family where model_type does not.
struct Architecture {
  std::string name;
  void fields(FieldVisitor& v);
};

// Adapters that are merged into what a model begins with.
struct MergedAdapter {
  std::string path;
  void fields(FieldVisitor& v);
};

// How experts are chosen: of all; of the best groups, by their best expert; of those whose two best
// are best together, by scores with a bias.
enum class TopkMethod { kGreedy, kGroupLimitedGreedy, kNoAuxTc };
const EnumNames<TopkMethod>& topk_method_names();
const EnumNames<ScoreKind>& score_names();

// What queries and keys are normed by: each head by itself, or all of a token's as one.
enum class QkNorm { kPerHead, kPerLayer };
const EnumNames<QkNorm>& qk_norm_names();

// How new tokens see a cache of latents (model/latent_attention.h): keys and values made of them
// anew, with the bits of training; or the latents themselves, with less work.
// kCompared: naive, and how far the absorbed form is from it is told.
enum class LatentForm { kNaive, kAbsorbed, kCompared };
const EnumNames<LatentForm>& latent_form_names();

struct ModelConfig {
  std::string from;                     // what a run begins with (trainer/run_beginning.h)
  std::vector<MergedAdapter> adapters;  // merged into it first
  std::string model_type = kCustomFamily;
  std::vector<Architecture> architectures;
  int64_t vocab_size = 257;
  int64_t hidden_size = 256;
  int64_t intermediate_size = 0;  // of dense layers; 0 = 8/3 of hidden_size, rounded up to 64
  int64_t num_hidden_layers = 4;
  int64_t num_attention_heads = 4;
  int64_t num_key_value_heads = 0;  // 0 = num_attention_heads
  int64_t head_dim = 0;             // 0 = hidden_size / num_attention_heads
  int64_t v_head_dim = 0;           // 0 = head_dim; latent: qk_nope_head_dim
  int64_t kv_lora_rank = 0;         // of latent attention; 0 = grouped-query attention
  int64_t q_lora_rank = 0;          // 0 = queries have no latent
  int64_t qk_nope_head_dim = 0, qk_rope_head_dim = 0;
  bool attention_bias = false;  // of queries, keys and values
  bool use_qk_norm = false;
  QkNorm qk_norm_type = QkNorm::kPerHead;
  double partial_rotary_factor = 1.0;   // part of a head that is turned
  int64_t rotary_dim_given = 0;         // the same as a width; 0 = by the factor
  int64_t max_position_embeddings = 0;  // 0 = batch.sequence_length
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;
  int64_t sliding_window = 0;  // tokens that a token sees in sliding layers; 0 = no limit
  bool use_sliding_window = true;
  std::vector<LayerType> layer_types;  // empty: by the pattern
  int64_t sliding_window_pattern = 0;  // 0 = all layers slide; P = all but every P-th
  int64_t max_window_layers = 0;       // leading layers that see everything
  double hidden_dropout = 0.0;
  int64_t num_nextn_predict_layers = 0;  // for multi-token prediction (model/mtp_layer.h): 0 or 1
  double mtp_loss_weight = 0.3;

  int64_t n_routed_experts = 0;  // 0 = dense model
  int64_t n_shared_experts = 0;
  int64_t num_experts_per_tok = 0;
  int64_t moe_intermediate_size = 0;
  int64_t first_k_dense_replace = 0;
  bool norm_topk_prob = false;
  double routed_scaling_factor = 1.0;
  ScoreKind scoring_func = ScoreKind::kSoftmax;
  TopkMethod topk_method = TopkMethod::kGreedy;
  int64_t n_group = 1, topk_group = 1;
  double aux_loss_alpha = kOpen;  // the same as moe.balance.expert, or .sequence with noaux_tc

  void fields(FieldVisitor& v);
  // Fills in what was left 0 and checks relations; Error(kConfig) listing all that is wrong.
  void resolve(int64_t sequence_length);

  bool is_latent() const { return kv_lora_rank > 0; }
  // Columns of a query and key head that are turned.
  int64_t rotary_dim() const;
  // Tokens that a token of the layer sees, itself included; 0: no limit.
  int64_t window_of(int64_t layer) const;
  bool is_moe() const { return n_routed_experts > 0; }
  bool has_router_bias() const { return is_moe() && topk_method == TopkMethod::kNoAuxTc; }
  // Layers with the one behind the last.
  int64_t num_all_layers() const { return num_hidden_layers + num_nextn_predict_layers; }
  // The last stage of a pipeline uses the embedding's weight too.
  bool shares_embedding() const { return tie_word_embeddings || num_nextn_predict_layers > 0; }
  bool is_moe_layer(int64_t layer) const { return is_moe() && layer >= first_k_dense_replace; }
  int64_t num_moe_layers() const { return is_moe() ? num_all_layers() - first_k_dense_replace : 0; }
  int64_t moe_index(int64_t layer) const { return layer - first_k_dense_replace; }  // of these

 private:
  void resolve_heads(Problems& problems);
  void resolve_latent(Problems& problems);
  void resolve_family(Problems& problems);
};

// Settles what was left open of routing and balance, and checks how the two blocks go together;
// Error(kConfig) listing all that is wrong.
void resolve_routing(const ModelConfig& model, MoeConfig& moe);

// Parameters that a token meets in matrix products (embedding lookup left out, head included): what
// FLOPs count.
int64_t active_matmul_parameters(const ModelConfig& config);
int64_t total_parameters(const ModelConfig& config);
// Operations per trained token, forward and backward: 6 per active parameter, and attention to the
// keys that are seen: half of them, or fewer in a window.
double flops_per_token(const ModelConfig& config, int64_t sequence_length);
// Those of one layer; of the head and of what predicts further.
double layer_flops_per_token(const ModelConfig& config, int64_t sequence_length, int64_t layer);
double last_stage_flops_per_token(const ModelConfig& config, int64_t sequence_length);

}  // namespace orthant
