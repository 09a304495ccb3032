# SPDX-License-Identifier: Apache-2.0
"""Makes the tokenizers and golden.json.gz beside this file with PyPI's library (pip install 'tokenizers==0.23.*'):
    python tests/golden/tokenizers/make.py
Small vocabularies, with the parts of published tokenizers as their files have them.  golden.json.gz holds for each what the library encodes awkward
texts to, without and with special tokens, and what it decodes that back to.  compare.py does the same with real tokenizers and the program."""
import gzip
import json
import pathlib

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from texts import CODE, KINDS, SENTENCES, texts

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CORPUS = (HERE.parents[1] / "data/shakespeare.txt").read_text()[:200000].split("\n\n") + [(ROOT / "docs/performance.md").read_text()] + (SENTENCES + CODE) * 20
CORPUS += [" ".join(kind) for kind in KINDS]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
BYTE_DECODER = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
SPACE = "\u2581"


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern if isinstance(pattern, dict) else {"Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def added(id, content, special=True, **flags):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": not special, "special": special, **flags}


DEEPSEEK = sequence(split("\\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
                    split("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
                    BYTE_LEVEL)
LLAMA3 = sequence(split("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"), BYTE_LEVEL)
QWEN3 = sequence(split("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"), BYTE_LEVEL)
GPT2 = {**BYTE_LEVEL, "use_regex": True}
SMOLLM2 = sequence({"type": "Digits", "individual_digits": True}, GPT2)
LLAMA2_DECODER = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                   {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}


def train(pre_tokenizer, size, byte_level, tokens=()):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = Tokenizer.from_str(json.dumps({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": pre_tokenizer,
                                                           "post_processor": None, "decoder": None, "model": {"type": "BPE", "vocab": {}, "merges": []}})).pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet, special_tokens=list(tokens), limit_alphabet=1000 if byte_level else 110, max_token_length=16)
    trained.train_from_iterator(CORPUS, trainer)
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], model["merges"]


def make(pre_tokenizer, size=1000, byte_level=True, tokens=(), learn_with=None, normalizer=None, decoder=None, post_processor=None, added_tokens=lambda n: [], pairs=False, **model):
    vocab, merges = train(learn_with or pre_tokenizer, size, byte_level, tokens)
    if not pairs:
        merges = [" ".join(pair) for pair in merges]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens(len(vocab)), "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": post_processor, "decoder": decoder or BYTE_DECODER,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "ignore_merges": False, "vocab": vocab, "merges": merges, **model}}


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA2 = ["<unk>", "<s>", "</s>"]
METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": True}
TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
            "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [0], "tokens": ["<|begin_of_text|>"]}}}


def tokenizer_files():
    llama2_added = [added(i, content) for i, content in enumerate(LLAMA2)]
    template = json.loads(json.dumps(TEMPLATE))
    llama3 = make(LLAMA3, ignore_merges=True, pairs=True, added_tokens=lambda n: [added(n, "<|begin_of_text|>"), added(n + 1, "<|end_of_text|>"), added(n + 9, "<|eot_id|>"),
                                                                                  added(n + 10, "<|reserved_special_token_7|>")])
    template["special_tokens"]["<|begin_of_text|>"]["ids"] = [llama3["added_tokens"][0]["id"]]
    llama3["post_processor"] = {"type": "Sequence", "processors": [BYTE_DECODER, template]}
    return {
        "deepseek_v3": make(DEEPSEEK, normalizer={"type": "Sequence", "normalizers": []},
                            tokens=["<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"],
                            added_tokens=lambda n: [added(0, "<\uff5cbegin\u2581of\u2581sentence\uff5c>"), added(1, "<\uff5cend\u2581of\u2581sentence\uff5c>"),
                                                    added(n, "<think>", False), added(n + 1, "<\uff5cUser\uff5c>", True, normalized=True), added(n + 2, "</think>", False)]),
        "llama3": llama3,
        "qwen3": make(QWEN3, normalizer={"type": "NFC"}, added_tokens=lambda n: [added(n, "<|endoftext|>"), added(n + 1, "<|im_start|>"), added(n + 2, "<|im_end|>"),
                                                                                 added(n + 3, "<tool_call>", False, normalized=False), added(n + 4, "<think>", False, normalized=False)]),
        "gpt2": make(GPT2, tokens=["<|endoftext|>"], added_tokens=lambda n: [added(0, "<|endoftext|>")]),
        "smollm2": make(SMOLLM2, tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], added_tokens=lambda n: [added(0, "<|endoftext|>"), added(1, "<|im_start|>"), added(2, "<|im_end|>")]),
        "llama2": make(None, byte_level=False, learn_with=METASPACE, tokens=LLAMA2 + BYTES, decoder=LLAMA2_DECODER, unk_token="<unk>", fuse_unk=True, byte_fallback=True,
                       normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]},
                       added_tokens=lambda n: llama2_added + [added(n, "<tool_call>", False, normalized=False)]),
        "metaspace": make(METASPACE, byte_level=False, tokens=LLAMA2 + BYTES, unk_token="<unk>", fuse_unk=True, byte_fallback=True, added_tokens=lambda n: llama2_added,
                          decoder={"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "never", "split": True}]}),
        # No published one: added tokens of all kinds, NFKC, and the parts that the others lack.
        "odd": make(sequence(split({"String": "-"}, "MergedWithPrevious"), split("[aeiou]+x?", "MergedWithNext"), {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "WhitespaceSplit"}),
                    byte_level=False, tokens=LLAMA2, unk_token="<unk>", fuse_unk=False, decoder={"type": "Fuse"},
                    normalizer={"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": False, "strip_right": True}, {"type": "NFKC"},
                                                                    {"type": "Replace", "pattern": {"Regex": "[0-9]{2}"}, "content": "#"}]},
                    added_tokens=lambda n: llama2_added + [added(n + 5, "<left>", False, lstrip=True), added(n + 3, "<right>", False, rstrip=True), added(n + 1, "word", False, single_word=True),
                                                           added(n + 2, "<gap>", True, lstrip=True, rstrip=True)]),
    }


