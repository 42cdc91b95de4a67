# ===- kernels_decoder.py - Cooperative kernels against NumPy -------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Kernels of decoders whose threads work together, in the emulator.

    kernels_decoder.py attention|floats|prefill|rows|codes"""

import sys

import numpy as np

import emulated
from kernels_numpy import Suite, attention, softmax
from kernels_quantized import GRIDS, ROUNDINGS, dynamic_case

MASKS = (-np.inf, -1e9, -3.402823e38, -1e4)


def attention_case(suite, heads, kv_heads, seq, total, d, dv=None, batch=1,
                   kind="f32", static=False, tolerance=1e-5, **options):
    """One attention; `static`: nothing of its shape is a scalar."""
    dv = dv or d
    q = suite.normal(batch, heads, seq, d)
    arguments, elements = [q], {}
    for width in (d, dv):
        exact = suite.normal(batch, kv_heads, total, width)
        if kind == "bf16":
            bits = exact.view(np.uint32) >> 16
            elements[len(arguments)] = "bf16"
            arguments.append(bits.astype(np.uint16))
        else:
            arguments.append(exact.astype({"f32": np.float32, "f16": np.float16}[kind]))
    wide = [(a.astype(np.uint32) << 16).view(np.float32) if a.dtype == np.uint16
            else a.astype(np.float32) for a in arguments[1:]]
    options = {"causal": True, "mask_value": -np.inf} | options
    text = "%a, %b, %c"
    dims = {0: ["b", str(heads), "s", str(d)],
            1: ["b", str(kv_heads), "t", str(d)],
            2: ["b", str(kv_heads), "t", str(dv)],
            "r0": ["b", str(heads), "s", str(dv)]}
    symbols = {"key_mask": ["b", "t"], "lengths": ["b"],
               "bias": ["1", str(heads), "1", "t"]}
    for name in ("key_mask", "bias", "lengths"):
        if name in options:
            dims[len(arguments)] = symbols[name]
            text += f" {name} %{'abcdefgh'[len(arguments)]}"
            arguments.append(options[name])
    text += " causal" if options["causal"] else ""
    text += f" scale {d ** -0.5:.17e}"
    for name in ("softcap", "window"):
        if name in options:
            text += f" {name} {options[name]}"
    mask = options["mask_value"]
    text += " mask_value " + ("0xFFF0000000000000" if np.isinf(mask) else f"{mask:.6e}")
    types = ", ".join("{%d}" % i for i in range(len(arguments)))
    want = attention(q, *wide, scale=d ** -0.5, **options)
    values = {"b": batch, "s": seq, "t": total}
    if static:
        number = lambda d: str(values.get(d, d))
        dims = {key: [number(d) for d in each] for key, each in dims.items()}
        values = {}
    suite.add("attention", arguments,
              f"%r0 = qmodel.attention {text} : ({types}) -> {{r0}}", want,
              dims=dims, scalars=values, elements=elements, tolerance=tolerance)


def attention_suite():
    """All sizes of groups, widths that are no multiple of a piece or of a warp,
    ragged lengths, all kinds of caches, all options; more keys than one block
    sees."""
    suite = Suite(11)
    r = suite.random
    case = lambda *args, **more: attention_case(suite, *args, **more)
    # One new token: head counts, and caches shorter and longer than a split.
    for heads, kv_heads in ((1, 1), (4, 1), (6, 2), (8, 8), (12, 1), (7, 1)):
        for kind in ("f32", "f16", "bf16"):
            case(heads, kv_heads, 1, int(r.integers(1, 100)), 16, kind=kind)
    for total in (1, 127, 128, 129, 300):
        for kind in ("f32", "f16"):
            case(4, 2, 1, total, 32, batch=3, kind=kind,
                 lengths=r.integers(0, total + 1, 3))
        case(2, 1, 1, total, 8, static=True, batch=2, lengths=np.array([1, total]))
    # Lanes without a piece, lanes with several.
    for d, dv in ((8, 8), (20, 12), (5, 3), (80, 80), (3, 72), (96, 16), (160, 256)):
        for kind in ("f32", "f16"):
            case(4, 2, 1, 37, d, dv, kind=kind, lengths=np.array([35]))
    # Several queries, empty rows, masks that hide exactly and that do not.
    for number in range(12):
        total, seq = ((1, 2), (31, 5), (150, 9))[number % 3]
        several_queries(suite, number, seq, total, 16)
    return suite


def several_queries(suite, number, seq, total, d, **more):
    """Attentions of two sequences whose options follow from a number."""
    r = suite.random
    if number % 2:
        more["lengths"] = r.integers(0, total + 1, 2)
    if number % 3 == 1:
        more["key_mask"] = r.random((2, total)) < 0.6
    if number % 4 == 2:
        more["bias"] = suite.normal(1, 4, 1, total)
    if number % 5 == 3:
        more["softcap"] = 3.5
    more["causal"] = number % 4 != 3
    if more["causal"] and number % 3 == 2:
        more["window"] = int(r.integers(1, 40))
    attention_case(suite, 4, 2, seq, total, d, batch=2,
                   mask_value=MASKS[number % 4], **more)


def float_suite():
    """Tiles of queries in float32, and heads that are too wide for them."""
    suite = Suite(7)
    for heads, kv_heads in ((1, 1), (4, 1), (6, 2), (5, 1), (12, 1)):
        attention_case(suite, heads, kv_heads, 9, 40, 32)
    for seq, total in ((5, 5), (33, 33), (40, 70), (17, 129)):
        for static in (False, True):
            attention_case(suite, 4, 2, seq, total, 16, batch=2, static=static)
    for d, dv in ((8, 8), (20, 12), (5, 3), (80, 80), (128, 128), (64, 40), (256, 256)):
        attention_case(suite, 2, 1, 6, 40, d, dv)
    for kind in ("f16", "bf16"):
        attention_case(suite, 2, 1, 6, 40, 160, kind=kind)
    for number in range(24):
        seq, total = ((5, 31), (20, 100), (9, 64))[number % 3]
        several_queries(suite, number, seq, total, 16)
    return suite


def prefill_suite():
    """Tiles of queries with products of tensor cores: weights are rounded to the
    type of the caches."""
    suite = Suite(3)
    kinds = (("f16", 2e-3), ("bf16", 1.5e-2))
    for heads, kv_heads in ((1, 1), (4, 1), (6, 2), (5, 1), (12, 1)):
        for kind, tolerance in kinds:
            attention_case(suite, heads, kv_heads, 9, 70, 32, kind=kind,
                           tolerance=tolerance)
    # Queries and keys that fill no tile, and more than one.
    for seq, total in ((5, 5), (33, 33), (64, 64), (65, 129), (7, 200)):
        for static in (False, True):
            attention_case(suite, 4, 2, seq, total, 16, kind="f16", batch=2,
                           static=static, tolerance=2e-3)
    # Widths that are no multiple of a fragment, nor of a piece.
    for d, dv in ((8, 8), (20, 12), (5, 3), (80, 80), (128, 128), (64, 40)):
        attention_case(suite, 2, 1, 6, 40, d, dv, kind="f16", tolerance=2e-3)
    for number in range(24):
        seq, total = ((5, 31), (40, 150), (9, 64))[number % 3]
        kind, tolerance = kinds[number % 2]
        several_queries(suite, number, seq, total, 16, kind=kind,
                        tolerance=tolerance)
    return suite


def rows_suite():
    """Norms and softmax: rows of one element, of less than a warp, of a warp and
    more, of several turns of a block."""
    suite = Suite(5)
    for width in (1, 3, 31, 64, 100, 172, 1030, 2500):
        for symbolic in (False, True):
            m = int(suite.random.integers(1, 6))
            x, gain, bias = suite.normal(m, width), suite.normal(width), suite.normal(width)
            wide = x.astype(np.float64)
            more = {"tolerance": 4e-6}
            if symbolic:
                more |= {"dims": {i: ["m", "n"] for i in (0, "r0")} | {1: ["n"], 2: ["n"]},
                         "scalars": {"m": m, "n": width}}
            mean = wide.mean(1, keepdims=True)
            rms = wide / np.sqrt((wide ** 2).mean(1, keepdims=True) + 1e-5)
            normal = (wide - mean) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
            f32 = lambda array: array.astype(np.float32)
            without = {k: v for k, v in more.items()}
            if symbolic:
                without["dims"] = {k: v for k, v in more["dims"].items() if k != 2}
            suite.add("rms_norm", [x, gain],
                      "%r0 = qmodel.rms_norm %a, %b epsilon 1.0e-5 : ({0}, {1}) -> {r0}",
                      f32(rms * gain), **without)
            suite.add("layer_norm", [x, gain, bias],
                      "%r0 = qmodel.layer_norm %a, %b bias %c epsilon 1.0e-5 : "
                      "({0}, {1}, {2}) -> {r0}", f32(normal * gain + bias), **more)
            suite.add("layer_norm", [x, gain],
                      "%r0 = qmodel.layer_norm %a, %b epsilon 1.0e-5 : ({0}, {1}) -> {r0}",
                      f32(normal * gain), **without)
            alone = {k: v for k, v in without.items()}
            if symbolic:
                alone["dims"] = {0: ["m", "n"], "r0": ["m", "n"]}
            p = softmax(wide)
            suite.node("Softmax", [x], f32(p), "axis = -1 : i64", **alone)
            suite.node("LogSoftmax", [x], f32(np.log(p)), "axis = -1 : i64", **alone)
    # What a norm reads, and what reads a norm, may be computed on the way.
    x, y, gain = suite.normal(3, 70), suite.normal(3, 70), suite.normal(70)
    both = (x + y).astype(np.float64)
    rms = both / np.sqrt((both ** 2).mean(1, keepdims=True) + 1e-5) * gain
    for after, want in (("", rms), ("silu", rms / (1 + np.exp(-rms)))):
        norm = "%n" if after else "%r0"
        suite.add("norm_of_sum", [x, y, gain],
                  f"%s = qmodel.add %a, %b : ({{0}}, {{1}}) -> {{0}}\n  "
                  f"{norm} = qmodel.rms_norm %s, %c epsilon 1.0e-5 : ({{0}}, {{2}}) -> {{0}}"
                  + (f"\n  %r0 = qmodel.activation {after} %n : ({{0}}) -> {{r0}}" if after else ""),
                  f32(want), tolerance=4e-6)
    return suite


def codes_suite():
    """Activations to codes, to the bit: tokens and groups of channels."""
    suite = Suite()
    for grid in GRIDS:
        for symmetric in (True, False):
            if grid == "narrow" and not symmetric:
                continue
            for i, rounding in enumerate(ROUNDINGS):
                for width, group in ((64, 0), (300, 0), (37, 16), (5, 0), (1, 1)):
                    dynamic_case(suite, width, group, grid, symmetric, rounding)
                kind = ("f16", "bf16")[i]
                dynamic_case(suite, 40, 8, grid, symmetric, rounding, kind)
                if kind == "bf16":
                    stored = suite.expected[-1][1]
                    stored[1] = (stored[1].view(np.uint32) >> 16).astype(np.uint16)
    return suite


SUITES = {"attention": attention_suite, "floats": float_suite,
          "prefill": prefill_suite, "rows": rows_suite, "codes": codes_suite}

if __name__ == "__main__":
    sys.exit(1 if emulated.run(SUITES[sys.argv[1]]()) else 0)
