# ===- kernels_numpy.py - Generated kernels against NumPy ----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   kernels_numpy.py GROUP nibble-kernel-test nibble-codegen
#
# Writes kernels of many shapes, runs them, and compares with float64 NumPy.
# Weights are packed here, from the description in Target/PackedLayout.h.
#
# ===--------------------------------------------------------------------=== #

import os
import subprocess
import sys
import tempfile

import numpy as np

import kernels_onnx

MLIR_TYPES = {
    "float32": "f32", "float64": "f64", "float16": "f16", "int64": "i64",
    "int32": "i32", "int8": "i8", "uint8": "ui8", "bool": "i1", "uint32": "ui32",
}


class Suite:
    """Kernels with their arguments and expected results."""

    def __init__(self, seed=7):
        self.random = np.random.default_rng(seed)
        self.text, self.arrays, self.expected = [], {}, []
        self.same = []

    def normal(self, *shape):
        return self.random.standard_normal(shape).astype(np.float32)

    def add(self, name, arguments, body, expected, dims=None, scalars=None,
            tolerance=2e-6, elements=None):
        """`body` is text with the argument types as {0}, {1}, ..., the result
        types as {r0}, ...; values are %0..., results %r0...; `dims` replaces
        the dimensions of arguments by names of scalars, `elements` the type of
        elements that NumPy does not have (bf16 in uint16)."""
        dims, scalars, elements = dims or {}, scalars or {}, elements or {}
        name = f"{name}_{len(self.expected)}"
        expected = expected if isinstance(expected, (list, tuple)) else [expected]
        types, arg_dims = {}, []
        symbols = lambda key, shape: dims.get(key, [str(d) for d in shape])
        def type_of(key, array):
            sizes = [d if d.isdigit() else "?"
                     for d in symbols(key, array.shape)]
            return "tensor<" + "".join(s + "x" for s in sizes) + \
                elements.get(key, MLIR_TYPES.get(array.dtype.name)) + ">"
        parameters = []
        for i, array in enumerate(arguments):
            symbolic = symbols(i, array.shape)
            types[str(i)] = type_of(i, array)
            arg_dims.append("[" + ", ".join(f'"{d}"' for d in symbolic) + "]")
            parameters.append(f"%{'abcdefgh'[i]}: {types[str(i)]}")
            self.arrays[f"{name}.{i}"] = array
        results = []
        for i, array in enumerate(expected):
            types[f"r{i}"] = type_of(f"r{i}", array)
            results.append(types[f"r{i}"])
        if scalars:
            self.arrays[f"{name}.scalars"] = np.array(
                list(scalars.values()), np.int64)
        names = ", ".join(f'"{s}"' for s in scalars)
        for key, value in types.items():
            body = body.replace("{" + key + "}", value)
        yielded = ", ".join(f"%r{i}" for i in range(len(results)))
        self.text.append(
            f"qkernel.kernel @{name} scalars [{names}] args "
            f"[{', '.join(arg_dims)}] {{\n^bb0({', '.join(parameters)}):\n"
            f"  {body}\n  qkernel.yield {yielded} : {', '.join(results)}\n}}")
        self.expected.append((name, expected, tolerance))
        return name

    def same_bits(self, name, whole, rows):
        """The result of a kernel must be these rows of another one's."""
        self.same.append((name, whole, rows))

    def node(self, op, arguments, expected, attributes="", version=21, **more):
        """One ONNX node on all arguments."""
        n = len(arguments)
        results = len(expected) if isinstance(expected, (list, tuple)) else 1
        names = ", ".join("%" + "abcdefgh"[i] for i in range(n))
        types = ", ".join("{%d}" % i for i in range(n))
        outs = ", ".join("%%r%d" % i for i in range(results))
        out_types = ", ".join("{r%d}" % i for i in range(results))
        attributes = f" attributes {{{attributes}}}" if attributes else ""
        self.add(op, arguments,
                 f'{outs} = onnx.node "{op}"({names}){attributes} '
                 f'{{version = {version} : i64}} : ({types}) -> ({out_types})',
                 expected, **more)

    def run(self, tool, helper):
        with tempfile.TemporaryDirectory() as folder:
            path = lambda name: os.path.join(folder, name)
            with open(path("kernels.mlir"), "w") as file:
                file.write("\n".join(self.text) + "\n")
            np.savez(path("in.npz"), **self.arrays)
            subprocess.run([tool, path("kernels.mlir"), path("in.npz"),
                            path("out.npz"), helper], check=True)
            outputs = np.load(path("out.npz"))
            failures = 0
            for name, expected, tolerance in self.expected:
                for i, want in enumerate(expected):
                    failures += not self.agrees(
                        f"{name}.{i}", outputs[f"{name}.{i}"], want, tolerance)
            for name, whole, rows in self.same:
                want = outputs[f"{whole}.0"][rows]
                if not np.array_equal(outputs[f"{name}.0"], want):
                    print(f"{name}: other bits than these rows of {whole}")
                    failures += 1
        print(f"{len(self.expected) - failures} of {len(self.expected)} kernels "
              "agree with NumPy")
        return 1 if failures else 0

    @staticmethod
    def agrees(name, got, want, tolerance):
        if got.shape != want.shape or got.dtype != want.dtype:
            print(f"{name}: got {got.dtype}{got.shape}, "
                  f"expected {want.dtype}{want.shape}")
            return False
        if want.dtype.kind != "f":
            same = np.array_equal(got, want)
            if not same:
                print(f"{name}: {np.sum(got != want)} elements differ")
            return same
        got, want = got.astype(np.float64), want.astype(np.float64)
        special = ~np.isfinite(want)
        if not np.array_equal(got[special], want[special], equal_nan=True):
            print(f"{name}: infinities or NaN differ")
            return False
        got, want = got[~special], want[~special]
        if not got.size:
            return True
        # Relative to the size of the result as a whole, as rounding is.
        error = np.max(np.abs(got - want)) / max(np.max(np.abs(want)), 1e-30)
        if not error <= tolerance:
            print(f"{name}: relative error {error:.3g}, expected {tolerance}")
        return error <= tolerance


