#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes small conversations whose answers keep a rule that can be counted, for configs/lora*.yaml.

    launch/make_chats.py [OUT_DIR]     default: corpora/chats

chats.jsonl, chats-test.jsonl      questions; every answer is "Answer: ..." and ends with "[end]"
stories.jsonl, stories-test.jsonl  beginnings of stories as plain text; every one goes on with "The name is NAME."
                                   and ends with "The end.", for models without a chat template

The test files hold 64 prompts that are in no training row, with the answer beside them, for orthant generate --prompts.
The same files every time.
"""
import itertools
import json
import pathlib
import random
import sys

ANIMALS = ["cat", "dog", "bird", "fish", "frog", "bear", "duck", "mouse", "horse", "rabbit"]
COLORS = ["red", "blue", "green", "yellow", "pink", "white", "black", "brown"]
NAMES = ["Lily", "Tom", "Ben", "Mia", "Sam", "Anna", "Max", "Sue", "Tim", "Jane"]
PLACES = ["park", "garden", "house", "forest", "kitchen", "school"]
TEST = 64


def questions():
    for a, b in itertools.product(range(1, 21), repeat=2):
        yield f"What is {a} plus {b}?", f"{a + b}"
    for animal, color in itertools.product(ANIMALS, COLORS):
        yield f"I have a {color} {animal}. What color is it?", color
        yield f"I have a {color} {animal}. What animal is it?", f"a {animal}"
    for name, place in itertools.product(NAMES, PLACES):
        yield f"{name} is in the {place}. Where is {name}?", f"in the {place}"


def chat(question, answer):
    return {"messages": [{"role": "user", "content": question},
                         {"role": "assistant", "content": f"Answer: {answer} [end]"}]}


def beginnings():
    for name, animal, place, color in itertools.product(NAMES, ANIMALS, PLACES, COLORS[:4]):
        yield f"Once upon a time, {name} saw a {color} {animal} in the {place}.", name


def story(beginning, name):
    return {"prompt": beginning, "completion": f" The name is {name}. The end."}


def asked(row):
    """What generate is given of a row."""
    if "prompt" in row:
        return {"prompt": row["prompt"], "answer": row["completion"]}
    return {"messages": row["messages"][:-1], "answer": row["messages"][-1]["content"]}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "corpora/chats")
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("chats", [chat(*row) for row in questions()]),
                       ("stories", [story(*row) for row in beginnings()])):
        random.Random(7).shuffle(rows)
        write(folder / f"{name}-test.jsonl", [asked(row) for row in rows[:TEST]])
        write(folder / f"{name}.jsonl", rows[TEST:TEST + 1200])
    print(f"make_chats: {folder}: chats and stories, each with {TEST} rows for tests")


if __name__ == "__main__":
    main()
