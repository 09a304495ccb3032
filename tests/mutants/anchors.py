# SPDX-License-Identifier: Apache-2.0
"""Finds a piece of C++ by the function that it stands in and its tokens.

A place is named "Engine::step", or "parallel/pipeline: write" where a name needs its folder: a function, class or variable
at file or class scope, in whichever file it is defined; namespaces and outer classes may be left out.  Its text is compared
token by token, so that spaces, line ends and comments say nothing.
"""
import bisect
import pathlib
import re
from collections import Counter
from dataclasses import dataclass

FOLDERS = ["base", "checkpoint", "data", "launch", "layers", "model", "moe", "optim", "parallel", "tensor", "trainer"]
TOKEN = re.compile(r"""
    (?P<skip> \s+ | //[^\n]* | /\*.*?\*/ | ^[ \t]*\#(?:[^\n\\]|\\.)*(?:\\\n(?:[^\n\\]|\\.)*)* )
  | R"(?P<raw>[^(\s]*)\(.*?\)(?P=raw)" | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)+'
  | \.?\d(?:[\w.]|'\w|(?<=[eEpP])[+-])* | [A-Za-z_]\w* | :: | -> | .
    """, re.VERBOSE | re.DOTALL | re.MULTILINE)
CLOSES = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True)
class Token:
    text: str
    begin: int
    end: int


def tokens_of(text):
    return [Token(m.group(), m.start(), m.end()) for m in TOKEN.finditer(text) if m.group("skip") is None]


def words_of(text):
    return [token.text for token in tokens_of(text)]


@dataclass(frozen=True)
class Symbol:
    name: str  # "orthant::Engine::step"
    begin: int  # tokens
    end: int


def past_match(words, at):
    """Behind the bracket that closes the one at `at`."""
    close, depth = CLOSES[words[at]], 0
    for i in range(at, len(words)):
        depth += (words[i] == words[at]) - (words[i] == close)
        if depth == 0:
            return i + 1
    return len(words)


def past_angles(words, at):
    depth = 0
    for i in range(at, len(words)):
        depth += (words[i] == "<") - (words[i] == ">")
        if depth == 0:
            return i + 1
    return len(words)


def is_name(word):
    return re.fullmatch(r"[A-Za-z_]\w*", word) is not None


def name_before(words, end):
    """"Engine::step" of [.., Engine, ::, step] that ends at `end`; template arguments are left out."""
    parts, i = [], end
    while i > 0:
        if not is_name(words[i - 1]):
            break
        parts.append(words[i - 1])
        i -= 1
        if i > 0 and words[i - 1] == "~":
            parts[-1] = "~" + parts[-1]
            i -= 1
        if i < 2 or words[i - 1] != "::":
            break
        i -= 1
        if words[i - 1] == ">":
            depth = 0
            while i > 0:
                depth += (words[i - 1] == ">") - (words[i - 1] == "<")
                i -= 1
                if depth == 0:
                    break
    return "::".join(reversed(parts))


def without_prefix(head):
    """Of a declaration, what stands behind template<...>, [[...]], public: and extern "C"."""
    while head:
        if head[0] == "template" and len(head) > 1:
            head = head[past_angles(head, 1):]
        elif head[0] == "[":
            head = head[past_match(head, 0):]
        elif head[0] in ("public", "private", "protected") and head[1:2] == [":"]:
            head = head[2:]
        else:
            return head
    return head


