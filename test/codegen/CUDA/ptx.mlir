// The instructions that kernels stand or fall with, for all targets.

// RUN: quant-compile %s --emit=ptx --target=sm_80 -o - | FileCheck %s --check-prefixes=CHECK,V85 -DCHIP=sm_80
// RUN: quant-compile %s --emit=ptx --target=sm_86 -o - | FileCheck %s --check-prefixes=CHECK,V85 -DCHIP=sm_86
// RUN: quant-compile %s --emit=ptx --target=sm_89 -o - | FileCheck %s --check-prefixes=CHECK,V85 -DCHIP=sm_89
// RUN: quant-compile %s --emit=ptx --target=sm_90a -o - | FileCheck %s --check-prefixes=CHECK,V86 -DCHIP=sm_90a
// RUN: quant-compile %s --emit=ptx --target=sm_100a -o - | FileCheck %s --check-prefixes=CHECK,V86 -DCHIP=sm_100a
// RUN: quant-compile %s --emit=ptx --target=sm_120a -o - | FileCheck %s --check-prefixes=CHECK,V87 -DCHIP=sm_120a
// RUN: quant-compile %s --emit=ptx -o - | FileCheck %s --check-prefixes=CHECK,V85 -DCHIP=sm_80

// V85: .version 8.5
// V86: .version 8.6
// V87: .version 8.7
// CHECK: .target [[CHIP]]

// Dynamic shared memory has no size of its own; no memory is aligned worse than
// what is read at once.
// CHECK: .extern .shared .align 16 .b8 __dynamic_shmem__0[]

