"""Layers in every form of a quantized weight and input, before packing, packed,
lowered and compiled, compared with numpy: blocks of several rows, scales for the
whole tensor, scales of 16 bits and of a second level, weights of 16 bits, 2:4 sparse weights, and
activations in 8-bit codes."""

import os
import re
import subprocess
import sys
import tempfile

import numpy as np

OUT, WIDTH, ROWS = 12, 80, 3
STAGES = {
    "before": "",
    "packed": "qkernel-pack",
    "lowered": "qkernel-pack,qkernel-inline-layers,qkernel-lower",
}
NUMPY = {"f32": np.float32, "f16": np.float16}


def literal(array):
    return f"dense<{array.tolist()}>"


def tensor(shape, kind):
    return "tensor<" + "".join(f"{n}x" for n in shape) + kind + ">"


def truncated(array, kind):
    """`array` with only bits that `kind` has."""
    if kind == "bf16":
        bits = array.astype(np.float32).view(np.uint32) & 0xFFFF0000
        return bits.view(np.float32)
    return array.astype(NUMPY[kind]).astype(np.float32)


class Module:
    """Text of weights and of the body of @main."""

    def __init__(self):
        self.weights, self.body = "", ""

    def load(self, name, array, kind):
        kind_ = tensor(array.shape, kind)
        self.weights += f"qmodel.weight @{name} : {kind_} = " \
            f"{literal(array)} : {kind_}\n"
        self.body += f"  %{name} = qmodel.load @{name} : {kind_}\n"
        return f"%{name}", kind_

    def dequantize(self, result, codes, scales, zeros, shape, how):
        operands, types = f"{codes[0]}, {scales[0]}", [codes[1], scales[1]]
        if zeros:
            operands += f" zeros {zeros[0]}"
            types.append(zeros[1])
        self.body += f"  %{result} = qmodel.dequantize {operands} {how} : " \
            f"({', '.join(types)}) -> {tensor(shape, 'f32')}\n"
        return f"%{result}", tensor(shape, "f32")

    def text(self, x, linear_type):
        w = tensor((OUT, WIDTH), linear_type)
        return (
            "module attributes {qmodel.bounds = {n = [1, 8]}} {\n" +
            self.weights + f"""
func.func @main(%x: tensor<?x{WIDTH}xf32> {{onnx.name = "x", qmodel.dims = ["n", "{WIDTH}"]}})
    -> (tensor<?x{OUT}xf32> {{onnx.name = "y"}}) {{
{self.body}
  %y = qmodel.linear "l" {x}, %w : (tensor<?x{WIDTH}xf32>, {w}) -> tensor<?x{OUT}xf32>
  return %y : tensor<?x{OUT}xf32>
}}
}}
""")


def spread(blocks, rows, group):
    rows, group = rows or OUT, group or WIDTH
    return np.repeat(np.repeat(blocks, rows, 0), group, 1)[:OUT, :WIDTH]


