# ===- kernels_quantized.py - Kernels of quantized activations -----------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   kernels_quantized.py linear|rows|codes nibble-kernel-test nibble-codegen
#
# packed_integer_linear against NumPy's integers: where scales are powers of two
# and small enough, no sum is rounded, and every bit must agree. The result of a
# row must not depend on the rows beside it, where sums are rounded. quantize,
# dynamic_quantize and dequantize against the equations of
# Numerics/Activations.h in NumPy's float32.
#
# ===--------------------------------------------------------------------=== #

import copy
import sys

import numpy as np

from kernels_numpy import Suite, pack_codes, pack_groups, rounded_to


def spread(blocks, group, inputs):
    """One value per group -> one per input."""
    return blocks.repeat(group, -1)[..., :inputs]


class Operands:
    """Names and types of a kernel's arguments, in order."""

    def __init__(self):
        self.arrays, self.types, self.elements, self.dims = [], [], {}, {}

    def add(self, array, element=None, dims=None):
        index = len(self.arrays)
        self.arrays.append(array)
        self.types.append("{%d}" % index)
        if element:
            self.elements[index] = element
        if dims:
            self.dims[index] = dims
        return "%" + "abcdefgh"[index]

    def scales(self, array, element):
        return self.add(rounded_to(array, element)[1], element)


