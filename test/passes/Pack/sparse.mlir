// 2:4 sparse weights keep their positions where a kernel runs them. Else they are
// packed in full, or as floats, and a remark says why.

// RUN: quant-opt %s --qkernel-pack --remarks-filter='.*' 2>%t.remarks | FileCheck %s
// RUN: FileCheck %s --input-file=%t.remarks --check-prefix=REMARKS

// The table of layers counts what is stored. Half of 4 or 32 bits, 1 for the
// positions, 36 bits of scale and zero point for each 32 or 4 inputs; in full 4
// or 32 bits and no positions.
// CHECK: qkernel.layers = [
// CHECK-SAME: bits = 4.125000e+00 : f64, id = "codes", kind = "linear", parameters = 32 : i64, scheme = "4-bit asymmetric, groups of 16, from the model, 2:4 sparse"
// CHECK-SAME: bits = 5.125000e+00 : f64, id = "integer", kind = "linear", parameters = 32 : i64, scheme = "4-bit asymmetric, groups of 16, from the model, 2:4 sparse; dynamic inputs 8-bit symmetric, per token; packed in full"
// CHECK-SAME: bits = 1.700000e+01 : f64, id = "floats", kind = "linear", parameters = 24 : i64, scheme = "float32, 2:4 sparse"
// CHECK-SAME: bits = 1.300000e+01 : f64, id = "short", kind = "linear", parameters = 24 : i64, scheme = "4-bit asymmetric, groups of 2, from the model, 2:4 sparse; packed in full"
// CHECK-SAME: bits = 1.700000e+01 : f64, id = "split", kind = "linear", parameters = 24 : i64, scheme = "4-bit symmetric, groups of 1, from the model, 2:4 sparse; packed as floats"
// CHECK-SAME: bits = 1.300000e+01 : f64, id = "tokens",
// CHECK-SAME: bits = 3.200000e+01 : f64, id = "table",

// Positions 0, 2, 1, 3 are 0xd8; codes of 1 follow the words of 7 padded rows.
// CHECK-DAG: qmodel.weight @codes.packed : tensor<96xui8> = dense<[216, 216, 216, 216, 0, 0, 0, 0, {{(0, )+}}17, 17, 17, 17, 0,
// Removed inputs have the zero points, 7 and 9, of their groups: 0x71 and 0x19.
// CHECK-DAG: qmodel.weight @tokens.packed : {{.+}} = dense<{{\[\[}}113, 113, 25, 25],
// CHECK-DAG: qmodel.weight @table.table : tensor<3x8xf32> = dense<{{\[\[}}1.000000e+00, 0.000000e+00, 1.000000e+00, 0.000000e+00, 0.000000e+00, 1.000000e+00, 0.000000e+00, 1.000000e+00],

qmodel.weight @wc : tensor<1x16xui4> = dense<1> : tensor<1x16xui4>
qmodel.weight @ws : tensor<1x1xf32> = dense<1.0> : tensor<1x1xf32>
qmodel.weight @wz : tensor<1x1xui4> = dense<7> : tensor<1x1xui4>
qmodel.weight @wp : tensor<1x16xui2> = dense<[[0, 2, 1, 3, 0, 2, 1, 3, 0, 2, 1, 3, 0, 2, 1, 3]]> : tensor<1x16xui2>
qmodel.weight @c : tensor<3x4xui4> = dense<1> : tensor<3x4xui4>
qmodel.weight @s : tensor<3x2xf32> = dense<1.0> : tensor<3x2xf32>
qmodel.weight @z : tensor<3x2xui4> = dense<[[7, 9], [7, 9], [7, 9]]> : tensor<3x2xui4>
qmodel.weight @s1 : tensor<3x4xf32> = dense<1.0> : tensor<3x4xf32>
qmodel.weight @v : tensor<3x4xf32> = dense<1.0> : tensor<3x4xf32>
qmodel.weight @p : tensor<3x4xui2> = dense<[[0, 2, 1, 3], [0, 2, 1, 3], [0, 2, 1, 3]]> : tensor<3x4xui2>