def classify(head):
    """What the { behind these words opens: (kind, name)."""
    head = without_prefix(head)
    if not head:
        return "block", ""
    if "namespace" in head[:2]:
        return "scope", "::".join(w for w in head[head.index("namespace") + 1:] if is_name(w))
    if head[0] == "extern" and len(head) == 2:
        return "scope", ""
    outer, depth = [], 0  # the places outside parentheses
    for i, word in enumerate(head):
        depth -= word in ")]"
        if depth == 0:
            outer.append(i)
        depth += word in "(["
    opens = next((i for i in outer if head[i] == "("), len(head))
    assigns = next((i for i in outer if head[i] == "="), len(head))
    if head[0] in ("class", "struct", "union", "enum") and assigns == len(head):
        rest = without_prefix(head[2:] if head[1:2] in (["class"], ["struct"]) else head[1:])
        if rest[:1] == ["alignas"]:
            rest = rest[past_match(rest, 1):]
        end = next((i for i, w in enumerate(rest) if w in (":", "final")), len(rest))
        if "(" not in rest[:end] and end <= 6:
            return ("value" if head[0] == "enum" else "class"), name_before(rest, end)
    if "operator" in head[:opens + 1]:
        at = head.index("operator")
        owner = name_before(head, at - 1) + "::" if head[at - 1:at] == ["::"] else ""
        return "function", owner + "operator"
    if opens < assigns:
        return "function", name_before(head, opens)
    return "value", name_before(head, min(assigns, next((i for i in outer if head[i] == "["), len(head))))


def is_member_initialiser(words, begin, brace):
    """Whether a { in a constructor's head initialises a member: X::X() : a_{1}, b_(2) {"""
    head = words[begin:brace]
    close = next((i for i, w in enumerate(head) if w == "("), None)
    if close is None:
        return False
    behind = past_match(head, close)
    return ":" in head[behind:] and (is_name(head[-1]) or head[-1] == ">")


def qualified(scopes, name):
    return "::".join([scope[0] for scope in scopes if scope[0]] + [name])


def symbols_of(words):
    found, scopes = [], []  # scopes: (name, begin of its head, is a class)
    begin = at = 0
    while at < len(words):
        word = words[at]
        if word in ("(", "["):
            at = past_match(words, at)
        elif word == ";":
            at += 1
            begin = at
        elif word == "}":
            if scopes:
                name, start, is_class = scopes.pop()
                if is_class:
                    found.append(Symbol(qualified(scopes, name), start, at + 1))
            at += 1
            begin = at
        elif word == "{":
            if is_member_initialiser(words, begin, at):
                at = past_match(words, at)
                continue
            kind, name = classify(words[begin:at])
            if kind in ("scope", "class"):
                scopes.append((name, begin, kind == "class"))
                at += 1
            else:
                at = past_match(words, at)
                if kind == "value":  # up to the ; that ends it
                    while at < len(words) and words[at] != ";":
                        at = past_match(words, at) if words[at] in CLOSES else at + 1
                found.append(Symbol(qualified(scopes, name), begin, at))
            begin = at
        else:
            at += 1
    return found


def occurrences(words, wanted, begin, end):
    first, size = wanted[0], len(wanted)
    return [i for i in range(begin, end - size + 1) if words[i] == first and words[i:i + size] == wanted]


class File:
    def __init__(self, root, name):
        self.name, self.text = name, (root / name).read_text(errors="replace")
        self._tokens = None

    def parse(self):
        if self._tokens is None:
            self._tokens = tokens_of(self.text)
            self._words = [token.text for token in self._tokens]
            self._symbols = symbols_of(self._words)
            self._lines = [0] + [m.end() for m in re.finditer("\n", self.text)]

    def places(self, wanted):
        """(token, innermost symbol) wherever the words stand."""
        if not all(word in self.text for word in wanted):
            return []
        self.parse()
        return [(i, self.symbol_at(i)) for i in occurrences(self._words, wanted, 0, len(self._words))]

    def symbol_at(self, token):
        inside = [s for s in self._symbols if s.begin <= token < s.end]
        return min(inside, key=lambda s: s.end - s.begin, default=None)

    def symbols_named(self, name):
        last = name.split("::")[-1]
        if last.replace("~", "").replace("operator", "") not in self.text:
            return []
        self.parse()
        return [s for s in self._symbols if ("::" + s.name).endswith("::" + name)]

    def line_of(self, token):
        return bisect.bisect_right(self._lines, self._tokens[token].begin)

    def span(self, token, count):
        return self._tokens[token].begin, self._tokens[token + count - 1].end


