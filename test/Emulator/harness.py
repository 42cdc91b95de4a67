# ===- harness.py - Runs emulated kernels on arrays -----------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""What the tests beside this file share: the text of a kernel, a run of it in
the emulator, and a comparison with what NumPy says."""

import pathlib
import subprocess
import sys

import numpy as np

RANDOM = np.random.default_rng(1)
SHARED = "#gpu.address_space<workgroup>"


def run(folder, name, text, arrays):
    """The memrefs of a kernel as they are afterwards, by position."""
    folder = pathlib.Path(folder)
    source, inputs = folder / f"{name}.mlir", folder / f"{name}.in.npz"
    outputs = folder / f"{name}.out.npz"
    source.write_text(text)
    np.savez(inputs, **{str(i): a for i, a in enumerate(arrays) if a is not None})
    command = ["quant-opt", source, f"--emulate-gpu={inputs}", "-o", outputs]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{result.stderr}error: {name} failed")
    return np.load(outputs)


def kernel(arguments, body, threads=32, blocks=1, shared="", attributes=""):
    return f"""
gpu.module @m {{
  gpu.func @k({arguments}) {f"workgroup({shared})" if shared else ""} kernel
      attributes {{known_block_size = array<i32: {threads}, 1, 1>,
                  known_grid_size = array<i32: {blocks}, 1, 1>{attributes}}} {{
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %t = gpu.thread_id x
    %lane = gpu.lane_id
{body}
    gpu.return
  }}
}}
"""


def pointer(name, memref, type, space):
    """%name: an address space's pointer to the start of a memref."""
    return f"""
    %{name}_index = memref.extract_aligned_pointer_as_index %{memref} : {type} -> index
    %{name}_number = arith.index_cast %{name}_index : index to i64
    %{name} = llvm.inttoptr %{name}_number : i64 to !llvm.ptr<{space}>"""


def expect(name, got, want, tolerance=0.0):
    error = np.abs(got.astype(np.float64) - want.astype(np.float64)).max()
    if not error <= tolerance:
        sys.exit(f"error: {name}: expected at most {tolerance}, got {error}")
    print(f"{name}: ok")


def main(tests):
    names = tests if sys.argv[1] == "all" else [sys.argv[1]]
    for name in names:
        tests[name](sys.argv[2])
