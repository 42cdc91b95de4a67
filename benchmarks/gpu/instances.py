# ===- instances.py - Linear layers to measure on a GPU ------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""What `prepare` compiles and `run` measures: layers, the MLIR of their kernels,
and what their packed bytes mean.

Weights are random bytes: every byte is a valid code. What a layer should compute
is worked out from them here, from the page on the order of bytes alone
(include/nibble/Target/FragmentLayout.h)."""

import dataclasses
import re

import numpy as np

ROWS = 64  # outputs of a tile


def up(a, b):
    return -(-a // b)


@dataclasses.dataclass(frozen=True)
class Form:
    """How a weight is stored. `group`: inputs of a scale; 0: all of them."""

    bits: int
    group: int = 0
    zeros: bool = False


FORMS = {
    "w4-g128": Form(4, 128),
    "w4-g128-zero": Form(4, 128, zeros=True),
    "w4-g64": Form(4, 64),
    "w4-g32": Form(4, 32),
    "w4-channel": Form(4),
    "w8-g128": Form(8, 128),
    "w8-channel": Form(8),
    "f16": Form(16),
}

# Inputs and outputs: the layers of a decoder of 8 billion parameters, and gate
# and up of one of 70 billion.
SHAPES = ((8192, 28672), (4096, 14336), (4096, 4096), (14336, 4096), (4096, 28672),
          (4096, 6144))
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclasses.dataclass(frozen=True)
class Instance:
    form: str
    inputs: int
    outputs: int

    @property
    def name(self):
        return f"{self.form}_{self.inputs}x{self.outputs}".replace("-", "_")

    @property
    def kind(self):
        return FORMS[self.form]

    @property
    def group(self):
        return self.kind.group or self.inputs

    @property
    def groups(self):
        return up(self.inputs, self.group)

    @property
    def tile_bytes(self):
        """Of 64 outputs: a row of tiles."""
        return ROWS * up(self.inputs, 64) * 64 * self.kind.bits // 8

    @property
    def row_tiles(self):
        return up(self.outputs, ROWS)

    @property
    def weight_bytes(self):
        return self.tile_bytes * self.row_tiles

    @property
    def scale_count(self):
        return 0 if self.kind.bits == 16 else self.row_tiles * ROWS * self.groups

    @property
    def zero_bytes(self):
        return self.scale_count * self.kind.bits // 8 if self.kind.zeros else 0

    def read_bytes(self, tokens):
        """What one call must move: weights, x and y in f16."""
        return (self.weight_bytes + 2 * self.scale_count + self.zero_bytes +
                2 * tokens * (self.inputs + self.outputs))

    def mlir(self):
        """A kernel of one op; `m` is the number of tokens."""
        if self.inputs % 64 or self.inputs % self.group or self.group % 16:
            raise ValueError("expected whole groups, and tiles of 64 inputs")
        kind = self.kind
        element = ("f16" if kind.bits == 16 else
                   f"{'ui' if kind.zeros else 'i'}{kind.bits}")
        layout = (f"element = {element}, out = {self.outputs}, in = {self.inputs}, "
                  f"group = {self.group}")
        operands = [("%w", "", self.weight_bytes, "ui8")]
        if self.scale_count:
            layout += ", scales = f16"
            operands.append(("%s", " scales %s", self.scale_count, "f16"))
        if self.zero_bytes:
            operands.append(("%z", " zeros %z", self.zero_bytes, "ui8"))
        x = f"tensor<?x{self.inputs}xf16>"
        y = f"tensor<?x{self.outputs}xf16>"
        types = [f"tensor<{size}x{type_}>" for _, _, size, type_ in operands]
        dims = ", ".join(f'["{size}"]' for _, _, size, _ in operands)
        arguments = "".join(f", {name}: {type_}"
                            for (name, *_), type_ in zip(operands, types))
        words = "".join(word for _, word, _, _ in operands)
        return (f'qkernel.kernel @{self.name} scalars ["m"] '
                f'args [["m", "{self.inputs}"], {dims}] {{\n'
                f"^bb0(%x: {x}{arguments}):\n"
                f"  %y = qkernel.packed_linear %x, %w{words} "
                f"layout mma_fragments<{layout}> : "
                f"({', '.join([x] + types)}) -> {y}\n"
                f"  qkernel.yield %y : {y}\n}}\n")

    # What packed bytes mean.

    def codes(self, tile):
        """The stored codes [64, inputs] of one row of tiles (bytes), or its
        values where the weight is f16."""
        bits = self.kind.bits
        tiles = self.inputs // 64
        # k counts the inputs of a step, s the steps of a tile; h and g the
        # rows of a block; t and g the lanes.
        if bits == 4:
            words = tile.view(np.uint32).reshape(tiles, 4, 8, 4, 4)  # tile b g t s
            nibbles = np.stack([words >> 4 * p & 15 for p in range(8)], -1)
            parts = nibbles.reshape(tiles, 4, 8, 4, 4, 2, 2, 2)  # k%2 h k/8
            order = (1, 6, 2, 0, 4, 7, 3, 5)  # b h g tile s k/8 t k%2
        elif bits == 8:
            # chunk, lane, word: step within the chunk and h, byte
            parts = tile.reshape(tiles, 4, 2, 8, 4, 2, 2, 4)  # tile b c g t s h byte
            order = (1, 6, 3, 0, 2, 5, 4, 7)  # b h g tile c s t byte
        else:
            # chunk s, lane, word: k/8 and h, half
            parts = tile.view(np.float16).reshape(tiles, 4, 4, 8, 4, 2, 2, 2)
            order = (1, 6, 3, 0, 2, 5, 4, 7)  # b h g tile s k/8 t k%2
        return parts.transpose(order).reshape(ROWS, self.inputs)

    def by_row(self, packed):
        """Scales or zero points of one row of tiles, [64, groups]."""
        parts = packed.reshape(4, self.groups, 8, 2)  # block, group, g, h
        return parts.transpose(0, 3, 2, 1).reshape(ROWS, self.groups)

    def weight(self, tile, scales, zeros):
        """The weight [64, inputs] of one row of tiles in float64, from its part
        of the packed bytes, scales (f16) and zero points."""
        codes = self.codes(tile).astype(np.float64)
        if self.kind.bits == 16:
            return codes
        offset = np.full((ROWS, self.groups), 2.0**(self.kind.bits - 1))
        if self.kind.zeros:
            if self.kind.bits == 4:
                zeros = np.stack([zeros & 15, zeros >> 4], -1).reshape(-1)
            offset = self.by_row(zeros).astype(np.float64)
        spread = lambda a: np.repeat(a, self.group, 1)[:, :self.inputs]
        return (codes - spread(offset)) * spread(
            self.by_row(scales).astype(np.float64))

    def expected(self, x, weight):
        """x w^T in float64, and how far rounding may take a kernel from it: sums
        in float32, weights that are scaled in f16, the result in f16."""
        x = x.astype(np.float64)
        product = x @ weight.T
        size = np.abs(x) @ np.abs(weight).T
        error = 2.0**-24 * (self.inputs / 16 + 16) * size
        if self.kind.group:
            error += 2.0**-11 * size
        return product, error + 2.0**-11 * (np.abs(product) + error) + 2.0**-24


def default_instances():
    """The most interesting first: whoever has little time gets these."""
    listed = [Instance("w4-g128", *shape) for shape in SHAPES]
    listed += [Instance(form, *shape) for shape in SHAPES[:2]
               for form in FORMS if form != "w4-g128"]
    return listed


def parse_instance(text):
    """"w4-g128:4096x14336"."""
    match = re.fullmatch(r"([^:]+):(\d+)x(\d+)", text)
    if not match or match[1] not in FORMS:
        raise ValueError(f"expected FORM:INxOUT with a form of {', '.join(FORMS)}; "
                         f"got '{text}'")
    return Instance(match[1], int(match[2]), int(match[3]))
