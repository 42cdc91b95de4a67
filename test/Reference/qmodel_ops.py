# ===- qmodel_ops.py - qmodel and qkernel ops against numpy --------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   qmodel_ops.py FOLDER
#
# The answers are the formulas of the op descriptions in QModel.td, written down
# a second time with numpy in float64.
#
# ===--------------------------------------------------------------------=== #

import math
import os
import subprocess
import sys

import numpy as np

rng = np.random.default_rng(7)
arguments, body, results, arrays, answers = [], [], [], {}, {}

TYPES = {"float32": "f32", "float16": "f16", "int64": "i64", "bool": "i1", "uint8": "ui8"}


def tensor_type(array, element=None):
    array = np.asarray(array)
    return "tensor<" + "".join(f"{d}x" for d in array.shape) + \
        (element or TYPES[array.dtype.name]) + ">"


def operand(array):
    """A function argument that holds `array`."""
    name = f"x{len(arrays)}"
    arrays[name] = array
    arguments.append(f'%{name}: {tensor_type(array)} {{onnx.name = "{name}"}}')
    return "%" + name


def expect(op, expected, operands, text, kind=np.float32):
    """Result of `text`, with {0}, {1}, ... standing for the operands."""
    names = [operand(array) if isinstance(array, np.ndarray) else array[0]
             for array in operands]
    types = [tensor_type(array) if isinstance(array, np.ndarray) else array[1]
             for array in operands]
    name = f"y{len(results)}"
    expected = np.asarray(expected).astype(kind)
    body.append(f"%{name} = {op} " + text.format(*names) +
                f" : ({', '.join(types)}) -> {tensor_type(expected)}")
    results.append((name, tensor_type(expected)))
    answers[name] = expected


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def erf(x):
    return np.vectorize(math.erf)(x.astype(np.float64))


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


ACTIVATIONS = {
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(
        np.sqrt(2 / np.pi) * (x + 0.044715 * x.astype(np.float64) ** 3))) / 2,
    "gelu_quick": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: np.maximum(x, 0),
}


