# ===- kernels_fused.py - Kernels of several ops against NumPy -----------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   kernels_fused.py nibble-kernel-test nibble-codegen
#
# Ops that share their tasks (codegen/CPU/Parts.h): what they pass on in blocks
# and in rows, on the stack or in a result, and parts beside each other.
#
# ===--------------------------------------------------------------------=== #

import sys

import numpy as np

from kernels_numpy import Suite, attention, pack_codes, pack_groups, pack_rows


def silu(x):
    return x / (1 + np.exp(-x))


def types(width):
    """Of an op on one matrix of this width, and on two."""
    matrix = f"tensor<?x{width}xf32>"
    return f"({matrix}) -> {matrix}", f"({matrix}, {matrix}) -> {matrix}"


def packed(weight):
    """A float weight [out, in] as a packed_linear has it."""
    blocks = (len(weight) + 7) // 8
    rows = pack_rows(weight, blocks).transpose(0, 2, 1)
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8)


class Case:
    """A kernel with arguments of float32, of which the first dimension of
    matrices is the scalar m."""

    def __init__(self, suite, name, rows):
        self.suite, self.name, self.rows = suite, name, rows
        self.arguments, self.dims, self.lines = [], {}, []

    def add(self, array, isRows=False):
        index = len(self.arguments)
        self.arguments.append(array)
        if isRows:
            self.dims[index] = ["m", *map(str, array.shape[1:])]
        return "%" + "abcdefgh"[index], "{%d}" % index

    def linear(self, result, x, weight):
        w, w_type = self.add(packed(weight))
        out, inputs = weight.shape
        self.lines.append(
            f"{result} = qkernel.packed_linear {x}, {w} layout <element = f32, "
            f"out = {out}, in = {inputs}, group = {inputs}> : "
            f"(tensor<?x{inputs}xf32>, {w_type}) -> tensor<?x{out}xf32>")

    def finish(self, expected, tolerance=5e-6):
        for i, array in enumerate(expected):
            self.dims[f"r{i}"] = ["m", *map(str, array.shape[1:])]
        self.suite.add(self.name, self.arguments, "\n  ".join(self.lines),
                       [e.astype(np.float32) for e in expected],
                       dims=self.dims, scalars={"m": self.rows},
                       tolerance=tolerance)


def epilogue_case(suite, rows, out, inputs, keep_sum):
    """A linear, a residual sum and an activation in blocks."""
    case = Case(suite, "epilogue", rows)
    x, residual = suite.normal(rows, inputs), suite.normal(rows, out)
    weight = suite.normal(out, inputs)
    a, _ = case.add(x, True)
    r, _ = case.add(residual, True)
    case.linear("%t", a, weight)
    total = x.astype(np.float64) @ weight.T.astype(np.float64) + residual
    sum_name, last = ("%r0", "%r1") if keep_sum else ("%s", "%r0")
    one, both = types(out)
    case.lines.append(f"{sum_name} = qmodel.add {r}, %t : {both}")
    case.lines.append(f"{last} = qmodel.activation silu {sum_name} : "
                      f"{one}")
    case.finish([total, silu(total)] if keep_sum else [silu(total)])


def gated_case(suite, rows, out, inputs):
    """Two linears and their gated product, beside a third linear."""
    case = Case(suite, "gated", rows)
    x = suite.normal(rows, inputs)
    gate, up, other = (suite.normal(n, inputs) for n in (out, out, 11))
    a, _ = case.add(x, True)
    case.linear("%g", a, gate)
    case.linear("%u", a, up)
    case.linear("%r1", a, other)
    case.lines.append(f"%r0 = qmodel.gated_activation silu %g, %u : "
                      f"{types(out)[1]}")
    x = x.astype(np.float64)
    case.finish([silu(x @ gate.T) * (x @ up.T), x @ other.T], tolerance=2e-5)


