# ===- rtn_modules.py - The quantization passes against the oracles ------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compares qmodel-plan and qmodel-quantize-rtn with the float64 oracles.

usage: rtn_modules.py

Each matrix becomes a text module with one linear layer; codes, scales and zero
points are read back from the text that quant-opt prints, and the dequantized
values are what the interpreter computes for the quantized module on an identity
matrix. The comparison is test/Numerics/rtn_oracle.py's.
"""
import json
import os
import re
import subprocess
import sys

import numpy as np

sys.path.insert(
    0, os.path.join(os.path.dirname(__file__), "..", "..", "..", "Numerics")
)
import rtn_oracle  # noqa: E402

MODULE = """\
qmodel.weight @w : tensor<{out}x{inputs}xf32> = dense<{values}> : tensor<{out}x{inputs}xf32>
func.func @main(%x: tensor<?x{inputs}xf32> {{onnx.name = "x"}}) -> (tensor<?x{out}xf32> {{onnx.name = "y"}}) {{
  %w = qmodel.load @w : tensor<{out}x{inputs}xf32>
  %y = qmodel.linear "layer" %x, %w : (tensor<?x{inputs}xf32>, tensor<{out}x{inputs}xf32>) -> tensor<?x{out}xf32>
  return %y : tensor<?x{out}xf32>
}}
"""


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr}")
    return result.stdout


def spell(weight):
    """A literal of float bit patterns: nothing is lost."""
    bits = weight.view(np.uint32)
    return json.dumps([[f"0x{v:08X}" for v in row] for row in bits]).replace(
        '"', ""
    )


def element(text):
    """The element type of codes: 'ui4' holds 0..15, 'i4' -8..7."""
    return np.uint8 if text.startswith("ui") else np.int8


def array(shape, kind, literal):
    """The elements of a printed literal."""
    kinds = {"f32": np.float32, "f64": np.float64, "i64": np.int64}
    dtype = kinds.get(kind) or element(kind)
    if literal.startswith('"0x'):  # many elements: one per byte, low bits
        values = np.frombuffer(bytes.fromhex(literal[3:-1]), dtype)
        if dtype == np.int8:
            unused = 8 - int(kind[1:])
            values = values << unused >> unused
        return values.reshape(shape)

    def number(match):
        bits = np.array([int(match[0], 16)], np.uint32)
        return repr(float(bits.view(np.float32)[0]))

    values = json.loads(re.sub(r"0x[0-9A-F]+", number, literal))
    return np.broadcast_to(np.array(values, dtype), shape)


def parse(text, name):
    """The weight @w.NAME of a printed module; None if there is none."""
    found = re.search(
        rf"qmodel\.weight @w\.{name} : tensor<(\d+)x(\d+)x(\w+)> = "
        r"dense<(.*?)> : tensor",
        text,
    )
    if not found:
        return None
    return array((int(found[1]), int(found[2])), found[3], found[4])


def quantize(tool, folder, weight, bits, sym, grid, rounding, group):
    """rtn_oracle's run_tool, through text."""
    source, target, inputs, outputs = (
        os.path.join(folder, name)
        for name in ("in.mlir", "out.mlir", "in.npz", "out.npz")
    )
    out, width = weight.shape
    with open(source, "w") as file:
        file.write(MODULE.format(out=out, inputs=width, values=spell(weight)))
    plan = (
        f"qmodel-plan{{bits={bits} group={group} "
        f"symmetric={str(sym).lower()} grid={grid} rounding={rounding}}}"
    )
    pipeline = f"builtin.module({plan},qmodel-quantize-rtn)"
    run([tool, source, f"--pass-pipeline={pipeline}", "-o", target])
    with open(target) as file:
        text = file.read()
    assert "dense<" in text and "@w :" not in text, "the float weight is left"
    found = {name: parse(text, name) for name in ("codes", "scales", "zeros")}
    if found["zeros"] is None:
        del found["zeros"]
    np.savez(inputs, x=np.eye(width, dtype=np.float32))
    run([tool, target, f"--interpret={inputs}", "-o", outputs])
    with np.load(outputs) as arrays:
        found["values"] = arrays["y"].T
    return found


if __name__ == "__main__":
    # Everything but where the answers come from is the same.
    rtn_oracle.run_tool = quantize
    sys.argv[1:] = ["quant-opt"]
    rtn_oracle.main()
