# SPDX-License-Identifier: Apache-2.0
"""The program among other processes: what it finds open, a full disk, signals, and what a launcher's variables say."""
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import time
import unittest

from harness import BINARY, CliTest, command, environment, launch, orthant

NOT_OURS = ["Primary job", "non-zero status", "MPI_ABORT", "Forwarding signal", "Segmentation"]


class StandardFiles(CliTest):
    def shell(self, line):
        done = subprocess.run(["bash", "-c", line, BINARY], capture_output=True, text=True, env=environment(), cwd=self.dir, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def test_what_is_printed_goes_into_no_file_when_standard_files_are_closed(self):
        prepare = '"$0" prepare text.txt -o {}.h5'
        self.assertEqual(self.shell(prepare.format("a"))[0], 0)
        want = (self.dir / "a.h5").stat().st_size
        for i, closed in enumerate(["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-"]):
            self.assertEqual(self.shell(f"{prepare.format(i)} {closed}")[0], 0, closed)
            path = self.dir / f"{i}.h5"
            self.assertEqual(path.stat().st_size, want, closed)
            self.assertNotIn(b"prepare", path.read_bytes()[:8])
            self.check(orthant("inspect", "corpus", path), 0, "all blocks verified")

    def test_a_full_disk_behind_stdout_is_an_error(self):
        self.shell('"$0" prepare text.txt -o a.h5')
        (self.dir / "ids").write_text("104 105\n" * 20000)
        for line in ["--help", "--version", "inspect config --reference", "inspect corpus a.h5", "inspect schedule 1f1b", "doctor",
                     "tokenizer decode byte ids"]:
            code, _, err = self.shell(f'"$0" {line} >/dev/full')
            self.assertEqual(code, 73, f"{line}: {err}")
            self.assertIn("standard output could not be written", err, line)
        self.assertEqual(self.shell('"$0" inspect corpus no.h5 >/dev/full')[0], 66)

    def test_a_reader_that_leaves_is_the_end(self):
        code, _, err = self.shell('set -o pipefail; "$0" inspect config --reference | true')
        self.assertIn(code, [0, 141])
        self.assertEqual(err, "")


class Launchers(CliTest):
    VARIABLES = [{"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
                 {"PMI_RANK": "1", "PMI_SIZE": "2"}, {"PMIX_RANK": "1"}]

    def test_one_process_says_what_is_wrong_whatever_a_launcher_s_variables_say(self):
        for variables in self.VARIABLES:
            self.check(orthant("prepare", "no.txt", "-o", self.dir / "a.h5", **variables), 66, "error: no.txt")
            self.check(orthant("inspect", "corpus", "no.h5", **variables), 66, "error: no.h5")
        self.check(orthant("pretrain", "no.yaml", SLURM_PROCID="3"), 66, "error: no.yaml")

    def test_ranks_say_it_once_and_mpirun_says_nothing(self):
        result = self.check(orthant("pretrain", self.config(), "model.hidden_size=33", ranks=3), 64, "hidden_size")
        self.assertEqual(result.err.count("error:"), 1, result)
        result = self.check(orthant("pretrain", self.config(), "--allow-failpoints", "--quiet", "parallel.timeout_seconds=2", ranks=2,
                                    ORTHANT_FAILPOINT="step.backward:rank=1:step=3:sleep=20000"), 76, "rank 1")
        for words in NOT_OURS:
            self.assertNotIn(words, result.err)

    def test_what_mpirun_has_to_say_is_kept(self):
        run = lambda *words: subprocess.run(launch("bash", "-c", *words), capture_output=True, text=True, timeout=60)
        # Of a rank that dies before all have started mpirun often says nothing, nor can it of itself.
        killed, at_once = "exited on signal 9|rank 1 was ended by signal 9", "kill -9 $$"
        mpirun = "read -r _ _ _ mpirun _ </proc/$PPID/stat; kill -9 $mpirun"
        for death, words in [("sleep 0.5; kill -9 $$", killed), (mpirun, "mpirun was ended by signal 9")] + [(at_once, killed)] * 8:
            done = run(f"if [ $OMPI_COMM_WORLD_RANK = 1 ]; then {death}; fi; sleep 1")
            self.assertEqual(done.returncode, 137, death)
            self.assertEqual(len(re.findall(words, done.stderr)), 1, done.stderr)
        self.assertEqual(run("exit 255").stderr, "")
        # Lines of dashes that are the program's, and a last line that has no end.
        lines = "-" * 74 + "\nerror: a\n" + "-" * 74 + "\nb\n" + "-" * 74 + "\nend"
        self.assertEqual(sorted(run(f"if [ $OMPI_COMM_WORLD_RANK = 0 ]; then printf '%s' '{lines}' >&2; fi").stderr.split("\n")),
                         sorted(lines.split("\n")))

    def test_an_mpirun_that_hangs_when_all_ranks_have_gone_is_ended(self):
        (self.dir / "mpirun").write_text("#!/bin/sh\nsleep 2\nexec tail -f /dev/null\n")
        (self.dir / "mpirun").chmod(0o755)
        done = subprocess.run(launch("true"), capture_output=True, text=True, timeout=60,
                              env=environment(PATH=f"{self.dir}:{os.environ['PATH']}"))
        self.assertEqual(done.returncode, 137)
        self.assertIn("mpirun was ended by signal 9", done.stderr)

        # What the ranks said counts, whatever becomes of mpirun behind them.
        ranks = 'shift 5; for rank in 0 1; do OMPI_COMM_WORLD_RANK=$rank "$@"; done'
        (self.dir / "mpirun").write_text(f"#!/bin/sh\n{ranks}\nexec tail -f /dev/null\n")
        for code in [0, 75]:
            done = subprocess.run(launch("bash", "-c", f"exit {code}"), capture_output=True, text=True, timeout=60,
                                  env=environment(PATH=f"{self.dir}:{os.environ['PATH']}"))
            self.assertEqual((done.returncode, done.stderr), (code, ""))

    def test_an_interrupt_of_the_terminal_does_not_come_to_mpirun(self):
        (self.dir / "mpirun").write_text(f"#!/bin/bash\ncd {self.dir}\ntrap 'touch interrupted' INT\ntouch started\n"
                                         "for i in {1..20}; do sleep 0.1; done\n")
        (self.dir / "mpirun").chmod(0o755)
        # A shell cannot trap what it was started with ignored, as in the background.
        before = lambda: (os.setpgid(0, 0), signal.signal(signal.SIGINT, signal.SIG_DFL))
        process = subprocess.Popen(launch("true"), stderr=subprocess.DEVNULL, preexec_fn=before,
                                   env=environment(PATH=f"{self.dir}:{os.environ['PATH']}"))
        while not (self.dir / "started").exists():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
        self.assertFalse((self.dir / "interrupted").exists())

    def test_a_rank_that_failed_gives_others_seconds_and_one_that_saved_all_they_need(self):
        line = "if [ $OMPI_COMM_WORLD_RANK = 1 ]; then exit {}; fi; sleep 9; echo rank 0 was left alone"
        runs = [subprocess.Popen(launch("bash", "-c", line.format(code)), stdout=subprocess.PIPE, text=True) for code in (75, 64)]
        saved, failed = [run.communicate(timeout=60)[0] for run in runs]
        self.assertEqual([run.returncode for run in runs], [75, 64])
        self.assertIn("left alone", saved)
        self.assertEqual(failed, "")

    def test_what_cannot_be_launched_is_named(self):
        self.check(orthant("launch", "-n", 2, "--program", "/no/such/program"), 66, "/no/such/program")
        self.check(orthant("launch", "-n", 2, "--", "doctor", PATH="/no/such/folder"), 69, "no mpirun in PATH")
        self.check(orthant("launch", "-n", 2), 2, "behind --")
        self.check(orthant("launch", "--", "doctor"), 2, "number of ranks")

    def test_generate_prints_from_one_rank(self):
        self.check(orthant("pretrain", self.config(), "run.max_steps=1"), 0)
        one = orthant("generate", self.dir / "run", "--prompt", "A", "--max-new-tokens", 5)
        self.assertEqual(orthant("generate", self.dir / "run", "--prompt", "A", "--max-new-tokens", 5, ranks=3).out, one.out)


class Signals(CliTest):
    def started(self, name, ranks, wait=True, ignored=()):
        line = command(["pretrain", self.config(), "run.max_steps=1000000", "schedule.total_steps=8", "checkpoint.interval=0",
                        "logging.interval=100000", f"run.dir={self.dir}/{name}"], ranks)
        # Shells start what they put into the background with SIGINT ignored, and nohup with SIGHUP; this test may be there.
        # In a process group of its own, as a terminal's shell starts it.
        before = lambda: [os.setpgid(0, 0)] + [signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)]
        process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment(), preexec_fn=before)
        self.addCleanup(self.end, name)
        metrics = self.dir / name / "metrics.jsonl"
        deadline = time.time() + 120
        while wait and time.time() < deadline and not (metrics.exists() and metrics.stat().st_size > 2000):
            time.sleep(0.02)
        return process

    def end(self, name):
        for pid in self.left(name, tries=1):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def left(self, name, tries=100):
        """Processes of the run that are still there, a while after it should have gone."""
        for _ in range(tries):
            here = []
            for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if f"run.dir={self.dir}/{name}\0".encode() in path.read_bytes():
                        here.append(int(path.parent.name))
                except OSError:
                    pass
            if not here:
                break
            time.sleep(0.05)
        return here

    def ended(self, process, name):
        err = process.communicate(timeout=120)[1]
        self.assertEqual(self.left(name), [])
        for words in NOT_OURS:
            self.assertNotIn(words, err)
        return process.returncode, err

    def test_a_hangup_saves_and_leaves_nobody_behind(self):
        for ranks in [0, 2]:
            process = self.started(f"run{ranks}", ranks)
            process.send_signal(signal.SIGHUP)
            os.killpg(process.pid, signal.SIGHUP)  # as a shell and the kernel both send it
            code, err = self.ended(process, f"run{ranks}")
            self.assertEqual(code, 75, err)
            self.assertIn("stopped by a signal", err)
            self.assertTrue((self.dir / f"run{ranks}/checkpoints/latest").exists())

    def test_nohup_is_heeded(self):
        process = self.started("run", 0, ignored=[signal.SIGHUP])
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.ended(process, "run")[0], 75)

    def twenty(self, trial):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(trial, range(20)))

    def test_two_interrupts_end_at_once(self):
        def trial(i):
            process = self.started(f"run{i}", 2)
            for pause in [0, [0, 0.002, 0.01, 0.05][i % 4]]:
                time.sleep(pause)
                os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C on a terminal comes
            code, err = self.ended(process, f"run{i}")
            self.assertIn(code, [75, 130], err)  # 75: it had saved before the second came
        self.twenty(trial)

    def test_a_signal_while_ranks_start_is_not_lost(self):
        def trial(i):
            process = self.started(f"run{i}", 2, wait=False)
            time.sleep(0.03 * i)
            process.send_signal(signal.SIGTERM)
            code, err = self.ended(process, f"run{i}")
            self.assertIn(code, [75, -signal.SIGTERM, 128 + signal.SIGTERM], err)
        self.twenty(trial)


if __name__ == "__main__":
    unittest.main(verbosity=2)
