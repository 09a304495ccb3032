# SPDX-License-Identifier: Apache-2.0
"""Compares the program with PyPI's `tokenizers` on tokenizers of any size:
    python tests/golden/tokenizers/compare.py PATH... [--program build/bin/orthant] [--count 10000]
PATH is a tokenizer.json, or a folder with GPT-2's vocab.json and merges.txt.  Each is tried on `count` texts and on texts of 1 MB without and with
their special tokens, and on every code point."""
import argparse
import json
import pathlib
import subprocess
import sys

from tokenizers import ByteLevelBPETokenizer, Tokenizer

from texts import CODE, SENTENCES, texts


def load(path):
    if path.is_dir() and not (path / "tokenizer.json").exists():
        made = ByteLevelBPETokenizer(str(path / "vocab.json"), str(path / "merges.txt"))
        made.add_special_tokens(["<|endoftext|>"])
        return made._tokenizer
    return Tokenizer.from_file(str(path / "tokenizer.json" if path.is_dir() else path))


def long_texts():
    prose = "\n".join(SENTENCES + CODE)
    return [prose * (1_000_000 // len(prose.encode())), "a" * 1_000_000, " " * 1_000_000, "\n" * 1_000_000, "ab c1" * 200_000, "=" * 1_000_000,
            "\u4f60\u597d" * 170_000, "\u0301a" * 300_000, " x" * 500_000, "1" * 1_000_000, "\r\n \t" * 250_000, "\U0001f600" * 250_000]


def characters():
    """Every code point, between letters, spaces and digits, and after itself."""
    every = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    return ["".join(f"a{c}a {c} 1{c}{c}\n" for c in every[i:i + 50]) for i in range(0, len(every), 50)]


def run(command, lines):
    data = "".join(line + "\n" for line in lines).encode()
    done = subprocess.run(command, input=data, capture_output=True)
    if done.returncode != 0:
        sys.exit(done.stderr.decode(errors="replace"))
    return done.stdout.decode().removesuffix("\n").split("\n")


def compare(program, path, name, items, special):
    library = load(path)
    library.encode_special_tokens = not special
    want = [library.encode(text, add_special_tokens=False).ids for text in items]
    out = run([program, "tokenizer", "encode", path, "--format", "jsonl"] + (["--special"] if special else []), [json.dumps({"text": text}) for text in items])
    got = [[int(word) for word in line.split()] for line in out]
    wrong = [i for i in range(len(items)) if want[i] != got[i]]
    print(f"{path}: {name}{', special' if special else ''}: {len(items)} texts, {sum(map(len, want)):,} ids, {len(wrong)} differ", flush=True)
    for i in wrong[:5]:
        at = next((k for k, (a, b) in enumerate(zip(want[i], got[i])) if a != b), min(len(want[i]), len(got[i])))
        print(f"   {items[i][:60]!r} ... at {at}: want {[library.id_to_token(t) for t in want[i][at:at + 5]]}, got {[library.id_to_token(t) for t in got[i][at:at + 5]]}")
    return len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    parser.add_argument("--program", default="build/bin/orthant")
    parser.add_argument("--count", type=int, default=10000)
    args = parser.parse_args()
    wrong = 0
    for path in args.paths:
        for special in (False, True):
            wrong += compare(args.program, path, "mixed", texts(args.count), special)
        wrong += compare(args.program, path, "1 MB", long_texts(), False)
        wrong += compare(args.program, path, "every code point", characters(), False)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
