// Host code allocates, launches and asserts; nothing comes from files.

// RUN: quant-opt %s --emulate-gpu | count 0
// RUN: quant-opt %s --pass-pipeline='builtin.module(nibble-emulate-gpu{entry=main})' | FileCheck %s --check-prefix=SAME
// RUN: not quant-opt %s --pass-pipeline='builtin.module(nibble-emulate-gpu{entry=nothing})' 2>&1 | FileCheck %s --check-prefix=NOTHING
// RUN: not quant-opt %s --pass-pipeline='builtin.module(nibble-emulate-gpu{entry=kernels::double})' 2>&1 | FileCheck %s --check-prefix=SIZES
// RUN: not quant-opt %s --pass-pipeline='builtin.module(nibble-emulate-gpu{entry=wrong})' 2>&1 | FileCheck %s --check-prefix=ASSERT
// RUN: not quant-opt %s --emulate-gpu=nowhere.npz 2>&1 | FileCheck %s --check-prefix=FILE
// RUN: not quant-opt %s --emulate-gpu --interpret=nowhere.npz -o %t 2>&1 | FileCheck %s --check-prefix=BOTH

// SAME: gpu.launch_func
// NOTHING: expects a function or kernel as entry, got 'nothing'; kernels are named module::kernel
// SIZES: expects the attribute 'known_block_size', or a host function that launches the kernel
// ASSERT: error: assertion failed: expects three times as much
// FILE: nowhere.npz
// BOTH: error: --emulate-gpu and --interpret both run the module; leave out one of them

module attributes {gpu.container_module} {
  gpu.module @kernels {
    // A block for each row, and more threads than columns.
    gpu.func @double(%x: memref<4x24xf32>, %y: memref<4x24xf32>) kernel {
      %two = arith.constant 2.0 : f32
      %c24 = arith.constant 24 : index
      %row = gpu.block_id x
      %column = gpu.thread_id x
      %inside = arith.cmpi ult, %column, %c24 : index
      scf.if %inside {
        %v = affine.load %x[symbol(%row), symbol(%column)] : memref<4x24xf32>
        %w = arith.mulf %v, %two : f32
        memref.store %w, %y[%row, %column] : memref<4x24xf32>
      }
      gpu.return
    }
  }

  func.func @main() {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c4 = arith.constant 4 : index
    %c24 = arith.constant 24 : index
    %c32 = arith.constant 32 : index
    %x = memref.alloc() : memref<4x24xf32>
    %y = memref.alloc() : memref<4x24xf32>
    scf.for %i = %c0 to %c4 step %c1 {
      scf.for %j = %c0 to %c24 step %c1 {
        %n = arith.index_cast %j : index to i32
        %v = arith.sitofp %n : i32 to f32
        memref.store %v, %x[%i, %j] : memref<4x24xf32>
      }
    }
    gpu.launch_func @kernels::@double blocks in (%c4, %c1, %c1) threads in (%c32, %c1, %c1)
        args(%x : memref<4x24xf32>, %y : memref<4x24xf32>)
    scf.for %i = %c0 to %c4 step %c1 {
      scf.for %j = %c0 to %c24 step %c1 {
        %n = arith.index_cast %j : index to i32
        %m = arith.addi %n, %n : i32
        %want = arith.sitofp %m : i32 to f32
        %got = memref.load %y[%i, %j] : memref<4x24xf32>
        %same = arith.cmpf oeq, %got, %want : f32
        cf.assert %same, "expects twice as much"
      }
    }
    return
  }

  func.func @wrong() {
    %two = arith.constant 2.0 : f32
    %three = arith.constant 3.0 : f32
    %same = arith.cmpf oeq, %two, %three : f32
    cf.assert %same, "expects three times as much"
    return
  }
}
