# ===- text_modules.py - Linear layers as text, before and after passes ---=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Writes modules of linear layers that read arguments, norms or other layers,
and reads the constants of a module that quant-opt printed."""
import json
import pathlib
import re
import subprocess
import sys

import numpy as np

from rtn_modules import array

TYPES = {"float32": "f32", "float64": "f64"}


def literal(values):
    """A typed literal of bytes: nothing is lost."""
    values = np.ascontiguousarray(values)
    shape = "x".join(map(str, values.shape))
    kind = f"tensor<{shape}x{TYPES[values.dtype.name]}>"
    return f'dense<"0x{values.tobytes().hex().upper()}"> : {kind}'


class Layer:
    """A linear. `source` is what it reads: an argument named x.NAME by default;
    a norm of it ("norm"), the norm of another layer's argument (("norm", NAME)),
    or another layer (("layer", NAME))."""

    def __init__(self, name, weight, source="argument", **statistics):
        self.name, self.weight, self.source = name, weight, source
        self.statistics = statistics

    @property
    def width(self):
        return self.weight.shape[1]

    def attributes(self):
        if not self.statistics:
            return ""
        entries = ", ".join(
            f"{key} = {value} : i64" if isinstance(value, int)
            else f"{key} = {literal(value)}"
            for key, value in self.statistics.items())
        return f" {{qmodel.statistics = {{{entries}}}}}"


def module(layers, probe=False):
    """The text of a module. With `probe` its results are what layers read, else
    what they make."""
    weights, arguments, body, results = [], [], [], []
    for layer in layers:
        name, (rows, width) = layer.name, layer.weight.shape
        full, y = f"tensor<{rows}x{width}xf32>", f"tensor<?x{rows}xf32>"
        x, value = f"tensor<?x{width}xf32>", f"%x.{name}"
        weights.append(f"qmodel.weight @{name} : {full} = "
                       f"{literal(layer.weight)}")
        if isinstance(layer.source, tuple):
            kind, other = layer.source
            value = f"%n.{other}" if kind == "norm" else f"%y.{other}"
        else:
            arguments.append(f'{value}: {x} {{onnx.name = "x.{name}"}}')
        if layer.source == "norm":
            gain = literal(np.ones(width, np.float32))
            weights.append(f"qmodel.weight @g.{name} : tensor<{width}xf32> = "
                           f"{gain}")
            body += [f"%g.{name} = qmodel.load @g.{name} : tensor<{width}xf32>",
                     f"%n.{name} = qmodel.rms_norm {value}, %g.{name} epsilon "
                     f"1.0e-5 : ({x}, tensor<{width}xf32>) -> {x}"]
            value = f"%n.{name}"
        body += [f"%w.{name} = qmodel.load @{name} : {full}",
                 f'%y.{name} = qmodel.linear "{name}" {value}, %w.{name}'
                 f"{layer.attributes()} : ({x}, {full}) -> {y}"]
        results.append((value, x, name) if probe else (f"%y.{name}", y, name))
    types = ", ".join(f'{t} {{onnx.name = "{n}"}}' for _, t, n in results)
    lines = "\n  ".join(body)
    return "\n".join(weights) + f"""
func.func @main({', '.join(arguments)}) -> ({types}) {{
  {lines}
  return {', '.join(v for v, _, _ in results)} : {', '.join(t for _, t, _ in results)}
}}
"""


def rules(folder, schemes):
    """A file of rules for qmodel-plan, from schemes by layer."""
    path = pathlib.Path(folder) / "rules.json"
    path.write_text(json.dumps([{"id": f"^{re.escape(name)}$", **scheme}
                                for name, scheme in schemes.items()]))
    return path


def quant_opt(source, *options):
    """What quant-opt prints, and what it says."""
    command = ["quant-opt", "-", *options]
    result = subprocess.run(command, input=source, capture_output=True,
                            text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr}")
    return result.stdout, result.stderr


def interpret(source, folder, inputs):
    """The results of a module."""
    files = [str(pathlib.Path(folder) / name) for name in ("in.npz", "out.npz")]
    np.savez(files[0], **inputs)
    quant_opt(source, f"--interpret={files[0]}", "-o", files[1])
    with np.load(files[1]) as arrays:
        return dict(arrays)


def constants(text):
    """Every weight of a printed module, by name."""
    return {
        name: array(tuple(map(int, shape[:-1].split("x"))), kind, values)
        for name, shape, kind, values in re.findall(
            r"qmodel\.weight @(\S+) : tensor<((?:\d+x)+)(\w+)> = "
            r"dense<(.*?)> : tensor", text)
    }


def gathered(text, name):
    """The order in which a layer reads its channels; None without a Gather."""
    read = re.search(rf'qmodel\.linear "{re.escape(name)}" (%\w+),', text)[1]
    node = re.search(rf'{read} = onnx\.node "Gather"\(%\w+, (%\w+)\)', text)
    if not node:
        return None
    width, values = re.search(
        rf"{node[1]} = onnx\.constant dense<(.*?)> : tensor<(\d+)xi64>",
        text).group(2, 1)
    return array((int(width),), "i64", values)
