# ===- kernels.py - Emulated kernels against NumPy ------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Runs small kernels on random data, and compares with NumPy.

    kernels.py NAME FOLDER

The fragments of a product are made here, from the formulas of the PTX ISA
(sections on mma.m16n8k16 and others), lane by lane; the emulator gets them as
arrays with one row per lane."""

import pathlib
import subprocess
import sys

import numpy as np

RANDOM = np.random.default_rng(1)


def run(folder, name, text, arrays):
    folder = pathlib.Path(folder)
    source, inputs = folder / f"{name}.mlir", folder / f"{name}.in.npz"
    outputs = folder / f"{name}.out.npz"
    source.write_text(text)
    np.savez(inputs, **{str(i): a for i, a in enumerate(arrays) if a is not None})
    command = ["quant-opt", source, f"--emulate-gpu={inputs}", "-o", outputs]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{result.stderr}error: {name} failed")
    return np.load(outputs)


def kernel(arguments, body, threads=32, blocks=1, shared=""):
    return f"""
gpu.module @m {{
  gpu.func @k({arguments}) {f"workgroup({shared})" if shared else ""} kernel
      attributes {{known_block_size = array<i32: {threads}, 1, 1>,
                  known_grid_size = array<i32: {blocks}, 1, 1>}} {{
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %t = gpu.thread_id x
    %lane = gpu.lane_id
{body}
    gpu.return
  }}
}}
"""


def expect(name, got, want, tolerance=0.0):
    error = np.abs(got.astype(np.float64) - want.astype(np.float64)).max()
    if not error <= tolerance:
        sys.exit(f"error: {name}: expected at most {tolerance}, got {error}")
    print(f"{name}: ok")


# The element of a matrix that element `i` of a lane's fragment is; `per` are in
# one register.
def in_a(lane, i, per):
    g, t, reg = lane // 4, lane % 4, i // per
    return g + 8 * (reg & 1), per * t + i % per + 4 * per * (reg >> 1)


def in_b(lane, i, per):
    g, t, reg = lane // 4, lane % 4, i // per
    return per * t + i % per + 4 * per * reg, g


def in_c(lane, i):
    g, t = lane // 4, lane % 4
    return g + 8 * (i >> 1), 2 * t + (i & 1)


def fragments(matrix, place, count):
    rows = [[matrix[place(lane, i)] for i in range(count)] for lane in range(32)]
    return np.array(rows, matrix.dtype)


def from_fragments(rows, shape):
    matrix = np.zeros(shape, rows.dtype)
    for lane in range(32):
        for i in range(rows.shape[1]):
            matrix[in_c(lane, i)] = rows[lane, i]
    return matrix


def load(name, array, vector, element):
    count = int(np.prod(vector))
    shape = "x".join(map(str, vector))
    return f"""
    %{name}1 = vector.load %{array}[%lane, %c0] : memref<32x{count}x{element}>, vector<{count}x{element}>
    %{name} = vector.shape_cast %{name}1 : vector<{count}x{element}> to vector<{shape}x{element}>"""


def store(name, array, vector, element):
    count = int(np.prod(vector))
    shape = "x".join(map(str, vector))
    return f"""
    %{name}1 = vector.shape_cast %{name} : vector<{shape}x{element}> to vector<{count}x{element}>
    vector.store %{name}1, %{array}[%lane, %c0] : memref<32x{count}x{element}>, vector<{count}x{element}>"""


def product(folder, name, element, total, k, per):
    """nvgpu.mma.sync m16n8k{k}: the same sum in float64, rounded once."""
    if element == "i8":
        a = RANDOM.integers(-128, 128, (16, k)).astype(np.int8)
        b = RANDOM.integers(-128, 128, (k, 8)).astype(np.int8)
        c = RANDOM.integers(-1000, 1000, (16, 8)).astype(np.int32)
    else:
        numbers = lambda *shape: (RANDOM.integers(-64, 65, shape) / 16).astype(
            np.float32 if element == "bf16" else np.float16
        )
        a, b = numbers(16, k), numbers(k, 8)
        c = RANDOM.standard_normal((16, 8)).astype(np.float32)
    count = 16 * k // 32
    va, vb = (count // per, per), (count // per // 2, per)
    arguments = (
        f"%a: memref<32x{count}x{element}>, %b: memref<32x{count // 2}x{element}>, "
        f"%c: memref<32x4x{total}>, %d: memref<32x4x{total}>"
    )
    shape = lambda v, e: f"vector<{v[0]}x{v[1]}x{e}>"
    body = (
        load("va", "a", va, element)
        + load("vb", "b", vb, element)
        + load("vc", "c", (2, 2), total)
        + f"""
    %vd = nvgpu.mma.sync (%va, %vb, %vc) {{mmaShape = [16, 8, {k}]}} : ({shape(va, element)}, {shape(vb, element)}, {shape((2, 2), total)}) -> {shape((2, 2), total)}"""
        + store("vd", "d", (2, 2), total)
    )
    arrays = [
        fragments(a, lambda lane, i: in_a(lane, i, per), count),
        fragments(b, lambda lane, i: in_b(lane, i, per), count // 2),
        fragments(c, in_c, 4),
    ]
    got = from_fragments(run(folder, name, kernel(arguments, body), arrays)["3"], (16, 8))
    want = a.astype(np.float64) @ b.astype(np.float64) + c
    expect(name, got, want.astype(c.dtype))


def sparse(folder):
    """nvvm.mma.sp.sync with ordered metadata, both selectors."""
    for selector in (0, 1):
        values = (RANDOM.integers(-64, 65, (16, 16)) / 16).astype(np.float16)
        b = (RANDOM.integers(-64, 65, (32, 8)) / 16).astype(np.float16)
        positions = np.array(
            [[sorted(RANDOM.choice(4, 2, False)) for _ in range(8)] for _ in range(16)]
        )
        full = np.zeros((16, 32), np.float64)
        for row in range(16):
            for group in range(8):
                for i in range(2):
                    column = 4 * group + positions[row, group, i]
                    full[row, column] = values[row, 2 * group + i]
        metadata = np.full((32, 1), 0x44444444, np.uint32)
        for g in range(8):
            for chunk in range(2):
                word = 0
                for half in range(2):
                    for group in range(4):
                        i0, i1 = positions[g + 8 * half, 4 * chunk + group]
                        word |= int(i0 | i1 << 2) << (16 * half + 4 * group)
                metadata[4 * g + 2 * selector + chunk, 0] = word
        registers = lambda v, n: "".join(
            f"\n    %{v}{i} = vector.extract %v{v}[{i}] : vector<2xf16> from vector<{n}x2xf16>"
            for i in range(n)
        )
        names = lambda v, n: ", ".join(f"%{v}{i}" for i in range(n))
        body = (
            load("va", "a", (4, 2), "f16")
            + load("vb", "b", (4, 2), "f16")
            + registers("a", 4)
            + registers("b", 4)
            + f"""
    %m = memref.load %meta[%lane, %c0] : memref<32x1xi32>
    %z = arith.constant 0.0 : f32
    %s = llvm.mlir.constant({selector} : i32) : i32
    %r = nvvm.mma.sp.sync A[{names("a", 4)}] B[{names("b", 4)}] C[%z, %z, %z, %z] sparseMetadata[%m] selector[%s] {{orderedMetadata, shape = #nvvm.shape<m = 16, n = 8, k = 32>}} : (vector<2xf16>, vector<2xf16>, f32) -> !llvm.struct<(f32, f32, f32, f32)>"""
            + "".join(
                f"""
    %d{i} = llvm.extractvalue %r[{i}] : !llvm.struct<(f32, f32, f32, f32)>
    %i{i} = arith.constant {i} : index
    memref.store %d{i}, %d[%lane, %i{i}] : memref<32x4xf32>"""
                for i in range(4)
            )
        )
        arguments = "%a: memref<32x8xf16>, %b: memref<32x8xf16>, %meta: memref<32x1xi32>, %d: memref<32x4xf32>"
        arrays = [
            fragments(values, lambda lane, i: in_a(lane, i, 2), 8),
            fragments(b, lambda lane, i: in_b(lane, i, 2), 8),
            metadata,
        ]
        got = run(folder, "sparse", kernel(arguments, body), arrays)["3"]
        want = (full @ b.astype(np.float64)).astype(np.float32)
        expect(f"mma.sp selector {selector}", from_fragments(got, (16, 8)), want)


def load_matrix(folder):
    """ldmatrix.x4 with and without .trans, of a 16 x 16 matrix."""
    x = RANDOM.standard_normal((16, 16)).astype(np.float16)
    for transposed in ("false", "true"):
        body = f"""
    %c2 = arith.constant 2 : index
    %c8 = arith.constant 8 : index
    %c16 = arith.constant 16 : index
    %row = arith.divui %t, %c2 : index
    %half = arith.remui %t, %c2 : index
    %column = arith.muli %half, %c8 : index
    %v = vector.load %x[%row, %column] : memref<16x16xf16>, vector<8xf16>
    vector.store %v, %s[%row, %column] : memref<16x16xf16, #gpu.address_space<workgroup>>, vector<8xf16>
    gpu.barrier
    %r = arith.remui %lane, %c16 : index
    %q = arith.divui %lane, %c16 : index
    %c = arith.muli %q, %c8 : index
    %m = nvgpu.ldmatrix %s[%r, %c] {{numTiles = 4 : i32, transpose = {transposed}}} : memref<16x16xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
{store("m", "d", (4, 2), "f16")}"""
        shared = "%s : memref<16x16xf16, #gpu.address_space<workgroup>>"
        arguments = "%x: memref<16x16xf16>, %d: memref<32x8xf16>"
        got = run(folder, "ldmatrix", kernel(arguments, body, shared=shared), [x])["1"]
        if transposed == "false":
            # The four matrices are the registers of A.
            want = fragments(x, lambda lane, i: in_a(lane, i, 2), 8)
        else:
            blocks = [x[:8, :8], x[8:, :8], x[:8, 8:], x[8:, 8:]]
            want = np.array(
                [
                    [blocks[i // 2][2 * (lane % 4) + i % 2, lane // 4] for i in range(8)]
                    for lane in range(32)
                ]
            )
        expect(f"ldmatrix transpose = {transposed}", got, want)


def warpgroup(folder):
    """ptx.wgmma m64n16k64 in four steps, B with a 128-byte swizzle: element
    (5, 20) of B is at byte 760, as the worked example of the layout says."""
    assert 5 * 128 + ((20 // 8) ^ 5) * 16 + 20 % 8 * 2 == 760
    a = (RANDOM.integers(-64, 65, (64, 64)) / 16).astype(np.float16)
    b = (RANDOM.integers(-64, 65, (16, 64)) / 16).astype(np.float16)
    swizzled = np.zeros(16 * 64, np.float16)
    for n in range(16):
        for k in range(64):
            swizzled[n * 64 + ((k // 8) ^ (n % 8)) * 8 + k % 8] = b[n, k]
    rows = np.array(
        [
            [
                [a[16 * (t // 32) + r, 16 * s + c] for r, c in places]
                for s in range(4)
            ]
            for t in range(128)
            for places in [[in_a(t % 32, i, 2) for i in range(8)]]
        ],
        np.float16,
    ).reshape(128, 32)
    steps, last = "", "%zero"
    for s in range(4):
        steps += f"""
    %f{s} = vector.extract_strided_slice %va {{offsets = [{8 * s}], sizes = [8], strides = [1]}} : vector<32xf16> to vector<8xf16>
    %a{s} = vector.shape_cast %f{s} : vector<8xf16> to vector<4x2xf16>
    %o{s} = arith.constant {2 * s} : i64
    %b{s} = arith.addi %b, %o{s} : i64
    %d{s} = ptx.wgmma %a{s}, %b{s}, {last} : vector<4x2xf16>, vector<2x2x2xf32>"""
        last = f"%d{s}"
    body = f"""
    %c8 = arith.constant 8 : index
    %at = arith.muli %t, %c8 : index
    %bv = vector.load %x[%at] : memref<1024xf16>, vector<8xf16>
    vector.store %bv, %s[%at] : memref<1024xf16, #gpu.address_space<workgroup>>, vector<8xf16>
    nvvm.fence.proxy {{kind = #nvvm.proxy_kind<async.shared>, space = #nvvm.shared_space<cta>}}
    gpu.barrier
    %c4 = arith.constant 4 : i64
    %bits = arith.constant 0x4000004000000000 : i64
    %p = memref.extract_aligned_pointer_as_index %s : memref<1024xf16, #gpu.address_space<workgroup>> -> index
    %address = arith.index_cast %p : index to i64
    %field = arith.shrui %address, %c4 : i64
    %b = arith.ori %bits, %field : i64
    %va = vector.load %a[%t, %c0] : memref<128x32xf16>, vector<32xf16>
    %zero = arith.constant dense<0.0> : vector<2x2x2xf32>
    nvvm.wgmma.fence.aligned{steps}
    nvvm.wgmma.commit.group.sync.aligned
    nvvm.wgmma.wait.group.sync.aligned 0
    %flat = vector.shape_cast %d3 : vector<2x2x2xf32> to vector<8xf32>
    vector.store %flat, %d[%t, %c0] : memref<128x8xf32>, vector<8xf32>"""
    arguments = "%a: memref<128x32xf16>, %x: memref<1024xf16>, %d: memref<128x8xf32>"
    shared = "%s : memref<1024xf16, #gpu.address_space<workgroup>> {llvm.align = 1024 : i64}"
    text = kernel(arguments, body, threads=128, shared=shared)
    got = run(folder, "wgmma", text, [rows, swizzled])["2"]
    matrix = np.zeros((64, 16), np.float32)
    for t in range(128):
        for i in range(8):
            row, column = in_c(t % 32, i % 4)
            matrix[16 * (t // 32) + row, 8 * (i // 4) + column] = got[t, i]
    # The accumulator is rounded after each of four steps.
    want = a.astype(np.float64) @ b.T.astype(np.float64)
    expect("wgmma", matrix, want, 1e-4)


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


def pipeline(folder):
    """A 64 x 64 x 128 product of four warps: two stages of cp.async, ldmatrix,
    mma.sync, launched by host code."""
    import time

    a = (RANDOM.integers(-16, 17, (64, 128)) / 8).astype(np.float16)
    b = (RANDOM.integers(-16, 17, (64, 128)) / 8).astype(np.float16)
    tile = "memref<2x64x32xf16, #gpu.address_space<workgroup>>"
    copies = "".join(
        f"""
      %{m}{stage} = nvgpu.device_async_copy %{m}[%row{i}, %k{i}], %s{m}[%to, %row{i}, %column{i}], 8 : memref<64x128xf16> to {tile}"""
        for i in range(2)
        for m in "ab"
        for stage in [f"c{i}"]
    )

    def stage(number):
        return f"""
      %to = arith.remui {number}, %c2 : index
      %from = arith.muli {number}, %c32 : index
      %k0 = arith.addi %from, %column0 : index
      %k1 = arith.addi %from, %column1 : index{copies}
      %group = nvgpu.device_async_create_group %ac0, %ac1, %bc0, %bc1"""

    products = ""
    sums = [f"%x{j}" for j in range(8)]
    for step in range(2):
        products += f"""
        %o{step} = arith.constant {16 * step} : index
        %ka{step} = arith.addi %o{step}, %acolumn : index
        %fa{step} = nvgpu.ldmatrix %sa[%now, %arow, %ka{step}] {{numTiles = 4 : i32, transpose = false}} : {tile} -> vector<4x2xf16>"""
        for j in range(8):
            products += f"""
        %n{step}_{j} = arith.constant {8 * j} : index
        %brow{step}_{j} = arith.addi %n{step}_{j}, %brow : index
        %kb{step}_{j} = arith.addi %o{step}, %bcolumn : index
        %fb{step}_{j} = nvgpu.ldmatrix %sb[%now, %brow{step}_{j}, %kb{step}_{j}] {{numTiles = 2 : i32, transpose = false}} : {tile} -> vector<2x2xf16>
        %y{step}_{j} = nvgpu.mma.sync (%fa{step}, %fb{step}_{j}, {sums[j]}) {{mmaShape = [16, 8, 16]}} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>"""
            sums[j] = f"%y{step}_{j}"
    stores = "".join(
        f"""
    %n{j} = arith.constant {8 * j} : index
    %col{j} = arith.addi %n{j}, %t2 : index
    %lo{j} = vector.extract %acc#{j}[0] : vector<2xf32> from vector<2x2xf32>
    %hi{j} = vector.extract %acc#{j}[1] : vector<2xf32> from vector<2x2xf32>
    vector.store %lo{j}, %d[%r0, %col{j}] : memref<64x64xf32>, vector<2xf32>
    vector.store %hi{j}, %d[%r1, %col{j}] : memref<64x64xf32>, vector<2xf32>"""
        for j in range(8)
    )
    types = ", ".join(["vector<2x2xf32>"] * 8)
    body = f"""
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %c4 = arith.constant 4 : index
    %c8 = arith.constant 8 : index
    %c16 = arith.constant 16 : index
    %c32 = arith.constant 32 : index
    %warp = gpu.subgroup_id : index
    %row0 = arith.divui %t, %c4 : index
    %row1 = arith.addi %row0, %c32 : index
    %quarter = arith.remui %t, %c4 : index
    %column0 = arith.muli %quarter, %c8 : index
    %column1 = arith.addi %column0, %c0 : index
    %m0 = arith.muli %warp, %c16 : index
    %l16 = arith.remui %lane, %c16 : index
    %l8 = arith.remui %lane, %c8 : index
    %arow = arith.addi %m0, %l16 : index
    %ahalf = arith.divui %lane, %c16 : index
    %acolumn = arith.muli %ahalf, %c8 : index
    %brow = arith.addi %l8, %c0 : index
    %eighth = arith.divui %lane, %c8 : index
    %bhalf = arith.remui %eighth, %c2 : index
    %bcolumn = arith.muli %bhalf, %c8 : index
    %zero = arith.constant dense<0.0> : vector<2x2xf32>
    scf.for %first = %c0 to %c1 step %c1 {{{stage("%first")}
    }}
    %acc:8 = scf.for %i = %c0 to %c4 step %c1 iter_args({", ".join(f"%x{j} = %zero" for j in range(8))}) -> ({types}) {{
      %next = arith.addi %i, %c1 : index
      %more = arith.cmpi ult, %next, %c4 : index
      %token = nvgpu.device_async_create_group
      nvgpu.device_async_wait %token
      gpu.barrier
      scf.if %more {{{stage("%next")}
      }}
      %now = arith.remui %i, %c2 : index{products}
      gpu.barrier
      scf.yield {", ".join(sums)} : {types}
    }}
    %g = arith.divui %lane, %c4 : index
    %t4 = arith.remui %lane, %c4 : index
    %t2 = arith.muli %t4, %c2 : index
    %r0 = arith.addi %m0, %g : index
    %r1 = arith.addi %r0, %c8 : index{stores}"""
    arguments = "%a: memref<64x128xf16>, %b: memref<64x128xf16>, %d: memref<64x64xf32>"
    shared = f"%sa : {tile}, %sb : {tile}"
    text = "module attributes {gpu.container_module} {" + kernel(
        arguments, body, threads=128, shared=shared
    ) + f"""
func.func @main({arguments}) {{
  %c1 = arith.constant 1 : index
  %c128 = arith.constant 128 : index
  gpu.launch_func @m::@k blocks in (%c1, %c1, %c1) threads in (%c128, %c1, %c1)
      args(%a : memref<64x128xf16>, %b : memref<64x128xf16>, %d : memref<64x64xf32>)
  return
}}
}}"""
    begin = time.monotonic()
    got = run(folder, "pipeline", text, [a, b])["2"]
    print(f"{time.monotonic() - begin:.2f} s", file=sys.stderr)
    expect("pipeline", got, a.astype(np.float64) @ b.T.astype(np.float64), 1e-4)


TESTS = {
    "half": lambda f: product(f, "mma f16", "f16", "f32", 16, 2),
    "half8": lambda f: product(f, "mma f16 k8", "f16", "f32", 8, 2),
    "bfloat": lambda f: product(f, "mma bf16", "bf16", "f32", 16, 2),
    "byte": lambda f: product(f, "mma i8", "i8", "i32", 32, 4),
    "sparse": sparse,
    "ldmatrix": load_matrix,
    "wgmma": warpgroup,
    "shuffle": shuffles,
    "lop3": bits,
    "pipeline": pipeline,
}

if __name__ == "__main__":
    names = TESTS if sys.argv[1] == "all" else [sys.argv[1]]
    for name in names:
        TESTS[name](sys.argv[2])
