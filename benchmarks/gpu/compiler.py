# ===- compiler.py - Kernels to PTX and cubins ----------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""quant-opt, quant-compile and ptxas on one kernel, each by its command line. What
fails is a RuntimeError with the program's last line."""

import pathlib
import re
import shutil
import subprocess


def run(command):
    """What the program says."""
    try:
        done = subprocess.run([str(part) for part in command],
                              capture_output=True, text=True)
    except OSError as error:
        raise RuntimeError(f"cannot run {command[0]}: {error.strerror}; expected "
                           "the folder of Nibble's programs on PATH") from error
    if done.returncode != 0:
        lines = done.stderr.strip().split("\n")
        raise RuntimeError(f"{pathlib.Path(command[0]).name}: {lines[-1]}")
    return done.stderr + done.stdout


def find_ptxas():
    return shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")


def lower(text, folder):
    """A file with the GPU functions of the kernel in `text`."""
    source, lowered = folder / "kernel.mlir", folder / "gpu.mlir"
    source.write_text(text)
    run(["quant-opt", "--qkernel-to-gpu", source, "-o", lowered])
    return lowered


def make_ptx(lowered, target, path):
    run(["quant-compile", lowered, "--emit=ptx", f"--target={target}", "-o", path])


def assemble(ptxas, target, ptx, cubin):
    """Registers, spills and shared memory of each function, by name."""
    said = run([ptxas, "-v", f"-arch={target}", ptx, "-o", cubin])
    number = lambda pattern, part: int((re.search(pattern, part) or [0, 0])[1])
    return {
        part.split("'")[1]: {
            "registers": number(r"Used (\d+) registers", part),
            "spill_bytes": number(r"(\d+) bytes spill stores", part),
            "shared_bytes": number(r"(\d+) bytes smem", part)}
        for part in said.split("Compiling entry function ")[1:]}
