// 2:4 sparse weights are packed in full: as codes if every four inputs share a
// scale, else as floats.

// RUN: quant-opt %s --qkernel-pack | FileCheck %s

// What is kept counts in the table of layers: half of 4 or 32 bits, 1 for the
// positions, and 9 for the scales and zero points of the codes.
// CHECK: qkernel.layers = [
// CHECK-SAME: bits = 1.200000e+01 : f64, id = "codes", kind = "linear", parameters = 24 : i64, scheme = "4-bit asymmetric, groups of 2, from the model, 2:4 sparse"
// CHECK-SAME: bits = 1.700000e+01 : f64, id = "floats", kind = "linear", parameters = 24 : i64, scheme = "float32, 2:4 sparse"

// Removed inputs have the zero points, 7 and 9, of their groups: 0x71 and 0x19.
// CHECK-DAG: qmodel.weight @tokens.packed : {{.+}} = dense<{{\[\[}}113, 113, 25, 25],
// CHECK-DAG: qmodel.weight @table.table : tensor<3x8xf32> = dense<{{\[\[}}1.000000e+00, 0.000000e+00, 1.000000e+00, 0.000000e+00, 0.000000e+00, 1.000000e+00, 0.000000e+00, 1.000000e+00],

qmodel.weight @c : tensor<3x4xui4> = dense<1> : tensor<3x4xui4>
qmodel.weight @s : tensor<3x2xf32> = dense<1.0> : tensor<3x2xf32>
qmodel.weight @z : tensor<3x2xui4> = dense<[[7, 9], [7, 9], [7, 9]]> : tensor<3x2xui4>
qmodel.weight @s1 : tensor<3x4xf32> = dense<1.0> : tensor<3x4xf32>
qmodel.weight @v : tensor<3x4xf32> = dense<1.0> : tensor<3x4xf32>
qmodel.weight @p : tensor<3x4xui2> = dense<[[0, 2, 1, 3], [0, 2, 1, 3], [0, 2, 1, 3]]> : tensor<3x4xui2>

// CHECK-LABEL: func.func @main
// CHECK-NOT: qmodel.decompress_24
func.func @main(%x: tensor<?x8xf32>, %i: tensor<?xi64>) -> (tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  %c = qmodel.load @c : tensor<3x4xui4>
  %s = qmodel.load @s : tensor<3x2xf32>
  %z = qmodel.load @z : tensor<3x2xui4>
  %p = qmodel.load @p : tensor<3x4xui2>
  %v = qmodel.load @v : tensor<3x4xf32>
  %d0 = qmodel.dequantize %c, %s zeros %z group 2 : (tensor<3x4xui4>, tensor<3x2xf32>, tensor<3x2xui4>) -> tensor<3x4xf32>
  %w0 = qmodel.decompress_24 %d0, %p : (tensor<3x4xf32>, tensor<3x4xui2>) -> tensor<3x8xf32>
  // CHECK: qkernel.packed_linear {{.*}} layout <element = ui4, out = 3, in = 8, group = 4>
  %0 = qmodel.linear "codes" %x, %w0 : (tensor<?x8xf32>, tensor<3x8xf32>) -> tensor<?x3xf32>
  %w1 = qmodel.decompress_24 %v, %p : (tensor<3x4xf32>, tensor<3x4xui2>) -> tensor<3x8xf32>
  // CHECK: qkernel.packed_linear {{.*}} layout <element = f32, out = 3, in = 8, group = 8>
  %1 = qmodel.linear "floats" %x, %w1 : (tensor<?x8xf32>, tensor<3x8xf32>) -> tensor<?x3xf32>
  %s1 = qmodel.load @s1 : tensor<3x4xf32>
  %d2 = qmodel.dequantize %c, %s1 group 1 : (tensor<3x4xui4>, tensor<3x4xf32>) -> tensor<3x4xf32>
  %w2 = qmodel.decompress_24 %d2, %p : (tensor<3x4xf32>, tensor<3x4xui2>) -> tensor<3x8xf32>
  // CHECK: qkernel.packed_linear {{.*}} layout <element = f32, out = 3, in = 8, group = 8>
  %2 = qmodel.linear "split" %x, %w2 : (tensor<?x8xf32>, tensor<3x8xf32>) -> tensor<?x3xf32>
  // CHECK: qkernel.packed_embedding
  %3 = qmodel.embedding "tokens" %w0, %i : (tensor<3x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  // CHECK: %[[T:.+]] = qmodel.load @table.table
  // CHECK: qmodel.embedding "table" %[[T]]
  %4 = qmodel.embedding "table" %w1, %i : (tensor<3x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  return %0, %1, %2, %3, %4 : tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}