// CHECK-LABEL: func.func @wide
// CHECK-NOT: qmodel.decompress_24
func.func @wide(%x: tensor<?x32xf32>, %q: tensor<?x32xi8>, %qs: tensor<?x1xf32>) -> (tensor<?x1xf32>, tensor<?x1xf32>) {
  %c = qmodel.load @wc : tensor<1x16xui4>
  %s = qmodel.load @ws : tensor<1x1xf32>
  %z = qmodel.load @wz : tensor<1x1xui4>
  %p = qmodel.load @wp : tensor<1x16xui2>
  %d = qmodel.dequantize %c, %s zeros %z group 16 : (tensor<1x16xui4>, tensor<1x1xf32>, tensor<1x1xui4>) -> tensor<1x16xf32>
  %w = qmodel.decompress_24 %d, %p : (tensor<1x16xf32>, tensor<1x16xui2>) -> tensor<1x32xf32>
  // CHECK: %[[W:.+]] = qmodel.load @codes.packed : tensor<96xui8>
  // CHECK: qkernel.packed_linear %{{.+}}, %[[W]] scales %{{.+}} zeros %{{.+}} layout <element = ui4, out = 1, in = 32, group = 32, sparse24 = true>
  %0 = qmodel.linear "codes" %x, %w : (tensor<?x32xf32>, tensor<1x32xf32>) -> tensor<?x1xf32>
  // The same weight, but x is in codes too.
  // REMARKS: 2:4 sparse weight is packed in full: no kernel multiplies its codes with codes of x
  // CHECK: %[[W:.+]] = qmodel.load @integer.packed : tensor<128xui8>
  // CHECK: qkernel.packed_integer_linear {{.*}}, %[[W]] {{.*}} layout <element = ui4, out = 1, in = 32, group = 32>
  %dx = qmodel.dequantize %q, %qs group 0 : (tensor<?x32xi8>, tensor<?x1xf32>) -> tensor<?x32xf32>
  %1 = qmodel.linear "integer" %dx, %w : (tensor<?x32xf32>, tensor<1x32xf32>) -> tensor<?x1xf32>
  return %0, %1 : tensor<?x1xf32>, tensor<?x1xf32>
}

// CHECK-LABEL: func.func @main
// CHECK-NOT: qmodel.decompress_24
func.func @main(%x: tensor<?x8xf32>, %i: tensor<?xi64>) -> (tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  %c = qmodel.load @c : tensor<3x4xui4>
  %s = qmodel.load @s : tensor<3x2xf32>
  %z = qmodel.load @z : tensor<3x2xui4>
  %p = qmodel.load @p : tensor<3x4xui2>
  %v = qmodel.load @v : tensor<3x4xf32>
  %w1 = qmodel.decompress_24 %v, %p : (tensor<3x4xf32>, tensor<3x4xui2>) -> tensor<3x8xf32>
  // CHECK: qkernel.packed_linear {{.*}} layout <element = f32, out = 3, in = 8, group = 8, sparse24 = true>
  %1 = qmodel.linear "floats" %x, %w1 : (tensor<?x8xf32>, tensor<3x8xf32>) -> tensor<?x3xf32>
  // REMARKS: 2:4 sparse weight is packed in full: in groups of 4 inputs it takes 64 bytes, with positions 192
  %d0 = qmodel.dequantize %c, %s zeros %z group 2 : (tensor<3x4xui4>, tensor<3x2xf32>, tensor<3x2xui4>) -> tensor<3x4xf32>
  %w0 = qmodel.decompress_24 %d0, %p : (tensor<3x4xf32>, tensor<3x4xui2>) -> tensor<3x8xf32>
  // CHECK: qkernel.packed_linear {{.*}} layout <element = ui4, out = 3, in = 8, group = 4>
  %0 = qmodel.linear "short" %x, %w0 : (tensor<?x8xf32>, tensor<3x8xf32>) -> tensor<?x3xf32>
  // REMARKS: 2:4 sparse weight is packed as floats: its groups of an odd number of kept values give some four inputs two scales
  %s1 = qmodel.load @s1 : tensor<3x4xf32>
  %d2 = qmodel.dequantize %c, %s1 group 1 : (tensor<3x4xui4>, tensor<3x4xf32>) -> tensor<3x4xf32>
  %w2 = qmodel.decompress_24 %d2, %p : (tensor<3x4xf32>, tensor<3x4xui2>) -> tensor<3x8xf32>
  // CHECK: qkernel.packed_linear {{.*}} layout <element = f32, out = 3, in = 8, group = 8, sparse24 = true>
  %2 = qmodel.linear "split" %x, %w2 : (tensor<?x8xf32>, tensor<3x8xf32>) -> tensor<?x3xf32>
  // REMARKS: 2:4 sparse weight is packed in full: rows of a table are read one by one
  // CHECK: qkernel.packed_embedding
  %3 = qmodel.embedding "tokens" %w0, %i : (tensor<3x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  // REMARKS: 2:4 sparse weight is packed in full: rows of a table are read one by one
  // CHECK: %[[T:.+]] = qmodel.load @table.table
  // CHECK: qmodel.embedding "table" %[[T]]
  %4 = qmodel.embedding "table" %w1, %i : (tensor<3x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  return %0, %1, %2, %3, %4 : tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}
