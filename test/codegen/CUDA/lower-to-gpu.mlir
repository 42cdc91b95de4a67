// RUN: quant-opt %s --qkernel-to-gpu | FileCheck %s
// RUN: quant-opt %s --qkernel-to-gpu --remarks-filter='.*' 2>&1 | FileCheck %s --check-prefix=REMARK

// A thread per element, in blocks of 256; a kernel of two results has a function
// for each.

// CHECK-LABEL: qkernel.kernel @add
// CHECK-SAME: qkernel.launches = [{calls = [{function = @kernels::@add, grid = ["floordiv(64*d0 + 255, 256)", "1", "1"]}]}]
qkernel.kernel @add scalars ["d0"] args [["d0", "64"], ["64"]] {
^bb0(%a: tensor<?x64xf32>, %b: tensor<64xf32>):
  %0 = onnx.node "Add"(%a, %b) {version = 14 : i64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  qkernel.yield %0 : tensor<?x64xf32>
}

// CHECK-LABEL: qkernel.kernel @split
// CHECK-SAME: calls = [{function = @kernels::@split, grid = ["1", "1", "1"]}, {function = @kernels::@split_2, grid = ["1", "1", "1"]}]
qkernel.kernel @split scalars [] args [["2", "6"]] {
^bb0(%a: tensor<2x6xf32>):
  %0:2 = onnx.node "Split"(%a) attributes {axis = 1 : i64, num_outputs = 2 : i64} {version = 18 : i64} : (tensor<2x6xf32>) -> (tensor<2x3xf32>, tensor<2x3xf32>)
  qkernel.yield %0#0, %0#1 : tensor<2x3xf32>, tensor<2x3xf32>
}

// A thread per task, and a remark: 8 rows of 5.

// CHECK-LABEL: qkernel.kernel @topk
// CHECK-SAME: grid = ["1", "1", "1"]
// REMARK: remark: {{.*}}one thread does a whole task, which is slow
qkernel.kernel @topk scalars [] args [["8", "5"]] {
^bb0(%a: tensor<8x5xf32>):
  %k = onnx.constant dense<2> : tensor<1xi64>
  %0:2 = onnx.node "TopK"(%a, %k) {version = 11 : i64} : (tensor<8x5xf32>, tensor<1xi64>) -> (tensor<8x2xf32>, tensor<8x2xi64>)
  qkernel.yield %0#0, %0#1 : tensor<8x2xf32>, tensor<8x2xi64>
}

// Elements of less than a byte: a thread for 64 bytes of them.

// CHECK-LABEL: qkernel.kernel @nibbles
// CHECK-SAME: grid = ["floordiv(floordiv(d0 + 127, 128) + 255, 256)", "1", "1"]
qkernel.kernel @nibbles scalars ["d0"] args [["d0"]] {
^bb0(%a: tensor<?xf32>):
  %0 = onnx.node "Cast"(%a) attributes {to = 22 : i64} {version = 21 : i64} : (tensor<?xf32>) -> tensor<?xi4>
  qkernel.yield %0 : tensor<?xi4>
}

// Constants lie in the module of kernels.

// CHECK-LABEL: qkernel.kernel @table
qkernel.kernel @table scalars [] args [["4"]] {
^bb0(%i: tensor<4xi64>):
  %t = onnx.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %0 = onnx.node "Gather"(%t, %i) {version = 13 : i64} : (tensor<3xf32>, tensor<4xi64>) -> tensor<4xf32>
  qkernel.yield %0 : tensor<4xf32>
}

// CHECK: gpu.module @kernels
// CHECK: llvm.mlir.global internal constant @table_constant0
// CHECK: gpu.func @add(%{{[^,]*}}: !llvm.ptr {llvm.noalias}, %{{[^,]*}}: !llvm.ptr {llvm.noalias}, %{{[^,]*}}: !llvm.ptr {llvm.noalias}, %{{[^,]*}}: i64) kernel attributes {known_block_size = array<i32: 256, 1, 1>}
// CHECK: gpu.func @split(
// CHECK: gpu.func @split_2(
// CHECK: gpu.func @topk(
// CHECK: gpu.func @nibbles(
// CHECK: gpu.func @table(
// CHECK: llvm.mlir.addressof @table_constant0
