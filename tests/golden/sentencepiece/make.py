# SPDX-License-Identifier: Apache-2.0
"""Makes the models and golden.json beside this file with PyPI's sentencepiece (pip install sentencepiece; any recent version):
    python tests/golden/sentencepiece/make.py
golden.json holds, for each model, what the library encodes awkward texts to and decodes that back to."""
import io
import json
import pathlib

import sentencepiece

HERE = pathlib.Path(__file__).resolve().parent
TEXT = (HERE.parents[1] / "data/shakespeare.txt").read_text()[:120000]
EXACT = dict(normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False, byte_fallback=True,
             allow_whitespace_only_pieces=True, pad_id=3)
MODELS = {
    "unigram": dict(model_type="unigram", **EXACT),
    "bpe": dict(model_type="bpe", **EXACT),
    # As Llama's: a space in front of every text.
    "dummy_space": {**EXACT, "model_type": "bpe", "add_dummy_prefix": True, "pad_id": -1},
    # As T5's, without the tables of Unicode: spaces are collapsed, what was not seen is unknown.
    "lossy": dict(model_type="unigram", normalization_rule_name="identity", character_coverage=1.0),
}
TEXTS = ["", " ", "a", " a", "a ", "  two  spaces  ", "\n", "\n\n", "First Citizen:\nBefore we proceed", "tab\there", "line\r\nfeed",
         "na\u00efve caf\u00e9 \u2014 \u65e5\u672c\u8a9e \U0001f600\u200d\U0001f525", "e\u0301 decomposed, \ufb01 ligature, \u00a0 no-break", "<s>", "</s><unk><0x41>",
         "nul\0byte", "\ufeffbom", "1234567890", "\ufffd replacement", "ALL CAPS and MiXeD", "x" * 70, "\u0000", "?!...,;:'\"()"]

golden = {"made_with": f"sentencepiece {sentencepiece.__version__}", "models": {}}
for name, options in MODELS.items():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT.splitlines(keepends=True)), model_writer=model, num_threads=1,
                                             vocab_size=100 if name == "lossy" else 480, minloglevel=2, **options)
    (HERE / f"{name}.model").write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    golden["models"][name] = {
        "vocab_size": processor.vocab_size(), "bos": processor.bos_id(), "eos": processor.eos_id(), "unk": processor.unk_id(), "pad": processor.pad_id(),
        "texts": [{"text": text, "ids": processor.encode(text), "decoded": processor.decode(processor.encode(text))} for text in TEXTS]}
(HERE / "golden.json").write_text(json.dumps(golden, indent=None, separators=(",", ":")).replace('{"text"', '\n{"text"') + "\n")