@dataclass(frozen=True)
class Place:
    file: str
    begin: int  # characters
    end: int
    line: int
    symbol: str

    def text(self):
        return f"{self.file}:{self.line}, in {self.symbol or 'no function'}"


def short_name(symbol):
    """Without namespaces: here these are written small, or all in capitals."""
    parts = [part for part in (symbol.name if symbol else "").split("::") if part]
    while len(parts) > 1 and (not parts[0][0].isupper() or parts[0].isupper()):
        parts.pop(0)
    return "::".join(parts)


class Tree:
    """The sources below a folder."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        names = sorted(path.relative_to(self.root).as_posix() for folder in FOLDERS
                       for path in (self.root / folder).rglob("*") if path.suffix in (".h", ".cpp", ".cu", ".cuh"))
        self.files = [File(self.root, name) for name in names]
        self._lines_with = Counter()  # a word

    def below(self, where):
        """The files and the name that a place names."""
        folder, colon, name = where.rpartition(": ")
        if not colon:
            return self.files, where
        return [file for file in self.files if file.name.startswith(folder.strip())], name.strip()

    def everywhere(self, wanted, files=None):
        found = []
        for file in self.files if files is None else files:
            for token, symbol in file.places(wanted):
                begin, end = file.span(token, len(wanted))
                found.append(Place(file.name, begin, end, file.line_of(token), short_name(symbol)))
        return found

    def find(self, where, text):
        """(the one place, ""), or (None, what is wrong)."""
        wanted = words_of(text)
        files, name = self.below(where)
        homes = [(file, symbol) for file in files for symbol in file.symbols_named(name)]
        found = {}
        for file, symbol in homes:
            for token in occurrences(file._words, wanted, symbol.begin, symbol.end):
                begin, end = file.span(token, len(wanted))
                found[(file.name, begin)] = Place(file.name, begin, end, file.line_of(token), short_name(file.symbol_at(token)))
        if len(found) == 1:
            return next(iter(found.values())), ""
        if found:
            return None, f"its text stands {len(found)} times in {name}, want once: " + "; ".join(p.text() for p in found.values())
        fault = f"its text is not in {where} ({', '.join(sorted({f.name for f, _ in homes}))})" if homes else f"no {where} is defined"
        elsewhere = self.everywhere(wanted)
        if len(elsewhere) == 1:
            return None, f"{fault}; it stands once elsewhere: {elsewhere[0].text()} (--fix takes that)"
        if elsewhere:
            return None, f"{fault}; it stands elsewhere: " + "; ".join(p.text() for p in elsewhere)
        near = self.nearest(text, [file for file, _ in homes] or files) or self.nearest(text, self.files)
        return None, f"{fault}" + (f"; nearest: {near}" if near else "; nothing is like it")

    def moved_to(self, where, text):
        """Where the text stands now, if that is one place only, and not where it should."""
        if self.find(where, text)[0]:
            return None
        elsewhere = self.everywhere(words_of(text))
        return elsewhere[0] if len(elsewhere) == 1 and elsewhere[0].symbol else None

    def nearest(self, text, files):
        """"file:line: the line" that shares most with a line of the text; rare words say more."""
        wanted = [Counter(re.findall(r"\w+", line)) for line in text.split("\n")]
        best, score = "", 0.2
        for file in files:
            for number, line in enumerate(file.text.split("\n"), 1):
                words = Counter(re.findall(r"\w+", line))
                for want in wanted:
                    shared = self.weight(want & words)
                    if shared and shared / self.weight(want | words) > score:
                        best, score = f"{file.name}:{number}: {line.strip()}", shared / self.weight(want | words)
        return best

    def weight(self, words):
        if not self._lines_with:
            for file in self.files:
                for line in file.text.split("\n"):
                    self._lines_with.update(set(re.findall(r"\w+", line)))
        return sum(count / (1 + self._lines_with[word]) ** 0.5 for word, count in words.items())
