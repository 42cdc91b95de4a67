// Kernels with one mistake each, and how it is told.

// RUN: quant-opt %s --nibble-emulate-gpu --split-input-file --verify-diagnostics

// A barrier that half a warp does not reach.
gpu.module @divergent_barrier {
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c16 = arith.constant 16 : index
    %t = gpu.thread_id x
    %low = arith.cmpi ult, %t, %c16 : index
    scf.if %low {
      // expected-error @+1 {{thread 0 of block 0: expects all threads of the warp, but thread 16 does not run it: the warp has diverged}}
      gpu.barrier
    }
    gpu.return
  }
}

// -----

// A barrier that a whole warp does not reach.
gpu.module @absent_warp {
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 64, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c32 = arith.constant 32 : index
    %t = gpu.thread_id x
    %low = arith.cmpi ult, %t, %c32 : index
    scf.if %low {
      // expected-error @+1 {{block 0: deadlock: threads 0 to 31 wait here for ever}}
      gpu.barrier
    }
    // expected-note @+1 {{threads 32 to 63 have ended}}
    gpu.return
  }
}

// -----

// Two warps at two barriers.
gpu.module @two_barriers {
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 64, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c32 = arith.constant 32 : index
    %t = gpu.thread_id x
    %low = arith.cmpi ult, %t, %c32 : index
    scf.if %low {
      // expected-note @+1 {{which waits here}}
      gpu.barrier
    } else {
      // expected-error @+1 {{thread 32 of block 0: waits at another barrier than thread 0}}
      gpu.barrier
    }
    gpu.return
  }
}

// -----

// One row too many.
gpu.module @by_one {
  gpu.func @k(%x: memref<16x8xf16>) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c16 = arith.constant 16 : index
    %v = arith.constant 1.0 : f16
    %t = gpu.thread_id x
    // The predicate is ult.
    %in = arith.cmpi ule, %t, %c16 : index
    scf.if %in {
      // expected-error @+1 {{thread 16 of block 0: index 16 of dimension 0 is out of bounds: it has size 16}}
      memref.store %v, %x[%t, %c0] : memref<16x8xf16>
    }
    gpu.return
  }
}

// -----

// The last vector runs into the next row.
gpu.module @into_next_row {
  gpu.func @k(%x: memref<4x12xf16>) kernel
      attributes {known_block_size = array<i32: 1, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c8 = arith.constant 8 : index
    %v = arith.constant dense<1.0> : vector<8xf16>
    vector.store %v, %x[%c0, %c0] : memref<4x12xf16>, vector<8xf16>
    // expected-error @+1 {{indices 8 to 15 of dimension 1 is out of bounds: it has size 12}}
    vector.store %v, %x[%c0, %c8] : memref<4x12xf16>, vector<8xf16>
    gpu.return
  }
}

// -----

gpu.module @misaligned {
  gpu.func @k(%x: memref<4x12xf16>) kernel
      attributes {known_block_size = array<i32: 1, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %v = arith.constant dense<1.0> : vector<8xf16>
    // expected-error @+1 {{writes 16 bytes of 'argument 0' + 24, misaligned: the access needs a multiple of 16 bytes, and the address is one of 8}}
    vector.store %v, %x[%c1, %c0] {alignment = 16 : i64} : memref<4x12xf16>, vector<8xf16>
    gpu.return
  }
}

// -----

gpu.module @no_value {
  gpu.func @k() workgroup(%s : memref<32xf32, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %t = gpu.thread_id x
    // expected-error @+1 {{thread 0 of block 0: reads 'workgroup memory 0' + 0, which nobody has written so far}}
    %v = memref.load %s[%t] : memref<32xf32, #gpu.address_space<workgroup>>
    gpu.return
  }
}

// -----

gpu.module @divergent_shuffle {
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c16 = arith.constant 16 : index
    %one = arith.constant 1 : i32
    %width = arith.constant 32 : i32
    %v = arith.constant 1.0 : f32
    %t = gpu.thread_id x
    %low = arith.cmpi ult, %t, %c16 : index
    scf.if %low {
      // expected-error @+1 {{lane 16 of the 32 that shuffle does not run it: the warp has diverged}}
      %r, %valid = gpu.shuffle xor %v, %one, %width : f32
    }
    gpu.return
  }
}

// -----

// Positions of 2:4 sparse values that descend.
gpu.module @wrong_metadata {
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %a = arith.constant dense<1.0> : vector<2xf16>
    %c = arith.constant 0.0 : f32
    %selector = llvm.mlir.constant(0 : i32) : i32
    // 1 after 2, that is 0b0110, everywhere.
    %meta = arith.constant 0x66666666 : i32
    // expected-error @+1 {{the metadata of row 0 put the values of columns 0 to 3 at positions 2 and 1; expects two in ascending order}}
    %d = nvvm.mma.sp.sync A[%a, %a, %a, %a] B[%a, %a, %a, %a] C[%c, %c, %c, %c] sparseMetadata[%meta] selector[%selector] {orderedMetadata, shape = #nvvm.shape<m = 16, n = 8, k = 32>} : (vector<2xf16>, vector<2xf16>, f32) -> !llvm.struct<(f32, f32, f32, f32)>
    gpu.return
  }
}

// -----