gpu.module @kernels {
  // CHECK-LABEL: .entry w4(
  // CHECK: .maxntid 32, 1, 1
  // CHECK: .shared .align 16 .b8 __wg_w4_0[1024]
  // CHECK: cp.async.cg.shared.global [{{.*}}], [{{.*}}], 16
  // CHECK: cp.async.commit_group
  // CHECK: cp.async.wait_group 0
  // CHECK: bar.sync 0
  // CHECK: ld.global.nc.v4.b32
  // CHECK: lop3.b32 %{{.*}}, %{{.*}}, 983055, 1677747200, 234;
  // CHECK: ldmatrix.sync.aligned.m8n8.x4.shared.b16
  // CHECK: mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32
  // CHECK: st.global.v4.b32
  // CHECK: ret;
  gpu.func @w4(%w: !llvm.ptr {llvm.noalias, llvm.readonly}, %x: memref<64x8xf16>,
               %y: !llvm.ptr {llvm.noalias}, %rows: i64)
      workgroup(%tile: memref<64x8xf16, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c2 = arith.constant 2 : index
    %lane = gpu.lane_id
    %first = arith.muli %lane, %c2 : index
    %copy = nvgpu.device_async_copy %x[%first, %c0], %tile[%first, %c0], 8 {bypassL1} : memref<64x8xf16> to memref<64x8xf16, #gpu.address_space<workgroup>>
    %group = nvgpu.device_async_create_group %copy
    nvgpu.device_async_wait %group {numGroups = 0 : i32}
    gpu.barrier
    %i = arith.index_cast %lane : index to i64
    %p = llvm.getelementptr %w[%i] : (!llvm.ptr, i64) -> !llvm.ptr, !llvm.array<16 x i8>
    %codes = llvm.load %p {alignment = 16 : i64} : !llvm.ptr -> vector<4xi32>
    %mask = arith.constant 0x000f000f : i32
    %magic = arith.constant 0x64006400 : i32
    %word0 = vector.extract %codes[0] : i32 from vector<4xi32>
    %word1 = vector.extract %codes[1] : i32 from vector<4xi32>
    %word2 = vector.extract %codes[2] : i32 from vector<4xi32>
    %word3 = vector.extract %codes[3] : i32 from vector<4xi32>
    %h0 = ptx.lop3 %word0, %mask, %magic table 234
    %h1 = ptx.lop3 %word1, %mask, %magic table 234
    %h2 = ptx.lop3 %word2, %mask, %magic table 234
    %h3 = ptx.lop3 %word3, %mask, %magic table 234
    %words = vector.from_elements %h0, %h1, %h2, %h3 : vector<4xi32>
    %halves = vector.bitcast %words : vector<4xi32> to vector<8xf16>
    %a = vector.shape_cast %halves : vector<8xf16> to vector<4x2xf16>
    %bs = nvgpu.ldmatrix %tile[%lane, %c0] {numTiles = 4 : i32, transpose = false} : memref<64x8xf16, #gpu.address_space<workgroup>> -> vector<4x2xf16>
    %b = vector.extract_strided_slice %bs {offsets = [0], sizes = [2], strides = [1]} : vector<4x2xf16> to vector<2x2xf16>
    %zero = arith.constant dense<0.0> : vector<2x2xf32>
    %sum = nvgpu.mma.sync (%a, %b, %zero) {mmaShape = [16, 8, 16]} : (vector<4x2xf16>, vector<2x2xf16>, vector<2x2xf32>) -> vector<2x2xf32>
    %row = vector.shape_cast %sum : vector<2x2xf32> to vector<4xf32>
    %q = llvm.getelementptr %y[%i] : (!llvm.ptr, i64) -> !llvm.ptr, !llvm.array<16 x i8>
    llvm.store %row, %q {alignment = 16 : i64} : vector<4xf32>, !llvm.ptr
    gpu.return
  }

  // A pointer in a loop still is one to global memory.
  // CHECK-LABEL: .entry walk(
  // CHECK-NOT: {{[[:space:]]}}ld.b32
  // CHECK: ld.global.b32
  // CHECK-NOT: {{[[:space:]]}}st.b32
  // CHECK: st.global.b32
  // CHECK: ret;
  gpu.func @walk(%x: !llvm.ptr, %n: i64) kernel attributes {dynamic_shared_memory = 64 : i32} {
    %c0 = arith.constant 0 : index
    %one = arith.constant 1 : i64
    %zero = arith.constant 0 : i64
    %shared = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
    %floats = memref.view %shared[%c0][] : memref<?xi8, #gpu.address_space<workgroup>> to memref<16xf32, #gpu.address_space<workgroup>>
    %end = scf.for %i = %zero to %n step %one iter_args(%p = %x) -> !llvm.ptr : i64 {
      %v = llvm.load %p : !llvm.ptr -> f32
      memref.store %v, %floats[%c0] : memref<16xf32, #gpu.address_space<workgroup>>
      gpu.barrier
      %w = memref.load %floats[%c0] : memref<16xf32, #gpu.address_space<workgroup>>
      llvm.store %w, %p : f32, !llvm.ptr
      %next = llvm.getelementptr %p[8] : (!llvm.ptr) -> !llvm.ptr, f32
      scf.yield %next : !llvm.ptr
    }
    gpu.return
  }

  // Instructions for what rounds exactly and for 2^x; polynomials for the rest;
  // never a call.
  // CHECK-LABEL: .entry functions(
  // CHECK-DAG: ex2.approx.f32
  // CHECK-DAG: sqrt.rn.f32
  // CHECK-DAG: cvt.rni.f32.f32
  // CHECK-NOT: call
  // CHECK: ret;
  gpu.func @functions(%x: memref<8xf32>, %h: memref<2xf16>) kernel {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c2 = arith.constant 2 : index
    %c3 = arith.constant 3 : index
    %v = memref.load %x[%c0] : memref<8xf32>
    %e2 = math.exp2 %v : f32
    %r = math.rsqrt %e2 : f32
    %n = math.roundeven %v : f32
    %e = math.exp %n : f32
    %t = math.tanh %e : f32
    %s = math.sin %t : f32
    %p = math.powf %s, %v : f32
    memref.store %r, %x[%c1] : memref<8xf32>
    memref.store %p, %x[%c2] : memref<8xf32>
    %a = memref.load %h[%c0] : memref<2xf16>
    %l = math.log %a : f16
    memref.store %l, %h[%c1] : memref<2xf16>
    gpu.return
  }
}
