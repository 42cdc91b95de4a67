# ===- emulated.py - Suites of kernels through the GPU emulator ----------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   emulated.py GROUP [FILE]
#
# With a file, the program is only written there.
#
# The kernels that test/codegen/CPU compares with NumPy, as steps of one program
# that the emulator runs. Buffers are bytes here: what is in them the kernels
# know. In place, a kernel works on a state.
#
# ===--------------------------------------------------------------------=== #

import os
import re
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "CPU"))
import kernels_fused
import kernels_numpy
import kernels_quantized


class Program:
    """One step for each kernel of a suite."""

    def __init__(self, suite):
        self.suite = suite
        self.inputs, self.outputs, self.steps, self.states = [], [], [], []
        self.arrays = {}
        for text, (name, expected, _) in zip(suite.text, suite.expected):
            self.add(text, name, expected)

    def port(self, name, count):
        return f'#qkernel.port<"{name}", ui8, ["{count}"]>'

    def buffer(self, kind, index, count):
        return f'#qkernel.buffer<{kind}, index = {index}, bytes = "{count}">'

    def input(self, name, data):
        self.arrays[name] = data
        self.inputs.append(self.port(name, data.size))
        return self.buffer("input", len(self.inputs) - 1, data.size)

    def add(self, text, name, expected):
        buffers = []
        in_place = " in_place " in text
        i = 0
        while f"{name}.{i}" in self.suite.arrays:
            array = self.suite.arrays[f"{name}.{i}"]
            if in_place and i == 0:
                buffers.append(self.state(name, array))
            else:
                raw = np.frombuffer(array.tobytes(), np.uint8)
                buffers.append(self.input(f"{name}.{i}", raw))
            i += 1
        if in_place:
            buffers.append(buffers[0])
        else:
            for i, want in enumerate(expected):
                self.outputs.append(self.port(f"{name}.r{i}", want.nbytes))
                buffers.append(self.buffer("output", len(self.outputs) - 1,
                                           want.nbytes))
        values = self.suite.arrays.get(f"{name}.scalars", [])
        scalars = ", ".join(f'"{value}"' for value in values)
        self.steps.append(f"qkernel.step @{name} [{', '.join(buffers)}] "
                          f"scalars [{scalars}] after -1")

    def state(self, name, array):
        """Filled as nibble-kernel-test fills results."""
        dims = ", ".join(f'"{d}"' for d in array.shape)
        kind = kernels_numpy.MLIR_TYPES[array.dtype.name]
        self.states.append(f"qkernel.state @{name}.s : {kind} dims [{dims}]")
        self.arrays[f"{name}.s"] = np.frombuffer(
            b"\xa5" * array.nbytes, array.dtype).reshape(array.shape)
        return (f"#qkernel.buffer<state, symbol = @{name}.s, "
                f'bytes = "{array.nbytes}">')

    def text(self):
        lines = self.suite.text + self.states
        lines.append(f"qkernel.program @main inputs [{', '.join(self.inputs)}] "
                     f"outputs [{', '.join(self.outputs)}] arena 0 checks [] {{")
        return "\n".join(lines + self.steps + ["}"]) + "\n"


def run(suite):
    """How many results disagree."""
    program = Program(suite)
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        with open(path("kernels.mlir"), "w") as file:
            file.write(program.text())
        np.savez(path("in.npz"), **program.arrays)
        subprocess.run(
            ["quant-opt", "--qkernel-to-gpu", path("kernels.mlir"),
             "--emulate-gpu=" + path("in.npz"), "-o", path("out.npz")],
            check=True)
        outputs = np.load(path("out.npz"))
        failures = 0
        for name, expected, tolerance in suite.expected:
            for i, want in enumerate(expected):
                if f"{name}.s" in outputs:
                    got = outputs[f"{name}.s"]
                else:
                    got = np.frombuffer(outputs[f"{name}.r{i}"].tobytes(),
                                        want.dtype).reshape(want.shape)
                failures += not suite.agrees(f"{name}.{i}", got, want,
                                             tolerance)
    print(f"{len(suite.expected) - failures} of {len(suite.expected)} kernels "
          "agree with NumPy")
    return failures


def integer_suite():
    """Linears of codes with codes: all widths, by words and by single codes,
    with groups of x around and inside those of the weight."""
    suite, turn = kernels_numpy.Suite(), 0
    for bits in range(2, 9):
        for group, x_group, inputs in (
                (32, None, 256), (64, 32, 256), (32, 64, 172), (20, 5, 100),
                (172, 100, 172), (7, 1, 31)):
            kernels_quantized.LinearCase(
                suite, 3, 41 if turn % 5 == 0 else 9, inputs, bits, group,
                x_group, signed=turn % 2 == 0, zeros=turn % 3 == 0,
                unsigned_x=turn % 4 == 0, x_zeros=turn % 5 > 2,
                x_scale=("row", "row", "one")[turn % 3], bias=turn % 4 == 1,
                scales=("f32", "f16", "bf16")[turn % 3])
            turn += 1
    # Longer than what int32 holds the sum of.
    kernels_quantized.LinearCase(
        suite, 2, 9, 70000, 8, 70000, exact=False, extreme=True,
        unsigned_x=True, zeros=True, signed=False)
    return suite


def fused_suite():
    """Several ops in a step: a thread for each task, with rows of its own."""
    suite = kernels_numpy.Suite()
    for rows in (1, 3, 9):
        for width in (8, 29):
            kernels_fused.rows_case(suite, rows, width, rows % 3 == 0)
            kernels_fused.codes_case(suite, rows, width)
    return suite


def main():
    suites = {"model": kernels_numpy.model_suite,
              "onnx": kernels_numpy.onnx_suite, "integer": integer_suite,
              "fused": fused_suite}
    suite = suites[sys.argv[1]]()
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w") as file:
            file.write(Program(suite).text())
        return 0
    return 1 if run(suite) else 0


if __name__ == "__main__":
    sys.exit(main())
