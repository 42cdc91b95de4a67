# ===- copies.py - Emulated memory against NumPy --------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Ways to reach memory, and copies that run beside the threads.

    copies.py NAME FOLDER"""

import numpy as np

from harness import RANDOM, SHARED, expect, kernel, main, pointer, run


def bulk(folder):
    """A warp copies seven tiles of 64 floats with cp.async.bulk into two stages;
    two warps read them. "Full" barriers count the bytes of a tile, "empty" ones
    the 64 threads that have read it, so that every phase has another parity than
    the one before."""
    tiles = 7
    x = RANDOM.standard_normal((tiles, 64)).astype(np.float32)
    stages = f"memref<2x64xf32, {SHARED}>"
    objects = f"memref<4xi64, {SHARED}>"

    def barrier(name, first, stage):
        return f"""
      %{name}_first = arith.constant {first} : i64
      %{name}_stage = arith.index_cast {stage} : index to i64
      %{name}_at = arith.addi %{name}_first, %{name}_stage : i64
      %{name} = llvm.getelementptr %o[%{name}_at] : (!llvm.ptr<3>, i64) -> !llvm.ptr<3>, i64"""

    def parity(name, i):
        return f"""
      %{name}_turn = arith.divui {i}, %c2 : index
      %{name}_word = arith.index_cast %{name}_turn : index to i32
      %{name} = arith.andi %{name}_word, %one : i32"""

    body = f"""
    %c2 = arith.constant 2 : index
    %c4 = arith.constant 4 : index
    %c7 = arith.constant {tiles} : index
    %c64 = arith.constant 64 : index
    %one = arith.constant 1 : i32
    %all = arith.constant 64 : i32
    %bytes = arith.constant 256 : i32
    %ticks = arith.constant 1000 : i32
    %isFirst = arith.cmpi eq, %t, %c0 : index
    %isProducer = arith.cmpi uge, %t, %c64 : index
{pointer("p", "x", f"memref<{tiles}x64xf32>", 1)}
{pointer("q", "s", stages, 3)}
{pointer("o", "b", objects, 3)}
    scf.if %isFirst {{
      scf.for %i = %c0 to %c2 step %c1 {{{barrier("full", 0, "%i")}{barrier("empty", 2, "%i")}
        nvvm.mbarrier.init %full, %one : !llvm.ptr<3>, i32
        nvvm.mbarrier.init %empty, %all : !llvm.ptr<3>, i32
      }}
      nvvm.fence.mbarrier.init
    }}
    gpu.barrier
    scf.if %isProducer {{
      %isElected = nvvm.elect.sync -> i1
      scf.if %isElected {{
        scf.for %i = %c0 to %c7 step %c1 {{
          %stage = arith.remui %i, %c2 : index{barrier("full", 0, "%stage")}{barrier("empty", 2, "%stage")}{parity("phase", "%i")}
          // The phase before the first one counts as over.
          %before = arith.xori %phase, %one : i32
          nvvm.mbarrier.try_wait.parity %empty, %before, %ticks : !llvm.ptr<3>, i32, i32
          nvvm.mbarrier.arrive.expect_tx %full, %bytes : !llvm.ptr<3>, i32
          %from_index = arith.muli %i, %c64 : index
          %from = arith.index_cast %from_index : index to i64
          %to_index = arith.muli %stage, %c64 : index
          %to = arith.index_cast %to_index : index to i64
          %source = llvm.getelementptr %p[%from] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f32
          %target = llvm.getelementptr %q[%to] : (!llvm.ptr<3>, i64) -> !llvm.ptr<3>, f32
          nvvm.cp.async.bulk.shared.cluster.global %target, %source, %full, %bytes : !llvm.ptr<3>, !llvm.ptr<1>
        }}
      }}
    }} else {{
      scf.for %i = %c0 to %c7 step %c1 {{
        %stage = arith.remui %i, %c2 : index{barrier("full", 0, "%stage")}{barrier("empty", 2, "%stage")}{parity("phase", "%i")}
        nvvm.mbarrier.try_wait.parity %full, %phase, %ticks : !llvm.ptr<3>, i32, i32
        %v = memref.load %s[%stage, %t] : {stages}
        %y = arith.addf %v, %v : f32
        memref.store %y, %d[%i, %t] : memref<{tiles}x64xf32>
        %token = nvvm.mbarrier.arrive %empty : !llvm.ptr<3> -> i64
      }}
    }}"""
    arguments = f"%x: memref<{tiles}x64xf32>, %d: memref<{tiles}x64xf32>"
    shared = f"%s : {stages} {{llvm.align = 16 : i64}}, %b : {objects}"
    text = kernel(arguments, body, threads=96, shared=shared)
    expect("bulk copies", run(folder, "bulk", text, [x])["1"], 2 * x)


def tokens(folder):
    """mbarriers of nvgpu, waited for by token: a warp writes, arrives and goes
    on; another one asks until the phase of its token is over."""
    x = RANDOM.standard_normal(64).astype(np.float32)
    group = f"!nvgpu.mbarrier.group<memorySpace = {SHARED}>"
    body = f"""
    %c63 = arith.constant 63 : index
    %count = arith.constant 64 : index
    %isFirst = arith.cmpi eq, %t, %c0 : index
    %b = nvgpu.mbarrier.create -> {group}
    nvgpu.mbarrier.init %b[%c0], %count, predicate = %isFirst : {group}
    gpu.barrier
    %v = memref.load %x[%t] : memref<64xf32>
    memref.store %v, %s[%t] : memref<64xf32, {SHARED}>
    %token = nvgpu.mbarrier.arrive %b[%c0] : {group} -> !nvgpu.mbarrier.token
    scf.while : () -> () {{
      %over = nvgpu.mbarrier.test.wait %b[%c0], %token : {group}, !nvgpu.mbarrier.token
      %true = arith.constant true
      %again = arith.xori %over, %true : i1
      scf.condition(%again)
    }} do {{
      scf.yield
    }}
    %opposite = arith.subi %c63, %t : index
    %y = memref.load %s[%opposite] : memref<64xf32, {SHARED}>
    memref.store %y, %d[%t] : memref<64xf32>"""
    text = kernel(
        "%x: memref<64xf32>, %d: memref<64xf32>",
        body,
        threads=64,
        shared=f"%s : memref<64xf32, {SHARED}>",
    )
    expect("mbarrier tokens", run(folder, "tokens", text, [x])["1"], x[::-1])


def pointers(folder):
    """llvm.load and llvm.store of numbers and vectors: each thread reverses its
    four halves, 8 bytes that are aligned to 8, in global memory and through
    shared memory."""
    x = RANDOM.standard_normal((32, 4)).astype(np.float16)
    body = f"""
    %four = arith.constant 4 : i64
    %i = arith.index_cast %t : index to i64
    %at = arith.muli %i, %four : i64
{pointer("p", "x", "memref<32x4xf16>", 1)}
{pointer("q", "d", "memref<32x4xf16>", 1)}
{pointer("r", "s", f"memref<128xf16, {SHARED}>", 3)}
    %from = llvm.getelementptr %p[%at] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f16
    %to = llvm.getelementptr %q[%at] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f16
    %between = llvm.getelementptr %r[%at] : (!llvm.ptr<3>, i64) -> !llvm.ptr<3>, f16
    %v = llvm.load %from : !llvm.ptr<1> -> vector<4xf16>
    llvm.store %v, %between : vector<4xf16>, !llvm.ptr<3>""" + "".join(
        f"""
    %s{i} = llvm.getelementptr %between[{3 - i}] : (!llvm.ptr<3>) -> !llvm.ptr<3>, f16
    %d{i} = llvm.getelementptr %to[{i}] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f16
    %y{i} = llvm.load %s{i} : !llvm.ptr<3> -> f16
    llvm.store %y{i}, %d{i} : f16, !llvm.ptr<1>"""
        for i in range(4)
    )
    text = kernel(
        "%x: memref<32x4xf16>, %d: memref<32x4xf16>",
        body,
        shared=f"%s : memref<128xf16, {SHARED}>",
    )
    expect("pointers", run(folder, "pointers", text, [x])["1"], x[:, ::-1])


def views(folder):
    """memref.subview: every second row and every third column from (r, 1) on,
    with a dimension that goes, written through views too."""
    x = RANDOM.standard_normal((3, 8, 16)).astype(np.float32)
    body = """
    %two = arith.constant 2 : index
    %plane = gpu.block_id x
    %row = arith.remui %t, %c2 : index
    %rest = arith.divui %t, %c2 : index
    %from = memref.subview %x[%plane, %row, 1] [1, 4, 5] [1, %two, 3] : memref<3x8x16xf32> to memref<4x5xf32, strided<[?, 3], offset: ?>>
    %to = memref.subview %d[%plane, %row, 0, 0] [1, 1, 4, 5] [1, 1, 1, 1] : memref<3x2x4x5xf32> to memref<4x5xf32, strided<[5, 1], offset: ?>>
    %c5 = arith.constant 5 : index
    %i = arith.divui %rest, %c5 : index
    %j = arith.remui %rest, %c5 : index
    %v = memref.load %from[%i, %j] : memref<4x5xf32, strided<[?, 3], offset: ?>>
    memref.store %v, %to[%i, %j] : memref<4x5xf32, strided<[5, 1], offset: ?>>"""
    text = kernel(
        "%x: memref<3x8x16xf32>, %d: memref<3x2x4x5xf32>",
        "    %c2 = arith.constant 2 : index" + body,
        threads=40,
        blocks=3,
    )
    want = np.stack([x[:, r::2, 1::3] for r in range(2)], 1)
    expect("subview", run(folder, "views", text, [x])["1"], want)


def dynamic(folder):
    """gpu.dynamic_shared_memory, as long as `dynamic_shared_memory` says, holds
    halves and, behind them, floats: 64 KiB, more than static memory may have."""
    x = RANDOM.standard_normal((2, 128)).astype(np.float32)
    body = f"""
    %c2 = arith.constant 2 : index
    %c127 = arith.constant 127 : index
    %half = arith.constant {32 * 1024} : index
    %m = gpu.dynamic_shared_memory : memref<?xi8, {SHARED}>
    %low = memref.view %m[%c0][] : memref<?xi8, {SHARED}> to memref<{16 * 1024}xf16, {SHARED}>
    %high = memref.view %m[%half][] : memref<?xi8, {SHARED}> to memref<{8 * 1024}xf32, {SHARED}>
    %last = arith.constant {8 * 1024 - 128} : index
    %v = memref.load %x[%c0, %t] : memref<2x128xf32>
    %w = memref.load %x[%c1, %t] : memref<2x128xf32>
    %h = arith.truncf %v : f32 to f16
    %at = arith.addi %last, %t : index
    memref.store %h, %low[%t] : memref<{16 * 1024}xf16, {SHARED}>
    memref.store %w, %high[%at] : memref<{8 * 1024}xf32, {SHARED}>
    gpu.barrier
    %u = arith.subi %c127, %t : index
    %from = arith.addi %last, %u : index
    %a = memref.load %low[%u] : memref<{16 * 1024}xf16, {SHARED}>
    %b = memref.load %high[%from] : memref<{8 * 1024}xf32, {SHARED}>
    %c = arith.extf %a : f16 to f32
    memref.store %c, %d[%c0, %t] : memref<2x128xf32>
    memref.store %b, %d[%c1, %t] : memref<2x128xf32>"""
    text = kernel(
        "%x: memref<2x128xf32>, %d: memref<2x128xf32>",
        body,
        threads=128,
        attributes=f", dynamic_shared_memory = {64 * 1024} : i32",
    )
    want = np.stack([x[0].astype(np.float16).astype(np.float32), x[1]])[:, ::-1]
    expect("dynamic shared memory", run(folder, "dynamic", text, [x])["1"], want)


def atomics(folder):
    """memref.atomic_rmw: threads of all blocks count values in global memory, and
    a block adds floats in shared memory. Sums of small integers have no order."""
    x = RANDOM.integers(0, 8, (4, 64)).astype(np.int32)
    body = f"""
    %c8 = arith.constant 8 : index
    %one = arith.constant 1 : i32
    %block = gpu.block_id x
    %isFirst = arith.cmpi eq, %t, %c0 : index
    %isBin = arith.cmpi ult, %t, %c8 : index
    %v = memref.load %x[%block, %t] : memref<4x64xi32>
    %bin = arith.index_cast %v : i32 to index
    %old = memref.atomic_rmw addi %one, %count[%bin] : (i32, memref<8xi32>) -> i32
    %zero = arith.constant 0.0 : f32
    scf.if %isFirst {{
      memref.store %zero, %s[%c0] : memref<1xf32, {SHARED}>
    }}
    gpu.barrier
    %f = arith.sitofp %v : i32 to f32
    %before = memref.atomic_rmw addf %f, %s[%c0] : (f32, memref<1xf32, {SHARED}>) -> f32
    gpu.barrier
    scf.if %isFirst {{
      %sum = memref.load %s[%c0] : memref<1xf32, {SHARED}>
      memref.store %sum, %d[%block] : memref<4xf32>
    }}"""
    text = kernel(
        "%x: memref<4x64xi32>, %count: memref<8xi32>, %d: memref<4xf32>",
        body,
        threads=64,
        blocks=4,
        shared=f"%s : memref<1xf32, {SHARED}>",
    )
    got = run(folder, "atomics", text, [x, np.zeros(8, np.int32)])
    expect("atomic_rmw addi", got["1"], np.bincount(x.ravel(), minlength=8))
    expect("atomic_rmw addf", got["2"], x.sum(1))


def pipeline(folder):
    """A 64 x 64 x 128 product of four warps: two stages of cp.async, ldmatrix,
    mma.sync, launched by host code."""
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
    got = run(folder, "pipeline", text, [a, b])["2"]
    expect("pipeline", got, a.astype(np.float64) @ b.T.astype(np.float64), 1e-4)


TESTS = {
    "bulk": bulk,
    "tokens": tokens,
    "pointers": pointers,
    "views": views,
    "dynamic": dynamic,
    "atomics": atomics,
    "pipeline": pipeline,
}

if __name__ == "__main__":
    main(TESTS)
