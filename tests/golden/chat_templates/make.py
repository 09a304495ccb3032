#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what Python's jinja2 renders, in the environment that transformers renders chat templates in.

    make.py               golden.json.gz: every templates/*.jinja on every conversation of conversations.json
                          snippets.json: the text of each of its snippets again

Wants jinja2 3.1.6 (PyPI).  The environment is written down here and not taken from transformers, whose
apply_chat_template drops keys whose value is None before it renders.
"""
import datetime
import gzip
import json
import pathlib

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 11, 29, 8, 5, 9)
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class TemplateDict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


class TemplateNamespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            TemplateNamespace._check_name(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        TemplateNamespace._check_name(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check_name(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals.update(raise_exception=raise_exception, strftime_now=lambda format: NOW.strftime(format),
                       dict=TemplateDict(), namespace=TemplateNamespace)
    return env


def render(env, template, case):
    """The text, or None where jinja2 raises."""
    variables = {"messages": case.get("messages", []), "tools": case.get("tools"), "documents": case.get("documents"),
                 "add_generation_prompt": case.get("add_generation_prompt", False), **case.get("variables", {})}
    try:
        text = env.from_string(template).render(**variables)
        text.encode()
        return text
    except Exception:  # any: the sandbox lets Python's own through
        return None


def main():
    env = environment()
    conversations = json.loads((HERE / "conversations.json").read_text())
    golden = {}
    for path in sorted((HERE / "templates").glob("*.jinja")):
        template = path.read_bytes().decode()
        golden[path.stem] = [render(env, template, {**c, "variables": {**SPECIAL, **c.get("variables", {})}}) for c in conversations]
    text = json.dumps(golden, ensure_ascii=False, indent=0)
    (HERE / "golden.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    for name, texts in golden.items():
        print(f"{name}: {len(texts)} conversations, {sum(t is None for t in texts)} refused")

    path = HERE / "snippets.json"
    snippets = json.loads(path.read_text())
    for snippet in snippets:
        snippet["text"] = render(env, snippet["template"], snippet)
    lines = ",\n".join(json.dumps(snippet, ensure_ascii=False) for snippet in snippets)
    path.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