def attention(q, k, v, scale, causal, mask_value, key_mask=None, bias=None,
              lengths=None, softcap=None, window=None):
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    batch, heads, seq, _ = q.shape
    total, per_group = k.shape[2], heads // k.shape[1]
    y = np.zeros((batch, heads, seq, v.shape[3]))
    bias = np.broadcast_to(0.0 if bias is None else bias,
                           (batch, heads, seq, total))
    for b in range(batch):
        for h in range(heads):
            for i in range(seq):
                score = k[b, h // per_group] @ q[b, h, i] * scale
                if softcap:
                    score = softcap * np.tanh(score / softcap)
                score = score + bias[b, h, i]
                length = total if lengths is None else lengths[b]
                position = i + length - seq
                for j in range(total):
                    if j >= length or (causal and j > position) or \
                            (window and j <= position - window) or \
                            (key_mask is not None and not key_mask[b, j]):
                        score[j] += mask_value
                if np.all(score == -np.inf):
                    continue
                p = np.exp(score - score.max())
                y[b, h, i] = p / p.sum() @ v[b, h // per_group]
    return y


def rope(x, cos, sin, interleaved):
    r = cos.shape[2]
    y = x.astype(np.float64).copy()
    for i in range(r):
        if interleaved:
            turned = -x[..., i + 1] if i % 2 == 0 else x[..., i - 1]
        else:
            turned = -x[..., i + r // 2] if i < r // 2 else x[..., i - r // 2]
        y[..., i] = x[..., i] * cos[:, None, :, i] + turned * sin[:, None, :, i]
    return y


def model_ops():
    for shape in ((2, 5, 16), (3, 16), (2, 40, 64)):
        x, weight, bias = normal(*shape), normal(24, shape[-1]), normal(24)
        product = x.astype(np.float64) @ weight.T.astype(np.float64)
        expect("qmodel.linear", product, [x, weight], '"l" {0}, {1}')
        expect("qmodel.linear", product + bias, [x, weight, bias],
               '"l" {0}, {1} bias {2}')
    table, indices = normal(9, 6), np.array([[0, 8, -1], [3, -9, 2]])
    expect("qmodel.embedding", table[indices], [table, indices],
           '"e" {0}, {1}')
    x, gain, bias = normal(2, 3, 8), normal(8), normal(8)
    wide = x.astype(np.float64)
    expect("qmodel.rms_norm",
           wide / np.sqrt((wide ** 2).mean(-1, keepdims=True) + 1e-5) * gain,
           [x, gain], "{0}, {1} epsilon 1.0e-05")
    centered = wide - wide.mean(-1, keepdims=True)
    normed = centered / np.sqrt(wide.var(-1, keepdims=True) + 1e-3) * gain
    expect("qmodel.layer_norm", normed, [x, gain], "{0}, {1} epsilon 1.0e-03")
    expect("qmodel.layer_norm", normed + bias, [x, gain, bias],
           "{0}, {1} bias {2} epsilon 1.0e-03")
    for batch in (1, 2):
        for interleaved in ("", " interleaved"):
            x, cos, sin = normal(2, 3, 4, 8), normal(batch, 4, 6), \
                normal(batch, 4, 6)
            expect("qmodel.rope", rope(x, cos, sin, interleaved), [x, cos, sin],
                   "{0}, {1}, {2}" + interleaved)
    for kind, function in ACTIVATIONS.items():
        x, up = 3 * normal(4, 5), normal(4, 5)
        expect("qmodel.activation", function(x), [x], kind + " {0}")
        expect("qmodel.gated_activation", function(x) * up, [x, up],
               kind + " {0}, {1}")
    a, b = normal(3, 4), normal(3, 4)
    expect("qmodel.add", a + b, [a, b], "{0}, {1}")
    expect("qmodel.multiply", a * b, [a, b], "{0}, {1}")


def attention_ops():
    for seq, total in ((3, 3), (1, 6), (2, 5)):
        q, k, v = normal(2, 4, seq, 8), normal(2, 2, total, 8), \
            normal(2, 2, total, 6)
        mask = rng.random((2, total)) < 0.6
        mask[:, 0] = True
        bias = normal(1, 4, 1, total)
        for value, text in ((-1e9, "-1.0e+09"), (-np.inf, "0xFFF0000000000000")):
            expect("qmodel.attention", attention(q, k, v, 0.5, True, value),
                   [q, k, v],
                   f"{{0}}, {{1}}, {{2}} causal scale 0.5 mask_value {text}")
            expect("qmodel.attention",
                   attention(q, k, v, 0.5, True, value, mask, bias),
                   [q, k, v, mask, bias],
                   "{0}, {1}, {2} key_mask {3} bias {4} causal scale 0.5 "
                   f"mask_value {text}")
        expect("qmodel.attention",
               attention(q, k, v, 0.25, False, -np.inf, mask & False),
               [q, k, v, mask & False],
               "{0}, {1}, {2} key_mask {3} scale 0.25 "
               "mask_value 0xFFF0000000000000")
        lengths = np.int64([total, seq])
        for value, text in ((-1e9, "-1.0e+09"), (-np.inf, "0xFFF0000000000000")):
            expect("qmodel.attention",
                   attention(q, k, v, 0.5, True, value, bias=bias,
                             lengths=lengths, softcap=1.5, window=2),
                   [q, k, v, bias, lengths],
                   "{0}, {1}, {2} bias {3} lengths {4} causal scale 0.5 "
                   f"softcap 1.5 window 2 mask_value {text}")
    past, new = normal(2, 2, 4, 3), normal(2, 2, 2, 3)
    y = np.zeros((2, 2, 5, 3), np.float32)
    y[0, :, :3], y[0, :, 3:5] = past[0, :, :3], new[0]
    y[1, :, :2] = new[1]
    expect("qmodel.append", y,
           [past, new, np.int64([5, 2]), np.int64([5])],
           "{0}, {1} lengths {2} total {3}")
    # In place, what lies behind the new tokens stays; a cache of float16 rounds.
    past = normal(2, 2, 5, 3).astype(np.float16)
    y = past.copy()
    y[0, :, 3:5], y[1, :, :2] = new[0], new[1]
    expect("qmodel.append", y,
           [past, new, np.int64([5, 2]), np.int64([5])],
           "{0}, {1} lengths {2} total {3} in_place", np.float16)
    q, k, v = normal(2, 4, 2, 8), normal(2, 2, 5, 8).astype(np.float16), \
        normal(2, 2, 5, 6).astype(np.float16)
    expect("qmodel.attention",
           attention(q, k, v, 0.5, True, -np.inf, lengths=np.int64([5, 3])),
           [q, k, v, np.int64([5, 3])],
           "{0}, {1}, {2} lengths {3} causal scale 0.5 "
           "mask_value 0xFFF0000000000000")
    expect("qmodel.positions", np.int64([[3, 4, 5], [0, 1, 2], [5, 6, 6]]),
           [np.int64([3, 0, 5]), np.int64([3])], "{0} count {1} limit 7",
           np.int64)
    x = normal(3, 4, 5)
    expect("qmodel.select_rows", x[np.arange(3), [2, 0, 3]][:, None],
           [x, np.int64([2, -1, 9])], "{0}, {1}")


def quantized_ops():
    for bits, signed, group, use_zeros in (
            (4, False, 8, True), (4, True, 0, False), (8, True, 5, False),
            (3, False, 6, True), (2, False, 0, True)):
        out, width = 10, 20
        step = width if group == 0 else group
        groups = -(-width // step)
        low = -(1 << (bits - 1)) if signed else 0
        codes = rng.integers(low, low + (1 << bits), (out, width))
        scales = normal(out, groups)
        zeros = rng.integers(low, low + (1 << bits), (out, groups)) \
            * (1 if use_zeros else 0)
        element = f"{'i' if signed else 'ui'}{bits}"

        def constant(array):
            name = f"%k{len(body)}"
            kind = tensor_type(array, element)
            body.append(f"{name} = onnx.constant dense<{array.tolist()}> : "
                        f"{kind}")
            return name, kind

        pick = np.arange(width) // step
        values = (codes.astype(np.float32) - zeros[:, pick].astype(np.float32)) \
            * scales[:, pick]
        operands = [constant(codes), scales]
        if use_zeros:
            operands.append(constant(zeros))
        expect("qmodel.dequantize", values, operands,
               "{0}, {1}" + (" zeros {2}" if use_zeros else "") +
               f" group {group}")


def packed_ops():
    # float32 rows lie eight by eight; see Target/PackedLayout.h.
    out, width = 11, 9
    x, weight = normal(3, width), normal(out, width)
    padded = np.zeros((16, width), np.float32)
    padded[:out] = weight
    packed = np.ascontiguousarray(
        padded.reshape(2, 8, width).transpose(0, 2, 1)).view(np.uint8).ravel()
    expect("qkernel.packed_linear", x.astype(np.float64) @ weight.T,
           [x, packed], "{0}, {1} layout <element = f32, out = 11, in = 9, "
           "group = 9>")
    # Eight bits: one word of four inputs per row and chunk.
    out, width, group = 8, 8, 4
    x, scales = normal(2, width), normal(out, 2)
    codes = rng.integers(0, 256, (out, width), dtype=np.uint8)
    zeros = rng.integers(0, 256, (out, 2), dtype=np.uint8)
    packed = codes.reshape(8, 2, 4).transpose(1, 0, 2).ravel().copy()
    values = (codes.astype(np.float64) - zeros.repeat(4, 1)) \
        * scales.repeat(4, 1)
    expect("qkernel.packed_linear", x @ values.T,
           [x, packed, scales.T.ravel().copy(), zeros.T.ravel().copy()],
           "{0}, {1} scales {2} zeros {3} layout <element = ui8, out = 8, "
           "in = 8, group = 4>")
    # Embedding rows: four bits, the low nibble first.
    entries, width, group = 5, 7, 4
    codes = rng.integers(0, 16, (entries, width))
    scales = normal(entries, 2)
    even = np.pad(codes, ((0, 0), (0, 1)))
    packed = (even[:, 0::2] | even[:, 1::2] << 4).astype(np.uint8)
    values = (codes - 8.0) * scales[:, np.arange(width) // group]
    indices = np.array([[4, 0], [2, -1]])
    expect("qkernel.packed_embedding", values[indices],
           [indices, packed, scales],
           "{0}, {1} scales {2} element i4 width 7 group 4")


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    model_ops()
    attention_ops()
    quantized_ops()
    packed_ops()
    kinds = ", ".join(kind for _, kind in results)
    named = ", ".join(f'{kind} {{onnx.name = "{name}"}}'
                      for name, kind in results)
    lines = "\n  ".join(body)
    source, inputs, outputs = (os.path.join(folder, name) for name in (
        "ops.mlir", "inputs.npz", "outputs.npz"))
    with open(source, "w") as file:
        file.write(f"func.func @main({', '.join(arguments)}) -> ({named}) {{\n"
                   f"  {lines}\n  return "
                   + ", ".join("%" + name for name, _ in results)
                   + f" : {kinds}\n}}\n")
    np.savez(inputs, **arrays)
    subprocess.run(["quant-opt", source, f"--interpret={inputs}", "-o",
                    outputs], check=True)
    with np.load(outputs) as found:
        for line, (name, expected) in zip(
                [l for l in body if l.startswith("%y")], answers.items()):
            if found[name].shape != expected.shape or not np.allclose(
                    found[name], expected, rtol=3e-5, atol=3e-5):
                sys.exit(f"FAIL {line}: differs by "
                         f"{np.abs(found[name] - expected).max()}")
    print(f"{len(results)} results agree")


if __name__ == "__main__":
    main()
