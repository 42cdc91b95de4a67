# ===- kernels_sparse.py - Kernels of 2:4 sparse weights -----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   kernels_sparse.py nibble-kernel-test nibble-codegen
#
# packed_linear with 2:4 sparse weights against NumPy's float64. Weights are
# packed here, from the description in Target/PackedLayout.h.
#
# ===--------------------------------------------------------------------=== #

import sys

import numpy as np

from kernels_numpy import Suite, pack_groups, pack_rows, rounded_to

POSITIONS_PER_WORD = 16


def words_of(fields, bits, place, count):
    """Fields of one row -> `count` words."""
    value = sum(int(field) << place(i) for i, field in enumerate(fields))
    return [value >> (32 * word) & 0xFFFFFFFF for word in range(count)]


def interleaved(rows):
    """[8][words] -> words of row 0..7, then the next ones; as bytes."""
    return np.array(rows, np.uint32).T.tobytes()


def position_words(part, count):
    return interleaved([words_of(row, 2, lambda i: 2 * i, count)
                        for row in part])


def pack_sparse_codes(codes, positions, bits, group, padding):
    """Stored codes and positions [out, in / 2] -> bytes; groups in inputs."""
    chunk = 32 if bits % 2 else 16
    place = (lambda i: 32 * (i // 8) + 8 * (i % 4) + 4 * (i % 8 // 4)) \
        if bits == 4 else (lambda i: bits * i)
    blocks = (codes.shape[0] + 7) // 8
    marks, rows = pack_rows(positions, blocks), pack_rows(codes, blocks)
    rows.reshape(-1, rows.shape[2])[codes.shape[0]:] = padding
    packed = b""
    for block in range(blocks):
        for start in range(0, codes.shape[1], group // 2):
            end = min(start + group // 2, codes.shape[1])
            for first in range(start, end, chunk):
                part = slice(first, min(first + chunk, end))
                full = np.full((8, chunk), padding)
                full[:, :part.stop - first] = rows[block][:, part]
                packed += position_words(marks[block][:, part],
                                         chunk // POSITIONS_PER_WORD)
                packed += interleaved([words_of(row, bits, place,
                                                chunk * bits // 32)
                                       for row in full])
    return np.frombuffer(packed, np.uint8)


def pack_sparse_floats(stored, positions):
    blocks = (stored.shape[0] + 7) // 8
    marks, rows = pack_rows(positions, blocks), pack_rows(stored, blocks)
    packed = b""
    for block in range(blocks):
        for first in range(0, stored.shape[1], 16):
            part = slice(first, min(first + 16, stored.shape[1]))
            packed += position_words(marks[block][:, part], 1)
            packed += np.ascontiguousarray(rows[block][:, part].T).tobytes()
    return np.frombuffer(packed, np.uint8)


def draw_positions(suite, out, kept):
    """Two of every four, ascending."""
    order = suite.random.permuted(
        np.tile(np.arange(4), (out, kept // 2, 1)), axis=-1)
    return np.sort(order[..., :2], -1).reshape(out, kept)


def decompressed(values, positions):
    out, kept = values.shape
    full = np.zeros((out, kept // 2, 4))
    np.put_along_axis(full, positions.reshape(out, -1, 2),
                      values.reshape(out, -1, 2), -1)
    return full.reshape(out, 2 * kept)


def add(suite, name, shape, weight, packed, layout, bias, scales=None,
        zeros=None, elements=None, symbolic=True):
    out, inputs = weight.shape
    x = suite.normal(*shape, inputs)
    y = x.astype(np.float64) @ weight.T
    arguments, names = [x, packed], "%a, %b"
    for what, array in (("scales", scales), ("zeros", zeros),
                        ("bias", suite.normal(out) if bias else None)):
        if array is None:
            continue
        names += f" {what} %" + "abcdefgh"[len(arguments)]
        arguments.append(array)
        if what == "bias":
            y = y + array
    types = ", ".join("{%d}" % i for i in range(len(arguments)))
    dims, scalars = {}, {}
    if symbolic:
        lead = [f"d{i}" for i in range(len(shape))]
        scalars = dict(zip(lead, shape))
        dims = {0: lead + [str(inputs)], "r0": lead + [str(out)]}
    suite.add(name, arguments,
              f"%r0 = qkernel.packed_linear {names} layout <{layout}, "
              f"sparse24 = true> : ({types}) -> {{r0}}", y.astype(np.float32),
              dims=dims, scalars=scalars, elements=elements, tolerance=2e-6)


def float_case(suite, shape, out, inputs, bias, element="f32", symbolic=True):
    values, stored = rounded_to(suite.normal(out, inputs // 2), element)
    positions = draw_positions(suite, out, inputs // 2)
    add(suite, f"sparse_{element}", shape,
        decompressed(values.astype(np.float64), positions),
        pack_sparse_floats(stored, positions),
        f"element = {element}, out = {out}, in = {inputs}, group = {inputs}",
        bias, symbolic=symbolic)


def code_case(suite, rows, out, inputs, bits, group, signed, zeros, bias,
              scale_type="f32"):
    r, kept = suite.random, inputs // 2
    groups = -(-inputs // group)
    offset = 1 << (bits - 1) if signed else 0
    codes = r.integers(0, 1 << bits, (out, kept))
    codes[0], codes[-1] = 0, (1 << bits) - 1 # the limits, too
    positions = draw_positions(suite, out, kept)
    scales, stored_scales = rounded_to(
        (r.random((out, groups)) * 0.1 + 0.01).astype(np.float32), scale_type)
    zero = r.integers(0, 1 << bits, (out, groups)) if zeros else \
        np.full((out, groups), offset)
    spread = lambda blocks: blocks.repeat(group // 2, 1)[:, :kept]
    values = (codes - spread(zero)) * spread(scales).astype(np.float64)
    add(suite, f"sparse{bits}", (rows,), decompressed(values, positions),
        pack_sparse_codes(codes, positions, bits, group, offset),
        f"element = {'' if signed else 'u'}i{bits}, out = {out}, in = "
        f"{inputs}, group = {group}, scales = {scale_type}", bias,
        scales=pack_groups(stored_scales),
        zeros=pack_groups(zero.astype(np.uint8)) if zeros else None,
        elements={2: scale_type})


def sparse_suite():
    suite, turn = Suite(), 0
    for rows in (1, 2, 4, 5, 9):
        float_case(suite, (rows,), 64, 64, rows % 2)
        float_case(suite, (2, rows), 13, 172, True)
        float_case(suite, (rows,), 3, 4, rows % 2)
    float_case(suite, (1,), 24, 8, True, symbolic=False)
    float_case(suite, (6,), 8, 36, False, symbolic=False)
    float_case(suite, (5,), 17, 2052, True)
    for element in ("f16", "bf16"):
        for rows in (1, 5):
            float_case(suite, (rows,), 24, 172, True, element)
            float_case(suite, (rows,), 13, 28, False, element)
    for bits in range(2, 9):
        for group in (4, 16, 20, 32, 64, 100, 128, 172):
            for signed, zeros in ((True, False), (False, False), (False, True),
                                  (True, True)):
                code_case(suite, (1, 4, 5, 2, 9)[turn % 5],
                          (83, 64, 9, 1)[turn // 4 % 4], 172, bits, group,
                          signed, zeros, turn % 2 == 0,
                          ("f32", "f16", "bf16")[turn % 3])
                turn += 1
        for rows in (1, 4):
            code_case(suite, rows, 16, 4100, bits, 4100, False, True, True)
            code_case(suite, rows, 9, 4, bits, 4, True, True, False)
    return suite


def main():
    return sparse_suite().run(*sys.argv[1:3])


if __name__ == "__main__":
    sys.exit(main())
