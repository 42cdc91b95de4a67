// Kernels with one mistake each, and how it is told.

// RUN: quant-opt %s --nibble-emulate-gpu --split-input-file --verify-diagnostics

// A barrier is missing between warps.
gpu.module @missing_barrier {
  gpu.func @k() workgroup(%s : memref<64xf32, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 64, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c63 = arith.constant 63 : index
    %one = arith.constant 1.0 : f32
    %t = gpu.thread_id x
    // expected-note @+1 {{the other access is here}}
    memref.store %one, %s[%t] : memref<64xf32, #gpu.address_space<workgroup>>
    %c32 = arith.constant 32 : index
    %late = arith.cmpi uge, %t, %c32 : index
    scf.if %late {
      %u = arith.subi %c63, %t : index
      // expected-error @+1 {{thread 32 of block 0: race: reads 'workgroup memory 0' + 124, which thread 31 writes without a barrier between}}
      %v = memref.load %s[%u] : memref<64xf32, #gpu.address_space<workgroup>>
    }
    gpu.return
  }
}

// -----

// Lockstep is no promise: lanes of a warp need bar.warp.sync too.
gpu.module @missing_warp_barrier {
  gpu.func @k() workgroup(%s : memref<32xf32, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c31 = arith.constant 31 : index
    %one = arith.constant 1.0 : f32
    %t = gpu.thread_id x
    // expected-note @+1 {{the other access is here}}
    memref.store %one, %s[%t] : memref<32xf32, #gpu.address_space<workgroup>>
    %u = arith.subi %c31, %t : index
    // expected-error @+1 {{thread 0 of block 0: race: reads 'workgroup memory 0' + 124, which thread 31 writes}}
    %v = memref.load %s[%u] : memref<32xf32, #gpu.address_space<workgroup>>
    gpu.return
  }
}

// -----

// Two threads of the quad store the same column: a wrong lane mapping.
gpu.module @wrong_lane_mapping {
  gpu.func @k(%out: memref<8x8xf32>) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c4 = arith.constant 4 : index
    %v = arith.constant dense<1.0> : vector<2xf32>
    %lane = gpu.lane_id
    %g = arith.divui %lane, %c4 : index
    %t = arith.remui %lane, %c4 : index
    // The column is 2 t.
    // expected-error @+2 {{thread 1 of block 0: race: writes 'argument 0' + 4, which thread 0 writes without a barrier between}}
    // expected-note @+1 {{the other access is here}}
    vector.store %v, %out[%g, %t] : memref<8x8xf32>, vector<2xf32>
    gpu.return
  }
}

// -----

// Every block writes the same place.
gpu.module @two_blocks {
  gpu.func @k(%out: memref<32xf32>) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 2, 1, 1>} {
    %one = arith.constant 1.0 : f32
    %t = gpu.thread_id x
    // expected-error @+2 {{thread 0 of block 1: race: writes 'argument 0' + 0, which another block writes too}}
    // expected-note @+1 {{the other access is here}}
    memref.store %one, %out[%t] : memref<32xf32>
    gpu.return
  }
}

// -----

// What cp.async copies is read without cp.async.wait_group.
gpu.module @missing_wait {
  gpu.func @k(%x: memref<32x4xf32>) workgroup(%s : memref<32x4xf32, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c0 = arith.constant 0 : index
    %one = arith.constant dense<1.0> : vector<4xf32>
    %t = gpu.thread_id x
    vector.store %one, %x[%t, %c0] : memref<32x4xf32>, vector<4xf32>
    // expected-note @+1 {{the other access is here}}
    %copy = nvgpu.device_async_copy %x[%t, %c0], %s[%t, %c0], 4 : memref<32x4xf32> to memref<32x4xf32, #gpu.address_space<workgroup>>
    %group = nvgpu.device_async_create_group %copy
    gpu.barrier
    // expected-error @+1 {{thread 0 of block 0: race: reads 'workgroup memory 0' + 0 while an asynchronous operation of thread 0 writes it; nobody has waited for that}}
    %v = memref.load %s[%t, %c0] : memref<32x4xf32, #gpu.address_space<workgroup>>
    gpu.return
  }
}

// -----

// Of two stages the kernel refills the one that others still read.
gpu.module @double_buffer {
  gpu.func @k(%x: memref<64xf32>) workgroup(%s : memref<2x64xf32, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 64, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c63 = arith.constant 63 : index
    %one = arith.constant 1.0 : f32
    %t = gpu.thread_id x
    %u = arith.subi %c63, %t : index
    memref.store %one, %x[%t] : memref<64xf32>
    %copy = nvgpu.device_async_copy %x[%t], %s[%c0, %t], 1 : memref<64xf32> to memref<2x64xf32, #gpu.address_space<workgroup>>
    %group = nvgpu.device_async_create_group %copy
    nvgpu.device_async_wait %group
    gpu.barrier
    // expected-error @+1 {{thread 0 of block 0: race: reads 'workgroup memory 0' + 252 while an asynchronous operation of thread 63 writes it}}
    %v = memref.load %s[%c0, %u] : memref<2x64xf32, #gpu.address_space<workgroup>>
    // The next stage is 1.
    // expected-note @+1 {{the other access is here}}
    %next = nvgpu.device_async_copy %x[%t], %s[%c0, %t], 1 : memref<64xf32> to memref<2x64xf32, #gpu.address_space<workgroup>>
    gpu.return
  }
}

// -----

// A warp takes the fragment of its neighbour, behind a barrier of warps only.
gpu.module @other_warp {
  gpu.func @k() workgroup(%s : memref<2x32xf32, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 64, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %all = arith.constant -1 : i32
    %c1 = arith.constant 1 : index
    %one = arith.constant 1.0 : f32
    %lane = gpu.lane_id
    %t = gpu.thread_id x
    %c32 = arith.constant 32 : index
    %warp = arith.divui %t, %c32 : index
    %other = arith.xori %warp, %c1 : index
    // expected-note @+1 {{the other access is here}}
    memref.store %one, %s[%warp, %lane] : memref<2x32xf32, #gpu.address_space<workgroup>>
    nvvm.bar.warp.sync %all : i32
    %mine = memref.load %s[%warp, %lane] : memref<2x32xf32, #gpu.address_space<workgroup>>
    %late = arith.cmpi eq, %warp, %c1 : index
    scf.if %late {
      // expected-error @+1 {{thread 32 of block 0: race: reads 'workgroup memory 0' + 0, which thread 0 writes}}
      %v = memref.load %s[%other, %lane] : memref<2x32xf32, #gpu.address_space<workgroup>>
    }
    gpu.return
  }
}
