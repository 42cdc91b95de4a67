# ===- linear_mistakes.py - Mistakes in a generated kernel ----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Changes a linear's generated kernel in one place each; the emulator, or a
comparison with NumPy, must notice every change, and nothing before."""

import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

import emulated
from kernels_linear import Linear, widened
from kernels_numpy import Suite

WRONG = "other results than NumPy's"


def without(pattern, which):
    """Removes a line, counted among those that have `pattern`."""
    def change(text):
        lines = text.split("\n")
        found = [i for i, line in enumerate(lines) if re.search(pattern, line)]
        del lines[found[which]]
        return "\n".join(lines)
    return change


def replaced(pattern, by, count=0):
    return lambda text: re.sub(pattern, by, text, count=count)


# What is changed, and what is said of it. Barriers, in order: behind the first
# loads; in the loop behind staging x and behind the products; behind staging the
# last phase; around storing the sums of warps.
MISTAKES = {
    "no barrier behind the first staging": (
        without("gpu.barrier", 1), "nobody has written"),
    "no barrier behind the last staging": (
        without("gpu.barrier", 3), "race: reads"),
    "no barrier in front of the next phase": (
        without("gpu.barrier", 2), "race: writes"),
    "no barrier in front of partial sums": (
        without("gpu.barrier", 4), "race: writes"),
    "no barrier behind partial sums": (
        without("gpu.barrier", 5), "nobody has written|race: reads"),
    "a unit of x that nobody stages": (
        without("vector.store .* vector<8xf16>", 0), "nobody has written"),
    "rows of x at other distances": (
        replaced("memref<64x264xf16", "memref<64x260xf16"), "aligned"),
    "tokens that are not there": (
        replaced(r"(arith.subi %arg\d+, .*\n.*\n *%\d+ = arith.select )(%\d+), %\d+, (%\w+)",
                 r"\1\2, \3, \3"), "out of bounds"),
    "tiles at other distances": (
        replaced(r"(%c2048_i64\w* = arith.constant) 2048", r"\1 4096"),
        "out of bounds"),
    "registers of A in another order": (
        replaced(r"A\[(%\w+), (%\w+), (%\w+), (%\w+)\]", r"A[\1, \3, \2, \4]"),
        WRONG),
    "another function of three bits": (
        replaced("table 234", "table 202", 1), WRONG),
    "nibbles of the other input": (
        replaced("constant 15728880", "constant 15728640", 1), WRONG),
    "zero points without their highest bit": (
        replaced("constant 15 : i32", "constant 7 : i32", 1), WRONG),
}


def main():
    suite = Suite(5)
    suite.bounds = {}
    # More tokens than a block has, two phases, warps that share inputs.
    Linear(suite, 4, 40, 512, group=64, zeros=True, bias=True).add(65)
    program = emulated.Program(suite)
    (name, (want, error)), = suite.bounds.items()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        path = folder / "kernels.mlir"
        path.write_text(program.text())
        np.savez(folder / "in.npz", **program.arrays)
        text = subprocess.run(["quant-opt", "--qkernel-to-gpu", path], check=True,
                              capture_output=True, text=True).stdout
        first = text.index("gpu.func @" + name + "_many(")
        end = text.index("gpu.return", first)

        def said(body):
            path.write_text(text[:first] + body + text[end:])
            run = subprocess.run(
                ["quant-opt", path, f"--emulate-gpu={folder}/in.npz", "-o",
                 folder / "out.npz"], capture_output=True, text=True)
            if run.returncode != 0:
                return run.stderr
            raw = np.load(folder / "out.npz")[f"{name}.r0"].tobytes()
            got = widened(np.frombuffer(raw, np.float32).reshape(want.shape))
            return "" if np.all(np.abs(got - want) <= error) else WRONG

        body = text[first:end]
        if said(body):
            sys.exit("error: the kernel is wrong without a mistake: " + said(body))
        for mistake, (change, expected) in MISTAKES.items():
            changed = change(body)
            if changed == body:
                sys.exit(f"error: found no place for '{mistake}'")
            found = said(changed)
            if not re.search(expected, found):
                sys.exit(f"error: {mistake}: expected '{expected}', got '{found[:600]}'")
            print(f"{mistake}: {re.search(expected, found).group()}")
    print(f"{len(MISTAKES)} mistakes found")


if __name__ == "__main__":
    main()
