# ===- block_oracle.py - Blocks, scale types, second levels vs. numpy ----=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compares round-to-nearest in blocks of any size, with scales of any type and
of one or two levels, with float64 written a second time in numpy.

usage: block_oracle.py PATH_OF_nibble-numerics-rtn

The grids are the oracles' (test/oracles, rtn_oracle.py). Scales must be equal;
codes and zero points too, save for provable ties (rtn_oracle.near_tie).
"""
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Optional

import numpy as np

sys.path.insert(0, os.path.dirname(__file__))
import rtn_oracle  # noqa: E402
from rtn_oracle import common  # noqa: E402


@dataclass
class Scheme:
    bits: int
    sym: bool
    grid: str
    group: int
    rows: int
    rounding: str = "half_even"
    scales: str = "f32"
    second: Optional["Scheme"] = None

    def has_zeros(self):
        return not self.sym or self.grid == "gptq"


# Bits behind the leading one and exponent of the smallest normal number.
FORMATS = {"f32": (23, -126), "f16": (10, -14), "bf16": (7, -126)}


def round_to(values, name):
    """float64 to a narrower type, once; what vanishes becomes the smallest."""
    digits, lowest = FORMATS[name]
    _, exponent = np.frexp(values)
    step = 2.0 ** (np.maximum(exponent - 1, lowest) - digits)
    rounded = np.rint(values / step) * step
    return np.where((rounded == 0) & (values != 0),
                    np.copysign(2.0 ** (lowest - digits), values), rounded)


def to_blocks(weight, rows, group):
    """[block rows, groups, elements of a block], padded with zeros."""
    out, width = weight.shape
    height = out if rows <= 0 or rows > out else rows
    step = width if group <= 0 or group > width else group
    r, g = -(-out // height), -(-width // step)
    padded = np.zeros((r * height, g * step))
    padded[:out, :width] = weight
    blocks = padded.reshape(r, height, g, step).transpose(0, 2, 1, 3)
    return blocks.reshape(r, g, -1), (height, step)


def from_blocks(blocks, size, shape):
    r, g, _ = blocks.shape
    full = blocks.reshape(r, g, *size).transpose(0, 2, 1, 3)
    return full.reshape(r * size[0], -1)[:shape[0], :shape[1]]


def zero_points(blocks, scheme, scales):
    """Zero points for scales that may have been rounded."""
    if not scheme.has_zeros():
        return np.zeros_like(scales), np.zeros_like(scales)
    if scheme.sym:
        return np.full_like(scales, 2.0 ** (scheme.bits - 1)), scales * 0
    low = blocks.min(2, keepdims=True)
    if scheme.grid != "awq":
        low = np.minimum(low, 0)
    if scheme.grid == "gptq":
        low = np.where(np.all(blocks == 0, axis=2, keepdims=True), -1, low)
    safe = np.where(scales == 0, 1, scales)
    quotient = np.where(scales == 0, 0, -low / safe)
    return np.clip(common.rne(quotient), 0, 2**scheme.bits - 1), quotient


def expected(weight, scheme):
    """Codes, zero points and scales as stored, the values, and quotients."""
    blocks, size = to_blocks(np.asarray(weight, np.float64), scheme.rows,
                             scheme.group)
    r, g, _ = blocks.shape
    common.rne = rtn_oracle.round_half_away \
        if scheme.rounding == "half_away" else np.rint
    exact = rtn_oracle.oracle(blocks.reshape(r * g, -1), scheme.bits,
                              scheme.sym, scheme.grid)[0].reshape(r, g, 1)
    stored = round_to(exact, scheme.scales)
    used, second = stored, None
    if scheme.second:
        second = expected(stored[:, :, 0], scheme.second)
        stored = used = second["values"].astype(np.float64)[:, :, None]
        if scheme.scales != "f32":
            narrow = round_to(used, scheme.scales)
            smallest = 2.0 ** (FORMATS[scheme.scales][1]
                               - FORMATS[scheme.scales][0])
            stored = used = np.where(np.abs(used) <= smallest / 2, 0, narrow)
        common.rne = rtn_oracle.round_half_away \
            if scheme.rounding == "half_away" else np.rint
    elif scheme.scales == "f32":
        used = exact
    zeros, zero_quotient = zero_points(blocks, scheme, used)
    quotient = np.where(used == 0, 0, blocks / np.where(used == 0, 1, used))
    signed = scheme.sym and scheme.grid != "gptq"
    low = -(2 ** (scheme.bits - 1)) if signed else 0
    top = low + 2**scheme.bits - 1
    low += scheme.grid == "narrow"
    codes = np.clip(common.rne(quotient) + zeros, low, top)
    values = (codes.astype(np.float32) - zeros.astype(np.float32)) \
        * stored.astype(np.float32)
    flat = lambda a: from_blocks(a, size, weight.shape)
    return {"codes": flat(codes), "zeros": zeros[:, :, 0],
            "scales": stored[:, :, 0], "values": flat(values),
            "quotient": flat(quotient), "zero_quotient": zero_quotient[:, :, 0],
            "second": second}


def run_tool(tool, folder, weight, scheme):
    source, target = (os.path.join(folder, n) for n in ("in.npy", "out.npz"))
    np.save(source, weight)
    command = [tool, source, target, scheme.bits, "sym" if scheme.sym else
               "asym", scheme.grid, scheme.rounding, scheme.group, scheme.rows,
               scheme.scales]
    if scheme.second:
        s = scheme.second
        command += [s.bits, "sym" if s.sym else "asym", s.grid, s.group, s.rows]
    subprocess.run([str(word) for word in command], check=True)
    with np.load(target) as arrays:
        return dict(arrays)


def check(found, answer, scheme):
    """Codes compared and ties."""
    if "scales" in found:
        assert np.array_equal(found["scales"], answer["scales"]), \
            "scales differ"
    if scheme.second:
        second = answer["second"]
        for name in ("codes", "scales", "zeros"):
            if name == "zeros" and not scheme.second.has_zeros():
                assert "scale_zeros" not in found
                continue
            assert np.array_equal(found["scale_" + name], second[name]), \
                f"{name} of the scales differ"
    assert ("zeros" in found) == scheme.has_zeros()
    zeros = answer["zeros"]
    if "zeros" in found:
        differ = found["zeros"] != zeros
        assert np.all(rtn_oracle.near_tie(answer["zero_quotient"])[differ]), \
            "zero points differ"
        if differ.any():
            return 0, 1  # other zero points, other codes: one tie
    differ = found["codes"] != answer["codes"]
    assert np.all(rtn_oracle.near_tie(answer["quotient"])[differ]), \
        "codes differ"
    same = ~differ
    assert np.array_equal(found["values"][same], answer["values"][same]), \
        "dequantized values differ"
    return differ.size, int(differ.sum())


def random_scheme(rng, grid, sym, bits):
    second = None
    if rng.random() < 0.4:
        second_grid = str(rng.choice(["minmax", "narrow", "awq", "full_range",
                                      "gptq"]))
        second = Scheme(int(rng.integers(2, 9)), second_grid == "narrow"
                        or bool(rng.random() < 0.5), second_grid,
                        int(rng.choice([0, 2, 3, 16])),
                        int(rng.choice([0, 1, 4])))
    return Scheme(bits, sym, grid, int(rng.choice([0, 1, 5, 8, 32, 200])),
                  int(rng.choice([0, 1, 2, 3, 8, 100])),
                  str(rng.choice(["half_even", "half_away"])),
                  str(rng.choice(list(FORMATS))), second)


def random_weight(rng):
    kinds = ("normal", "tails", "constant", "zeros", "positive", "negative",
             "small", "ties")
    rows, columns = (int(rng.choice([1, 2, 3, 7, 16, 33])) for _ in "ab")
    return rtn_oracle.matrix(rng, str(rng.choice(kinds)), rows, columns)


def compare(run, per_combination):
    """Random cases for every grid and width; `run(folder, weight, scheme)`."""
    rng = np.random.default_rng(20261122)
    cases = compared = ties = 0
    with tempfile.TemporaryDirectory() as folder:
        for grid in ("gptq", "awq", "minmax", "full_range", "narrow"):
            for sym in (True, False):
                if grid == "narrow" and not sym:
                    continue
                for bits in range(2, 9):
                    for _ in range(per_combination):
                        scheme = random_scheme(rng, grid, sym, bits)
                        weight = random_weight(rng)
                        try:
                            counts = check(run(folder, weight, scheme),
                                           expected(weight, scheme), scheme)
                        except AssertionError as error:
                            sys.exit(f"FAIL {scheme} {weight.shape}: {error}")
                        cases += 1
                        compared += counts[0]
                        ties += counts[1]
    print(f"{cases} matrices, {compared} codes equal; {ties} differed at "
          "provable ties")


if __name__ == "__main__":
    compare(lambda *case: run_tool(sys.argv[1], *case), 4)
