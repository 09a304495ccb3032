#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes golden.json.gz: what each conversation of conversations.jsonl becomes for training, by family, as PyPI's jinja2 and tokenizers have it.

    make.py               (pip install 'jinja2==3.1.6' 'tokenizers==0.23.*')

Not the way of data/conversation_texts.cpp: the end of a turn is the family's text, tokens are placed by the library's offsets, and each turn looks for
the longest text that goes on from its own.  Per family and conversation a list of examples {"ids", "trained"}, or null where the template refuses.
"""
import gzip
import json
import pathlib
import re
import sys

from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "chat_templates"))
import make as chat  # noqa: E402

# template, tokenizer, what ends a turn, bos_token
FAMILIES = {
    "deepseek_v3": ("deepseek_v3_config", "deepseek_v3", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"),
    "llama3": ("llama3_config", "llama3", "<|eot_id|>", "<|begin_of_text|>"),
    "qwen3": ("qwen3", "qwen3", "<|im_end|>", ""),
    "smollm2": ("smollm2", "smollm2", "<|im_end|>", "<|im_start|>"),
}


def settled(row):
    messages, trains = [], []
    for message in row["messages"]:
        message = {key: value for key, value in message.items() if value is not None and key != "content"} | {"content": message.get("content")}
        if isinstance(message["content"], list):
            message["content"] = "".join(part["text"] for part in message["content"])
        trains.append(message.pop("train", True))
        if message.get("tool_calls") == []:
            del message["tool_calls"]
        messages.append(message)
    return messages, trains, row.get("tools") or None


class Family:
    def __init__(self, name):
        template, tokenizer, self.end, self.bos = FAMILIES[name]
        self.env = chat.environment()
        self.template = (HERE.parent / f"chat_templates/templates/{template}.jinja").read_bytes().decode()
        text = (HERE.parent / f"tokenizers/{tokenizer}.json").read_text()
        self.tokenizer = Tokenizer.from_str(text)
        # The library numbers added tokens anew where their ids have gaps; the file's ids are the model's.
        self.ids_of_file = {self.tokenizer.token_to_id(token["content"]): token["id"] for token in json.loads(text)["added_tokens"]}

    def render(self, messages, tools, asks):
        variables = {"bos_token": self.bos} if self.bos else {}
        return chat.render(self.env, self.template, {"messages": messages, "tools": tools, "add_generation_prompt": asks, "variables": variables})

    def turn(self, messages, tools, i):
        """(text up to the end of turn i, where its target begins), or None."""
        prompt, full = self.render(messages[:i], tools, True), self.render(messages[:i + 1], tools, False)
        if prompt is None or full is None or full[:len(prompt)] != prompt:
            return None
        begin = len(prompt) + len(re.match(r"(<think>\s*</think>\n*)?", full[len(prompt):]).group())
        end = full.find(self.end, begin)  # none: DeepSeek-V3's template writes none behind a single call of a tool
        while (more := full.find(self.end, end + 1)) > 0 and end > 0:
            end = more
        return full if end < 0 else full[:end + len(self.end)], begin

    def examples(self, row, loss_on):
        messages, trains, tools = settled(row)
        answers = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
        if loss_on == "last_turn":
            answers = answers[-1:]
        turns = [self.turn(messages, tools, i) for i in answers if trains[i]]
        if None in turns:
            return None
        texts = {}
        for text, begin in turns:
            home = max((other for other, _ in turns if other[:len(text)] == text), key=len)
            texts.setdefault(home, []).append((begin, len(text)))
        return [self.encode(text, spans) for text, spans in sorted(texts.items(), key=lambda item: max(item[1]))]

    def encode(self, text, spans):
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        trained = [int(any(a <= begin < b for a, b in spans)) for begin, _ in encoding.offsets]
        size = max(i + 1 for i, flag in enumerate(trained) if flag)
        return {"ids": [self.ids_of_file.get(id, id) for id in encoding.ids[:size]], "trained": "".join(map(str, trained[:size]))}


def main():
    rows = [json.loads(line) for line in (HERE / "conversations.jsonl").read_text().splitlines()]
    golden = {}
    for name in FAMILIES:
        family = Family(name)
        golden[name] = {loss_on: [family.examples(row, loss_on) for row in rows] for loss_on in ("assistant", "last_turn")}
        examples = golden[name]["assistant"]
        print(f"{name}: {len(rows)} conversations, {sum(e is None for e in examples)} refused, {sum(len(e or []) for e in examples)} examples")
    text = json.dumps(golden, separators=(",", ":"))
    (HERE / "golden.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
