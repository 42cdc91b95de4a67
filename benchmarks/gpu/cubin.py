# ===- cubin.py - Instructions of a cubin ---------------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Counts the machine instructions of kernels, without a disassembler.

A cubin is an ELF file with a section .text.NAME for each kernel. Since compute
capability 7.0 an instruction is 16 bytes, whose lowest 9 bits say what it does and
the next 3 where its operands are. There is no public list of them; what is here
was found by assembling PTX of known instructions."""

import collections
import struct

INSTRUCTION = 16
BRANCH, PRODUCT = 0x147, 0x03C

# What instructions use besides a slot of the scheduler.
PIPES = {
    "tensor": {0x03C, 0x037},  # HMMA, IMMA
    # LOP3, SHF, IADD3, LEA, PRMT, ISETP, SEL, MOV, PLOP3, LEPC and IABS
    "integer": {0x012, 0x019, 0x010, 0x011, 0x016, 0x00C, 0x007, 0x002, 0x01C},
    # HADD2, HFMA2, HMUL2, FADD, FFMA, FMUL, IMAD, IMAD.WIDE
    "float": {0x030, 0x031, 0x032, 0x021, 0x023, 0x020, 0x024, 0x025},
    # LDG, STG, LDS, STS, LDSM, LDGSTS
    "memory": {0x181, 0x186, 0x184, 0x188, 0x03B, 0x1AE},
}
PIPE_OF = {code: pipe for pipe, codes in PIPES.items() for code in codes}


def text_sections(data):
    """The code of each kernel, by name."""
    table, = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, table + i * size)
               for i in range(count)]
    strings = headers[names][4]
    result = {}
    for name, _, _, _, offset, length in headers:
        start = strings + name
        text = data[start:data.index(b"\0", start)].decode()
        if text.startswith(".text."):
            result[text[len(".text."):]] = data[offset:offset + length]
    return result


def branch_target(index, low, capability):
    """The index of the instruction that a branch at `index` goes to."""
    if capability >= 90:
        distance = (low >> 16 & 0xFF) | (low >> 34) << 8
        bits, unit = 38, 4
    else:
        distance, bits, unit = low >> 32, 32, 1
    if distance >> (bits - 1):
        distance -= 1 << bits
    return index + 1 + distance * unit // INSTRUCTION


def main_loop(code, capability):
    """Counts by pipe of the smallest loop with most of the products, or of all
    instructions if there is none; and whether there is one."""
    words = [low for low, _ in struct.iter_unpack("<QQ", code)]
    kinds = [low & 0x1FF for low in words]
    products = kinds.count(PRODUCT)
    best = None
    for index, (low, kind) in enumerate(zip(words, kinds)):
        if kind != BRANCH:
            continue
        target = branch_target(index, low, capability)
        if not 0 <= target < index:
            continue
        inside = kinds[target:index + 1]
        if (2 * inside.count(PRODUCT) >= products > 0 and
                (best is None or len(inside) < len(best))):
            best = inside
    counts = collections.Counter(PIPE_OF.get(kind, "other")
                                 for kind in best or kinds)
    return counts, best is not None
