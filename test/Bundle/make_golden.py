#!/usr/bin/env python3
# Writes the golden bundles of version 1 from docs/BundleFormat.md alone.
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#   make_golden.py golden-v1.nbl golden-v1-sizes.nbl golden-v1-states.nbl \
#       golden-v1-cuda.nbl
#
# The second has a dimension that a step defines, the third a state and a
# decoder that uses it, the fourth a program for GPUs, with the feature bits for
# these.
# It shares no code with lib/Bundle: the page is the only source. BundleTest.cpp
# expects these contents from the reader and these bytes from the writer.

import hashlib
import struct
import sys


def u8(value):
    return struct.pack("<B", value)


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def i32(value):
    return struct.pack("<i", value)


def i64(value):
    return struct.pack("<q", value)


def f64(value):
    return struct.pack("<d", value)


def string(text):
    return u32(len(text)) + text.encode()


def records(items):
    return u32(len(items)) + b"".join(items)


def digest(data):
    return hashlib.sha256(data).digest()


def pad(data, alignment):
    return data + b"\0" * (-len(data) % alignment)


# The weights: a table of 6 x 4 floats, and 3 indices into it.
table = struct.pack("<24f", *[i / 2 for i in range(24)])
order = struct.pack("<3i", 5, 0, 2)
weight_segment = pad(pad(table, 256) + order, 256)
order_offset = 256

# The code: two functions that return at once, 64 bytes apart.
image = b"\xc3" + b"\xcc" * 63 + b"\xc3"

# Expressions in the order of first use.
texts = []


def expression(text):
    if text not in texts:
        texts.append(text)
    return u32(texts.index(text))


def port(name, kind, bits, shape):
    return string(name) + u8(kind) + u8(bits) + records(
        [expression(dim) for dim in shape])


def buffer(kind, index, offset, size):
    return u8(kind) + u32(index) + u64(offset) + expression(size)


def step(kernel, buffers, results, scalars, tasks, after):
    return (u32(kernel) + records(buffers) + u32(results) +
            records([expression(s) for s in scalars]) + expression(tasks) +
            i32(after))


INPUT, OUTPUT, WEIGHT, ARENA, STATE = range(5)
FLOAT, BFLOAT, SIGNED, UNSIGNED, BOOLEAN = range(5)


def entry(sizes):
    """`sizes`: step 0 finds a dimension, of which step 1 makes an output."""
    return (
        string("main") +
        records([port("input_ids", SIGNED, 64, ["batch", "seq"]),
                 port("past_0", FLOAT, 32, ["batch", "past"])]) +
        records([port("logits", FLOAT, 32, ["batch", "seq", "6"]),
                 port("present_0", FLOAT, 32, ["batch", "past + seq"])] +
                ([port("found", SIGNED, 64, ["hits"])] if sizes else [])) +
        records([u32(0) + i64(0) + i64(6)]) +
        u64(2048) +
        records([
            step(0, [buffer(INPUT, 0, 0, "8*batch*seq"),
                     buffer(WEIGHT, 0, 0, "96"),
                     buffer(WEIGHT, 1, 0, "12"),
                     buffer(ARENA, 0, 256, "16*batch*seq")] +
                 ([buffer(ARENA, 0, 1792, "8")] if sizes else []),
                 2 if sizes else 1, ["seq"], "batch", -1),
            step(1, [buffer(ARENA, 0, 256, "16*batch*seq"),
                     buffer(OUTPUT, 0, 0, "24*batch*seq"),
                     buffer(OUTPUT, 1, 0, "4*batch*past + 4*batch*seq")] +
                 ([buffer(OUTPUT, 2, 0, "8*hits")] if sizes else []),
                 3 if sizes else 2,
                 ["past", "seq"] + (["hits"] if sizes else []), "batch", 0),
        ]))


def decoder_entry(name, length, last):
    """One step that works on the state in place."""
    tokens = [port("input_ids", SIGNED, 64, ["batch", length]),
              port("past_lengths", SIGNED, 64, ["batch"])]
    operands = [buffer(INPUT, 0, 0,
                       "8*batch" if length == "1" else "8*batch*seq"),
                buffer(INPUT, 1, 0, "8*batch")]
    if last:
        tokens.append(port("last", SIGNED, 64, ["batch"]))
        operands.append(buffer(INPUT, 2, 0, "8*batch"))
    logits = port("logits", FLOAT, 32, ["batch", "6"])
    cache = buffer(STATE, 0, 0, "128*batch")
    return (string(name) + records(tokens) + records([logits]) +
            records([u32(0) + i64(0) + i64(6), u32(1) + i64(0) + i64(32)]) +
            u64(0) +
            records([step(2 if last else 3,
                          operands + [cache, buffer(OUTPUT, 0, 0, "24*batch"),
                                      cache],
                          2, [length] if last else [], "batch", -1)]))


cubin, ptx = b"cubin", b".version 8.0\n"


def call(function, grid, block, shared):
    return (string(function) + b"".join(expression(size) for size in grid) +
            b"".join(u32(size) for size in block) + u32(shared))


def launch(target, limit, workspace, calls):
    return (string(target) +
            (u8(1) + expression(limit[0]) + i64(limit[1]) if limit else u8(0)) +
            (u8(1) + expression(workspace) if workspace else u8(0)) +
            records([call(*each) for each in calls]))


