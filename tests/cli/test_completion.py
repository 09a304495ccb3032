# SPDX-License-Identifier: Apache-2.0
"""What bash completes with the script of `orthant completion bash`."""
import shutil
import subprocess

import unittest

from harness import BINARY, CliTest, orthant

# Completes the line as readline would ask for it: the words are cut at =, and the cursor is at the end.
ASK = r"""
source /dev/stdin
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=() rest=$1
while [[ $rest =~ ^\ *(=|[^\ =]+) ]]; do COMP_WORDS+=("${BASH_REMATCH[1]}"); rest=${rest:${#BASH_REMATCH[0]}}; done
if [[ $1 == *[\ =] ]]; then COMP_WORDS+=(''); fi
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_orthant
printf '%s\n' "${COMPREPLY[@]}"
"""


class Completion(CliTest):
    def setUp(self):
        super().setUp()
        self.script = self.check(orthant("completion", "bash"), 0).out

    def complete(self, line):
        done = subprocess.run(["bash", "--norc", "-c", ASK, "ask", line], input=self.script, capture_output=True, text=True,
                              cwd=self.dir, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        return done.stdout.splitlines()

    def test_commands(self):
        self.assertEqual(self.complete("orthant pre"), ["pretrain ", "prepare "])
        self.assertEqual(self.complete("orthant inspect c"), ["config ", "corpus ", "checkpoint "])
        self.assertIn("completion ", self.complete("orthant "))
        self.assertEqual(self.complete("orthant completion "), ["bash ", "zsh "])

    def test_options(self):
        self.assertEqual(self.complete("orthant pretrain my.yaml --dry"), ["--dry-run "])
        self.assertIn("--scale-down ", self.complete("orthant verify layout my.yaml --"))
        self.assertIn("--top-k ", self.complete("orthant generate run --"))  # a field's
        self.assertEqual(self.complete("orthant generate run --precision "), ["fp64 ", "fp32 ", "bf16 "])
        self.assertEqual(self.complete("orthant prepare --bad-lines=s"), ["skip "])
        self.assertEqual(self.complete("orthant generate run --seed "), [""])  # a number: nothing to offer

    def test_keys(self):
        self.assertEqual(self.complete("orthant pretrain my.yaml pre"), ["precision="])
        self.assertEqual(self.complete("orthant pretrain my.yaml --dry-run par"), ["parallel."])
        self.assertEqual(self.complete("orthant verify layout --ranks 4 my.yaml device=cpu parallel.context"),
                         ["parallel.context_parallel_size=", "parallel.context_parallel_kind="])
        self.assertIn("moe.balance.expert=", self.complete("orthant inspect config my.yaml moe."))

    def test_every_key_of_the_reference_is_there(self):
        page = orthant("inspect", "config", "--reference").out
        block, wanted = "", set()
        for line in page.splitlines():
            if line.startswith("## "):
                block = line[3:] + "."
            elif line.startswith("- **`") and "[]" not in block:
                wanted.add(block + line.split("`")[1] + "=")
        keys = {key for head in sorted({key.split(".")[0] for key in wanted if "." in key})
                for key in self.complete(f"orthant pretrain my.yaml {head}.")}
        keys.update(self.complete("orthant pretrain my.yaml "))
        self.assertGreater(len(wanted), 100)
        self.assertEqual(wanted - keys, set())

    def test_values(self):
        line = "orthant pretrain my.yaml parallel.pipeline_schedule="
        self.assertEqual(self.complete(line), ["gpipe ", "1f1b ", "interleaved ", "zb_h1 ", "dualpipev "])
        self.assertEqual(self.complete(line + "z"), ["zb_h1 "])
        self.assertEqual(self.complete("orthant pretrain my.yaml parallel.sequence_parallel=f"), ["false "])
        self.assertEqual(self.complete("orthant pretrain my.yaml data.tokenizer=te"), ["text.txt"])
        self.assertEqual(self.complete("orthant pretrain my.yaml run.seed="), [""])

    def test_files(self):
        (self.dir / "a b.yaml").write_text("")
        (self.dir / "parallel.yaml").write_text("")
        self.assertEqual(self.complete("orthant pretrain par"), ["parallel.yaml"])
        self.assertEqual(self.complete("orthant pretrain a"), ["a b.yaml"])
        self.assertEqual(self.complete("orthant prepare one.txt te"), ["text.txt"])

    def test_the_script_is_registered_and_other_shells_are_refused(self):
        done = subprocess.run(["bash", "--norc", "-c", f"source <('{BINARY}' completion bash); complete -p orthant"],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stdout.strip(), "complete -o nospace -F _orthant orthant")
        self.check(orthant("completion", "fish"), 2, "bash", "zsh")

    @unittest.skipUnless(shutil.which("zsh"), "no zsh here")
    def test_zsh_reads_it_too(self):
        ask = ASK.replace("source /dev/stdin", "autoload -U +X compinit && compinit -u -D; source /dev/stdin; emulate ksh")
        ask = ask[:ask.index("COMP_LINE")] + """
COMP_LINE="orthant pretrain my.yaml parallel.pipeline_schedule=z" COMP_WORDBREAKS=''
COMP_WORDS=(orthant pretrain my.yaml parallel.pipeline_schedule=z) COMP_CWORD=3 COMP_POINT=${#COMP_LINE}
_orthant
printf '%s\\n' "${COMPREPLY[@]}"
"""
        done = subprocess.run(["zsh", "-f", "-c", ask], input=self.script, capture_output=True, text=True, cwd=self.dir, timeout=60)
        self.assertEqual(done.stderr, "")
        self.assertIn("parallel.pipeline_schedule=zb_h1 ", done.stdout.splitlines())  # zsh itself leaves out what does not fit


if __name__ == "__main__":
    unittest.main()
