# SPDX-License-Identifier: Apache-2.0
"""device: cpu, cuda and auto on this machine, and which libraries a run opens for them."""
import pathlib
import re
import shutil
import unittest

import harness
from harness import CliTest, orthant

PLUGIN = pathlib.Path(harness.BINARY).parent / "liborthant_cuda.so"
OPENED = re.compile(r"calling init: .*/(lib(?:orthant_cuda|cuda|cudart|cublas|cublasLt|cudnn|nccl)\.so\S*)")


def device_is_usable():
    return "would use      cuda" in orthant("doctor").out


class DeviceTest(CliTest):
    def trace(self, *arguments, **env):
        """The run's result, and the CUDA libraries that it opened, as the dynamic linker tells it."""
        log = self.dir / "ld"
        shutil.rmtree(log, ignore_errors=True)
        log.mkdir()
        result = orthant(*arguments, LD_DEBUG="files", LD_DEBUG_OUTPUT=str(log / "log"), **env)
        text = "".join(path.read_text(errors="replace") for path in log.iterdir())
        self.assertIn("libhdf5", text)  # the log tells of what is opened
        return result, set(OPENED.findall(text))

    def lonely_binary(self):
        """A copy of the program with no plugin beside it."""
        folder = self.dir / "bin"
        folder.mkdir(exist_ok=True)
        return shutil.copy(harness.BINARY, folder / "orthant")

    def with_binary(self, binary):
        old, harness.BINARY = harness.BINARY, str(binary)
        self.addCleanup(setattr, harness, "BINARY", old)

    def test_a_cpu_run_opens_no_cuda_library(self):
        result, opened = self.trace("pretrain", self.config(), "run.max_steps=2")
        self.check(result, 0)
        self.assertEqual(opened, set())
        result, opened = self.trace("--help")
        self.check(result, 0)
        self.assertEqual(opened, set())

    def test_cuda_without_a_device_exits_69_and_says_why(self):
        if device_is_usable():
            self.skipTest("a device is here")
        reason = "NVIDIA" if PLUGIN.exists() else "no CUDA plugin"
        result = orthant("pretrain", self.config(), "device=cuda")
        self.check(result, 69, "cuda", reason, "use device: cpu")
        self.assertFalse((self.dir / "run").exists())

    def test_auto_without_a_device_uses_the_cpu_and_says_why(self):
        if device_is_usable():
            self.skipTest("a device is here")
        reason = "NVIDIA" if PLUGIN.exists() else "no CUDA plugin"
        result, opened = self.trace("pretrain", self.config(), "device=auto", "run.max_steps=2")
        self.check(result, 0, "device: auto: using the CPU", reason)
        self.assertEqual(any(name.startswith("liborthant_cuda") for name in opened), PLUGIN.exists())
        self.assertEqual([line["step"] for line in self.metrics() if "loss" in line][-1], 2)

    def test_ranks_agree_on_the_device(self):
        if device_is_usable():
            self.skipTest("a device is here")
        result = orthant("pretrain", self.config(), "device=auto", "run.max_steps=1", ranks=2)
        self.check(result, 0, "device: auto: using the CPU: rank 0: ")
        self.check(orthant("pretrain", self.config(), "device=cuda", ranks=2), 69, "cuda: rank 0: ", "use device: cpu")

    def test_a_missing_plugin_is_named(self):
        self.with_binary(self.lonely_binary())
        self.check(orthant("pretrain", self.config(), "device=cuda"), 69, "no CUDA plugin beside the program",
                   "liborthant_cuda.so: cannot open shared object file")
        self.check(orthant("doctor"), 0, "no CUDA plugin", "would use      cpu")

    def test_a_broken_plugin_is_named_and_not_passed_over(self):
        binary = self.lonely_binary()
        pathlib.Path(binary).with_name("liborthant_cuda.so").write_text("not a library")
        self.with_binary(binary)
        result = orthant("pretrain", self.config(), "device=cuda", ORTHANT_PLUGIN_DIR=str(PLUGIN.parent))
        self.check(result, 69, "liborthant_cuda.so", "file too short")

    def test_plugin_dir_is_looked_into(self):
        if not PLUGIN.exists():
            self.skipTest("the plugin was not built")
        self.with_binary(self.lonely_binary())
        self.check(orthant("doctor", ORTHANT_PLUGIN_DIR=str(PLUGIN.parent)), 0, "cuBLASLt", "cuDNN", "NCCL")

    def test_doctor_says_what_would_be_used(self):
        result = orthant("doctor")
        self.check(result, 0, "cuda plugin", "transport", "would use")
        if PLUGIN.exists() and "would use      cuda" not in result.out:
            self.check(result, 0, "CUDA ", "no usable CUDA device")


if __name__ == "__main__":
    unittest.main()
