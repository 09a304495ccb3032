# SPDX-License-Identifier: Apache-2.0
"""Sub-word tokenizers through the program: train, try, prepare, pre-train, generate."""
import math
import shutil
import subprocess
import unittest

from harness import BINARY, ROOT, TINY, CliTest, environment, orthant

GOLDEN = ROOT / "tests/golden/sentencepiece"
JSON = ROOT / "tests/golden/tokenizers"


class Tokenizer(CliTest):
    def train(self, name="t.model", *options):
        result = orthant("tokenizer", "train", self.dir / "text.txt", "--vocab-size", 500, "--output", self.dir / name, *options)
        return self.check(result, 0, "500 ids", "bytes of text a token", "sentencepiece:")

    def tiny(self, tokenizer, vocab_size=512):
        text = TINY.format(dir=self.dir, precision="fp32").replace("vocab_size: 257", f"vocab_size: {vocab_size}")
        return self.config(text=text.replace("validation_fraction: 0.1", f"validation_fraction: 0.1, tokenizer: {tokenizer}"))

    def test_train_encode_decode(self):
        self.train()
        self.train("again.model")
        self.assertEqual((self.dir / "t.model").read_bytes(), (self.dir / "again.model").read_bytes())
        lines = (self.dir / "text.txt").read_text().splitlines()[:50] + ["caf\u00e9 \u2581 \U0001f600  x"]
        (self.dir / "lines.txt").write_text("\n".join(lines) + "\n")
        ids = orthant("tokenizer", "encode", self.dir / "t.model", self.dir / "lines.txt")
        self.check(ids, 0)
        self.assertEqual(len(ids.out.splitlines()), len(lines))
        self.assertLess(len(ids.out.split()), sum(map(len, lines)) * 0.6)
        back = subprocess.run([BINARY, "tokenizer", "decode", self.dir / "t.model"], input=ids.out.encode(), capture_output=True, env=environment())
        self.assertEqual(back.stdout.decode(), "\n".join(lines) + "\n")

    def test_wrong_inputs(self):
        text, out = self.dir / "text.txt", ["--output", self.dir / "x.model"]
        self.check(orthant("tokenizer", "train", self.dir / "no.txt", "--vocab-size", 500, *out), 66, "no.txt")
        self.check(orthant("tokenizer", "train", text, "--vocab-size", 50000, *out), 65, "50000 ids", "too high", "<= ")
        self.check(orthant("tokenizer", "train", text, "--vocab-size", 20, *out), 2, "--vocab-size", "261")
        self.check(orthant("tokenizer", "train", text, "--vocab-size", 500, "--output", self.dir / "x.bin"), 2, ".model")
        self.check(orthant("tokenizer", "train", text, "--vocab-size", 500, "--output", text / "x.model"), 73, "x.model")
        self.check(orthant("tokenizer", "train", text, *out), 2, "--vocab-size")
        self.assertFalse((self.dir / "x.model").exists())
        shutil.copy(text, self.dir / "text.model")
        self.check(orthant("tokenizer", "encode", self.dir / "text.model"), 65, "text.model", "SentencePiece")
        self.check(orthant("tokenizer", "encode", self.dir / "no.model"), 66, "no.model")
        (self.dir / "ids").write_text("5 6\n5 x\n")
        self.check(orthant("tokenizer", "decode", GOLDEN / "bpe.model", self.dir / "ids"), 65, "ids:2", "'x'")
        (self.dir / "ids").write_text("480\n")
        self.check(orthant("tokenizer", "decode", GOLDEN / "bpe.model", self.dir / "ids"), 65, "ids:1", "[0, 480)")

    def test_help(self):
        for command in ["train", "encode", "decode"]:
            self.check(orthant("tokenizer", command, "--help"), 0, "Usage")

    def test_pretrain_and_generate_need_only_the_run_directory(self):
        self.train()
        config = self.tiny(self.dir / "t.model")
        result = orthant("pretrain", config, "evaluation.interval=8", "generation.samples=1", "generation.max_new_tokens=5", ranks=2)
        self.check(result, 0, "bits per byte", "sample: ")
        last = self.metrics()[-1]
        # A token stands for more than a byte: its loss is more than a byte's, by the bytes of an average token.
        ratio = last["validation_loss"] / math.log(2) / last["validation_bits_per_byte"]
        self.assertGreater(ratio, 1.5)
        self.assertLess(ratio, 4)
        # The last tenth is validation text; all of it but its first token is predicted.
        held_out = (self.dir / "text.txt").read_bytes()[54000:]
        (self.dir / "held_out.txt").write_bytes(held_out)
        first = orthant("tokenizer", "encode", self.dir / "t.model", self.dir / "held_out.txt").out.split()[0]
        (self.dir / "first").write_text(first)
        first = orthant("tokenizer", "decode", self.dir / "t.model", self.dir / "first").out[:-1]
        self.check(result, 0, f"over {len(held_out) - len(first):,} bytes")
        for path in [self.dir / "t.model", self.dir / "text.txt"]:
            path.unlink()
        moved = self.dir / "elsewhere"
        shutil.move(self.dir / "run", moved)
        text = orthant("generate", moved, "--prompt", "To be", "--max-new-tokens", 20)
        self.check(text, 0)
        self.assertTrue(text.out.startswith("To be"))
        self.assertEqual(orthant("generate", moved / "checkpoints/step-00000008", "--prompt", "To be", "--max-new-tokens", 20).out, text.out)
        shutil.copy(GOLDEN / "bpe.model", moved / "tokenizer.model")
        self.check(orthant("generate", moved), 65, "tokenizer.model", "sentencepiece:")
        (moved / "tokenizer.model").unlink()
        self.check(orthant("generate", moved), 66, "tokenizer.model")

    def test_a_tokenizer_json_goes_with_the_run(self):
        folder = self.dir / "hub"
        folder.mkdir()
        shutil.copy(JSON / "qwen3.json", folder / "tokenizer.json")
        (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
        self.check(orthant("pretrain", self.tiny(folder, vocab_size=1005), "generation.samples=1", "generation.max_new_tokens=5"), 0, "sample: ")
        shutil.rmtree(folder)
        moved = self.dir / "elsewhere"
        shutil.move(self.dir / "run", moved)
        self.assertEqual((moved / "tokenizer.json").read_bytes(), (JSON / "qwen3.json").read_bytes())
        self.assertIn("im_end", (moved / "tokenizer_config.json").read_text())
        text = orthant("generate", moved, "--prompt", "To be", "--max-new-tokens", 20)
        self.check(text, 0)
        self.assertTrue(text.out.startswith("To be"))
        shutil.copy(JSON / "gpt2.json", moved / "tokenizer.json")
        (moved / "tokenizer_config.json").unlink()
        self.check(orthant("generate", moved), 65, "tokenizer.json: is 'tokenizer.json:", "was trained with")

    def test_lines_and_jsonl_with_a_tokenizer_json(self):
        lines = ['{"text": "two\\nlines"}', '{"text": "x<|endoftext|>"}']
        (self.dir / "lines.jsonl").write_text("\n".join(lines) + "\n")
        plain = orthant("tokenizer", "encode", JSON / "gpt2.json", self.dir / "lines.jsonl", "--format", "jsonl")
        special = orthant("tokenizer", "encode", JSON / "gpt2.json", self.dir / "lines.jsonl", "--format", "jsonl", "--special")
        self.check(plain, 0)
        self.assertEqual(len(plain.out.splitlines()), 2)
        self.assertEqual(special.out.splitlines()[1].split()[-1], "0")
        self.assertNotIn("0", plain.out.split())
        (self.dir / "ids").write_text(plain.out)
        self.assertEqual(orthant("tokenizer", "decode", JSON / "gpt2.json", self.dir / "ids", "--format", "jsonl").out, "\n".join(lines).replace(": ", ":") + "\n")
        self.check(orthant("tokenizer", "encode", JSON / "gpt2.json", "--format", "csv"), 2, "--format", "csv")
        (self.dir / "bad.json").write_text('{"model": {"type": "Unigram"}}')
        self.check(orthant("tokenizer", "encode", self.dir / "bad.json", self.dir / "lines.jsonl"), 65, "bad.json: $.model")
        self.check(orthant("prepare", self.dir / "text.txt", "-o", self.dir / "c.h5", "--tokenizer", JSON / "llama2.json"), 0, "vocabulary 1001")

    def test_what_does_not_fit_is_refused(self):
        bpe, unigram = GOLDEN / "bpe.model", GOLDEN / "unigram.model"
        self.check(orthant("prepare", self.dir / "text.txt", "-o", self.dir / "c.h5", "--tokenizer", bpe), 0, "vocabulary 480")
        names = [orthant("inspect", "corpus", self.dir / "c.h5").out.split("tokenizer")[1].split(",")[0].strip()]
        corpus = f"data.train={self.dir}/c.h5"
        for extra in [[], ["--dry-run"]]:
            self.check(orthant("pretrain", self.tiny(unigram), corpus, *extra), 64, "c.h5", names[0], "unigram.model", "which is 'sentencepiece:")
            self.check(orthant("pretrain", self.tiny("byte"), corpus, *extra), 64, names[0], "'byte'")
            self.check(orthant("pretrain", self.tiny("byte"), f"data.validation={self.dir}/c.h5", *extra), 64, names[0], "'byte'")
            self.check(orthant("pretrain", self.tiny(bpe, vocab_size=479), corpus, *extra), 64, "model.vocab_size", "bpe.model", "480", "479")
        self.check(orthant("pretrain", self.tiny(bpe, vocab_size=480), corpus, "--dry-run"), 0, "480 ids")
        self.check(orthant("pretrain", self.tiny(self.dir / "no.model"), corpus), 66, "no.model")
        self.check(orthant("pretrain", self.tiny("bite"), corpus), 64, "data.tokenizer", "bite", ".model")
        self.check(orthant("pretrain", self.tiny(bpe, vocab_size=480), corpus, "run.max_steps=1"), 0)

    def test_text_is_prepared_again_for_another_tokenizer(self):
        for name in ["bpe", "unigram"]:
            self.check(orthant("pretrain", self.tiny(GOLDEN / f"{name}.model"), "run.max_steps=1", f"run.dir={self.dir}/run"
                               if name == "bpe" else f"run.dir={self.dir}/other"), 0)
        self.check(orthant("pretrain", self.tiny(GOLDEN / "unigram.model"), "run.max_steps=2"), 64, "data.tokenizer")
        self.assertEqual(len(list((self.dir / "run/cache").glob("*.h5"))), 2)
        for name in ["bpe", "unigram"]:
            shutil.copy(GOLDEN / f"{name}.model", self.dir / "same.model")
            result = orthant("pretrain", self.tiny(self.dir / "same.model"), "run.max_steps=1", f"run.dir={self.dir}/third")
        self.check(result, 64, "the training data is not the same")

    def test_a_lossy_tokenizer_is_warned_of(self):
        (self.dir / "odd.txt").write_text("two  spaces and \u65e5\u672c\n" * 20)
        result = orthant("prepare", self.dir / "odd.txt", "-o", self.dir / "o.h5", "--tokenizer", GOLDEN / "lossy.model")
        self.check(result, 0, "unknown to the tokenizer", "does not give the text back")


if __name__ == "__main__":
    unittest.main(verbosity=2)
