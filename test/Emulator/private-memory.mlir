// Memory that each thread has for itself, vectors and constants of llvm.

// RUN: quant-opt %s --nibble-emulate-gpu --split-input-file --verify-diagnostics

// Threads write the same index of their own memory, as vectors and as elements.
gpu.module @own {
  llvm.mlir.global internal constant @table(dense<[3.0, 5.0]> : tensor<2xf32>) {addr_space = 0 : i32} : !llvm.array<2 x f32>
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 64, 1, 1>, known_grid_size = array<i32: 2, 1, 1>} {
    %c2 = arith.constant 2 : i64
    %zero = arith.constant 0 : i32
    %one = arith.constant 1 : i32
    %t = gpu.thread_id x
    %index = arith.index_cast %t : index to i32
    %memory = llvm.alloca %c2 x i32 {alignment = 8 : i64} : (i64) -> !llvm.ptr
    %poison = llvm.mlir.poison : vector<2xi32>
    %low = llvm.insertelement %index, %poison[%zero : i32] : vector<2xi32>
    %both = llvm.shufflevector %low, %low [0, 2] : vector<2xi32>
    llvm.store %both, %memory {alignment = 8 : i64} : vector<2xi32>, !llvm.ptr
    gpu.barrier
    %second = llvm.getelementptr %memory[1] : (!llvm.ptr) -> !llvm.ptr, i32
    %got = llvm.load %second : !llvm.ptr -> i32
    %same = arith.cmpi eq, %got, %index : i32
    cf.assert %same, "each thread reads what it has written"
    %whole = llvm.load %memory {alignment = 8 : i64} : !llvm.ptr -> vector<2xi32>
    %last = llvm.extractelement %whole[%one : i32] : vector<2xi32>
    %too = arith.cmpi eq, %last, %index : i32
    cf.assert %too, "both elements"
    %constants = llvm.mlir.addressof @table : !llvm.ptr
    %at = llvm.getelementptr %constants[1] : (!llvm.ptr) -> !llvm.ptr, f32
    %five = llvm.load %at : !llvm.ptr -> f32
    %want = arith.constant 5.0 : f32
    %equal = arith.cmpf oeq, %five, %want : f32
    cf.assert %equal, "a constant of the module"
    gpu.return
  }
}

// -----

gpu.module @before_written {
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c2 = arith.constant 2 : i64
    %memory = llvm.alloca %c2 x f32 : (i64) -> !llvm.ptr
    // expected-error @+1 {{thread 0 of block 0: reads 'private memory' + 0, which nobody has written so far}}
    %v = llvm.load %memory : !llvm.ptr -> f32
    gpu.return
  }
}

// -----

gpu.module @behind_its_end {
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c2 = arith.constant 2 : i64
    %v = arith.constant 1.0 : f32
    %memory = llvm.alloca %c2 x f32 : (i64) -> !llvm.ptr
    %end = llvm.getelementptr %memory[2] : (!llvm.ptr) -> !llvm.ptr, f32
    // expected-error @+1 {{thread 0 of block 0: writes 4 bytes of 'private memory' + 8, out of bounds: it has 8 bytes}}
    llvm.store %v, %end : f32, !llvm.ptr
    gpu.return
  }
}

// -----

// What one thread knows by an address is no address for another.
gpu.module @of_another_thread {
  gpu.func @k() workgroup(%shared: memref<1xi64, #gpu.address_space<workgroup>>) kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : i64
    %v = arith.constant 1.0 : f32
    %t = gpu.thread_id x
    %memory = llvm.alloca %c1 x f32 : (i64) -> !llvm.ptr
    %first = arith.cmpi eq, %t, %c0 : index
    scf.if %first {
      %address = llvm.ptrtoint %memory : !llvm.ptr to i64
      memref.store %address, %shared[%c0] : memref<1xi64, #gpu.address_space<workgroup>>
    }
    gpu.barrier
    %given = memref.load %shared[%c0] : memref<1xi64, #gpu.address_space<workgroup>>
    %other = llvm.inttoptr %given : i64 to !llvm.ptr
    // expected-error @+1 {{thread 1 of block 0: writes 4 bytes of 'private memory' + 0 of thread 0}}
    llvm.store %v, %other : f32, !llvm.ptr
    gpu.return
  }
}

// -----

gpu.module @too_much {
  gpu.func @k() kernel
      attributes {known_block_size = array<i32: 32, 1, 1>, known_grid_size = array<i32: 1, 1, 1>} {
    %count = arith.constant 200000 : i64
    // expected-error @+1 {{allocates 200000 elements of 4 bytes; a thread has at most 524288 bytes of private memory}}
    %memory = llvm.alloca %count x f32 : (i64) -> !llvm.ptr
    gpu.return
  }
}
