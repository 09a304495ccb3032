#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of tiny models of published families, from transformers (5.24.0, torch 2.15, in f64).

  python3 -m venv VENV && VENV/bin/pip install torch==2.15.0 transformers==5.24.0
  VENV/bin/python make.py            writes NAME.json for every model below, beside this file

No weights are kept: hub_weights.py makes them of the tensor's name, and tests/trainer/hub_model_test.cpp does.
The names are those of published folders, one tensor for each expert.
"""
import json
import pathlib
import sys

import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from hub_weights import weights  # noqa: E402

LENGTH = 48
IDS = 5       # vocabulary entries whose log-probabilities are kept, of every position
ENTRIES = 6   # of every gradient

COMMON = dict(vocab_size=517, hidden_size=40, num_hidden_layers=3, max_position_embeddings=256, rms_norm_eps=1e-6,
              hidden_act="silu", attention_bias=False, bos_token_id=0, eos_token_id=1)
LATENT = dict(num_attention_heads=4, num_key_value_heads=4, kv_lora_rank=18, qk_nope_head_dim=10, qk_rope_head_dim=8,
              v_head_dim=14, intermediate_size=52, moe_intermediate_size=22, first_k_dense_replace=1, n_shared_experts=2)
QWEN = {k: v for k, v in COMMON.items() if k != "attention_bias"}
YARN = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=16, beta_fast=4.0,
            beta_slow=0.5, mscale=0.7, mscale_all_dim=0.9)
MODELS = {
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig(
        **COMMON, intermediate_size=53, num_attention_heads=4, num_key_value_heads=2, head_dim=14,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "llama3_rope_tied": (transformers.LlamaForCausalLM, transformers.LlamaConfig(
        **COMMON, intermediate_size=53, num_attention_heads=4, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                             original_max_position_embeddings=32))),
    "llama_yarn": (transformers.LlamaForCausalLM, transformers.LlamaConfig(
        **COMMON, intermediate_size=53, num_attention_heads=4, num_key_value_heads=2, head_dim=14,
        rope_parameters=dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=16))),
    "mistral": (transformers.MistralForCausalLM, transformers.MistralConfig(
        **COMMON, intermediate_size=53, num_attention_heads=4, num_key_value_heads=2, head_dim=14, sliding_window=9,
        rope_parameters=dict(rope_type="default", rope_theta=1000.0))),
    "mixtral": (transformers.MixtralForCausalLM, transformers.MixtralConfig(
        **COMMON, intermediate_size=29, num_attention_heads=4, num_key_value_heads=2, head_dim=14, num_local_experts=6,
        num_experts_per_tok=2, sliding_window=None, rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "deepseek_v2_lite": (transformers.DeepseekV2ForCausalLM, transformers.DeepseekV2Config(
        **COMMON, **LATENT, q_lora_rank=None, n_routed_experts=6, num_experts_per_tok=3, n_group=1, topk_group=1,
        topk_method="greedy", norm_topk_prob=False, routed_scaling_factor=1.0,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "deepseek_v2": (transformers.DeepseekV2ForCausalLM, transformers.DeepseekV2Config(
        **COMMON, **LATENT, q_lora_rank=26, n_routed_experts=8, num_experts_per_tok=3, n_group=4, topk_group=2,
        topk_method="group_limited_greedy", norm_topk_prob=False, routed_scaling_factor=2.5, rope_parameters=YARN)),
    "deepseek_v3": (transformers.DeepseekV3ForCausalLM, transformers.DeepseekV3Config(
        **COMMON, **LATENT, q_lora_rank=26, n_routed_experts=8, num_experts_per_tok=3, n_group=4, topk_group=2,
        norm_topk_prob=True, routed_scaling_factor=2.5, rope_parameters=YARN)),
    "qwen2": (transformers.Qwen2ForCausalLM, transformers.Qwen2Config(
        **QWEN, intermediate_size=53, num_attention_heads=4, num_key_value_heads=2,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "qwen3": (transformers.Qwen3ForCausalLM, transformers.Qwen3Config(
        **COMMON, intermediate_size=53, num_attention_heads=4, num_key_value_heads=2, head_dim=14, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "qwen3_moe": (transformers.Qwen3MoeForCausalLM, transformers.Qwen3MoeConfig(
        **COMMON, intermediate_size=53, num_attention_heads=4, num_key_value_heads=2, head_dim=14, num_experts=6,
        num_experts_per_tok=2, moe_intermediate_size=22, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[],
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "olmoe": (transformers.OlmoeForCausalLM, transformers.OlmoeConfig(
        **COMMON, intermediate_size=22, num_attention_heads=4, num_key_value_heads=2, num_experts=6, num_experts_per_tok=2,
        norm_topk_prob=False, clip_qkv=None, rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "glm4_moe": (transformers.Glm4MoeForCausalLM, transformers.Glm4MoeConfig(
        **{**COMMON, "attention_bias": True}, intermediate_size=53, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        n_routed_experts=6, n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=22, first_k_dense_replace=1,
        n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.8, use_qk_norm=True,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))),
    "glm4_moe_lite": (transformers.Glm4MoeLiteForCausalLM, transformers.Glm4MoeLiteConfig(
        **COMMON, **{**LATENT, "n_shared_experts": 1}, q_lora_rank=26, n_routed_experts=6, num_experts_per_tok=2, n_group=1,
        topk_group=1, norm_topk_prob=True, routed_scaling_factor=1.8,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "minimax_m2": (transformers.MiniMaxM2ForCausalLM, transformers.MiniMaxM2Config(
        **{k: v for k, v in COMMON.items() if k != "attention_bias"}, intermediate_size=22, num_attention_heads=4,
        num_key_value_heads=2, head_dim=14, num_local_experts=6, num_experts_per_tok=2,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=4 / 7))),
}


def published(name, tensor, model_type):
    """(name, slice of the tensor) of the published tensors in one of transformers', which may hold all experts."""
    if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        if model_type in ("mixtral", "minimax_m2"):
            name = name.replace("mlp.gate.", "block_sparse_moe.gate.")
            name = name.replace("mlp.e_score", "block_sparse_moe.e_score")
        yield name, ...
        return
    prefix, part = name.rsplit(".", 1)
    mixtral = model_type in ("mixtral", "minimax_m2")
    if mixtral:
        prefix = prefix.replace("mlp.experts", "block_sparse_moe.experts")
    for e in range(tensor.shape[0]):
        if part == "down_proj":
            yield f"{prefix}.{e}.{'w2' if mixtral else 'down_proj'}.weight", (e,)
        else:
            inner = tensor.shape[1] // 2
            yield f"{prefix}.{e}.{'w1' if mixtral else 'gate_proj'}.weight", (e, slice(0, inner))
            yield f"{prefix}.{e}.{'w3' if mixtral else 'up_proj'}.weight", (e, slice(inner, None))


