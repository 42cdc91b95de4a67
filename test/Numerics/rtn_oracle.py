# ===- rtn_oracle.py - Round to nearest against the oracles --------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compares round-to-nearest with the float64 oracles of test/oracles.

usage: rtn_oracle.py PATH_OF_nibble-numerics-rtn

Codes and zero points must be equal, save for provable ties: values whose
quotient lies within 1e-9 (relative) of the middle between two codes, but not on
it. Scales must be the float64 scale of the oracle, rounded once to float32. A
last group that is short is padded with zero columns for the oracle.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "oracles"))
import common  # noqa: E402

SIGNED = ("awq", "minmax", "full_range", "narrow")


def round_half_away(x):
    x = np.asarray(x, np.float64)
    whole = np.trunc(x)
    tie = np.abs(x - whole) == 0.5
    return np.where(tie, whole + np.sign(x), np.rint(x))


def grid_full_range(x, bits, sym):
    """The signed extreme (first of equals) takes code -2^(b-1)."""
    if not sym:
        return common.grid_minmax(x, bits, False)
    extreme = x[np.arange(len(x)), np.argmax(np.abs(x), axis=1)][:, None]
    half = 2.0 ** (bits - 1)
    scale = np.where(extreme == 0, 1.0, -extreme / half)
    return scale, np.zeros_like(scale), -half, half - 1


def oracle(x, bits, sym, grid):
    """Scale, zero point, code and the quotients before rounding, per block."""
    if grid == "gptq":
        s, z, top = common.grid_gptq(x, bits, sym)
        low = 0
    elif grid == "awq":
        s, z, low, top = common.grid_awq(x, bits, zero_point=not sym)
    elif grid == "full_range":
        s, z, low, top = grid_full_range(x, bits, sym)
    else:
        s, z, low, top = common.grid_minmax(x, bits, sym,
                                            narrow=grid == "narrow")
    _, codes = common.affine_fake(x, s, z, low, top)
    return s, z, codes, x / s


def near_tie(quotient):
    """Where another order of operations could round to the other side. An exact
    tie is exact in any order here, and must follow the rounding mode."""
    distance = np.abs(np.abs(quotient - np.trunc(quotient)) - 0.5)
    limit = 1e-9 * np.maximum(1.0, np.abs(quotient))
    return (distance > 0) & (distance <= limit)


def matrix(rng, kind, rows, columns):
    x = rng.standard_normal((rows, columns))
    if kind == "tails":
        x = x * np.exp(rng.standard_normal((rows, columns)) * 2)
    elif kind == "constant":
        x = np.repeat(rng.standard_normal((rows, 1)), columns, axis=1)
    elif kind == "zeros":
        x[:, : (columns + 1) // 2] = 0
    elif kind == "positive":
        x = np.abs(x)
    elif kind == "negative":
        x = -np.abs(x) - 1
    elif kind == "small":
        x = x * 1e-7
    elif kind == "ties":
        x = rng.integers(-8, 9, (rows, columns)) / 2.0
    return x.astype(np.float32)


def run_tool(tool, folder, weight, bits, sym, grid, rounding, group):
    source, target = (os.path.join(folder, n) for n in ("in.npy", "out.npz"))
    np.save(source, weight)
    subprocess.run([tool, source, target, str(bits), "sym" if sym else "asym",
                    grid, rounding, str(group)], check=True)
    with np.load(target) as arrays:
        return dict(arrays)


def check(tool, folder, weight, bits, sym, grid, rounding, group):
    """Number of codes compared and of ties; raises on a difference."""
    rows, columns = weight.shape
    width = columns if group <= 0 or group >= columns else group
    groups = -(-columns // width)
    padded = np.zeros((rows, groups * width))
    padded[:, :columns] = weight
    found = run_tool(tool, folder, weight, bits, sym, grid, rounding, group)

    common.rne = round_half_away if rounding == "half_away" else np.rint
    scale, zero, codes, quotient = oracle(padded.reshape(-1, width), bits, sym,
                                          grid)
    per_row = lambda a: a.reshape(rows, -1)[:, :columns]
    stored = np.float32(scale).reshape(rows, groups)
    assert found["scales"].dtype == np.float32
    assert np.array_equal(found["scales"], stored), "scales differ"
    if sym and grid in SIGNED:
        assert "zeros" not in found and found["codes"].dtype == np.int8
        zeros = np.zeros((rows, groups))
        zero_ties = 0
    else:
        zeros = found["zeros"].astype(np.float64)
        lows = np.minimum(padded.reshape(-1, width).min(1, keepdims=True), 0)
        differ = zeros.reshape(-1, 1) != zero
        assert np.all(near_tie(-lows / scale)[differ]), "zero points differ"
        zero_ties = int(differ.sum())
        if zero_ties:
            _, codes = common.affine_fake(padded.reshape(-1, width), scale,
                                          zeros.reshape(-1, 1), 0, 2**bits - 1)
    differ = found["codes"] != per_row(codes)
    assert np.all(near_tie(per_row(quotient))[differ]), "codes differ"

    repeated = lambda a: np.repeat(a, width, axis=1)[:, :columns]
    values = (np.float32(found["codes"]) - repeated(np.float32(zeros))) \
        * repeated(stored)
    assert np.array_equal(found["values"], values), "dequantized values differ"
    return differ.size, int(differ.sum()), zero_ties


def main():
    tool = sys.argv[1]
    rng = np.random.default_rng(20261121)
    kinds = ("normal", "tails", "constant", "zeros", "positive", "negative",
             "small", "ties")
    cases = compared = ties = zero_ties = 0
    with tempfile.TemporaryDirectory() as folder:
        for grid in ("gptq", "awq", "minmax", "full_range", "narrow"):
            for sym in (True, False):
                if grid == "narrow" and not sym:
                    continue
                for bits in range(2, 9):
                    for kind in rng.permutation(kinds)[:4]:
                        rows = int(rng.choice([1, 2, 7, 16]))
                        columns = int(rng.choice([1, 3, 32, 33, 100]))
                        group = int(rng.choice([0, 1, 8, 32, 200]))
                        rounding = str(rng.choice(["half_even", "half_away"]))
                        weight = matrix(rng, kind, rows, columns)
                        case = (f"{grid} sym={sym} bits={bits} {kind} "
                                f"{rows}x{columns} group={group} {rounding}")
                        try:
                            counts = check(tool, folder, weight, bits, sym,
                                           grid, rounding, group)
                        except AssertionError as error:
                            sys.exit(f"FAIL {case}: {error}")
                        cases += 1
                        compared += counts[0]
                        ties += counts[1]
                        zero_ties += counts[2]
    print(f"{cases} matrices, {compared} codes equal; {ties} codes and "
          f"{zero_ties} zero points differed at provable ties")


if __name__ == "__main__":
    main()
