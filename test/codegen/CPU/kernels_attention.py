# ===- kernels_attention.py - Attention against NumPy --------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   kernels_attention.py nibble-kernel-test nibble-codegen
#
# Random attentions: all sizes of groups, widths that are no multiple of a vector,
# more keys than a block, ragged lengths, keys and values in float16.
#
# ===--------------------------------------------------------------------=== #

import sys

import numpy as np

from kernels_numpy import Suite, attention

MASKS = (-np.inf, -1e9, -3.402823e38, -1e4)


def random_case(suite, number):
    r = suite.random
    choose = lambda *values: values[r.integers(len(values))]
    kv_heads, group = choose(1, 2, 3), int(r.integers(1, 9))
    batch, heads = int(r.integers(1, 4)), kv_heads * group
    d, dv = choose(8, 16, 20, 5, 64), choose(8, 16, 12, 3, 64, 72)
    seq, total = choose(1, 1, 2, 7, 40), choose(1, 8, 31, 33, 100, 130)
    causal = bool(r.random() < 0.7)
    options = {"causal": causal, "mask_value": MASKS[number % len(MASKS)],
               "scale": d ** -0.5}
    half = r.random() < 0.3
    kind = np.float16 if half else np.float32
    q = suite.normal(batch, heads, seq, d)
    k = suite.normal(batch, kv_heads, total, d).astype(kind)
    v = suite.normal(batch, kv_heads, total, dv).astype(kind)
    arguments, text = [q, k, v], "%a, %b, %c"
    dims = {0: ["b", str(heads), "s", str(d)],
            1: ["b", str(kv_heads), "t", str(d)],
            2: ["b", str(kv_heads), "t", str(dv)],
            "r0": ["b", str(heads), "s", str(dv)]}

    def also(name, array, symbols):
        nonlocal text
        index = len(arguments)
        arguments.append(array)
        dims[index] = symbols
        options[name] = array
        text += f" {name} %{'abcdefgh'[index]}"
    if r.random() < 0.25:
        also("key_mask", r.random((batch, total)) < 0.6, ["b", "t"])
    if r.random() < 0.25:
        also("bias", suite.normal(1, heads, 1, total),
             ["1", str(heads), "1", "t"])
    if r.random() < 0.6:
        also("lengths", r.integers(0, total + 1, batch), ["b"])
    text += (" causal" if causal else "") + f" scale {d ** -0.5:.17e}"
    if r.random() < 0.2:
        options["softcap"] = 3.5
        text += " softcap 3.5"
    if causal and r.random() < 0.3:
        options["window"] = int(r.integers(1, 40))
        text += f" window {options['window']}"
    mask = options["mask_value"]
    text += " mask_value " + ("0xFFF0000000000000" if np.isinf(mask)
                              else f"{mask:.6e}")
    types = ", ".join("{%d}" % i for i in range(len(arguments)))
    suite.add("attention", arguments,
              f"%r0 = qmodel.attention {text} : ({types}) -> {{r0}}",
              attention(q, k, v, **options), dims=dims,
              scalars={"b": batch, "s": seq, "t": total}, tolerance=1e-5)


def main():
    suite = Suite(11)
    for number in range(60):
        random_case(suite, number)
    return suite.run(*sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
