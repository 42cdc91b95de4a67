# ===- decoder_mistakes.py - Mistakes in kernels of decoders --------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Changes generated kernels in one place each; the emulator, or a comparison with
NumPy, must notice every change, and nothing before."""

import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

import emulated
from kernels_decoder import attention_case
from kernels_numpy import Suite
from linear_mistakes import WRONG, replaced, without

# What is changed in which function, and what is said of it.
MISTAKES = {
    ("split", "no barrier behind the states of warps"): (
        without("gpu.barrier", 0), "nobody has written|race: reads"),
    ("split", "a team's lanes do not all add up"): (
        replaced(r"(gpu.shuffle +xor %\w+), %c1_i32", r"\1, %c2_i32", 1), WRONG),
    ("split", "a key that the next block has too"): (
        replaced("(%c128_i64_?\\w* = arith.constant) 128", r"\1 129", 2), WRONG),
    ("split", "rows of the workspace on top of each other"): (
        replaced("(%c18_i64_?\\w* = arith.constant) 18", r"\1 17"), "race: writes"),
    ("combine", "without the last split"): (
        replaced("(%c127_i64\\w* = arith.constant) 127", r"\1 0"), WRONG),
    ("tiles", "no barrier in front of the next tile"): (
        without("gpu.barrier", 0), "race: writes"),
    ("tiles", "no barrier behind a tile"): (
        without("gpu.barrier", 1), "nobody has written|race: reads"),
    ("tiles", "rows at other distances"): (
        replaced("memref<64x24xf16", "memref<64x20xf16"), "aligned"),
    ("tiles", "values that are not transposed"): (
        replaced("transpose = true", "transpose = false"), WRONG),
    ("tiles", "the sum of a row without two lanes"): (
        replaced(r"(gpu.shuffle +xor %\d+), %c1_i32,", r"\1, %c2_i32,"), WRONG),
    ("tiles", "a key after the query's own"): (
        replaced(r"cmpi sgt, (%\d+), (%\d+) : i64", r"cmpi sgt, \2, \1 : i64", 40), WRONG),
    ("rows", "no barrier behind the sums of warps"): (
        without("gpu.barrier", 0), "nobody has written|race: reads"),
    ("rows", "elements that two threads have"): (
        replaced(r"(%c64_i64\w* = arith.constant) 64", r"\1 32"), "race: writes"),
}


def kernels():
    """A single query with two splits, tiles of queries, rows of two warps."""
    suite = Suite(1)
    attention_case(suite, 4, 2, 1, 200, 16, static=True)
    attention_case(suite, 4, 2, 40, 200, 16, kind="f16", static=True, tolerance=2e-3)
    x, gain = suite.normal(3, 256), suite.normal(256)
    wide = x.astype(np.float64)
    y = wide / np.sqrt((wide ** 2).mean(1, keepdims=True) + 1e-5) * gain
    suite.add("rms_norm", [x, gain],
              "%r0 = qmodel.rms_norm %a, %b epsilon 1.0e-5 : ({0}, {1}) -> {r0}",
              y.astype(np.float32))
    return suite


def main():
    suite = kernels()
    program = emulated.Program(suite)
    functions = {"split": "attention_0_split", "combine": "attention_0_combine",
                 "tiles": "attention_1_tiles", "rows": "rms_norm_2_rows"}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        path = folder / "kernels.mlir"
        path.write_text(program.text())
        np.savez(folder / "in.npz", **program.arrays)
        text = subprocess.run(["quant-opt", "--qkernel-to-gpu", path], check=True,
                              capture_output=True, text=True).stdout

        def said(changed):
            path.write_text(changed)
            run = subprocess.run(
                ["quant-opt", path, f"--emulate-gpu={folder}/in.npz", "-o",
                 folder / "out.npz"], capture_output=True, text=True)
            if run.returncode != 0:
                return run.stderr
            outputs = np.load(folder / "out.npz")
            for name, (want,), tolerance in suite.expected:
                got = np.frombuffer(outputs[f"{name}.r0"].tobytes(), np.float32)
                error = np.abs(got.reshape(want.shape) - want).max()
                if not error <= tolerance * np.abs(want).max():
                    return WRONG
            return ""

        if said(text):
            sys.exit("error: the kernels are wrong without a mistake: " + said(text))
        for (function, mistake), (change, expected) in MISTAKES.items():
            first = text.index(f"gpu.func @{functions[function]}(")
            end = text.index("gpu.return", first)
            body = change(text[first:end])
            if body == text[first:end]:
                sys.exit(f"error: found no place for '{mistake}'")
            found = said(text[:first] + body + text[end:])
            if not re.search(expected, found):
                sys.exit(f"error: {mistake}: expected '{expected}', got '{found[:600]}'")
            print(f"{mistake}: {re.search(expected, found).group()}")
    print(f"{len(MISTAKES)} mistakes found")


if __name__ == "__main__":
    main()
