# SPDX-License-Identifier: Apache-2.0
"""Texts that tokenizers get wrong."""
import random

WORDS = ["the", "The", "don't", "I'LL", "we've", "it's", "'s", "HELLO", "caf\u00e9", "cafe\u0301", "na\u00efve", "Stra\u00dfe", "\u017ft", "'\u017f", "\u0130stanbul",
         "\u4f60\u597d", "\u4e16\u754c", "\u3053\u3093\u306b\u3061\u306f", "\u30ab\u30bf\u30ab\u30ca", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0645\u0631\u062d\u0628\u0627",
         "\u05e9\u05dc\u05d5\u05dd", "\u043f\u0440\u0438\u0432\u0435\u0442", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0391\u03b8\u03ae\u03bd\u03b1", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
         "\U0001f1e9\U0001f1ea", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U00020000", "\U0001d49c", "\ufb01", "\u00bd", "\u00b2", "\u2167", "\u0663\u0664", "\u0967", "\u4e09", "\u3007", "\u2460"]
CODE = ["for (int i = 0; i < n; ++i) {", "def f(x):\n    return x ** 2\n", "\tif x:\n\t\tpass\n", "a->b::c<d>()", "https://example.com/a?b=c&d=%20", "x=1;y=2", "/* c */ // d",
        "#include <vector>\n", "{\"key\": [1, 2.5e-3, null]}", "SELECT * FROM t WHERE a='b';", "snake_case CamelCase kebab-case", "$HOME/.bashrc", "0x1F 0b101 1_000", "\\n \\t \\u00e9"]
NUMBERS = ["0", "12", "123", "1234", "12345", "1234567", "3.14159", "1,000,000", "1e10", "2024-01-31", "\u0661\u0662\u0663\u0664", "x1y22z333"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\t", "\t\t", " \n", "\n ", "  \n  ", " \t ", "\u00a0", "\u3000", "\u2003", "\u180e", "\u200b", "\u0085", "\x0b", "\x0c", "\u2028", "\x1c"]
MARKS = ["!", "?!", "...", "\u2026", "\u3002", "\uff0c", "\u201c", "\u201d", "\u2014", "$", "\u20ac", "+", "=", "^", "`", "~", "|", "<", ">", "_", "(", ")", "[]", "{}", "'", "\"", "&&", "\u00a7", "\u2190", "\u221e", "\u00a9", "\u2581", "\u0120"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>", "<think>", "</think>",
           "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|reserved_special_token_7|>", "<tool_call>", "<gap>", "<left>", "<right>", "word", "<|endoftext", "|>", "<0x41>"]
CONTROL = ["\x00", "\x01", "\x7f", "\x1b[0m", "\ufeff", "\ufffd", "\u0301", "a\u0301\u0316", "\u0316\u0301", "e\u0327\u0301", "\u1e9b\u0323", "\u0344", "\u212b", "\ue000", "\U0010ffff", "\u0378", "\u00ad", "\u200d", "a\U0001fa77b \U0001fa77", "x\U0001fae8", "a\U0002ebf0 b", " \U00010d41\U00010d42", "\u0897a"]
SENTENCES = ["The quick brown fox jumps over the lazy dog.", "It's what they'd've said, isn't it?", "We hold these truths to be self-evident, that all men are created equal.",
             "\u6211\u4eec\u7684\u5b66\u6821\u5f88\u5927\uff0c\u6709\u4e09\u5343\u540d\u5b66\u751f\u3002", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3067\u3059\u3002", "\u0e09\u0e31\u0e19\u0e01\u0e34\u0e19\u0e02\u0e49\u0e32\u0e27\u0e17\u0e38\u0e01\u0e27\u0e31\u0e19",
             "\u0627\u0644\u0644\u063a\u0629 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u062c\u0645\u064a\u0644\u0629", "\u0420\u043e\u0441\u0441\u0438\u044f \u2014 \u0431\u043e\u043b\u044c\u0448\u0430\u044f \u0441\u0442\u0440\u0430\u043d\u0430.", "Ti\u1ebfng Vi\u1ec7t c\u00f3 d\u1ea5u", "Zu\u030brich u\u0308ber"]
KINDS = [WORDS, WORDS, CODE, NUMBERS, SPACES, SPACES, MARKS, SPECIAL, CONTROL, SENTENCES]


def texts(count, seed=1):
    """Each part alone, then mixtures; the same ones for the same numbers."""
    random_ = random.Random(seed)
    result = [""] + [part for kind in KINDS for part in kind] + [" " + part for part in SPECIAL + WORDS[:20]] + [part + " x" for part in SPECIAL]
    result += ["word" + part for part in SPECIAL] + ["a" * 300, " " * 200 + "x", "\n" * 70, "ab" * 150, "\u4f60" * 100, "1" * 100, "=" * 120, "e\u0301" * 80, "\u0301" * 60]
    result = list(dict.fromkeys(result))
    while len(result) < count:
        kinds = random_.sample(KINDS, random_.randint(1, 5))
        parts = [random_.choice(random_.choice(kinds)) for _ in range(random_.randint(2, 24))]
        joint = random_.choice(["", "", " ", " "])
        if random_.random() < 0.05:
            parts = ["".join(chr(random_.choice([random_.randrange(1, 0x3000), random_.randrange(0x3000, 0xD800), random_.randrange(0xE000, 0x20000)])) for _ in range(12))]
        result.append(joint.join(parts))
    return result[:count]
