# ===- products.py - Emulated matrix products against NumPy ---------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Products of tensor cores on random data.

    products.py NAME FOLDER

The fragments of a product are made here, from the formulas of the PTX ISA
(sections on mma.m16n8k16 and others), lane by lane; the emulator gets them as
arrays with one row per lane."""

import numpy as np

from harness import RANDOM, expect, kernel, main, pointer, run


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


def store_struct(name, count, element):
    """Field i of a struct goes to column i of %d."""
    fields = ", ".join([element] * count)
    return "".join(
        f"""
    %{name}_{i} = llvm.extractvalue %{name}[{i}] : !llvm.struct<({fields})>
    %at{i} = arith.constant {i} : index
    memref.store %{name}_{i}, %d[{"%lane" if count == 4 else "%t"}, %at{i}] : memref<{32 if count == 4 else 128}x{count}x{element}>"""
        for i in range(count)
    )


def ordered_metadata(positions, lanes_of_chunk):
    """A word for each lane of a 16-row product: lane 4 g + t has the positions
    of chunk c, that is of 16 columns, in rows g (low half) and g + 8, where t is
    lanes_of_chunk[c]. Other lanes have some positions that nobody reads."""
    words = np.full((32, 1), 0x44444444, np.uint32)
    for g in range(8):
        for chunk, t in enumerate(lanes_of_chunk):
            word = 0
            for half in range(2):
                for group in range(4):
                    i0, i1 = positions[g + 8 * half, 4 * chunk + group]
                    word |= int(i0 | i1 << 2) << (16 * half + 4 * group)
            words[4 * g + t, 0] = word
    return words


def sparse_operand(k, values):
    """Values of 2:4 sparse rows: where they are, and the whole matrix."""
    positions = np.array(
        [[sorted(RANDOM.choice(4, 2, False)) for _ in range(k // 4)] for _ in range(16)]
    )
    full = np.zeros((16, k), np.float64)
    for row in range(16):
        for group in range(k // 4):
            for i in range(2):
                column = 4 * group + positions[row, group, i]
                full[row, column] = values[row, 2 * group + i]
    return positions, full


def sparse(folder):
    """nvvm.mma.sp.sync with ordered metadata, both selectors."""
    for selector in (0, 1):
        values = (RANDOM.integers(-64, 65, (16, 16)) / 16).astype(np.float16)
        b = (RANDOM.integers(-64, 65, (32, 8)) / 16).astype(np.float16)
        positions, full = sparse_operand(32, values)
        metadata = ordered_metadata(positions, (2 * selector, 2 * selector + 1))
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
            + store_struct("r", 4, "f32")
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


def sparse_bytes(folder):
    """The same with 8-bit integers: m16n8k32 has its metadata in two lanes of a
    quad, m16n8k64 in all four."""
    for k, selector in ((32, 0), (32, 1), (64, 0)):
        values = RANDOM.integers(-128, 128, (16, k // 2)).astype(np.int8)
        b = RANDOM.integers(-128, 128, (k, 8)).astype(np.int8)
        positions, full = sparse_operand(k, values)
        first = 2 * selector
        metadata = ordered_metadata(positions, range(first, first + k // 16))
        words = k // 16  # registers of A, and of B
        loads = "".join(
            f"""
    %i{r} = arith.constant {r} : index
    %a{r} = memref.load %a[%lane, %i{r}] : memref<32x{words}xi32>
    %b{r} = memref.load %b[%lane, %i{r}] : memref<32x{words}xi32>"""
            for r in range(words)
        )
        names = lambda v: ", ".join(f"%{v}{r}" for r in range(words))
        body = (
            loads
            + f"""
    %m = memref.load %meta[%lane, %c0] : memref<32x1xi32>
    %c = arith.constant 7 : i32
    %s = llvm.mlir.constant({selector} : i32) : i32
    %r = nvvm.mma.sp.sync A[{names("a")}] B[{names("b")}] C[%c, %c, %c, %c] sparseMetadata[%m] selector[%s] {{orderedMetadata, intOverflowBehavior = #nvvm.mma_int_overflow<wrapped>, multiplicandAPtxType = #nvvm.mma_type<s8>, multiplicandBPtxType = #nvvm.mma_type<s8>, shape = #nvvm.shape<m = 16, n = 8, k = {k}>}} : (i32, i32, i32) -> !llvm.struct<(i32, i32, i32, i32)>"""
            + store_struct("r", 4, "i32")
        )
        arguments = (
            f"%a: memref<32x{words}xi32>, %b: memref<32x{words}xi32>, "
            "%meta: memref<32x1xi32>, %d: memref<32x4xi32>"
        )
        arrays = [
            fragments(values, lambda lane, i: in_a(lane, i, 4), k // 4).view(np.int32),
            fragments(b, lambda lane, i: in_b(lane, i, 4), k // 4).view(np.int32),
            metadata,
        ]
        got = run(folder, "sparse-bytes", kernel(arguments, body), arrays)["3"]
        want = full @ b.astype(np.float64) + 7
        expect(f"mma.sp i8 k{k} selector {selector}", from_fragments(got, (16, 8)), want)


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


def from_warpgroup(rows):
    """The accumulators of 128 threads, 64 x 16."""
    matrix = np.zeros((64, 16), np.float32)
    for t in range(128):
        for i in range(8):
            row, column = in_c(t % 32, i % 4)
            matrix[16 * (t // 32) + row, 8 * (i // 4) + column] = rows[t, i]
    return matrix


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
    matrix = from_warpgroup(got)
    # The accumulator is rounded after each of four steps.
    want = a.astype(np.float64) @ b.T.astype(np.float64)
    expect("wgmma", matrix, want, 1e-4)


def place_of(swizzle, rows, row, column):
    """Where element (row, column) of a matrix of halves is in shared memory, in
    bytes, and how far apart its pieces are: (at, leading, stride). With a swizzle
    of 128, 64 or 32 bytes a row is as long, and its chunks of 16 bytes change
    places; without, each 8 x 8 block is 128 bytes in one piece."""
    chunk, rest = column // 8, 2 * (column % 8)
    if swizzle == 0:
        leading = 16 * rows
        return chunk * leading + row * 16 + rest, leading, 128
    # Chunks of 128 bytes are what a swizzle counts.
    chunk ^= row * swizzle // 128 % (swizzle // 16)
    return row * swizzle + 16 * chunk + rest, 0, 8 * swizzle


def warpgroup_from_shared(folder):
    """nvvm.wgmma.mma_async m64n16k16, both operands by descriptors, for every
    swizzle. The first product replaces the sum; the last is subtracted."""
    for swizzle in (0, 32, 64, 128):
        depth = swizzle // 2 or 16
        steps = depth // 16
        a = (RANDOM.integers(-64, 65, (64, depth)) / 16).astype(np.float16)
        b = (RANDOM.integers(-64, 65, (16, depth)) / 16).astype(np.float16)

        def arranged(matrix):
            bytes = np.zeros(matrix.size, np.float16)
            for (row, column), x in np.ndenumerate(matrix):
                bytes[place_of(swizzle, len(matrix), row, column)[0] // 2] = x
            return bytes

        def descriptor(matrix, rows):
            _, leading, stride = place_of(swizzle, rows, 0, 0)
            kind = {0: 0, 128: 1, 64: 2, 32: 3}[swizzle]
            bits = leading >> 4 << 16 | stride >> 4 << 32 | kind << 62
            bits -= bits >> 63 << 64
            size = rows * depth
            return pointer(f"p{matrix}", f"s{matrix}", f"memref<{size}xf16, #gpu.address_space<workgroup>>", 3) + f"""
    %field{matrix} = arith.shrui %p{matrix}_number, %four : i64
    %bits{matrix} = arith.constant {bits} : i64
    %d{matrix}0 = arith.ori %bits{matrix}, %field{matrix} : i64"""

        struct = f"!llvm.struct<({', '.join(['f32'] * 8)})>"
        products, last = "", "%ones"
        for s in range(steps):
            if s:
                products += "".join(
                    f"""
    %d{m}{s} = arith.addi %d{m}{s - 1}, %two : i64"""
                    for m in "ab"
                )
            out = "zero" if s == 0 else "one"
            sign = "neg" if s == steps - 1 else "one"
            products += f"""
    %y{s} = nvvm.wgmma.mma_async %da{s}, %db{s}, {last}, #nvvm.shape<m = 64, n = 16, k = 16>, D [<f32>, <{out}>], A [<f16>, <{sign}>, <row>], B [<f16>, <one>, <col>] : {struct} -> {struct}"""
            last = f"%y{s}"
        ones = f"\n    %ones0 = llvm.mlir.undef : {struct}" + "".join(
            f"\n    %ones{i + 1} = llvm.insertvalue %one, %ones{i}[{i}] : {struct}"
            for i in range(8)
        )
        each = 64 * depth // 128
        body = f"""
    %four = arith.constant 4 : i64
    %two = arith.constant 2 : i64
    %one = arith.constant 1.0 : f32
    %each = arith.constant {each} : index
    %from = arith.muli %t, %each : index
    %va = vector.load %a[%from] : memref<{64 * depth}xf16>, vector<{each}xf16>
    vector.store %va, %sa[%from] : memref<{64 * depth}xf16, #gpu.address_space<workgroup>>, vector<{each}xf16>
    %eachb = arith.constant {each // 4} : index
    %fromb = arith.muli %t, %eachb : index
    %vb = vector.load %b[%fromb] : memref<{16 * depth}xf16>, vector<{each // 4}xf16>
    vector.store %vb, %sb[%fromb] : memref<{16 * depth}xf16, #gpu.address_space<workgroup>>, vector<{each // 4}xf16>
    nvvm.fence.proxy {{kind = #nvvm.proxy_kind<async.shared>, space = #nvvm.shared_space<cta>}}
    gpu.barrier{descriptor("a", 64)}{descriptor("b", 16)}{ones.replace("%ones8", "%ones")}
    nvvm.wgmma.fence.aligned{products}
    nvvm.wgmma.commit.group.sync.aligned
    nvvm.wgmma.wait.group.sync.aligned 0{store_struct(last[1:], 8, "f32")}"""
        arguments = (
            f"%a: memref<{64 * depth}xf16>, %b: memref<{16 * depth}xf16>, "
            "%d: memref<128x8xf32>"
        )
        shared = ", ".join(
            f"%s{m} : memref<{rows * depth}xf16, #gpu.address_space<workgroup>> {{llvm.align = 1024 : i64}}"
            for m, rows in (("a", 64), ("b", 16))
        )
        text = kernel(arguments, body, threads=128, shared=shared)
        got = run(folder, "wgmma-shared", text, [arranged(a), arranged(b)])["2"]
        kept, taken = a[:, : depth - 16], a[:, depth - 16 :]
        want = kept.astype(np.float64) @ b[:, : depth - 16].T.astype(np.float64)
        want -= taken.astype(np.float64) @ b[:, depth - 16 :].T.astype(np.float64)
        expect(f"wgmma from shared memory, swizzle {swizzle}", from_warpgroup(got), want, 1e-4)


TESTS = {
    "half": lambda f: product(f, "mma f16", "f16", "f32", 16, 2),
    "half8": lambda f: product(f, "mma f16 k8", "f16", "f32", 8, 2),
    "bfloat": lambda f: product(f, "mma bf16", "bf16", "f32", 16, 2),
    "byte": lambda f: product(f, "mma i8", "i8", "i32", 32, 4),
    "sparse": sparse,
    "sparse-bytes": sparse_bytes,
    "ldmatrix": load_matrix,
    "wgmma": warpgroup,
    "wgmma-shared": warpgroup_from_shared,
}

if __name__ == "__main__":
    main(TESTS)
