# SPDX-License-Identifier: Apache-2.0
"""Makes the files beside this one with PyPI's writer (pip install 'gguf==0.19.*' 'numpy<3'):
    python tests/golden/gguf/make.py
blocks.gguf: tensors "got.TYPE" are blocks of a type, "want.TYPE" what gguf.quants.dequantize makes of them, as F32.  Blocks of Q4_0, Q4_1 and Q8_0 are quantised from
numbers; those of Q4_K and Q6_K, which the library does not write, are random bytes with random scales.  The metadata has a value of each type.
tiny_llama.gguf and tiny_mixtral.gguf: whole models, the first with SentencePiece's pieces, the other with byte-level tokens."""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

HERE = pathlib.Path(__file__).resolve().parent
ROWS, COLS = 3, 512


def half(rng, shape, scale):
    return (rng.standard_normal(shape) * scale).astype(np.float16).view(np.uint8)


def blocks(kind, rng):
    numbers = (rng.standard_normal((ROWS, COLS)) * 0.1).astype(np.float32)
    if kind not in (T.Q4_K, T.Q6_K):
        return gguf.quants.quantize(numbers, kind)
    elems, size = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (ROWS, COLS // elems, size), dtype=np.uint8)
    at = slice(0, 4) if kind == T.Q4_K else slice(size - 2, size)
    raw[..., at] = half(rng, (ROWS, COLS // elems, (at.stop - at.start) // 2), 0.01)
    return raw.reshape(ROWS, -1)


def model(name, experts, rng):
    """A writer with all of a model of two layers but its tokenizer."""
    width, inner, heads, kv_heads = 32, 64, 2, 1
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", "llama")
    writer.add_name(name), writer.add_block_count(2), writer.add_context_length(64), writer.add_embedding_length(width), writer.add_feed_forward_length(inner)
    writer.add_head_count(heads), writer.add_head_count_kv(kv_heads), writer.add_layer_norm_rms_eps(1e-5), writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(width // heads), writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    if experts:
        writer.add_expert_count(experts), writer.add_expert_used_count(2)

    def add(tensor, *shape, kind=T.Q8_0):
        numbers = (rng.standard_normal(shape) * 0.1).astype(np.float32)
        writer.add_tensor(tensor, gguf.quants.quantize(numbers, kind) if kind != T.F32 else numbers, raw_dtype=kind)

    for i in range(2):
        for part, rows, kind in (("q", width, T.Q4_0), ("k", width // 2, T.Q4_1), ("v", width // 2, T.BF16), ("output", width, T.F16)):
            add(f"blk.{i}.attn_{part}.weight", rows, width, kind=kind)
        add(f"blk.{i}.attn_norm.weight", width, kind=T.F32), add(f"blk.{i}.ffn_norm.weight", width, kind=T.F32)
        many, suffix = ((experts,), "_exps") if experts else ((), "")
        if experts:
            add(f"blk.{i}.ffn_gate_inp.weight", experts, width, kind=T.F32)
        add(f"blk.{i}.ffn_gate{suffix}.weight", *many, inner, width), add(f"blk.{i}.ffn_up{suffix}.weight", *many, inner, width)
        add(f"blk.{i}.ffn_down{suffix}.weight", *many, width, inner)
    add("output_norm.weight", width, kind=T.F32)
    return writer, add


def add_tokens(writer, tokens, kinds, bos, eos):
    writer.add_token_list(tokens), writer.add_token_types(kinds), writer.add_bos_token_id(bos), writer.add_eos_token_id(eos)
    writer.add_chat_template("{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}")


def finish(writer):
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file()
    writer.close()


def make_models():
    kind = gguf.TokenType
    writer, add = model("tiny_llama", 0, np.random.default_rng(8))
    pieces = ["\u2581", "a", "b", "c", "\u2581a", "ab", "bc", "\u2581ab", "abc"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + pieces
    add("token_embd.weight", len(tokens), 32), add("output.weight", len(tokens), 32)
    writer.add_tokenizer_model("llama"), writer.add_tokenizer_pre("default")
    add_tokens(writer, tokens, [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256 + [kind.NORMAL] * len(pieces), 1, 2)
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(len(pieces))])
    finish(writer)
    writer, add = model("tiny_mixtral", 3, np.random.default_rng(9))
    letters = [chr(i) for i in range(33, 127)] + [chr(i) for i in range(161, 173)] + [chr(i) for i in range(174, 256)] + [chr(i) for i in range(256, 324)]
    tokens = ["<|endoftext|>"] + letters + ["ab", "\u0120ab"]
    add("token_embd.weight", len(tokens), 32)
    writer.add_tokenizer_model("gpt2"), writer.add_tokenizer_pre("smollm")
    add_tokens(writer, tokens, [kind.CONTROL] + [kind.NORMAL] * (len(tokens) - 1), 0, 0)
    writer.add_token_merges(["a b", "\u0120 ab"])
    finish(writer)


def main():
    make_models()
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(HERE / "blocks.gguf", "blocks")
    writer.add_uint8("a.u8", 200), writer.add_int8("a.i8", -3), writer.add_uint16("a.u16", 60000), writer.add_int16("a.i16", -30000)
    writer.add_uint32("a.u32", 4000000000), writer.add_int32("a.i32", -5), writer.add_uint64("a.u64", 1 << 40), writer.add_int64("a.i64", -(1 << 40))
    writer.add_float32("a.f32", 1e-5), writer.add_float64("a.f64", 0.1), writer.add_bool("a.bool", True), writer.add_string("a.text", "caf\u00e9")
    writer.add_array("a.texts", ["one", "", "three"]), writer.add_array("a.ints", [1, -2, 3]), writer.add_array("a.reals", [0.5, -1.5])
    for kind in (T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q4_K, T.Q6_K):
        data = blocks(kind, rng)
        writer.add_tensor(f"got.{kind.name}", data, raw_dtype=kind)
        writer.add_tensor(f"want.{kind.name}", gguf.quants.dequantize(data, kind).astype(np.float32))
    finish(writer)


if __name__ == "__main__":
    main()
