#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Places of planted bugs: what they survive, and what is said of those that are lost."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from anchors import Tree, symbols_of, words_of  # noqa: E402

ENGINE = """\
#include "trainer/engine.h"
namespace orthant {
namespace {
constexpr int kTable[] = {1, 2, 3};
double mean(const std::vector<double>& values) { return values.empty() ? 0 : values[0]; }
}  // namespace

Engine::Engine(const Config& config) : config_{config}, lanes_(plan({.a = 1})) { begin_step(); }
template <class T = int>
void Engine::step(T step) {
  const char* text = R"(} // no end)";
  optimizer_->step(rate, factor, ++updates_);  // counts from 1
}
bool operator==(const Lane& a, const Lane& b) { return a.n == b.n; }
struct Plan { int size() const { return size_ + 1; } int size_ = 0; };
}  // namespace orthant
"""


class Anchors(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="orthant-anchors-")
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def tree(self, **files):
        for old in self.root.rglob("*.cpp"):
            old.unlink()
        for name, text in files.items():
            path = self.root / (name.replace("__", "/") + ".cpp")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Tree(self.root)

    def found(self, tree, where, text):
        place, fault = tree.find(where, text)
        self.assertEqual(fault, "")
        source = (self.root / place.file).read_text()
        self.assertEqual(words_of(source[place.begin:place.end]), words_of(text))
        return place

    def test_functions_classes_and_values_are_seen(self):
        names = [symbol.name for symbol in symbols_of(words_of(ENGINE))]
        self.assertEqual(names, [f"orthant::{name}" for name in
                                 ["kTable", "mean", "Engine::Engine", "Engine::step", "operator", "Plan::size", "Plan"]])

    def test_a_place_survives_files_folders_spaces_and_comments(self):
        text = "optimizer_->step(rate, factor, ++updates_);"
        self.assertEqual(self.found(self.tree(trainer__engine=ENGINE), "Engine::step", text).line, 12)
        other = ENGINE.replace("rate, factor", "rate,  // of this step\n                   factor")
        self.assertEqual(self.found(self.tree(trainer__engine__step=other), "Engine::step", text).file, "trainer/engine/step.cpp")
        self.found(self.tree(model__plan=ENGINE), "Plan", "size_ + 1")
        self.found(self.tree(model__plan=ENGINE), "Plan::size", "size_+1")
        self.found(self.tree(model__plan=ENGINE), "kTable", "2, 3")

    def test_a_folder_tells_two_functions_of_one_name(self):
        tree = self.tree(tensor__cpu=ENGINE, model__plan=ENGINE)
        self.assertIn("2 times in mean", tree.find("mean", "values[0]")[1])
        self.assertEqual(self.found(tree, "model: mean", "values[0]").file, "model/plan.cpp")

    def test_what_is_lost_is_told_with_what_is_nearest(self):
        tree = self.tree(trainer__engine=ENGINE)
        fault = tree.find("Engine::step", "optimizer_->step(factor, rate, updates_ + 1)")[1]
        self.assertIn("its text is not in Engine::step (trainer/engine.cpp)", fault)
        self.assertIn("nearest: trainer/engine.cpp:12: optimizer_->step(rate", fault)
        fault = tree.find("Role::update", "++updates_")[1]
        self.assertIn("no Role::update is defined; it stands once elsewhere: trainer/engine.cpp:12, in Engine::step (--fix", fault)
        self.assertEqual(tree.moved_to("Role::update", "++updates_").symbol, "Engine::step")
        self.assertIn("nothing is like it", tree.find("Role::update", "a_line_that_nobody_wrote(17)")[1])


if __name__ == "__main__":
    unittest.main(verbosity=2)
