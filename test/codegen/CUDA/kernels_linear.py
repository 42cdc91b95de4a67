# ===- kernels_linear.py - Linears on tensor cores against NumPy ----------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""packed_linear with weights in fragments, in the emulator, against float64.

    kernels_linear.py codes4|codes8|floats|sparse|splits|rows

Weights are packed here from the fragments of mma.m16n8k16 and mma.m16n8k32 as the
PTX ISA has them, a lane and a register at a time. x is rounded as the kernels do;
what they compute may then differ by rounding sums in float32, by rounding weights
that are scaled to 16 bits, and by rounding the result."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import emulated
from kernels_numpy import Suite

UNIT = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-24}


def bf16_bits(array):
    """Rounded to nearest even."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def stored(array, kind):
    """As elements of this type lie in memory."""
    if kind == "bf16":
        return bf16_bits(array)
    return array.astype({"f16": np.float16, "f32": np.float32}[kind])


def widened(array):
    """The values of what `stored` returned."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)


def up(a, b):
    return -(-a // b)


def register(lane, r, width):
    """Row and first column of register `r` of A, which has `width` elements: 2
    in a product 16 deep, 4 in one 32 deep."""
    g, t = lane // 4, lane % 4
    return g + 8 * (r & 1), width * t + 4 * width * (r >> 1)


class Matrix:
    """A weight [out, in] whose groups are padded to steps of 16 inputs."""

    def __init__(self, array, group, padding):
        out, inputs = array.shape
        self.groups = up(inputs, group)
        self.steps = up(group, 16)
        last = inputs - (self.groups - 1) * group
        steps = (self.groups - 1) * self.steps + up(last, 16)
        self.tiles, self.row_tiles = up(steps, 4), up(out, 64)
        self.padded = np.full((self.row_tiles * 64, self.tiles * 64), padding,
                              array.dtype)
        for g in range(self.groups):
            part = array[:, g * group:(g + 1) * group]
            first = g * self.steps * 16
            self.padded[:out, first:first + part.shape[1]] = part

    def fragments(self, steps, width):
        """Rows of 16 bytes' worth of values: registers of `width` elements of
        products `steps` apart, of all lanes, in the order of memory."""
        tiles = self.padded.reshape(self.row_tiles, 4, 16, self.tiles, 64)
        blocks = tiles.transpose(0, 3, 1, 2, 4).reshape(-1, 16, 64)
        places = [[(row, depth + column + i)
                   for depth in chunk for r in range(4)
                   for row, column in [register(lane, r, width)]
                   for i in range(width)]
                  for chunk in steps for lane in range(32)]
        rows, columns = np.array(places).transpose(2, 0, 1)
        return blocks[:, rows, columns]

    def words4(self):
        # Four steps to a lane. From the lowest nibble on: first elements of
        # registers 0, 2, 1, 3 (both of row g, then of g + 8), second elements.
        values = self.fragments([[0, 16, 32, 48]], 2).reshape(-1, 8)
        nibbles = values[:, [0, 4, 2, 6, 1, 5, 3, 7]].astype(np.uint32)
        return (nibbles << 4 * np.arange(8)).sum(1).astype(np.uint32).view(np.uint8)

    def words8(self):
        return self.fragments([[0], [32]], 4).astype(np.uint8).reshape(-1)

    def words16(self):
        steps = [[0], [16], [32], [48]]
        return np.ascontiguousarray(self.fragments(steps, 2)).reshape(-1).view(np.uint8)


class SparseMatrix(Matrix):
    """A weight whose kept values [out, in / 2] and positions are stored: a step
    of 16 values is 32 inputs. Tiles end with the positions of their values."""

    def __init__(self, values, positions, group, padding):
        super().__init__(values, group // 2, padding)
        self.marks = Matrix(positions, group // 2, 0)
        real = Matrix(np.ones_like(positions), group // 2, 0).padded
        odd = np.arange(real.shape[1]) % 2
        self.marks.padded = np.where(real == 1, self.marks.padded, odd)

    def words(self, bits):
        """Ordered metadata of m16n8k32: the half of a word is eight values of row
        g, the other one of row g + 8; with selector 0 lanes t = 0 and 1 give the
        words of values 0 to 7 and 8 to 15, with selector 1 lanes 2 and 3."""
        values = self.words4() if bits == 4 else self.words16()
        tiles = self.row_tiles * self.tiles
        marks = self.marks.padded.reshape(self.row_tiles, 4, 16, self.tiles, 64)
        marks = marks.transpose(0, 3, 1, 2, 4).reshape(tiles, 4, 16, 64)
        words = np.zeros((tiles, 4, 32, 2), np.uint32)
        for g in range(8):
            for step in range(4):
                for c in range(2):
                    lane = 4 * g + 2 * (step % 2) + c
                    for h in range(2):
                        own = marks[:, :, g + 8 * h, 16 * step + 8 * c:][..., :8]
                        shifts = 16 * h + 2 * np.arange(8)
                        words[:, :, lane, step // 2] |= (
                            own.astype(np.uint32) << shifts).sum(-1).astype(np.uint32)
        both = [values.reshape(tiles, -1), words.view(np.uint8).reshape(tiles, -1)]
        return np.concatenate(both, 1).reshape(-1)


def lane_order(array):
    """[out, groups] -> a block of 16 rows, its groups, rows g and g + 8."""
    out, groups = array.shape
    padded = np.zeros((up(out, 64) * 64, groups), array.dtype)
    padded[:out] = array
    return padded.reshape(-1, 2, 8, groups).transpose(0, 3, 2, 1).reshape(-1)


class Linear:
    """One layer with random weights."""

    def sparse_positions(self):
        """[out, in / 2], two of every four."""
        pairs = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
        chosen = self.suite.random.integers(0, 6, (self.out, self.inputs // 4))
        return pairs[chosen].reshape(self.out, -1)

    def decompressed(self, values, positions):
        full = np.zeros((self.out, self.inputs))
        columns = np.arange(self.inputs // 2) // 2 * 4 + positions
        np.put_along_axis(full, columns, values, 1)
        return full

    def __init__(self, suite, bits, out, inputs, group=0, signed=False,
                 zeros=False, scales="f16", bias=False, element="f16",
                 sparse=False):
        random = suite.random
        self.suite, self.bits, self.out, self.inputs = suite, bits, out, inputs
        self.group = group or inputs
        self.bias = suite.normal(out) if bias else None
        self.rounding = 0.0
        self.multiplied = element if bits == 16 else None
        if bits == 16:
            packed = stored(suite.normal(out, inputs // (1 + sparse)), element)
            self.weight = widened(packed)
            self.packed = Matrix(packed, inputs, 0).words16()
            if sparse:
                positions = self.sparse_positions()
                self.weight = self.decompressed(self.weight, positions)
                self.packed = SparseMatrix(packed, positions, inputs, 0).words(16)
                element += ", sparse24 = true"
            self.layout = f"element = {element}"
            self.scales = self.zeros = None
            return
        low = -(1 << bits - 1) if signed else 0
        codes = random.integers(low, low + (1 << bits), (out, inputs))
        groups = up(inputs, self.group)
        self.scales = stored(random.uniform(0.01, 0.1, (out, groups)), scales)
        self.scale_type = scales
        zero = np.zeros((out, groups), np.int64)
        self.zeros = None
        if zeros:
            zero = random.integers(low, low + (1 << bits), (out, groups))
            nibbles = lane_order((zero - low).astype(np.uint8))
            self.zeros = nibbles if bits == 8 else nibbles[::2] | nibbles[1::2] << 4
        spread = lambda a: np.repeat(a, self.group, 1)[:, :inputs]
        self.weight = (codes - spread(zero)) * spread(widened(self.scales))
        self.layout = f"element = {'i' if signed else 'ui'}{bits}"
        if sparse:
            kept, positions = codes[:, ::2], self.sparse_positions()
            spread = lambda a: np.repeat(a, self.group // 2, 1)[:, :inputs // 2]
            values = (kept - spread(zero)) * spread(widened(self.scales))
            self.weight = self.decompressed(values, positions)
            self.packed = SparseMatrix((kept - low).astype(np.uint8), positions,
                                       self.group, -low).words(bits)
            self.layout += ", sparse24 = true"
            return
        packed = Matrix((codes - low).astype(np.uint8), self.group, -low)
        self.packed = packed.words4() if bits == 4 else packed.words8()

    def add(self, rows, x_type="f32", result_type="f32", static=False):
        """A kernel on `rows` tokens."""
        suite = self.suite
        x = stored(suite.normal(rows, self.inputs), x_type)
        multiplied = self.multiplied or ("bf16" if x_type == "bf16" else "f16")
        exact = widened(stored(widened(x).astype(np.float32), multiplied))
        product = exact @ self.weight.T
        size = np.abs(exact) @ np.abs(self.weight).T
        if self.bias is not None:
            product, size = product + self.bias, size + np.abs(self.bias)
        arguments, elements = [x, self.packed], {}
        text = "%a, %b"
        if x_type == "bf16":
            elements[0] = "bf16"
        elements[1] = "ui8"
        layout = f"{self.layout}, out = {self.out}, in = {self.inputs}, group = {self.group}"
        if self.scales is not None:
            text += " scales %c"
            arguments.append(lane_order(self.scales))
            if self.scale_type == "bf16":
                elements[2] = "bf16"
            layout += f", scales = {self.scale_type}"
        if self.zeros is not None:
            text += " zeros %d"
            elements[len(arguments)] = "ui8"
            arguments.append(self.zeros)
        if self.bias is not None:
            text += f" bias %{'abcdefgh'[len(arguments)]}"
            arguments.append(self.bias)
        types = ", ".join("{%d}" % i for i in range(len(arguments)))
        dims = {0: ["m", str(self.inputs)], "r0": ["m", str(self.out)]}
        scalars = {"m": rows}
        if static:
            dims, scalars = {0: [str(rows), str(self.inputs)]}, {}
        if result_type == "bf16":
            elements["r0"] = "bf16"
        name = suite.add(
            "linear", arguments,
            f"%r0 = qkernel.packed_linear {text} layout mma_fragments<{layout}>"
            f" : ({types}) -> {{r0}}",
            stored(product, result_type), dims=dims, scalars=scalars,
            elements=elements)
        # Sums are rounded a few times more than there are tiles; scaled weights
        # once each.
        error = UNIT["f32"] * (self.inputs / 16 + 16) * size
        scales_weights = (self.scales is not None and self.group < self.inputs
                          and self.scale_type == multiplied)
        if scales_weights:
            error += UNIT[multiplied] * size
        suite.bounds[name] = (product, error + UNIT[result_type] * (np.abs(product) + error))
        return self


def codes_suite(suite, bits):
    """Groups, signs, zero points, types and ragged shapes; all numbers of tokens
    that have a kernel of their own, and more."""
    layer = lambda *args, **more: Linear(suite, bits, *args, **more)
    for group in (32, 64, 128, 0):
        for zeros in (False, True):
            linear = layer(64, 256, group=group, zeros=zeros, signed=not zeros)
            linear.add(1, "f16", "f16").add(5)
            linear.add(12, "f16")
            linear = layer(40, 136, group=group, zeros=zeros, bias=True,
                           scales="f32")
            linear.add(3, "bf16", "bf16").add(9, "bf16")
    # Scales of the type of products and many tokens: weights are scaled.
    for scales, x in (("f16", "f32"), ("bf16", "bf16")):
        layer(130, 192, group=32, zeros=True, scales=scales).add(17, x).add(70, x)
    # Groups that start anywhere in a tile, or end in the middle of a step.
    layer(72, 150, group=48).add(2)
    layer(16, 100, group=20, zeros=True).add(8, "f16")
    layer(10, 90, group=7, zeros=True, signed=True).add(2)
    # Fewer inputs than a step, and than a tile; one output.
    layer(1, 3).add(1)
    layer(17, 70, signed=True, bias=True).add(33, static=True)
    layer(64, 512, group=128, zeros=True).add(64)


def codes4():
    suite = Suite(4)
    suite.bounds = {}
    codes_suite(suite, 4)
    return suite


def codes8():
    suite = Suite(8)
    suite.bounds = {}
    codes_suite(suite, 8)
    return suite


def floats():
    suite = Suite(16)
    suite.bounds = {}
    for element in ("f16", "bf16"):
        layer = lambda *args, **more: Linear(suite, 16, *args, element=element, **more)
        layer(64, 128, bias=True).add(1).add(16, element, element)
        layer(50, 172).add(7, "f16").add(40, "bf16")
        layer(33, 24).add(65)
    return suite


def rows():
    """Weights of 32 bits, in the layout of CPU kernels: no tensor cores."""
    suite = Suite(1)
    suite.bounds = {}
    for out, inputs, tokens in ((8, 4, 1), (20, 33, 3), (70, 130, 17)):
        x, bias = suite.normal(tokens, inputs), suite.normal(out)
        weight = suite.normal(out, inputs)
        padded = np.zeros((up(out, 8) * 8, inputs), np.float32)
        padded[:out] = weight
        packed = padded.reshape(-1, 8, inputs).transpose(0, 2, 1).reshape(-1)
        product = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
        size = np.abs(x) @ np.abs(weight).T + np.abs(bias)
        name = suite.add(
            "linear", [x, packed.view(np.uint8), bias],
            "%r0 = qkernel.packed_linear %a, %b bias %c layout <element = f32, "
            f"out = {out}, in = {inputs}, group = {inputs}> : ({{0}}, {{1}}, {{2}}) "
            "-> {r0}", product.astype(np.float32),
            dims={0: ["m", str(inputs)], "r0": ["m", str(out)]},
            scalars={"m": tokens}, elements={1: "ui8"})
        suite.bounds[name] = (product, UNIT["f32"] * inputs * size)
    return suite


def sparse():
    """2:4 sparse weights: ordered metadata, both selectors, padding."""
    suite = Suite(24)
    suite.bounds = {}
    for group in (32, 64, 128, 0):
        layer = Linear(suite, 4, 40, 256, group=group, zeros=group != 64,
                       sparse=True)
        layer.add(1, "f16", "f16").add(9).add(20, "bf16").add(40, "f16")
    Linear(suite, 4, 70, 172, signed=True, bias=True, sparse=True).add(3).add(66)
    Linear(suite, 4, 20, 120, group=40, signed=True, sparse=True).add(5)
    for element in ("f16", "bf16"):
        layer = Linear(suite, 16, 33, 200, element=element, bias=True, sparse=True)
        layer.add(2).add(31, element, element)
    Linear(suite, 4, 32, 2048, group=128, sparse=True).add(2, "f16")
    return suite


def splits():
    """Few outputs and many inputs: blocks share these."""
    suite = Suite(32)
    suite.bounds = {}
    Linear(suite, 4, 32, 2048, group=128, bias=True).add(2).add(10, "f16", "f16")
    Linear(suite, 8, 20, 1100, zeros=True, group=64).add(30).add(64)
    Linear(suite, 4, 64, 1536, group=64).add(66)
    # So many outputs that blocks do not share: several phases of four tiles.
    Linear(suite, 4, 2060, 4096, group=128).add(1, "f16", "f16")
    return suite


def results(suite):
    """The bytes of all results by name: of the generated code in the emulator, and
    of the interpreter, which unpacks weights by Numerics/PackFragments."""
    program = emulated.Program(suite)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "kernels.mlir").write_text(program.text())
        np.savez(folder / "in.npz", **program.arrays)
        for how in (["--qkernel-to-gpu", f"--emulate-gpu={folder}/in.npz"],
                    [f"--interpret={folder}/in.npz"]):
            done = subprocess.run(["quant-opt", folder / "kernels.mlir", *how, "-o",
                                   folder / "out.npz"])
            if done.returncode != 0:
                sys.exit(f"error: {how[0]} failed")
            yield how[0].split("=")[0], dict(np.load(folder / "out.npz"))


def main():
    suite = {"codes4": codes4, "codes8": codes8, "floats": floats,
             "splits": splits, "rows": rows,
             "sparse": sparse}[sys.argv[1]]()
    failed = set()
    for how, outputs in results(suite):
        for name, expected, _ in suite.expected:
            want, error = suite.bounds[name]
            raw = outputs[f"{name}.r0"].tobytes()
            got = widened(np.frombuffer(raw, expected[0].dtype).reshape(want.shape))
            worst = np.max(np.abs(got - want) / error)
            if not worst <= 1:
                failed.add(name)
                print(f"{name} {how}: {worst:.3g} times the error that rounding makes")
    count = len(suite.bounds)
    print(f"{count - len(failed)} of {count} kernels agree with NumPy")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
