// Programs with kernels that do not keep to Target/CudaKernelAbi.h, and launch
// tables that cannot be read.

// RUN: quant-opt %s --nibble-emulate-gpu --split-input-file --verify-diagnostics

// One call of two that write a half each, on blocks by expressions; the other has
// no blocks and is not launched.
module {
  // expected-note @below {{by the functions of this kernel}}
  qkernel.kernel @half scalars ["d0"] args [] attributes {qkernel.launches = [
      {over = "d0", up_to = 63, calls = []},
      {calls = [{function = @kernels::@first, grid = ["floordiv(d0, 32) - 1", "1", "1"]},
                {function = @kernels::@first, grid = ["d0", "0", "1"]}]}]} {
    %0 = qmodel.dim_tensor ["d0"] : tensor<1xi64>
    %1 = onnx.node "ConstantOfShape"(%0) {version = 9 : i64} : (tensor<1xi64>) -> tensor<?xf32>
    qkernel.yield %1 : tensor<?xf32>
  }
  gpu.module @kernels {
    gpu.func @first(%y: !llvm.ptr, %d0: i64) kernel
        attributes {known_block_size = array<i32: 32, 1, 1>} {
      %zero = arith.constant 0.0 : f32
      %t = gpu.thread_id x
      %i = arith.index_cast %t : index to i64
      %at = llvm.getelementptr %y[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
      llvm.store %zero, %at : f32, !llvm.ptr
      gpu.return
    }
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    // expected-error @below {{byte 128 of result #0, which has 256 bytes, is not written}}
    qkernel.step @half [#qkernel.buffer<arena, bytes = "256">] scalars ["64"] after -1
  }
}

// -----

// A buffer ends where it ends, not where the arena does.
module {
  qkernel.kernel @beyond scalars [] args [] attributes {qkernel.launches = [
      {calls = [{function = @kernels::@f, grid = ["1", "1", "1"]}]}]} {
    %0 = onnx.constant dense<0.0> : tensor<32xf32>
    qkernel.yield %0 : tensor<32xf32>
  }
  gpu.module @kernels {
    gpu.func @f(%y: !llvm.ptr) kernel
        attributes {known_block_size = array<i32: 64, 1, 1>} {
      %zero = arith.constant 0.0 : f32
      %t = gpu.thread_id x
      %i = arith.index_cast %t : index to i64
      %at = llvm.getelementptr %y[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
      // expected-error @below {{thread 32 of block 0: writes 4 bytes of 'result 0 of beyond' + 128, out of bounds: it has 128 bytes}}
      llvm.store %zero, %at : f32, !llvm.ptr
      gpu.return
    }
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    qkernel.step @beyond [#qkernel.buffer<arena, bytes = "128">] scalars [] after -1
  }
}

// -----

module {
  // expected-error @below {{'qkernel.kernel' op expects a gpu.func @kernels::@f with a known_block_size}}
  qkernel.kernel @absent scalars [] args [] attributes {qkernel.launches = [
      {calls = [{function = @kernels::@f, grid = ["1", "1", "1"]}]}]} {
    %0 = onnx.constant dense<0.0> : tensor<32xf32>
    qkernel.yield %0 : tensor<32xf32>
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    qkernel.step @absent [#qkernel.buffer<arena, bytes = "128">] scalars [] after -1
  }
}

// -----

module {
  qkernel.kernel @one_less scalars [] args [] attributes {qkernel.launches = [
      {calls = [{function = @kernels::@f, grid = ["1", "1", "1"]}]}]} {
    %0 = onnx.constant dense<0.0> : tensor<32xf32>
    qkernel.yield %0 : tensor<32xf32>
  }
  gpu.module @kernels {
    // expected-error @below {{expects 1 parameters, and perhaps one for a workspace, got 0}}
    gpu.func @f() kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
      gpu.return
    }
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    qkernel.step @one_less [#qkernel.buffer<arena, bytes = "128">] scalars [] after -1
  }
}

// -----

module {
  // expected-error @below {{has no 'qkernel.launches': expects a module behind qkernel-to-gpu}}
  qkernel.kernel @k scalars [] args [] {
    %0 = onnx.constant dense<0.0> : tensor<32xf32>
    qkernel.yield %0 : tensor<32xf32>
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    qkernel.step @k [#qkernel.buffer<arena, bytes = "128">] scalars [] after -1
  }
}

// -----

module {
  // expected-error @below {{'qkernel.launches': expects 'up_to' in every row but the last}}
  qkernel.kernel @k scalars ["d0"] args [["d0"]] attributes {qkernel.launches = [
      {over = "d0", up_to = 8, calls = []}]} {
  ^bb0(%a: tensor<?xf32>):
    qkernel.yield %a : tensor<?xf32>
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    qkernel.step @k [#qkernel.buffer<arena, bytes = "128">, #qkernel.buffer<arena, offset = 128, bytes = "128">] scalars ["32"] after -1
  }
}

// -----

module {
  // expected-error @below {{'qkernel.launches': expects limits that grow, got 8 and then 8}}
  qkernel.kernel @k scalars ["d0"] args [["d0"]] attributes {qkernel.launches = [
      {over = "d0", up_to = 8, calls = []}, {over = "d0", up_to = 8, calls = []}, {calls = []}]} {
  ^bb0(%a: tensor<?xf32>):
    qkernel.yield %a : tensor<?xf32>
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    qkernel.step @k [#qkernel.buffer<arena, bytes = "128">, #qkernel.buffer<arena, offset = 128, bytes = "128">] scalars ["32"] after -1
  }
}

// -----

module {
  // expected-error @below {{'qkernel.launches': 'batch' uses 'batch', which is no scalar of the kernel}}
  qkernel.kernel @k scalars ["d0"] args [["d0"]] attributes {qkernel.launches = [
      {calls = [{function = @kernels::@f, grid = ["batch", "1", "1"]}]}]} {
  ^bb0(%a: tensor<?xf32>):
    qkernel.yield %a : tensor<?xf32>
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    qkernel.step @k [#qkernel.buffer<arena, bytes = "128">, #qkernel.buffer<arena, offset = 128, bytes = "128">] scalars ["32"] after -1
  }
}

// -----

module {
  // expected-error @below {{'qkernel.launches': expects calls to be {function = @kernels::@name, grid = [x, y, z]}}}
  qkernel.kernel @k scalars ["d0"] args [["d0"]] attributes {qkernel.launches = [
      {calls = [{function = @f, grid = ["1", "1", "1"]}]}]} {
  ^bb0(%a: tensor<?xf32>):
    qkernel.yield %a : tensor<?xf32>
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    qkernel.step @k [#qkernel.buffer<arena, bytes = "128">, #qkernel.buffer<arena, offset = 128, bytes = "128">] scalars ["32"] after -1
  }
}

// -----

module {
  // expected-error @below {{expects a workspace of 0 to 17179869184 bytes, got -32}}
  qkernel.kernel @k scalars ["d0"] args [["d0"]] attributes {qkernel.launches = [
      {calls = [], workspace = "0 - d0"}]} {
  ^bb0(%a: tensor<?xf32>):
    qkernel.yield %a : tensor<?xf32>
  }
  qkernel.program @main inputs [] outputs [] arena 256 checks [] {
    qkernel.step @k [#qkernel.buffer<arena, bytes = "128">, #qkernel.buffer<arena, offset = 128, bytes = "128">] scalars ["32"] after -1
  }
}