// The matrix begins in the middle of its swizzle pattern.
gpu.module @wrong_swizzle {
  gpu.func @k() workgroup(%s : memref<64x64xf16, #gpu.address_space<workgroup>> {llvm.align = 128 : i64}) kernel
      attributes {known_block_size = array<i32: 128, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %a = arith.constant dense<1.0> : vector<4x2xf16>
    %c = arith.constant dense<0.0> : vector<8x2x2xf32>
    %c4 = arith.constant 4 : i64
    // 128-byte swizzle, 1024 bytes from one eight rows to the next.
    %bits = arith.constant 0x4000004000000000 : i64
    %p = memref.extract_aligned_pointer_as_index %s : memref<64x64xf16, #gpu.address_space<workgroup>> -> index
    %address = arith.index_cast %p : index to i64
    %field = arith.shrui %address, %c4 : i64
    %b = arith.ori %bits, %field : i64
    nvvm.wgmma.fence.aligned
    // expected-error @+1 {{expects a matrix that begins at a multiple of 1024 bytes for its swizzle}}
    %d = ptx.wgmma %a, %b, %c : vector<4x2xf16>, vector<8x2x2xf32>
    gpu.return
  }
}

// -----

// A result is read while the product may still run.
gpu.module @unfinished_product {
  gpu.func @k() workgroup(%s : memref<8x64xf16, #gpu.address_space<workgroup>> {llvm.align = 1024 : i64}) kernel
      attributes {known_block_size = array<i32: 128, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %a = arith.constant dense<1.0> : vector<4x2xf16>
    %row = arith.constant dense<1.0> : vector<4xf16>
    %c = arith.constant dense<0.0> : vector<1x2x2xf32>
    %c4 = arith.constant 4 : i64
    %bits = arith.constant 0x4000004000000000 : i64
    %c16 = arith.constant 16 : index
    %four = arith.constant 4 : index
    %t = gpu.thread_id x
    %r = arith.divui %t, %c16 : index
    %k = arith.remui %t, %c16 : index
    %k4 = arith.muli %k, %four : index
    vector.store %row, %s[%r, %k4] : memref<8x64xf16, #gpu.address_space<workgroup>>, vector<4xf16>
    gpu.barrier
    %p = memref.extract_aligned_pointer_as_index %s : memref<8x64xf16, #gpu.address_space<workgroup>> -> index
    %address = arith.index_cast %p : index to i64
    %field = arith.shrui %address, %c4 : i64
    %b = arith.ori %bits, %field : i64
    nvvm.wgmma.fence.aligned
    %d = ptx.wgmma %a, %b, %c : vector<4x2xf16>, vector<1x2x2xf32>
    nvvm.wgmma.commit.group.sync.aligned
    nvvm.wgmma.wait.group.sync.aligned 1
    // expected-error @+1 {{reads the result of a wgmma that is still running}}
    %e = arith.addf %d, %d : vector<1x2x2xf32>
    gpu.return
  }
}

// -----

// More bytes are expected than are copied.
// expected-note @+2 {{an mbarrier in phase 0 misses 0 of 1 arrivals and 16 bytes}}
gpu.module @expected_bytes {
  gpu.func @k(%x: memref<8xf32>) workgroup(%s : memref<8xf32, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c8 = arith.constant 8 : index
    %bytes = arith.constant 48 : index
    %size = arith.constant 32 : i32
    %ticks = arith.constant 1000 : index
    %phase = arith.constant false
    %v = arith.constant 1.0 : f32
    %t = gpu.thread_id x
    %first = arith.cmpi eq, %t, %c0 : index
    scf.if %first {
      scf.for %i = %c0 to %c8 step %c1 {
        memref.store %v, %x[%i] : memref<8xf32>
      }
    }
    %b = nvgpu.mbarrier.create -> !nvgpu.mbarrier.group<memorySpace = #gpu.address_space<workgroup>>
    nvgpu.mbarrier.init %b[%c0], %c1, predicate = %first : !nvgpu.mbarrier.group<memorySpace = #gpu.address_space<workgroup>>
    gpu.barrier
    scf.if %first {
      nvgpu.mbarrier.arrive.expect_tx %b[%c0], %bytes : !nvgpu.mbarrier.group<memorySpace = #gpu.address_space<workgroup>>
      %mbar = nvgpu.mbarrier.get %b[%c0] : !nvgpu.mbarrier.group<memorySpace = #gpu.address_space<workgroup>> -> i64
      %mp = llvm.inttoptr %mbar : i64 to !llvm.ptr<3>
      %xi = memref.extract_aligned_pointer_as_index %x : memref<8xf32> -> index
      %xa = arith.index_cast %xi : index to i64
      %xp = llvm.inttoptr %xa : i64 to !llvm.ptr<1>
      %si = memref.extract_aligned_pointer_as_index %s : memref<8xf32, #gpu.address_space<workgroup>> -> index
      %sa = arith.index_cast %si : index to i64
      %sp = llvm.inttoptr %sa : i64 to !llvm.ptr<7>
      nvvm.cp.async.bulk.shared.cluster.global %sp, %xp, %mp, %size : !llvm.ptr<7>, !llvm.ptr<1>
    }
    // expected-error @+1 {{block 0: deadlock: threads 0 to 31 wait here for ever}}
    nvgpu.mbarrier.try_wait.parity %b[%c0], %phase, %ticks : !nvgpu.mbarrier.group<memorySpace = #gpu.address_space<workgroup>>
    gpu.return
  }
}

// -----

gpu.module @unknown {
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 1, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    // expected-error @+1 {{the emulator does not know nvvm.cluster.arrive; docs/EmulatingGpuKernels.md lists what it runs}}
    nvvm.cluster.arrive
    gpu.return
  }
}
