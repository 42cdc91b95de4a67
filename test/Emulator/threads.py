# ===- threads.py - Emulated threads against NumPy ------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""What the threads of a block do with registers and with each other: shuffles,
barriers, bits of words, functions of floats.

    threads.py NAME FOLDER"""

import math

import numpy as np

from harness import RANDOM, SHARED, expect, kernel, main, run


def shuffles(folder):
    """The sum of a warp, by shuffles."""
    x = RANDOM.integers(-100, 100, (32,)).astype(np.float32)
    steps, last = "", "%v"
    for s in (16, 8, 4, 2, 1):
        steps += f"""
    %o{s} = arith.constant {s} : i32
    %r{s}, %valid{s} = gpu.shuffle xor {last}, %o{s}, %width : f32
    %s{s} = arith.addf {last}, %r{s} : f32"""
        last = f"%s{s}"
    body = f"""
    %width = arith.constant 32 : i32
    %v = memref.load %x[%t] : memref<32xf32>{steps}
    memref.store {last}, %d[%t] : memref<32xf32>"""
    arguments = "%x: memref<32xf32>, %d: memref<32xf32>"
    got = run(folder, "shuffle", kernel(arguments, body), [x])["1"]
    expect("shuffle", got, np.full(32, x.sum(), np.float32))


def source_of(kind, lane, offset, segment, clamp):
    """shfl.sync in the PTX ISA, word for word: the lane that is read, and whether
    it is inside of the segment."""
    top = (lane & segment) | (clamp & ~segment)
    bottom = lane & segment
    if kind == "up":
        j, valid = lane - offset, lane - offset >= top
    elif kind == "down":
        j, valid = lane + offset, lane + offset <= top
    elif kind == "bfly":
        j, valid = lane ^ offset, (lane ^ offset) <= top
    else:
        j = bottom | (offset & ~segment)
        valid = j <= top
    return (j if valid else lane), valid


def shuffles_in_segments(folder):
    """nvvm.shfl.sync of all kinds, in segments of a warp and of 8 lanes; upwards
    the clamp is the first lane, else the last."""
    for kind in ("bfly", "up", "down", "idx"):
        for width in (32, 8):
            segment = 0x1F & ~(width - 1)
            clamp = 0 if kind == "up" else 0x1F
            x = RANDOM.standard_normal(32).astype(np.float32)
            offsets = RANDOM.integers(0, width, 32).astype(np.int32)
            if kind in ("up", "down"):
                offsets[:] = 3
            body = f"""
    %all = arith.constant -1 : i32
    %packed = arith.constant {segment << 8 | clamp} : i32
    %v = memref.load %x[%t] : memref<32xf32>
    %o = memref.load %offsets[%t] : memref<32xi32>
    %r = nvvm.shfl.sync {kind} %all, %v, %o, %packed {{return_value_and_is_valid}} : f32 -> !llvm.struct<(f32, i1)>
    %y = llvm.extractvalue %r[0] : !llvm.struct<(f32, i1)>
    %p = llvm.extractvalue %r[1] : !llvm.struct<(f32, i1)>
    %q = arith.extui %p : i1 to i32
    memref.store %y, %d[%t] : memref<32xf32>
    memref.store %q, %valid[%t] : memref<32xi32>"""
            arguments = (
                "%x: memref<32xf32>, %offsets: memref<32xi32>, "
                "%d: memref<32xf32>, %valid: memref<32xi32>"
            )
            got = run(folder, "shfl", kernel(arguments, body), [x, offsets])
            sources = [
                source_of(kind, lane, int(offsets[lane]), segment, clamp)
                for lane in range(32)
            ]
            want = np.array([x[j] for j, _ in sources])
            valid = np.array([v for _, v in sources])
            expect(f"shfl.sync {kind} of {width}", got["2"], want)
            expect(f"shfl.sync {kind} of {width}, valid", got["3"], valid)


def named_barriers(folder):
    """Two groups of two warps, each with a barrier of its own: warps 0 and 1
    exchange their halves twice, warps 2 and 3 once, and nobody waits for the
    others. At the end all meet at barrier 0."""
    x = RANDOM.standard_normal(128).astype(np.float32)
    body = f"""
    %c2 = arith.constant 2 : index
    %c32 = arith.constant 32 : index
    %c64 = arith.constant 64 : index
    %c127 = arith.constant 127 : index
    %one = arith.constant 1 : i32
    %two = arith.constant 2 : i32
    %threads = arith.constant 64 : i32
    %other = arith.xori %t, %c32 : index
    %opposite = arith.subi %c127, %t : index
    %isLow = arith.cmpi ult, %t, %c64 : index
    %v = memref.load %x[%t] : memref<128xf32>
    memref.store %v, %s[%t] : memref<128xf32, {SHARED}>
    scf.if %isLow {{
      scf.for %i = %c0 to %c2 step %c1 {{
        nvvm.barrier id = %one number_of_threads = %threads
        %u = memref.load %s[%other] : memref<128xf32, {SHARED}>
        nvvm.barrier id = %one number_of_threads = %threads
        %w = arith.addf %u, %v : f32
        memref.store %w, %s[%t] : memref<128xf32, {SHARED}>
      }}
    }} else {{
      nvvm.barrier id = %two number_of_threads = %threads
      %u = memref.load %s[%other] : memref<128xf32, {SHARED}>
      nvvm.barrier id = %two number_of_threads = %threads
      memref.store %u, %s[%t] : memref<128xf32, {SHARED}>
    }}
    nvvm.barrier
    %y = memref.load %s[%opposite] : memref<128xf32, {SHARED}>
    memref.store %y, %d[%t] : memref<128xf32>"""
    arguments = "%x: memref<128xf32>, %d: memref<128xf32>"
    shared = f"%s : memref<128xf32, {SHARED}>"
    text = kernel(arguments, body, threads=128, shared=shared)
    got = run(folder, "named-barriers", text, [x])["1"]
    swap = lambda v: np.concatenate([v[32:64], v[:32], v[96:], v[64:96]])
    once = swap(x) + x
    want = np.concatenate([(swap(once) + x)[:64], swap(x)[64:]])[::-1]
    expect("named barriers", got, want)


def elected(folder):
    """nvvm.elect.sync: exactly one thread of each warp."""
    body = """
    %e = nvvm.elect.sync -> i1
    %v = arith.extui %e : i1 to i32
    memref.store %v, %d[%t] : memref<96xi32>"""
    got = run(folder, "elect", kernel("%d: memref<96xi32>", body, threads=96), [None])["0"]
    expect("elect.sync", got.reshape(3, 32).sum(1), np.ones(3))


def bits(folder):
    """Codes of 4 bits to halves by lop3: 0xFEDCBA98 is 0, 1, ... 7 after -8."""
    body = """
    %q = memref.load %x[%t] : memref<32xi32>
    %mask = arith.constant 0x000f000f : i32
    %mask16 = arith.constant 0x00f000f0 : i32
    %magic = arith.constant 0x64006400 : i32
    %m1032 = arith.constant dense<-1032.0> : vector<2xf16>
    %sixteenth = arith.constant dense<0.0625> : vector<2xf16>
    %m72 = arith.constant dense<-72.0> : vector<2xf16>
    %low = ptx.lop3 %q, %mask, %magic table 234
    %high = ptx.lop3 %q, %mask16, %magic table 234
    %l = llvm.bitcast %low : i32 to vector<2xf16>
    %h = llvm.bitcast %high : i32 to vector<2xf16>
    %l0 = arith.addf %l, %m1032 : vector<2xf16>
    %h0 = vector.fma %h, %sixteenth, %m72 : vector<2xf16>
    %c2 = arith.constant 2 : index
    vector.store %l0, %d[%t, %c0] : memref<32x4xf16>, vector<2xf16>
    vector.store %h0, %d[%t, %c2] : memref<32x4xf16>, vector<2xf16>"""
    arguments = "%x: memref<32xi32>, %d: memref<32x4xf16>"
    words = RANDOM.integers(0, 2**32, 32, np.uint32)
    words[0] = 0xFEDCBA98
    got = run(folder, "lop3", kernel(arguments, body), [words])["1"]
    want = np.stack([(words >> s & 15).astype(int) - 8 for s in (0, 16, 4, 20)], 1)
    assert list(want[0]) == [0, 4, 1, 5]
    expect("lop3", got, want)


def permute(folder):
    """nvvm.prmt: each nibble of the selector takes a byte of eight, or, with its
    highest bit, the sign of that byte. Lane 0 looks up entries 3, 4, 2 and 7 of a
    table of bytes from 100 on."""
    low = RANDOM.integers(0, 2**32, 32, np.uint32)
    high = RANDOM.integers(0, 2**32, 32, np.uint32)
    selectors = RANDOM.integers(0, 2**16, 32, np.uint32)
    low[0], high[0], selectors[0] = 0x67666564, 0x6B6A6968, 0x7243
    body = """
    %a = memref.load %low[%t] : memref<32xi32>
    %b = memref.load %high[%t] : memref<32xi32>
    %s = memref.load %selectors[%t] : memref<32xi32>
    %r = nvvm.prmt <default> %s, %a, %b : i32
    memref.store %r, %d[%t] : memref<32xi32>"""
    arguments = ", ".join(f"%{n}: memref<32xi32>" for n in ("low", "high", "selectors", "d"))
    got = run(folder, "prmt", kernel(arguments, body), [low, high, selectors])["3"]
    bytes = np.stack([low, high], 1).view(np.uint8)
    want = np.zeros((32, 4), np.uint8)
    for lane in range(32):
        for i in range(4):
            nibble = selectors[lane] >> 4 * i & 15
            byte = bytes[lane, nibble & 7]
            want[lane, i] = (255 if byte & 128 else 0) if nibble & 8 else byte
    assert list(want[0]) == [103, 104, 102, 107]
    expect("prmt", got.view(np.uint32), want.view(np.uint32).ravel())


# What NumPy has no function for.
erf = np.vectorize(math.erf)
FUNCTIONS = {
    "math.exp": np.exp,
    "math.exp2": np.exp2,
    "math.log": lambda x: np.log(np.abs(x)),
    "math.log2": lambda x: np.log2(np.abs(x)),
    "math.sqrt": lambda x: np.sqrt(np.abs(x)),
    "math.rsqrt": lambda x: 1 / np.sqrt(np.abs(x)),
    "math.sin": np.sin,
    "math.cos": np.cos,
    "math.tanh": np.tanh,
    "math.erf": erf,
    "math.absf": np.abs,
    "math.floor": np.floor,
    "math.ceil": np.ceil,
    "math.trunc": np.trunc,
    "math.roundeven": np.rint,
    "math.copysign": np.abs,
}


def functions(folder):
    """Each function of math, of values as they are or, where it has none of
    negative ones, of their magnitude. It is rounded once, so that the only
    difference to float64 is half a unit in the last place."""
    ofMagnitude = ("math.log", "math.log2", "math.sqrt", "math.rsqrt")
    for element, type, bits in (("f32", np.float32, 24), ("f16", np.float16, 11)):
        x = (2 * RANDOM.standard_normal(32)).astype(type)
        x[:4] = [0.5, -1.5, 2.5, 8]  # ties of roundeven
        body = f"""
    %v = memref.load %x[%t] : memref<32x{element}>
    %m = math.absf %v : {element}"""
        for i, name in enumerate(FUNCTIONS):
            operand = "%m" if name in ofMagnitude else "%v"
            if name == "math.copysign":
                operand = "%v, %m"
            body += f"""
    %i{i} = arith.constant {i} : index
    %y{i} = {name} {operand} : {element}
    memref.store %y{i}, %d[%i{i}, %t] : memref<{len(FUNCTIONS)}x32x{element}>"""
        arguments = f"%x: memref<32x{element}>, %d: memref<{len(FUNCTIONS)}x32x{element}>"
        got = run(folder, "math", kernel(arguments, body), [x])["1"].astype(np.float64)
        want = np.stack([f(x.astype(np.float64)) for f in FUNCTIONS.values()])
        error = np.abs(got - want) / np.abs(want).clip(2.0**-14)
        expect(f"math {element}", error, np.zeros(1), 2.0**-bits * 1.01)


def fused(folder):
    """math.fma is rounded once: 1 + 2^-12 squared, less what a product rounds
    to, is 2^-24, and not 0."""
    x = np.full(32, 1 + 2.0**-12, np.float32)
    y = -(x * x)
    body = """
    %a = memref.load %x[%t] : memref<32xf32>
    %b = memref.load %y[%t] : memref<32xf32>
    %r = math.fma %a, %a, %b : f32
    memref.store %r, %d[%t] : memref<32xf32>"""
    arguments = "%x: memref<32xf32>, %y: memref<32xf32>, %d: memref<32xf32>"
    got = run(folder, "fma", kernel(arguments, body), [x, y])["2"]
    expect("fma", got, np.full(32, 2.0**-24))


TESTS = {
    "shuffle": shuffles,
    "shfl": shuffles_in_segments,
    "barriers": named_barriers,
    "elect": elected,
    "lop3": bits,
    "prmt": permute,
    "math": functions,
    "fma": fused,
}

if __name__ == "__main__":
    main(TESTS)