def cuda_section(image_offset, ptx_offset):
    return b"".join([
        records([
            string("gather_5") + u32(4) + u32(1) + records([
                launch("sm_90a", ("d0", 8), None, [
                    ("gather_rows", ["d0", "1", "1"], [128, 1, 1], 0)]),
                launch("", None, "512*d0", [
                    ("gather_blocks", ["floordiv(d0 + 31, 32)", "2", "1"],
                         [32, 4, 1], 65536),
                    ("gather_sum", ["1", "1", "1"], [64, 1, 1], 0)])]),
            string("finish_6") + u32(3) + u32(2) + records([
                launch("", None, None, [
                    ("finish", ["d1", "1", "1"], [32, 1, 1], 0)])]),
        ]),
        records([
            u64(4096) + records([
                step(0, [buffer(INPUT, 0, 0, "8*batch*seq"),
                         buffer(WEIGHT, 0, 0, "96"),
                         buffer(WEIGHT, 2, 0, "12"),
                         buffer(ARENA, 0, 512, "16*batch*seq")],
                     1, ["seq"], "1", -1),
                step(1, [buffer(ARENA, 0, 512, "16*batch*seq"),
                         buffer(OUTPUT, 0, 0, "24*batch*seq"),
                         buffer(OUTPUT, 1, 0, "4*batch*past + 4*batch*seq")],
                     2, ["past", "seq"], "1", 0)]),
        ]),
        records([]),  # no dimension is defined
        records([string("sm_90a") + u8(0) + u64(image_offset) +
                 u64(len(cubin)) + digest(cubin),
                 string("sm_80") + u8(1) + u64(ptx_offset) + u64(len(ptx)) +
                 digest(ptx)]),
    ])


def index(offsets, sizes, states, cuda):
    code_offset, image_offset, ptx_offset, weight_offset = offsets
    texts.clear()
    entries = [entry(sizes)]
    states_image = b""
    if states:
        entries += [decoder_entry("prefill", "seq", True),
                    decoder_entry("decode", "1", False)]
        shape = [expression("batch"), expression("32")]
        states_image = (
            records([string("key_0") + u8(FLOAT) + u8(32) + records(shape)]) +
            u8(1) + string("prefill") + string("decode") + i64(32))
    cuda_image = cuda_section(image_offset, ptx_offset) if cuda else b""
    return b"".join([
        string("nibble golden"),
        records([string("batch") + i64(1) + i64(2)] +
                ([string("hits") + i64(0) + i64(64)] if sizes else []) +
                [string("past") + i64(0) + i64(31),
                 string("seq") + i64(1) + i64(32)]),
        records([string(text) for text in texts]),
        u64(weight_offset), u64(len(weight_segment)),
        records([string("table") + u64(0) + u64(len(table)) + u64(0) +
                 u32(32) + digest(table),
                 string("order") + u64(order_offset) + u64(len(order)) +
                 u64(6) + u32(32) + digest(order)] +
                # The same bytes again, which are stored once.
                ([string("order on a GPU") + u64(order_offset) +
                  u64(len(order)) + u64(6) + u32(32) + digest(order)]
                 if cuda else [])),
        records([string("gather_1") + u32(5 if sizes else 4) + u32(1),
                 string("finish_2") + u32(4 if sizes else 3) +
                 u32(3 if sizes else 2)] +
                ([string("fill_3") + u32(6) + u32(1),
                  string("next_4") + u32(5) + u32(0)] if states else [])),
        records(entries),
        records([string("x86-64-v3") + u64(code_offset) + u64(len(image)) +
                 digest(image) +
                 records([u64(0), u64(64)] * (2 if states else 1))]),
        records([string("layers.0.q") + string("linear") +
                 string("ui4 1x32") + u64(24) + f64(4.625)]),
        u8(1),
        string("main") + i32(0) + i32(-1) + i32(-1) + i32(0) +
        records([u32(1) + u32(1)]) + string("seq") + string("past"),
        u32(3) + b"TOK",
        # Entry point 0, step 0 defines dimension 1.
        records([u32(0) + u32(0) + records([u32(1)])]) if sizes else b"",
        states_image,
        cuda_image,
    ])


def bundle(sizes, states, cuda):
    index_bytes = len(index([0] * 4, sizes, states, cuda))
    segments = [image] + ([cubin, ptx] if cuda else []) + [weight_segment]
    end = 128 + index_bytes
    offsets = []
    for segment in segments:
        offsets.append(-(-end // 65536) * 65536)
        end = offsets[-1] + len(segment)
    places = offsets if cuda else [offsets[0], 0, 0, offsets[1]]
    index_image = index(places, sizes, states, cuda)
    header = b"".join([
        b"\x89NBL\r\n\x1a\n", u32(1), u32(128),
        u64((1 if sizes else 0) + (2 if states else 0) + (4 if cuda else 0)),
        u64(0), u64(end), u64(128),
        u64(len(index_image)), digest(index_image), u64(0)])
    header += digest(header)
    assert len(header) == 128
    file = header + index_image
    for segment in segments:
        file = pad(file, 65536) + segment
    return file


for path, features in zip(sys.argv[1:],
                          ((False, False, False), (True, False, False),
                           (False, True, False), (False, False, True))):
    with open(path, "wb") as file:
        file.write(bundle(*features))