def fill(model, model_type):
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name == "lm_head.weight" and model.config.tie_word_embeddings:
                continue
            for hub_name, place in published(name, tensor, model_type):
                tensor[place] = torch.from_numpy(weights(hub_name, tuple(tensor[place].shape))).to(tensor.dtype)


def golden(name):
    make, config = MODELS[name]
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = make(config).double().eval()
    fill(model, config.model_type)
    ids = (torch.arange(LENGTH) * 37 + torch.arange(LENGTH) ** 2 * 11 + 5) % config.vocab_size
    out = model(ids[None], output_hidden_states=True, use_cache=False)
    log_probs = torch.log_softmax(out.logits[0].double(), -1)
    labels = torch.roll(ids, -1)
    loss = -log_probs[torch.arange(LENGTH - 1), labels[:-1]].sum()
    loss.backward()
    kept = [(7 * k + 3) % config.vocab_size for k in range(IDS)]
    gradients = {}
    for parameter_name, parameter in model.named_parameters():
        for hub_name, place in published(parameter_name, parameter, config.model_type):
            gradient = parameter.grad[place].flatten()
            step = max(1, len(gradient) // ENTRIES)
            gradients[hub_name] = dict(largest=float(gradient.abs().max()), step=step,
                                       entries=[float(g) for g in gradient[::step]])
    text = ids[:8]
    with torch.no_grad():
        for _ in range(16):
            text = torch.cat([text, model(text[None], use_cache=False).logits[0, -1].argmax()[None]])
    stored = json.loads(config.to_json_string(use_diff=True))  # as save_pretrained writes it
    return dict(
        transformers=transformers.__version__, torch=torch.__version__, dtype="float64",
        config=stored,
        shapes={hub_name: list(tensor[place].shape) for n, tensor in model.state_dict().items()
                if not (n == "lm_head.weight" and config.tie_word_embeddings)
                for hub_name, place in published(n, tensor, config.model_type)},
        ids=ids.tolist(), loss=float(loss), kept_ids=kept, log_probs=[[float(p) for p in row[kept]] for row in log_probs],
        # Behind the final norm.
        hidden=[[float(h) for h in row[:4]] for row in out.hidden_states[-1][0]],
        gradients=gradients, greedy=text.tolist())


def main():
    for name in sys.argv[1:] or MODELS:
        value = golden(name)
        (HERE / f"{name}.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")
        print(name, value["loss"])


main()