def weight(module, random, rows, group, kind="f32", single=False, zeros=False,
           level=False):
    """Adds a quantized %w; returns its values."""
    low, high = (0, 16) if zeros else (-8, 8)
    element = "ui4" if zeros else "i4"
    codes = random.integers(low, high, (OUT, WIDTH))
    blocks = (1, 1) if single else (
        -(-OUT // (rows or OUT)), -(-WIDTH // (group or WIDTH)))
    how = f"group {group}" + (f" rows {rows}" if rows != 1 else "")
    scales = truncated(random.uniform(0.01, 1, blocks), kind)
    c = module.load("c", codes, element)
    if level: # quantized again, with one scale for all
        codes2 = random.integers(0, 256, blocks)
        scales = codes2.astype(np.float32) * np.float32(0.01)
        s = module.dequantize(
            "s", module.load("sc", codes2, "ui8"),
            module.load("ss", np.array([[0.01]], np.float32), "f32"), None,
            blocks, "group 0 rows 0")
    else:
        s = module.load("s", scales, kind)
    z, zero = None, np.zeros(blocks)
    if zeros:
        zero = random.integers(low, high, blocks)
        z = module.load("z", zero, element)
    module.dequantize("w", c, s, z, (OUT, WIDTH), how)
    if single:
        rows = group = 0
    values = (codes - spread(zero, rows, group)).astype(np.float32)
    return values * spread(scales, rows, group)


def dynamic(module, x, group, symmetric):
    """Adds the dynamic quantization of %x; returns its values."""
    groups = -(-WIDTH // (group or WIDTH))
    scheme = f"<bits = 8, group = {group}, symmetric = " \
        f"{str(symmetric).lower()}, grid = minmax, rounding = half_even>"
    element = "i8" if symmetric else "ui8"
    x_type, codes, blocks = "tensor<?x%dxf32>" % WIDTH, \
        f"tensor<?x{WIDTH}x{element}>", f"tensor<?x{groups}xf32>"
    zeros = f"tensor<?x{groups}x{element}>"
    results = [codes, blocks] + ([] if symmetric else [zeros])
    names = "%q:" + str(len(results))
    module.body += f"  {names} = qmodel.dynamic_quantize %x scheme {scheme} " \
        f": ({x_type}) -> ({', '.join(results)})\n"
    operand = "" if symmetric else " zeros %q#2"
    module.body += f"  %d = qmodel.dequantize %q#0, %q#1{operand} group " \
        f"{group} : ({', '.join(results)}) -> {x_type}\n"
    values = np.empty_like(x)
    for first in range(0, WIDTH, group or WIDTH):
        part = x[:, first:first + (group or WIDTH)]
        low = np.minimum(part.min(1, keepdims=True), 0)
        high = np.maximum(part.max(1, keepdims=True), 0)
        if symmetric:
            scale, zero = np.maximum(-low, high) / np.float32(127.5), 0
            limits = (-128, 127)
        else:
            scale = (high - low) / np.float32(255)
            zero, limits = np.rint(-low / scale), (0, 255)
        code = np.clip(np.rint(part / scale) + zero, *limits)
        values[:, first:first + (group or WIDTH)] = (code - zero) * scale
    return values


def static(module, x):
    x_type = "tensor<?x%dxf32>" % WIDTH
    module.load("xs", np.array([[0.02]], np.float32), "f32")
    module.body += (
        "  %q = qmodel.quantize %x, %xs scheme <bits = 8, group "
        "= 0, symmetric = true, grid = narrow, rounding = half_even, rows = 0> "
        f": ({x_type}, tensor<1x1xf32>) -> tensor<?x{WIDTH}xi8>\n"
        "  %d = qmodel.dequantize %q, %xs group 0 rows 0 : "
        f"(tensor<?x{WIDTH}xi8>, tensor<1x1xf32>) -> {x_type}\n")
    scale = np.float32(0.02)
    return np.clip(np.rint(x / scale), -127, 127).astype(np.float32) * scale


def run(folder, stage, pipeline, module, x):
    if pipeline is not None:
        subprocess.run(
            ["quant-opt", module, f"--interpret={folder}/i.npz", "-o",
             f"{folder}/o.npz", f"--pass-pipeline=builtin.module({pipeline})"],
            check=True)
    else:
        subprocess.run(["quant-compile", "-q", module, "-o",
                        f"{folder}/m.nbl"], check=True)
        np.save(f"{folder}/x.npy", x)
        subprocess.run(["quant-run", f"{folder}/m.nbl", "-o",
                        f"{folder}/o.npz", "--input", f"x={folder}/x.npy"],
                       check=True)
    with np.load(f"{folder}/o.npz") as found:
        return found["y"]


def check(folder, name, add_weight, add_input, packed_op):
    random = np.random.default_rng(len(name))
    x = random.standard_normal((ROWS, WIDTH)).astype(np.float32)
    module = Module()
    values = add_weight(module, random)
    kind = "f32"
    if isinstance(values, tuple):
        values, kind = values
    inputs = add_input(module, x) if add_input else x
    expected = inputs.astype(np.float64) @ values.astype(np.float64).T
    path = os.path.join(folder, "m.mlir")
    with open(path, "w") as file:
        file.write(module.text("%d" if add_input else "%x", kind))
    np.savez(f"{folder}/i.npz", x=x)
    text = subprocess.run(["quant-opt", path, "--qkernel-pack"], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    assert re.search(packed_op, text), f"packs to another op than {packed_op}"
    for stage, pipeline in (STAGES | {"compiled": None}).items():
        found = run(folder, stage, pipeline, path, x)
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error <= 2e-6, f"{stage}: differs by {error:.2e}"


def half(kind):
    def add(module, random):
        values = truncated(random.standard_normal((OUT, WIDTH)), kind)
        module.load("w", values, kind)
        return values, kind
    return add


def sparse(kind="f32", group=None, zeros=False):
    """2:4 sparse: floats of `kind`, or codes with `group` kept values a scale."""
    def add(module, random):
        kept = np.sort(random.permuted(np.tile(
            np.arange(4), (OUT, WIDTH // 4, 1)), axis=-1)[..., :2], -1)
        shape = (OUT, WIDTH // 2)
        if group is None:
            values = truncated(random.standard_normal(shape), kind)
            v = module.load("v", values, kind)
        else:
            low, element = (0, "ui4") if zeros else (-8, "i4")
            blocks = (OUT, -(-shape[1] // (group or shape[1])))
            codes = random.integers(low, low + 16, shape)
            scales = random.uniform(0.01, 1, blocks).astype(np.float32)
            zero = random.integers(low, low + 16, blocks) * zeros
            v = module.dequantize(
                "v", module.load("c", codes, element),
                module.load("s", scales, "f32"),
                module.load("z", zero, element) if zeros else None, shape,
                f"group {group}")
            zero, scales = (np.repeat(blocks, group or shape[1], 1)[:, :shape[1]]
                            for blocks in (zero, scales))
            values = (codes - zero).astype(np.float32) * scales
        p = module.load("p", kept.reshape(shape), "ui2")
        full = tensor((OUT, WIDTH), kind)
        module.body += f"  %w = qmodel.decompress_24 {v[0]}, {p[0]} : " \
            f"({v[1]}, {p[1]}) -> {full}\n"
        result = np.zeros((OUT, WIDTH // 4, 4), np.float32)
        np.put_along_axis(result, kept, values.reshape(kept.shape), -1)
        return result.reshape(OUT, WIDTH), kind
    return add


def quantized(**form):
    form = {"rows": 1, "group": 16} | form
    return lambda module, random: weight(module, random, **form)


WEIGHTS = {
    "float16 scales": quantized(kind="f16", zeros=True),
    "bfloat16 scales": quantized(kind="bf16"),
    "blocks of rows": quantized(rows=5, group=32, zeros=True),
    "a scale for all": quantized(rows=0, group=0, single=True, zeros=True),
    "a scale for all inputs": quantized(rows=4, group=0),
    "a second level": quantized(level=True, zeros=True),
    "a second level of blocks": quantized(rows=2, level=True),
}
# Fours of inputs with two scales have no codes of their own, and small groups no
# sparse form.
SPARSE = [
    ("sparse floats", sparse(), "element = f32", True),
    ("sparse halfs", sparse(kind="f16"), "element = f16", True),
    ("sparse codes", sparse(group=0, zeros=True), "element = ui4", True),
    ("sparse symmetric codes in groups", sparse(group=16), "element = i4", True),
    ("sparse codes in small groups", sparse(group=8, zeros=True),
     "element = ui4", False),
    ("sparse codes in odd groups", sparse(group=3, zeros=True), "element = f32",
     True),
]
INPUTS = {
    "per token": lambda module, x: dynamic(module, x, 0, True),
    "asymmetric": lambda module, x: dynamic(module, x, 0, False),
    "in groups": lambda module, x: dynamic(module, x, 16, True),
    "asymmetric in groups": lambda module, x: dynamic(module, x, 32, False),
    "static": static,
}

count = 0
with tempfile.TemporaryDirectory() as folder:
    cases = [(name, add, None, "qkernel.packed_linear")
             for name, add in WEIGHTS.items()]
    cases += [(kind, half(kind), None, f"element = {kind}")
              for kind in ("f16", "bf16")]
    cases += [(name, add, None, f"layout <{element}, out = {OUT}, in = {WIDTH}, "
               r"group = \d+" + (", sparse24 = true>" if is_sparse else ">"))
              for name, add, element, is_sparse in SPARSE]
    cases += [("sparse, inputs in codes", sparse(group=8, zeros=True),
               INPUTS["in groups"], "qkernel.packed_integer_linear")]
    cases += [(name, quantized(zeros=index % 2 == 0), add,
               "qkernel.packed_integer_linear")
              for index, (name, add) in enumerate(INPUTS.items())]
    for name, add_weight, add_input, packed_op in cases:
        try:
            check(folder, name, add_weight, add_input, packed_op)
        except (AssertionError, subprocess.CalledProcessError) as error:
            sys.exit(f"FAIL {name}: {error}")
        count += 1
print(f"{count} forms agree")
