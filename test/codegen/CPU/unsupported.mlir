// Ops without code are named, all of them, before anything is compiled.

// RUN: not nibble-kernel-test %s llvm 2>&1 | FileCheck %s

// A size without a name.
// CHECK: error: no CPU code for a result whose shape depends on data
qkernel.kernel @nonzero scalars [] args [["4"]] {
^bb0(%a: tensor<4xf32>):
  %0 = onnx.node "NonZero"(%a) {version = 13 : i64} : (tensor<4xf32>) -> tensor<1x?xi64>
  qkernel.yield %0 : tensor<1x?xi64>
}

// CHECK: error: no CPU code for ONNX operator 'Frobnicate' yet
qkernel.kernel @unknown scalars [] args [["4"]] {
^bb0(%a: tensor<4xf32>):
  %0 = onnx.node "Frobnicate"(%a) {version = 13 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  qkernel.yield %0 : tensor<4xf32>
}

// CHECK: error: no CPU code for these element types
qkernel.kernel @odd_width scalars [] args [["4"]] {
^bb0(%a: tensor<4xi24>):
  %0 = onnx.node "Neg"(%a) {version = 13 : i64} : (tensor<4xi24>) -> tensor<4xi24>
  qkernel.yield %0 : tensor<4xi24>
}

// CHECK: error: expects 2 operands, or more, that are not absent
qkernel.kernel @operands scalars [] args [["4"]] {
^bb0(%a: tensor<4xf32>):
  %n = onnx.none
  %0 = onnx.node "Add"(%a, %n) {version = 13 : i64} : (tensor<4xf32>, none) -> tensor<4xf32>
  qkernel.yield %0 : tensor<4xf32>
}
