# ===- lit.cfg.py - How the tests are found and run ----------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
# A test is a .mlir or .test file with RUN lines. On PATH: Nibble's programs of
# the build under test, then LLVM's (FileCheck, not, mlir-opt, split-file).
#
#   %python    Python with numpy, onnx, onnxruntime and sentencepiece
#   %source    the root of the repository, for tests of its own tools
#   %build     the root of the build
#   %llvm      the folder of LLVM's programs
#   %examples  the small models
#   %version   Nibble's version
#   %kills     how often tests that end processes do so
#   %qemu_aarch64  runs programs for AArch64
#   %times     how many times as many random cases sweeps try
#
# With the parameter `full` (target check-full), sweeps that take minutes run in
# full.
#
# ===--------------------------------------------------------------------=== #

import glob
import os
import platform

import lit.formats
import lit.util

config.name = "nibble"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs", "oracles"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.nibble_build_root, "test")

# A test that hangs must not hang whoever waits for all of them.
lit_config.maxIndividualTestTime = 600

config.environment["PATH"] = os.pathsep.join(
    [config.nibble_tools, config.llvm_tools, config.environment["PATH"]]
)
# The same answers whatever the machine: BLAS libraries pick their own thread
# count otherwise, and Python would write into the source tree.
config.environment["OPENBLAS_NUM_THREADS"] = "1"
# Memory that is not there is an error like others, with the sanitizers too.
config.environment["ASAN_OPTIONS"] = "allocator_may_return_null=1"
config.environment["PYTHONDONTWRITEBYTECODE"] = "1"

source = config.nibble_source_root
config.substitutions += [
    ("%python", config.nibble_python),
    ("%source", source),
    ("%build", config.nibble_build_root),
    ("%llvm", config.llvm_tools),
    ("%examples", os.path.join(source, "examples")),
    ("%version", config.nibble_version),
    ("%kills", "20" if lit_config.params.get("full") else "4"),
    ("%times", "5" if lit_config.params.get("full") else "1"),
]

# Generated code can only be run where it runs: `REQUIRES: cpu-avx2`.
config.available_features.add(platform.machine())
try:
    with open("/proc/cpuinfo") as file:
        flags = next((line for line in file if line.startswith("flags")), "")
except OSError:
    flags = ""
for flag in ("avx2", "f16c", "avx_vnni", "avx512f", "avx512_vnni"):
    if flag in flags.split():
        config.available_features.add("cpu-" + flag.replace("_", "-"))

# AArch64: code for it is run by QEMU, with the libraries that tools/bootstrap
# fetched, where this machine is of another kind.
qemu = lit.util.which("qemu-aarch64", config.environment["PATH"])
if qemu:
    config.available_features.add("qemu-aarch64")
config.substitutions.append(
    ("%qemu_aarch64", f"{qemu} -L {config.nibble_aarch64_sysroot}"))
if os.path.exists(os.path.join(config.nibble_tools, "nibble-runner-aarch64")):
    config.available_features.add("runner-aarch64")

# A stock mlir-opt cannot load a plugin that wants a sanitizer's runtime first.
if "-fsanitize" in config.nibble_cxx_flags:
    config.available_features.add("sanitizer")

# ptxas of the CUDA Toolkit, where quant-compile looks for it; and the one that
# tools/bootstrap installed, on machines without a toolkit.
config.environment["PATH"] = os.pathsep.join(
    [config.environment["PATH"]] + glob.glob(os.path.join(
        os.path.dirname(os.path.dirname(config.nibble_python)),
        "lib", "python3*", "site-packages", "nvidia", "cu13", "bin")))
toolkit = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
ptxas = lit.util.which(os.path.join(toolkit, "bin", "ptxas")) if toolkit else (
    lit.util.which("ptxas", config.environment["PATH"])
    or lit.util.which("/usr/local/cuda/bin/ptxas")
)
if ptxas:
    config.available_features.add("ptxas")
    config.substitutions.append(("%ptxas", ptxas))
for name in ("CUDA_HOME", "CUDA_PATH"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