def variants():
    """(file, what is changed in it): parts that no published tokenizer above has."""
    def parts(*more):
        return {"pre_tokenizer": sequence(*more)}

    def metaspace(**options):
        return {"pre_tokenizer": {"type": "Metaspace", "replacement": SPACE, **options}}

    def normalizers(*more):
        return {"normalizer": {"type": "Sequence", "normalizers": list(more)}}

    behaviors = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    return ([("gpt2", {"pre_tokenizer": {**GPT2, "add_prefix_space": True}}), ("gpt2", parts({"type": "Digits", "individual_digits": False}, GPT2))]
            + [("metaspace", metaspace(prepend_scheme=scheme, split=cut)) for scheme in ("always", "first", "never") for cut in (True, False)]
            + [("metaspace", metaspace(add_prefix_space=False, prepend_scheme="never")), ("metaspace", {"pre_tokenizer": {"type": "Whitespace"}})]
            + [("metaspace", parts({"type": "Punctuation", "behavior": behavior}, {"type": "Digits", "individual_digits": True})) for behavior in behaviors]
            + [("gpt2", parts(split("[a-z]+|\\s", behavior, invert), BYTE_LEVEL)) for behavior in behaviors for invert in (False, True)]
            + [("gpt2", parts(split({"String": "."}, "MergedWithNext"), split("[^e]e", "MergedWithPrevious", True), BYTE_LEVEL))]
            + [("metaspace", normalizers({"type": form}, {"type": "Strip", "strip_left": left, "strip_right": not left}))
               for form, left in [("NFC", True), ("NFD", False), ("NFKC", True), ("NFKD", False)]]
            + [("metaspace", {**normalizers({"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Prepend", "prepend": "x "}), **change})
               for change in (metaspace(prepend_scheme="always"), {"pre_tokenizer": {"type": "WhitespaceSplit"}})])


def golden_of_variant(name, change, items):
    file = json.loads((HERE / f"{name}.json").read_text())
    library = Tokenizer.from_str(json.dumps({**file, **change}))
    return {"file": name, "change": change, "ids": [library.encode(item, add_special_tokens=False).ids for item in items]}


def golden_of(text, items):
    """The library numbers added tokens anew where their ids have gaps (transformers#45359); the file's ids are the model's."""
    library = Tokenizer.from_str(text)
    ids_of_file = {library.token_to_id(token["content"]): token["id"] for token in json.loads(text)["added_tokens"]}

    def encode(item, add_special_tokens=False):
        return [ids_of_file.get(id, id) for id in library.encode(item, add_special_tokens=add_special_tokens).ids]

    result = {"plain": [], "special": [], "decoded": []}
    for item in items:
        library.encode_special_tokens = True
        result["plain"].append(encode(item))
        library.encode_special_tokens = False
        result["special"].append(encode(item))
        result["decoded"].append(library.decode(library.encode(item, add_special_tokens=False).ids, skip_special_tokens=True))
    result["sequence"] = encode(items[-1], add_special_tokens=True)
    return result


def main():
    items = texts(500)
    golden = {"made_with": f"tokenizers {tokenizers.__version__}", "texts": items, "tokenizers": {}}
    for name, file in tokenizer_files().items():
        text = json.dumps(file, ensure_ascii=False, separators=(",", ":"))
        (HERE / f"{name}.json").write_text(text + "\n")
        golden["tokenizers"][name] = golden_of(text, items)
    golden["variants"] = [golden_of_variant(name, change, items[200:300]) for name, change in variants()]
    with open(HERE / "golden.json.gz", "wb") as out, gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as zipped:
        zipped.write(json.dumps(golden, separators=(",", ":")).encode())


if __name__ == "__main__":
    main()