def pack_rows(array, blocks):
    """[out, n...] -> [blocks, 8, n...], padded with zeros."""
    padded = np.zeros((blocks * 8,) + array.shape[1:], array.dtype)
    padded[:array.shape[0]] = array
    return padded.reshape((blocks, 8) + array.shape[1:])


def pack_codes(codes, bits, group):
    """Stored codes (unsigned, [out, in]) -> bytes of the layout."""
    out, inputs = codes.shape
    blocks = (out + 7) // 8
    chunk, words = {8: (4, 1), 4: (8, 1)}.get(bits, (32, bits))
    position = {8: lambda i: 8 * i, 4: lambda i: 8 * (i % 4) + 4 * (i // 4)}.get(
        bits, lambda i: bits * i)
    rows = pack_rows(codes, blocks)
    packed = []
    for block in range(blocks):
        for first in range(0, inputs, group):
            part = rows[block][:, first:min(first + group, inputs)]
            for at in range(0, part.shape[1], chunk):
                values = [0] * 8
                for row in range(8):
                    for i, code in enumerate(part[row, at:at + chunk]):
                        values[row] |= int(code) << position(i)
                for word in range(words):
                    packed += [(v >> (32 * word)) & 0xFFFFFFFF for v in values]
    return np.array(packed, np.uint32).view(np.uint8)


def pack_groups(array):
    """[out, groups] -> [blocks, groups, 8], flat."""
    rows = pack_rows(array, (array.shape[0] + 7) // 8)
    return np.ascontiguousarray(rows.transpose(0, 2, 1)).reshape(-1)


def rounded_to(array, element):
    """`array` with only bits that the element type has, and as it is stored."""
    if element == "bf16":
        bits = array.view(np.uint32) >> 16
        return (bits << 16).view(np.float32), bits.astype(np.uint16)
    stored = array.astype(np.float16 if element == "f16" else np.float32)
    return stored.astype(np.float32), stored


def linear_case(suite, rows, out, inputs, bits, group, signed, zeros, bias,
                scale_type="f32"):
    r = suite.random
    x = suite.normal(rows, inputs)
    groups = -(-inputs // group)
    offset = 1 << (bits - 1) if signed else 0
    stored = r.integers(0, 1 << bits, (out, inputs))
    scales, stored_scales = rounded_to(
        (r.random((out, groups)) * 0.1 + 0.01).astype(np.float32), scale_type)
    zero = r.integers(0, 1 << bits, (out, groups)) if zeros else \
        np.full((out, groups), offset)
    weight = (stored - zero.repeat(group, 1)[:, :inputs]).astype(np.float64) * \
        scales.repeat(group, 1)[:, :inputs]
    arguments = [x, pack_codes(stored, bits, group),
                 pack_groups(stored_scales)]
    names, types = "%a, %b scales %c", ["{0}", "{1}", "{2}"]
    if zeros:
        names += " zeros %d"
        types.append("{3}")
        arguments.append(pack_groups(zero.astype(np.uint8)))
    y = x.astype(np.float64) @ weight.T
    if bias:
        names += " bias %" + "abcdefgh"[len(arguments)]
        types.append("{%d}" % len(arguments))
        arguments.append(suite.normal(out))
        y = y + arguments[-1]
    element = f"{'' if signed else 'u'}i{bits}"
    suite.add(f"linear{bits}", arguments,
              f"%r0 = qkernel.packed_linear {names} layout <element = {element}, "
              f"out = {out}, in = {inputs}, group = {group}, scales = "
              f"{scale_type}> : ({', '.join(types)}) -> {{r0}}",
              y.astype(np.float32),
              dims={0: ["m", str(inputs)], "r0": ["m", str(out)]},
              scalars={"m": rows}, tolerance=5e-6, elements={2: scale_type})


def float_linear_case(suite, shape, out, inputs, bias, symbolic=True,
                      element="f32"):
    x = suite.normal(*shape, inputs)
    weight, stored = rounded_to(suite.normal(out, inputs), element)
    blocks = (out + 7) // 8
    packed = np.ascontiguousarray(
        pack_rows(stored, blocks).transpose(0, 2, 1)).reshape(-1)
    arguments = [x, packed.view(np.uint8)]
    y = x.astype(np.float64) @ weight.T.astype(np.float64)
    names, types = "%a, %b", "{0}, {1}"
    if bias:
        arguments.append(suite.normal(out))
        y = y + arguments[-1]
        names, types = names + " bias %c", types + ", {2}"
    dims, scalars = {}, {}
    if symbolic:
        lead = [f"d{i}" for i in range(len(shape))]
        scalars = dict(zip(lead, shape))
        dims = {0: lead + [str(inputs)], "r0": lead + [str(out)]}
    suite.add(f"linear_{element}", arguments,
              f"%r0 = qkernel.packed_linear {names} layout <element = {element}, "
              f"out = {out}, in = {inputs}, group = {inputs}> : ({types}) -> "
              "{r0}", y.astype(np.float32), dims=dims, scalars=scalars)


def linear_suite():
    suite = Suite()
    for rows in (1, 2, 4, 5, 9):
        float_linear_case(suite, (rows,), 64, 64, rows % 2)
        float_linear_case(suite, (2, rows), 13, 172, True)
    float_linear_case(suite, (1,), 24, 7, True, symbolic=False)
    float_linear_case(suite, (6,), 8, 33, False, symbolic=False)
    for element in ("f16", "bf16"):
        float_linear_case(suite, (1,), 24, 172, True, element=element)
        float_linear_case(suite, (5,), 13, 33, False, element=element)
    for bits in range(2, 9):
        for i, group in enumerate((1, 20, 32, 64, 100, 172)):
            for zeros in (False, True):
                signed = (i + zeros + bits) % 2 == 0
                rows = (1, 2, 4, 5, 9)[(i + bits) % 5]
                linear_case(suite, rows, (83, 64, 9)[i % 3], 172, bits, group,
                            signed, zeros, bias=i % 2 == 0)
        linear_case(suite, 1, 16, 512, bits, 512, True, False, False)
        linear_case(suite, 4, 16, 300, bits, 128, False, True, False)
        for scale_type in ("f16", "bf16"):
            linear_case(suite, 5, 13, 70, bits, 32, True, False, True,
                        scale_type)
    return suite


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v, scale, causal, mask_value, key_mask=None, bias=None,
              lengths=None, softcap=None, window=None):
    q, k, v = (t.astype(np.float64) for t in (q, k, v))
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat(repeat, 1), v.repeat(repeat, 1)
    s = np.einsum("bhid,bhjd->bhij", q, k) * scale
    if softcap:
        s = softcap * np.tanh(s / softcap)
    if bias is not None:
        s = s + bias
    seq, total = s.shape[2:]
    ends = np.full(q.shape[0], total) if lengths is None else lengths
    ends = ends.astype(np.int64)[:, None, None, None]
    key, position = np.arange(total), np.arange(seq)[:, None] + ends - seq
    hidden = np.broadcast_to(key >= ends, (q.shape[0], 1, seq, total)).copy()
    if causal:
        hidden |= key > position
    if window:
        hidden |= key <= position - window
    if key_mask is not None:
        hidden |= ~key_mask[:, None, None, :]
    # The model's float32 addition: a large number swallows the score.
    with np.errstate(over="ignore"):
        lowered = s.astype(np.float32) + np.float32(mask_value)
    s = np.where(hidden, lowered, s)
    with np.errstate(invalid="ignore"):
        p = softmax(s)
    p = np.where(np.isnan(p), 0, p)
    return np.einsum("bhij,bhjd->bhid", p, v).astype(np.float32)


def attention_case(suite, batch, heads, kv_heads, seq, total, d, dv, causal,
                   mask_value, masked, bias_shape=None, lengths=None,
                   softcap=None, window=None):
    q = suite.normal(batch, heads, seq, d)
    k = suite.normal(batch, kv_heads, total, d)
    v = suite.normal(batch, kv_heads, total, dv)
    arguments, names, types = [q, k, v], "%a, %b, %c", "{0}, {1}, {2}"
    key_mask = bias = None
    if masked:
        key_mask = suite.random.random((batch, total)) < 0.7
        key_mask[0, 0] = True
        if batch > 1:
            key_mask[1] = False
        names += " key_mask %d"
        types += ", {3}"
        arguments.append(key_mask)
    if bias_shape:
        bias = suite.normal(*bias_shape)
        names += " bias %" + "abcdefgh"[len(arguments)]
        types += ", {%d}" % len(arguments)
        arguments.append(bias)
    if lengths is not None:
        names += " lengths %" + "abcdefgh"[len(arguments)]
        types += ", {%d}" % len(arguments)
        arguments.append(lengths)
    mask_text = "0xFFF0000000000000 : f64" if np.isinf(mask_value) else \
        f"{mask_value:.6e}"
    more = f"softcap {softcap:.6e} " if softcap else ""
    more += f"window {window} " if window else ""
    y = attention(q, k, v, d ** -0.5, causal, mask_value, key_mask, bias,
                  lengths, softcap, window)
    suite.add("attention", arguments,
              f"%r0 = qmodel.attention {names} {'causal ' if causal else ''}"
              f"scale {d ** -0.5:.17e} {more}mask_value {mask_text.split(' ')[0]} : "
              f"({types}) -> {{r0}}", y,
              dims={0: ["b", str(heads), "s", str(d)],
                    1: ["b", str(kv_heads), "t", str(d)],
                    2: ["b", str(kv_heads), "t", str(dv)],
                    **({3: ["b", "t"]} if masked else {}),
                    "r0": ["b", str(heads), "s", str(dv)]},
              scalars={"b": batch, "s": seq, "t": total}, tolerance=4e-6)


def append_case(suite, lengths, seq, capacity, total, kind=np.int64):
    """Tokens of the past, new ones, zeros; what does not fit is left out."""
    batch, heads, d = len(lengths), 2, 5
    past, new = suite.normal(batch, heads, capacity, d), \
        suite.normal(batch, heads, seq, d)
    y = np.zeros((batch, heads, total, d), np.float32)
    for b, length in enumerate(lengths):
        first = max(length - seq, 0)
        kept = min(first, capacity, total)
        y[b, :, :kept] = past[b, :, :kept]
        added = max(min(seq, total - first), 0)
        y[b, :, first:first + added] = new[b, :, :added]
    suite.add("append", [past, new, np.array(lengths, kind)],
              f'%t = qmodel.dim_tensor ["t"] : tensor<1xi64>\n  '
              "%r0 = qmodel.append %a, %b lengths %c total %t : "
              "({0}, {1}, {2}, tensor<1xi64>) -> {r0}", y,
              dims={0: ["2", "2", "c", "5"], 1: ["2", "2", "s", "5"],
                    "r0": ["2", "2", "t", "5"]},
              scalars={"c": capacity, "s": seq, "t": total})


def append_in_place_case(suite, lengths, seq, capacity, kind=np.float32):
    """Only new rows are written: the tool fills results with bytes of 0xa5."""
    batch, heads, d = len(lengths), 2, 5
    past = suite.normal(batch, heads, capacity, d).astype(kind)
    new = suite.normal(batch, heads, seq, d)
    y = np.frombuffer(b"\xa5" * past.nbytes, kind).reshape(past.shape).copy()
    for b, length in enumerate(lengths):
        first = max(length - seq, 0)
        added = max(min(seq, capacity - first), 0)
        y[b, :, first:first + added] = new[b, :, :added]
    suite.add("append_in_place", [past, new, np.array(lengths)],
              f"%t = onnx.constant dense<{capacity}> : tensor<1xi64>\n  "
              "%r0 = qmodel.append %a, %b lengths %c total %t in_place : "
              "({0}, {1}, {2}, tensor<1xi64>) -> {r0}", y,
              dims={1: ["2", "2", "s", "5"]}, scalars={"s": seq})


def decoder_cases(suite):
    past = np.array([3, 0, 9])
    suite.add("positions", [past],
              '%n = qmodel.dim_tensor ["s"] : tensor<1xi64>\n  '
              "%r0 = qmodel.positions %a count %n limit 11 : "
              "({0}, tensor<1xi64>) -> {r0}",
              np.minimum(past[:, None] + np.arange(4), 10),
              dims={0: ["b"], "r0": ["b", "s"]}, scalars={"b": 3, "s": 4})
    x, rows = suite.normal(3, 4, 9), np.array([2, -1, 7])
    suite.add("select_rows", [x, rows],
              "%r0 = qmodel.select_rows %a, %b : ({0}, {1}) -> {r0}",
              x[np.arange(3), [2, 0, 3]][:, None],
              dims={0: ["b", "s", "9"], 1: ["b"], "r0": ["b", "1", "9"]},
              scalars={"b": 3, "s": 4})
    # A cache of float16 is widened as it is read.
    q, lengths = suite.normal(2, 4, 3, 12), np.array([7, 4])
    k, v = (suite.normal(2, 2, 9, d).astype(np.float16) for d in (12, 10))
    suite.add("attention_half", [q, k, v, lengths],
              "%r0 = qmodel.attention %a, %b, %c lengths %d causal scale "
              "0.25 mask_value 0xFFF0000000000000 : "
              "({0}, {1}, {2}, {3}) -> {r0}",
              attention(q, k, v, 0.25, True, -np.inf, lengths=lengths),
              dims={0: ["b", "4", "s", "12"], 1: ["b", "2", "9", "12"],
                    2: ["b", "2", "9", "10"], 3: ["b"],
                    "r0": ["b", "4", "s", "10"]},
              scalars={"b": 2, "s": 3}, tolerance=4e-6)
    for kind in (np.float32, np.float16):
        append_in_place_case(suite, [6, 3], 2, 16, kind)
    append_in_place_case(suite, [9, 17], 4, 16)


def model_suite():
    """qmodel ops but linear."""
    suite = Suite()
    infinity = -np.inf
    decoder_cases(suite)
    append_case(suite, [8, 4], 1, 7, 8)
    append_case(suite, [8, 4], 3, 5, 8, np.int32)
    append_case(suite, [5, 5], 5, 0, 5)
    append_case(suite, [2, 9], 4, 6, 7)
    append_case(suite, [6, 3], 2, 16, 16)
    append_case(suite, [40, 10], 2, 4, 8)
    lengths = np.array([19, 4])
    for value in (infinity, -1e9):
        attention_case(suite, 2, 4, 2, 4, 19, 16, 12, True, value, False,
                       lengths=lengths)
        attention_case(suite, 2, 4, 2, 4, 19, 16, 16, False, value, False,
                       lengths=lengths.astype(np.int32))
        attention_case(suite, 2, 4, 2, 4, 19, 8, 8, True, value, True,
                       lengths=lengths, window=3, softcap=1.5)
        attention_case(suite, 1, 4, 1, 21, 21, 16, 16, True, value, False,
                       window=5)
        attention_case(suite, 1, 2, 2, 3, 30, 16, 16, True, value, False,
                       (1, 2, 3, 30), window=17, softcap=50.0)
        attention_case(suite, 1, 2, 2, 2, 3, 16, 16, True, value, False,
                       window=9)
    attention_case(suite, 2, 4, 2, 3, 8, 16, 16, True, infinity, False,
                   lengths=np.array([0, 2]))
    attention_case(suite, 1, 4, 4, 7, 7, 16, 16, True, infinity, False)
    attention_case(suite, 2, 8, 4, 5, 19, 8, 8, True, infinity, True)
    attention_case(suite, 2, 8, 2, 1, 33, 64, 64, True, -1e9, True)
    attention_case(suite, 1, 2, 1, 3, 9, 12, 20, False, -3.402823e38, True)
    attention_case(suite, 1, 3, 1, 6, 4, 5, 3, True, infinity, False)
    attention_case(suite, 2, 4, 2, 4, 12, 128, 128, True, -1e4, False)
    attention_case(suite, 2, 4, 2, 4, 8, 16, 16, False, infinity, False,
                   (2, 1, 4, 8))
    attention_case(suite, 2, 4, 2, 4, 8, 16, 16, True, -1e9, True, (4, 1, 8))
    for width in (64, 60, 7):
        x, gain, bias = suite.normal(2, 5, width), suite.normal(width), \
            suite.normal(width)
        d = x.astype(np.float64)
        dims = {0: ["2", "n", str(width)], "r0": ["2", "n", str(width)]}
        more = dict(dims=dims, scalars={"n": 5})
        suite.add("rms", [x, gain],
                  "%r0 = qmodel.rms_norm %a, %b epsilon 1.0e-5 : ({0}, {1}) -> "
                  "{r0}", (d / np.sqrt((d * d).mean(-1, keepdims=True) + 1e-5)
                           * gain).astype(np.float32), **more)
        normal = (d - d.mean(-1, keepdims=True)) / np.sqrt(
            d.var(-1, keepdims=True) + 1e-5)
        suite.add("layer_norm", [x, gain, bias],
                  "%r0 = qmodel.layer_norm %a, %b bias %c epsilon 1.0e-5 : "
                  "({0}, {1}, {2}) -> {r0}",
                  (normal * gain + bias).astype(np.float32), **more)
        suite.add("layer_norm", [x, gain],
                  "%r0 = qmodel.layer_norm %a, %b epsilon 1.0e-5 : "
                  "({0}, {1}) -> {r0}", (normal * gain).astype(np.float32),
                  **more)
    for interleaved in (False, True):
        for batch, d, r in ((1, 16, 16), (2, 16, 8)):
            x = suite.normal(2, 3, 5, d)
            angle = suite.normal(batch, 5, r).astype(np.float64)
            cos, sin = np.cos(angle).astype(np.float32), \
                np.sin(angle).astype(np.float32)
            turned = np.empty((2, 3, 5, r), np.float64)
            part = x[..., :r].astype(np.float64)
            if interleaved:
                turned[..., 0::2], turned[..., 1::2] = -part[..., 1::2], \
                    part[..., 0::2]
            else:
                turned = np.concatenate(
                    [-part[..., r // 2:], part[..., :r // 2]], -1)
            y = x.copy()
            y[..., :r] = part * cos[:, None] + turned * sin[:, None]
            flag = "interleaved " if interleaved else ""
            suite.add("rope", [x, cos, sin],
                      f"%r0 = qmodel.rope %a, %b, %c {flag}: ({{0}}, {{1}}, "
                      "{2}) -> {r0}", y,
                      dims={0: ["2", "3", "s", str(d)],
                            1: [str(batch), "s", str(r)],
                            2: [str(batch), "s", str(r)],
                            "r0": ["2", "3", "s", str(d)]}, scalars={"s": 5})
    x, up = 4 * suite.normal(3, 50), suite.normal(3, 50)
    d = x.astype(np.float64)
    sigmoid = lambda t: 1 / (1 + np.exp(-t))
    from math import erf
    activations = {
        "silu": d * sigmoid(d),
        "gelu": d * (1 + np.vectorize(erf)(d / np.sqrt(2))) / 2,
        "gelu_tanh": d * (1 + np.tanh(
            np.sqrt(2 / np.pi) * (d + 0.044715 * d ** 3))) / 2,
        "gelu_quick": d * sigmoid(1.702 * d), "relu": np.maximum(d, 0)}
    for kind, y in activations.items():
        suite.add(kind, [x], f"%r0 = qmodel.activation {kind} %a : ({{0}}) -> "
                  "{r0}", y.astype(np.float32))
        suite.add("gated", [x, up],
                  f"%r0 = qmodel.gated_activation {kind} %a, %b : "
                  "({0}, {1}) -> {r0}", (y * up).astype(np.float32))
    suite.add("add", [x, up],
              "%r0 = qmodel.add %a, %b : ({0}, {1}) -> {r0}", x + up)
    factors = suite.normal(50)
    suite.add("channel_scale", [x, factors],
              "%r0 = qmodel.channel_scale %a, %b : ({0}, {1}) -> {r0}",
              x * factors)
    # A chain of elementwise ops is one loop.
    suite.add("chain", [x, up],
              "%s = qmodel.add %a, %b : ({0}, {1}) -> {r0}\n"
              "  %r0 = qmodel.multiply %s, %b : ({r0}, {1}) -> {r0}",
              (x + up) * up)
    # A result that another one is computed from.
    suite.add("results", [x, up],
              "%r0 = qmodel.add %a, %b : ({0}, {1}) -> {r0}\n"
              "  %r1 = qmodel.multiply %r0, %b : ({r0}, {1}) -> {r1}",
              [x + up, (x + up) * up])
    table = suite.normal(10, 12)
    ids = np.array([[0, 9, -1], [-10, 3, 7]])
    for dtype in (np.int64, np.int32):
        suite.add("embedding", [table, ids.astype(dtype)],
                  '%r0 = qmodel.embedding "e" %a, %b : ({0}, {1}) -> {r0}',
                  table[ids], dims={1: ["2", "s"], "r0": ["2", "s", "12"]},
                  scalars={"s": 3})
    for bits in range(2, 9):
        for signed in (False, True):
            for zeros in (False, True):
                packed_embedding_case(suite, bits, signed, zeros)
    for scale_type in ("f16", "bf16"):
        packed_embedding_case(suite, 4, True, True, scale_type=scale_type)
    return suite


def packed_embedding_case(suite, bits, signed, zeros, width=37, group=16,
                          scale_type="f32"):
    r, entries = suite.random, 11
    groups = -(-width // group)
    stored = r.integers(0, 1 << bits, (entries, width))
    zero = r.integers(0, 1 << bits, (entries, groups)) if zeros else \
        np.full((entries, groups), 1 << (bits - 1) if signed else 0)
    scales, stored_scales = rounded_to(
        r.random((entries, groups)).astype(np.float32), scale_type)
    row_bytes = -(-width * bits // 8)
    codes = np.zeros((entries, row_bytes), np.uint8)
    for e in range(entries):
        number = sum(int(c) << (bits * i) for i, c in enumerate(stored[e]))
        codes[e] = np.frombuffer(number.to_bytes(row_bytes, "little"), np.uint8)
    values = (stored - zero.repeat(group, 1)[:, :width]).astype(np.float32) * \
        scales.repeat(group, 1)[:, :width]
    ids = np.array([3, -1, 0, 10])
    arguments = [ids, codes, stored_scales]
    text, types = "%a, %b scales %c", "{0}, {1}, {2}"
    if zeros:
        text, types = text + " zeros %d", types + ", {3}"
        arguments.append(zero.astype(np.uint8))
    suite.add("packed_embedding", arguments,
              f"%r0 = qkernel.packed_embedding {text} element "
              f"{'' if signed else 'u'}i{bits} width {width} group {group} : "
              f"({types}) -> {{r0}}", values[ids], tolerance=0,
              elements={2: scale_type})


def onnx_suite():
    suite = Suite()
    kernels_onnx.add_operators(suite)
    return suite


def main():
    group, tool, helper = sys.argv[1:4]
    suites = {"linear": linear_suite, "model": model_suite, "onnx": onnx_suite}
    return suites[group]().run(tool, helper)


if __name__ == "__main__":
    sys.exit(main())