def integer_case(suite, rows, out, inputs, bits=4, group=32):
    """The same with codes; sums are exact."""
    case = Case(suite, "integer_epilogue", rows)
    r = suite.random
    x = r.integers(-128, 128, (rows, inputs)).astype(np.int8)
    stored = r.integers(0, 1 << bits, (out, inputs))
    groups = -(-inputs // group)
    scale = np.exp2(r.integers(-2, 1, (out, groups))).astype(np.float32)
    x_scale = np.exp2(r.integers(-2, 1, (rows, 1))).astype(np.float32)
    residual = np.round(suite.normal(rows, out) * 4)
    a, _ = case.add(x, True)
    s, _ = case.add(x_scale, True)
    w, w_type = case.add(pack_codes(stored, bits, group))
    ws, ws_type = case.add(pack_groups(scale))
    d, _ = case.add(residual, True)
    case.lines.append(
        f"%t = qkernel.packed_integer_linear {a} scales {s} group {inputs}, {w} "
        f"scales {ws} layout <element = ui{bits}, out = {out}, in = {inputs}, "
        f"group = {group}> : (tensor<?x{inputs}xi8>, tensor<?x1xf32>, {w_type}, "
        f"{ws_type}) -> tensor<?x{out}xf32>")
    case.lines.append(f"%r0 = qmodel.add %t, {d} : {types(out)[1]}")
    weight = stored * scale.repeat(group, 1)[:, :inputs].astype(np.float64)
    case.finish([(x * x_scale) @ weight.T + residual], tolerance=1e-6)


def rows_case(suite, rows, width, keep_sum):
    """A sum, its norm, and an activation of that, row by row."""
    case = Case(suite, "rows", rows)
    x, y, gain = suite.normal(rows, width), suite.normal(rows, width), \
        suite.normal(width)
    a, _ = case.add(x, True)
    b, _ = case.add(y, True)
    g, _ = case.add(gain)
    total = (x + y).astype(np.float64)
    sum_name, last = ("%r0", "%r1") if keep_sum else ("%s", "%r0")
    type_ = f"tensor<?x{width}xf32>"
    case.lines += [
        f"{sum_name} = qmodel.add {a}, {b} : {types(width)[1]}",
        f"%n = qmodel.rms_norm {sum_name}, {g} epsilon 1.0e-5 : "
        f"({type_}, tensor<{width}xf32>) -> {type_}",
        f"%m = qmodel.activation silu %n : {types(width)[0]}",
        f"{last} = qmodel.rms_norm %m, {g} epsilon 1.0e-5 : "
        f"({type_}, tensor<{width}xf32>) -> {type_}"]

    def norm(x):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * gain
    result = norm(silu(norm(total)))
    case.finish([total, result] if keep_sum else [result], tolerance=1e-5)


def codes_case(suite, rows, width):
    """Codes of rows that the same task has computed. Elements are powers of two,
    of which sums and products are exact."""
    case = Case(suite, "codes", rows)
    x = np.exp2(suite.random.integers(-3, 4, (rows, width))).astype(np.float32)
    y = -x * suite.random.integers(0, 4, (rows, width)).astype(np.float32)
    a, _ = case.add(x, True)
    b, _ = case.add(y, True)
    type_ = f"tensor<?x{width}xf32>"
    case.lines += [
        f"%s = qmodel.add {a}, {b} : {types(width)[1]}",
        "%r0, %r1 = qmodel.dynamic_quantize %s scheme <bits = 8, "
        "group = 0, symmetric = true, grid = narrow, rounding = half_even> : "
        f"({type_}) -> (tensor<?x{width}xi8>, tensor<?x1xf32>)"]
    total = x + y
    scale = np.maximum(np.abs(total).max(-1, keepdims=True),
                       np.float32(1e-5)) / np.float32(127)
    codes = np.clip(np.rint(total / scale), -127, 127).astype(np.int8)
    case.dims["r0"], case.dims["r1"] = ["m", str(width)], ["m", "1"]
    suite.add("codes", case.arguments, "\n  ".join(case.lines), [codes, scale],
              dims=case.dims, scalars={"m": rows}, tolerance=0)


def moved_rows_case(suite, batch, heads, kv_heads, seq, total, d):
    """An attention whose rows go where a transpose wants them."""
    q, k, v = suite.normal(batch, heads, seq, d), \
        suite.normal(batch, kv_heads, total, d), \
        suite.normal(batch, kv_heads, total, d)
    y = attention(q, k, v, d ** -0.5, True, -np.inf)
    dims = {0: ["b", str(heads), "s", str(d)],
            1: ["b", str(kv_heads), "t", str(d)],
            2: ["b", str(kv_heads), "t", str(d)],
            "r0": ["b", "s", str(heads), str(d)]}
    suite.add("moved_rows", [q, k, v],
              "%y = qmodel.attention %a, %b, %c causal scale "
              f"{d ** -0.5:.9e} mask_value 0xFFF0000000000000 : "
              f"({{0}}, {{1}}, {{2}}) -> {{0}}\n  "
              '%r0 = onnx.node "Transpose"(%y) attributes {perm = [0, 2, 1, 3]}'
              " {version = 13 : i64} : ({0}) -> {r0}",
              y.transpose(0, 2, 1, 3), dims=dims,
              scalars={"b": batch, "s": seq, "t": total}, tolerance=5e-6)


def main():
    suite = Suite()
    for rows in (1, 3, 4, 9):
        for out, inputs in ((16, 24), (21, 40), (8, 7)):
            epilogue_case(suite, rows, out, inputs, rows % 2 == 0)
            gated_case(suite, rows, out, inputs)
        for out, inputs, bits in ((24, 64, 4), (300, 96, 4), (13, 70, 8)):
            integer_case(suite, rows, out, inputs, bits)
        for width in (8, 29):
            rows_case(suite, rows, width, rows % 2 == 1)
            codes_case(suite, rows, width)
    moved_rows_case(suite, 2, 4, 2, 3, 9, 16)
    moved_rows_case(suite, 1, 8, 1, 1, 70, 12)
    return suite.run(*sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
