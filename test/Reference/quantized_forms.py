# ===- quantized_forms.py - Quantized forms against numpy ----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Interprets quantize, dynamic_quantize, dequantize, decompress_24 and
channel_scale, one module for all, and compares with numpy.

usage: quantized_forms.py FOLDER

Activations are compared bit for bit with the float32 operations that
Numerics/Activations.h lists, and W8A8's with the SmoothQuant oracle. Codes come
out of a module as floats, by a dequantize with scale 1, since numpy has no
integers below a byte.
"""
import os
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "oracles"))
import smoothquant  # noqa: E402

F = np.float32
rng = np.random.default_rng(11)
arguments, body, results, arrays, answers = [], [], [], {}, {}
MLIR = {"float32": "f32", "float16": "f16"}


def kind(shape, element):
    return "tensor<" + "".join(f"{d}x" for d in shape) + element + ">"


def operand(array):
    name = f"x{len(arrays)}"
    arrays[name] = array
    text = kind(array.shape, MLIR[array.dtype.name])
    arguments.append(f'%{name}: {text} {{onnx.name = "{name}"}}')
    return "%" + name, text


def constant(array, element):
    name, text = f"%k{len(body)}", kind(np.shape(array), element)
    body.append(f"{name} = onnx.constant dense<{np.asarray(array).tolist()}> "
                f": {text}")
    return name, text


def op(text, operands, types, suffix=""):
    """Names of the results of `text` on operands (name, type)."""
    names = [f"%v{len(body)}_{i}" for i in range(len(types))]
    body.append(", ".join(names) + " = " + text.format(
        *(name for name, _ in operands)) + f" : ("
        + ", ".join(t for _, t in operands) + ") -> ("
        + ", ".join(types) + ")")
    return list(zip(names, types))


def expect(value, array):
    name = f"y{len(results)}"
    results.append((name, *value))
    answers[name] = np.asarray(array)


def as_float(value):
    """Integers as floats: a dequantize with scale 1."""
    name, text = value
    one = constant(np.ones(1, F), "f32")
    return op("qmodel.dequantize {0}, {1} group 0 rows 0", [value, one],
              [text[:text.rindex("x")] + "xf32>"])[0]


def scheme_text(bits, group, sym, grid, rounding, rows=1, scales="f32"):
    return (f"<bits = {bits}, group = {group}, symmetric = {str(sym).lower()}, "
            f"grid = {grid}, rounding = {rounding}, rows = {rows}, "
            f"scales = {scales}>")


def code_element(bits, sym, grid):
    return f"{'i' if sym and grid != 'gptq' else 'ui'}{bits}"


def round_by(rounding, x):
    if rounding == "half_even":
        return np.rint(x)
    whole = np.trunc(x)  # x - whole is exact
    return np.where(np.abs(x - whole) >= F(0.5), whole + np.sign(x), whole)


def dynamic(x, bits, group, sym, grid, rounding, half):
    """Numerics/Activations.h, one block [..., n] at a time, in float32."""
    width = x.shape[-1]
    step = width if group == 0 or group > width else group
    codes, scales, zeros = np.empty(x.shape, F), [], []
    top_half, steps = F(2 ** (bits - 1)), F(2**bits - 1)
    for start in range(0, width, step):
        b = x[..., start:start + step].astype(F)
        lo, hi = b.min(-1, keepdims=True), b.max(-1, keepdims=True)
        L, H = np.minimum(lo, F(0)), np.maximum(hi, F(0))
        m = np.maximum(-L, H)
        floor = F(1e-5)
        if grid == "gptq":
            flat = (L == 0) & (H == 0)
            L, H = np.where(flat, F(-1), L), np.where(flat, F(1), H)
            m = np.maximum(-L, H)
            s = (m - np.where(L < 0, -m, F(0))) / steps if sym \
                else (H - L) / steps
        elif grid == "awq":
            s = np.maximum(m, floor) / (top_half - F(1)) if sym \
                else np.maximum(hi - lo, floor) / steps
        elif grid == "narrow":
            s = np.maximum(m, floor) / (top_half - F(1))
        elif not sym:
            s = (H - L) / steps
        elif grid == "minmax":
            s = m / (top_half - F(0.5))
        else:
            s = -np.where(hi >= -lo, hi, lo) / top_half
        s = np.where(s == 0, F(1), s).astype(F)
        if half:
            s = s.astype(np.float16).astype(F)
        z = np.zeros_like(s)
        if sym and grid == "gptq":
            z = np.full_like(s, top_half)
        elif not sym:
            start_at = lo if grid == "awq" else L
            z = np.clip(round_by(rounding, -start_at / s), F(0), steps)
        signed = sym and grid != "gptq"
        low = -top_half + F(grid == "narrow") if signed else F(0)
        high = top_half - F(1) if signed else steps
        q = np.clip(round_by(rounding, b / s) + z, low, high)
        codes[..., start:start + step] = q
        scales.append(s)
        zeros.append(z)
    return codes, np.concatenate(scales, -1), np.concatenate(zeros, -1)


def dynamic_ops():
    count = 0
    for grid in ("gptq", "awq", "minmax", "full_range", "narrow"):
        for sym in (True, False):
            if grid == "narrow" and not sym:
                continue
            for bits in range(2, 9):
                shape = [(3, 4, 10), (5, 33), (2, 1, 2, 8)][count % 3]
                group = int(rng.choice([0, 1, 4, 8, 100]))
                rounding = str(rng.choice(["half_even", "half_away"]))
                half = bool(rng.random() < 0.3)
                x = (rng.standard_normal(shape) * 3).astype(F)
                x.reshape(-1, shape[-1])[0] = 0
                x.reshape(-1, shape[-1])[-1] = rng.choice([-1, 1]) * np.abs(
                    rng.integers(0, 9, shape[-1])) / 2
                if count % 5 == 0 and not half:
                    x *= F(1e-6)
                codes, scales, zeros = dynamic(x, bits, group, sym, grid,
                                               rounding, half)
                element = code_element(bits, sym, grid)
                scale_element = "f16" if half else "f32"
                types = [kind(x.shape, element),
                         kind(scales.shape, scale_element)]
                if not sym or grid == "gptq":
                    types.append(kind(scales.shape, element))
                scheme = scheme_text(bits, group, sym, grid, rounding,
                                     scales=scale_element)
                made = op("qmodel.dynamic_quantize {0} scheme " + scheme,
                          [operand(x)], types)
                expect(as_float(made[0]), codes)
                expect(made[1], scales.astype(
                    np.float16 if half else np.float32))
                if len(made) == 3:
                    expect(as_float(made[2]), zeros)
                # The same codes from the scales as given ones.
                zero_text = " zeros {2}" if len(made) == 3 else ""
                again = op("qmodel.quantize {0}, {1}" + zero_text + " scheme "
                           + scheme, [operand(x), *made[1:]], types[:1])
                expect(as_float(again[0]), codes)
                count += 1
    return count


def smoothquant_ops():
    x = (rng.standard_normal((4, 6, 64)) * 2).astype(F)
    x[1, 2] *= F(1e-8)  # below the floor
    values, scales = smoothquant.act_per_token(x.astype(np.float64))
    made = op("qmodel.dynamic_quantize {0} scheme "
              + scheme_text(8, 0, True, "narrow", "half_even"), [operand(x)],
              [kind(x.shape, "i8"), kind((4, 6, 1), "f32")])
    expect(as_float(made[0]), np.rint(x.astype(np.float64) / scales))
    expect(made[1], scales.astype(F))


def quantize_ops():
    x = np.array([[np.nan, np.inf, -np.inf, 2.5, 3.5, -2.5, 0.0, 100.0]], F)
    one, zero = constant(np.ones(1, F), "f32"), constant([3], "ui4")
    made = op("qmodel.quantize {0}, {1} zeros {2} scheme "
              + scheme_text(4, 0, False, "minmax", "half_even", 0),
              [operand(x), one, zero], [kind(x.shape, "ui4")])
    expect(as_float(made[0]), [[3, 15, 0, 5, 7, 1, 3, 15]])
    made = op("qmodel.quantize {0}, {1} scheme "
              + scheme_text(4, 0, True, "narrow", "half_away", 0),
              [operand(x), one], [kind(x.shape, "i4")])
    expect(as_float(made[0]), [[0, 7, -7, 3, 4, -3, 0, 7]])


def dequantize_ops():
    for shape, rows, group in (((10, 20), 1, 8), ((10, 20), 4, 7),
                               ((10, 20), 0, 0), ((2, 5, 6), 1, 4),
                               ((2, 5, 6), 2, 0), ((3, 2, 5, 6), 3, 4)):
        for bits, signed, zeros_too in ((4, False, True), (8, True, False),
                                        (3, True, True), (2, False, False)):
            height, width = rows or shape[-2], group or shape[-1]
            blocks = (*shape[:-2], -(-shape[-2] // height),
                      -(-shape[-1] // width))
            low = -(1 << (bits - 1)) if signed else 0
            element = f"{'i' if signed else 'ui'}{bits}"
            codes = rng.integers(low, low + (1 << bits), shape)
            scales = rng.standard_normal(blocks).astype(
                rng.choice([np.float16, np.float32]))
            zeros = rng.integers(low, low + (1 << bits), blocks) * zeros_too
            spread = lambda a: a.repeat(height, -2)[..., :shape[-2], :].repeat(
                width, -1)[..., :shape[-1]]
            values = (codes.astype(F) - spread(zeros).astype(F)) \
                * spread(scales).astype(F)
            operands = [constant(codes, element), operand(scales)]
            if zeros_too:
                operands.append(constant(zeros, element))
            text = "qmodel.dequantize {0}, {1}" \
                + " zeros {2}" * zeros_too + f" group {group} rows {rows}"
            made = op(text, operands, [kind(shape, "f32")])[0]
            expect(made, values)
    # Scales that are a dequantize: the second level gives back 6 and -2.
    scale_codes = constant([[3], [-1]], "i4")
    scales = op("qmodel.dequantize {0}, {1} group 0 rows 0",
                [scale_codes, constant(2 * np.ones((1, 1), F), "f32")],
                [kind((2, 1), "f16")])[0]
    made = op("qmodel.dequantize {0}, {1} group 0",
              [constant([[1, 2, 3], [4, 5, 6]], "ui4"), scales],
              [kind((2, 3), "f32")])[0]
    expect(made, [[6, 12, 18], [-8, -10, -12]])


def sparse_and_channel_ops():
    dense = rng.standard_normal((6, 16)).astype(F)
    fours = dense.reshape(6, 4, 4)
    kept = np.sort(np.argsort(-np.abs(fours), -1)[..., :2], -1)
    values = np.take_along_axis(fours, kept, -1)
    full = np.zeros_like(fours)
    np.put_along_axis(full, kept, values, -1)
    made = op("qmodel.decompress_24 {0}, {1}",
              [operand(values.reshape(6, 8).copy()),
               constant(kept.reshape(6, 8), "ui2")], [kind((6, 16), "f32")])
    expect(made[0], full.reshape(6, 16))
    x, s = rng.standard_normal((2, 3, 5)).astype(F), \
        rng.standard_normal(5).astype(F)
    made = op("qmodel.channel_scale {0}, {1}", [operand(x), operand(s)],
              [kind(x.shape, "f32")])
    expect(made[0], x * s)


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    dynamic_ops()
    smoothquant_ops()
    quantize_ops()
    dequantize_ops()
    sparse_and_channel_ops()
    source, inputs, outputs = (os.path.join(folder, name) for name in (
        "forms.mlir", "inputs.npz", "outputs.npz"))
    named = ", ".join(f'{text} {{onnx.name = "{name}"}}'
                      for name, _, text in results)
    with open(source, "w") as file:
        file.write(f"func.func @main({', '.join(arguments)}) -> ({named}) {{\n"
                   "  " + "\n  ".join(body) + "\n  return "
                   + ", ".join(value for _, value, _ in results) + " : "
                   + ", ".join(text for _, _, text in results) + "\n}\n")
    np.savez(inputs, **arrays)
    subprocess.run(["quant-opt", source, f"--interpret={inputs}", "-o",
                    outputs], check=True)
    with np.load(outputs) as found:
        for name, value, _ in results:
            if not np.array_equal(found[name], answers[name]):
                line = next(l for l in body if value in l.split("=")[0])
                sys.exit(f"FAIL {line}:\n{found[name]}\nexpected\n"
                         f"{answers[name]}")
    print(f"{len(results)} results agree")


if __name__ == "__main__":
    main()
