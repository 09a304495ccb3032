# SPDX-License-Identifier: Apache-2.0
"""Prints the rows of data/bpe/new_characters.cpp: what PyPI's library knows beyond this Python's Unicode (3.11 has 14.0, as PCRE2 10.42 has):
    python3.11 tests/golden/tokenizers/new_characters.py"""
import unicodedata

from tokenizers import Regex, pre_tokenizers

CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp"]
every = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
rows = []
for category in CATEGORIES:
    split = pre_tokenizers.Split(Regex(f"\\p{{{category}}}"), "removed", True)
    known = {c for part, _ in split.pre_tokenize_str(every) for c in part}
    moved = [f"{ord(c):X}" for c in every if (unicodedata.category(c) == category) != (c in known) and unicodedata.category(c) != "Cn"]
    if moved:
        print(f"// {category}: other than in Unicode {unicodedata.unidata_version}: {' '.join(moved)}")
    ranges = []
    for code in sorted(ord(c) for c in known if unicodedata.category(c) == "Cn"):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    rows += [(first, last, category) for first, last in ranges]
line = "   "
for first, last, category in sorted(rows):
    row = f' {{0x{first:X}, 0x{last:X}, "{category}"}},'
    if len(line + row) > 100:
        print(line)
        line = "   "
    line += row
print(line)