class LinearCase:
    """One packed_integer_linear. `x_scale`: "row" (for each row and group of
    x) or "one"; `extreme`: all codes at their limits."""

    def __init__(self, suite, rows, out, inputs, bits, group, x_group=None,
                 signed=True, zeros=False, unsigned_x=False, x_zeros=False,
                 x_scale="row", bias=False, scales="f32", extreme=False,
                 exact=True):
        self.__dict__.update(locals())
        self.x_group = x_group or inputs
        self.random = suite.random
        groups, x_groups = -(-inputs // group), -(-inputs // self.x_group)
        self.x_blocks = (rows, x_groups) if x_scale == "row" else (1, 1)
        self.draw_codes(groups)
        # The widest spread of powers of two that keeps every sum exact.
        for span in (2, 1, 0) if exact else (None,):
            self.draw_scales(groups, span)
            if not exact or self.largest_sum() * 4 ** span < 2 ** 24:
                break
        else:
            raise ValueError("the sums are too large for an exact test")
        self.add()

    def integers(self, low, high, shape):
        """Of low <= n < high."""
        if self.extreme:
            return self.random.choice([low, high - 1], shape)
        return self.random.integers(low, high, shape)

    def draw_codes(self, groups):
        levels = 1 << self.bits
        low, high = (0, 256) if self.unsigned_x else (-128, 128)
        self.x = self.integers(low, high, (self.rows, self.inputs))
        self.stored = self.integers(0, levels, (self.out, self.inputs))
        if self.extreme: # some sums are as large as they can be
            self.x[::2], self.stored[::2] = low, levels - 1
        offset = levels // 2 if self.signed else 0
        self.zero = self.integers(0, levels, (self.out, groups)) \
            if self.zeros else np.full((self.out, groups), offset)
        self.x_zero = self.integers(low, high, self.x_blocks) \
            if self.x_zeros else np.zeros(self.x_blocks, int)

    def draw_scales(self, groups, span):
        def draw(shape):
            if span is None: # what float16 and bfloat16 hold as well
                values = self.random.integers(1, 128, shape) / 1024
            else:
                values = np.exp2(self.random.integers(-span, span + 1, shape))
            return values.astype(np.float32)
        self.scale, self.x_scales = draw((self.out, groups)), \
            draw(self.x_blocks)

    def values(self):
        """x and the weight in float64."""
        x_group = self.x_group if self.x_scale == "row" else self.inputs
        x = self.x - spread(self.x_zero, x_group, self.inputs)
        weight = self.stored - spread(self.zero, self.group, self.inputs)
        return x * spread(self.x_scales, x_group, self.inputs).astype(
            np.float64), weight * spread(self.scale, self.group,
                                         self.inputs).astype(np.float64)

    def largest_sum(self):
        x, weight = self.values()
        return np.max(np.abs(x) @ np.abs(weight).T)

    def add(self):
        x, weight = self.values()
        y = x @ weight.T
        row_dims = ["m", str(self.x_blocks[1])] if self.x_scale == "row" \
            else None
        dtype = np.uint8 if self.unsigned_x else np.int8
        operands = Operands()
        text = operands.add(self.x.astype(dtype), dims=["m", str(self.inputs)])
        text += " scales " + operands.add(self.x_scales, dims=row_dims)
        if self.x_zeros:
            text += " zeros " + operands.add(self.x_zero.astype(dtype),
                                             dims=row_dims)
        text += f" group {self.x_group}, " + operands.add(
            pack_codes(self.stored, self.bits, self.group))
        text += " scales " + operands.scales(pack_groups(self.scale),
                                             self.scales)
        if self.zeros:
            text += " zeros " + operands.add(
                pack_groups(self.zero.astype(np.uint8)))
        if self.bias:
            bias = np.round(self.suite.normal(self.out) * 16)
            text += " bias " + operands.add(bias)
            y = y + bias
        element = f"{'' if self.signed else 'u'}i{self.bits}"
        self.name = self.suite.add(
            f"integer_linear{self.bits}", operands.arrays,
            f"%r0 = qkernel.packed_integer_linear {text} layout <element = "
            f"{element}, out = {self.out}, in = {self.inputs}, group = "
            f"{self.group}, scales = {self.scales}> : "
            f"({', '.join(operands.types)}) -> {{r0}}", y.astype(np.float32),
            dims=operands.dims | {"r0": ["m", str(self.out)]},
            scalars={"m": self.rows}, elements=operands.elements,
            tolerance=0 if self.exact else 2e-6)


    def add_rows(self, first, count):
        """The same layer for some of the rows, which must get the same bits."""
        part, rows = copy.copy(self), slice(first, first + count)
        part.rows, part.x = count, self.x[rows]
        if self.x_scale == "row":
            part.x_scales, part.x_zero = self.x_scales[rows], self.x_zero[rows]
            part.x_blocks = (count, self.x_blocks[1])
        part.add()
        self.suite.same_bits(part.name, self.name, rows)


def linear_suite():
    suite, turn = Suite(), 0
    scales = ("f32", "f16", "bf16")
    shapes = ((1, 1, 1), (1, 7, 31), (5, 8, 172), (4, 9, 172), (2, 1, 31),
              (9, 8, 172), (1, 9, 172))
    inputs_of = ({}, {"unsigned_x": True, "x_zeros": True}, {"x_zeros": True},
                 {"unsigned_x": True})
    for bits in range(2, 9):
        for group in (1, 7, 32, 64, None):
            for signed, zeros in ((True, False), (False, False), (False, True),
                                  (True, True)):
                rows, out, inputs = shapes[turn % len(shapes)]
                LinearCase(suite, rows, out, inputs, bits,
                           min(group or inputs, inputs), signed=signed,
                           zeros=zeros, x_scale=("row", "one")[turn // 3 % 2],
                           bias=turn % 3 == 0, scales=scales[turn % 3],
                           **inputs_of[turn // 5 % 4])
                turn += 1
        # Groups of x: as the weight's, inside them, around them, across chunks.
        for group, x_group in ((32, 32), (64, 32), (32, 64), (172, 32),
                               (172, 7), (20, 5), (7, 1), (12, 36), (172, 100)):
            LinearCase(suite, 5, 9, 172, bits, group, x_group,
                       signed=turn % 2 == 0, zeros=turn % 3 == 0,
                       **inputs_of[turn % 4])
            turn += 1
        # All codes at their limits, where 16 bits would not hold a sum.
        for zeros in (False, True):
            for unsigned_x in (False, True):
                group, inputs = ((32, 128), (172, 172))[turn // 2 % 2]
                LinearCase(suite, 5, 9, inputs, bits, group, signed=not zeros,
                           zeros=zeros, unsigned_x=unsigned_x, x_zeros=zeros,
                           extreme=True)
                turn += 1
        # Several slabs, many blocks of outputs, scales that are not exact.
        LinearCase(suite, 6, 600, 4500, bits, 100, exact=False, bias=True)
        LinearCase(suite, 1, 1100, 172, bits, 172, exact=False)
        LinearCase(suite, 4, 16, 4500, bits, 4500, 500, exact=False)
        # Tiles of all sizes, whole and with rows missing; odd blocks of outputs.
        for rows, out, group in ((2, 40, 32), (3, 24, 64), (6, 17, 128),
                                 (7, 33, 32), (8, 48, 256), (11, 9, 32),
                                 (16, 24, 32), (17, 40, 64)):
            LinearCase(suite, rows, out, 256, bits, group,
                       signed=turn % 3 != 0, zeros=turn % 2 == 0,
                       **inputs_of[turn % 4])
            turn += 1
    # Longer than what is summed at once, and than what int32 holds.
    for bits in (4, 8):
        LinearCase(suite, 5, 9, 70000, bits, 70000, exact=False, extreme=True,
                   unsigned_x=True, zeros=True, signed=False)
    return suite


def row_suite():
    suite = Suite()
    for bits in (2, 3, 4, 8):
        for group, x_group, zeros, unsigned_x in (
                (32, None, False, False), (32, 32, True, False),
                (128, None, True, True), (300, 100, False, False),
                (20, 5, True, False)):
            case = LinearCase(suite, 17, 41, 300, bits, group, x_group,
                              signed=not zeros, zeros=zeros,
                              unsigned_x=unsigned_x, x_zeros=unsigned_x,
                              exact=False)
            for count in range(1, 10):
                case.add_rows(17 - count, count)
    return suite


def targets_suite():
    """What a target can get wrong: few cases, because every one is compiled for
    several of them. All codes at their limits, then any."""
    suite, turn = Suite(), 0
    for bits in range(2, 9):
        for extreme in (True, False):
            LinearCase(suite, (5, 1)[turn % 2], 24, 172, bits, (172, 32)[turn % 2],
                       signed=turn % 4 < 2, zeros=turn % 4 == 3,
                       unsigned_x=turn % 3 == 0, x_zeros=turn % 3 == 1,
                       extreme=extreme)
            turn += 1
    return suite


GRIDS = ["gptq", "awq", "minmax", "full_range", "narrow"]


def f32(value):
    return np.float32(value)


def half_away(values):
    whole = np.rint(values)
    tie = np.abs(values - whole) == f32(0.5)
    return np.where(tie, values + np.copysign(f32(0.5), values), whole)


ROUNDINGS = {"half_even": np.rint, "half_away": half_away}


def code_range(grid, symmetric):
    """Of 8 bits; and whether codes are signed."""
    if not symmetric or grid == "gptq":
        return 0, 255, False
    return -127 if grid == "narrow" else -128, 127, True


def codes_of(x, scale, zero, grid, symmetric, rounding):
    low, high, _ = code_range(grid, symmetric)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        code = ROUNDINGS[rounding](x / scale) + zero
    return np.clip(np.where(np.isnan(code), zero, code), low, high)


def round_scale(scale, kind):
    """To the type of the scales; 0 becomes its smallest magnitude."""
    if kind == "f32":
        return scale
    if kind == "f16":
        rounded = scale.astype(np.float16).astype(np.float32)
        smallest = f32(2.0 ** -24)
    else:
        bits = scale.view(np.uint32).astype(np.uint64)
        bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16 << 16
        rounded = bits.astype(np.uint32).view(np.float32)
        smallest = f32(2.0 ** -133)
    return np.where(rounded == 0, np.copysign(smallest, scale), rounded)


def block_parameters(part, grid, symmetric, rounding, scales):
    """Numerics/Activations.h for 8 bits, per row of `part`."""
    lo, hi = part.min(1, keepdims=True), part.max(1, keepdims=True)
    low, high = np.minimum(lo, f32(0)), np.maximum(hi, f32(0))
    if grid == "gptq":
        empty = (low == 0) & (high == 0)
        lo, low = np.where(empty, f32(-1), lo), np.where(empty, f32(-1), low)
        high = np.where(empty, f32(1), high)
    m, tiny = np.maximum(-low, high), f32(1e-5)
    asymmetric = (high - low) / f32(255)
    scale = {
        "gptq": (m - np.where(lo < 0, -m, f32(0))) / f32(255)
        if symmetric else asymmetric,
        "awq": np.maximum(m, tiny) / f32(127)
        if symmetric else np.maximum(hi - lo, tiny) / f32(255),
        "minmax": m / f32(127.5) if symmetric else asymmetric,
        "full_range": -np.where(hi >= -lo, hi, lo) / f32(128)
        if symmetric else asymmetric,
        "narrow": np.maximum(m, tiny) / f32(127),
    }[grid]
    scale = round_scale(np.where(scale == 0, f32(1), scale), scales)
    if symmetric:
        return scale, f32(128 if grid == "gptq" else 0)
    start = lo if grid == "awq" else low
    return scale, np.clip(ROUNDINGS[rounding](-start / scale), f32(0),
                          f32(255))


def scheme_text(group, symmetric, grid, rounding, rows=1, scales="f32"):
    return f"<bits = 8, group = {group}, symmetric = " \
        f"{str(symmetric).lower()}, grid = {grid}, rounding = {rounding}, " \
        f"rows = {rows}, scales = {scales}>"


def dynamic_case(suite, width, group, grid, symmetric, rounding, scales="f32",
                 dtype=np.float32):
    rows = 6
    x = suite.normal(rows, width) * f32(3)
    x[1], x[2], x[3] = 0, np.abs(x[2]), -np.abs(x[3])
    x[4] *= f32(1e-9) # scales that are denormal in float16
    x[5] = np.round(x[5] * 4) / 8 # ties
    x[5, 0] = 127.5 / 2
    x = x.astype(dtype)
    wide = x.astype(np.float32)
    size = group or width
    codes, all_scales, zeros = np.empty((rows, width), np.float32), [], []
    for first in range(0, width, size):
        part = wide[:, first:first + size]
        scale, zero = block_parameters(part, grid, symmetric, rounding, scales)
        codes[:, first:first + size] = codes_of(part, scale, zero, grid,
                                                symmetric, rounding)
        all_scales.append(scale)
        zeros.append(np.broadcast_to(zero, scale.shape))
    is_signed = code_range(grid, symmetric)[2]
    dtype = np.int8 if is_signed else np.uint8
    stored = np.concatenate(all_scales, 1)
    expected = [codes.astype(dtype)]
    # A bfloat16 comes back as float32.
    expected.append(stored.astype(np.float16 if scales == "f16"
                                  else np.float32))
    if not is_signed:
        expected.append(np.concatenate(zeros, 1).astype(np.uint8))
    names = "%r0, %r1" + ("" if is_signed else ", %r2")
    types = "{r0}, {r1}" + ("" if is_signed else ", {r2}")
    text = f"{names} = qmodel.dynamic_quantize %a scheme " \
        f"{scheme_text(group, symmetric, grid, rounding, 1, scales)} : " \
        f"({{0}}) -> ({types})"
    suite.add("dynamic", [x], text, expected, tolerance=0,
              dims={0: ["m", str(width)]} |
              {f"r{i}": ["m", str(array.shape[1])]
               for i, array in enumerate(expected)}, scalars={"m": rows},
              elements={"r1": scales})


def static_case(suite, shape, rows, group, grid, symmetric, rounding, single):
    """quantize, and dequantize of its codes."""
    x = suite.normal(*shape) * f32(3)
    x.flat[:3] = np.nan, np.inf, -np.inf
    height, width = shape[-2:]
    low, high, is_signed = code_range(grid, symmetric)
    blocks = (1,) * len(shape) if single else shape[:-2] + (
        -(-height // (rows or height)), -(-width // (group or width)))
    scales = (suite.random.random(blocks) * 0.1 + 0.01).astype(np.float32)
    dtype = np.int8 if is_signed else np.uint8
    zeros = None if symmetric and is_signed else \
        suite.random.integers(low, high + 1, blocks).astype(dtype)
    def full(array):
        if single:
            return np.broadcast_to(array, shape)
        return array.repeat(rows or height, -2)[..., :height, :].repeat(
            group or width, -1)[..., :width]
    scale = full(scales)
    zero = f32(0) if zeros is None else full(zeros).astype(np.float32)
    codes = codes_of(x, scale, zero, grid, symmetric, rounding).astype(dtype)
    arguments, operands, types = [x, scales], "%b", "{1}"
    if zeros is not None:
        arguments.append(zeros)
        operands, types = operands + " zeros %c", types + ", {2}"
    suite.add("quantize", arguments,
              f"%r0 = qmodel.quantize %a, {operands} scheme "
              f"{scheme_text(group, symmetric, grid, rounding, rows)} : "
              f"({{0}}, {types}) -> {{r0}}", codes)
    how = f"group {group}" + (f" rows {rows}" if rows != 1 else "")
    suite.add("dequantize", [codes] + arguments[1:],
              f"%r0 = qmodel.dequantize %a, {operands} {how} : "
              f"({{0}}, {types}) -> {{r0}}",
              (codes.astype(np.float32) - zero) * scale, tolerance=0)


def codes_suite():
    suite = Suite()
    for grid in GRIDS:
        for symmetric in (True, False):
            if grid == "narrow" and not symmetric:
                continue
            for i, rounding in enumerate(ROUNDINGS):
                for width, group in ((64, 0), (37, 16), (5, 0), (1, 1)):
                    dynamic_case(suite, width, group, grid, symmetric, rounding)
                for kind in ("f16", "bf16"):
                    dynamic_case(suite, 40, 8, grid, symmetric, rounding, kind)
                dynamic_case(suite, 24, 0, grid, symmetric, rounding,
                             dtype=(np.float16, np.float64)[i])
                static_case(suite, (5, 12), 1, 5, grid, symmetric, rounding,
                            False)
                static_case(suite, (2, 7, 12), 3, 0, grid, symmetric, rounding,
                            False)
                static_case(suite, (2, 3, 4, 5), 0, 0, grid, symmetric,
                            rounding, True)
    return suite


def main():
    group, tool, helper = sys.argv[1:4]
    suites = {"linear": linear_suite, "targets": targets_suite, "rows": row_suite, "codes": codes_suite}
    return suites[group]().run(tool, helper)


if __name__ == "__main__":
    sys.exit(main())
