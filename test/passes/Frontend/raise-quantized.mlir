// RUN: quant-opt %s --onnx-raise-quantized | FileCheck %s
// RUN: quant-opt %s --onnx-raise-quantized --onnx-raise-quantized | FileCheck %s
// RUN: quant-opt %s --onnx-raise-quantized --remarks-filter='.*' --remark-format=emitRemark -o %t 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: quant-opt %s --onnx-raise-quantized --onnx-fold-weights --onnx-raise-linear --onnx-raise-elementwise | FileCheck %s --check-prefix=LINEAR

// The bytes of a stored weight are named again, with another type.
// CHECK-DAG: qmodel.weight @stored.codes : tensor<2x32xui4> = #qmodel.stored<"m.onnx", 64, 32, "">
qmodel.weight @stored : tensor<2x1x16xui8> = #qmodel.stored<"m.onnx", 64, 32, "">
// Rows of 24 codes in blocks of 16 are stored as 32: 12 bytes of 16 are left.
// CHECK-DAG: qmodel.weight @padded.codes : tensor<1x24xui4> = dense<{{\[\[}}1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 3, 0, 3, 0, 3, 0, 3, 0]]>
qmodel.weight @padded : tensor<1x2x8xui8> = dense<[[[33, 33, 33, 33, 33, 33, 33, 33], [3, 3, 3, 3, 0, 0, 0, 0]]]> : tensor<1x2x8xui8>
// CHECK-DAG: qmodel.weight @zeros.codes : tensor<1x2xui4> = dense<{{\[\[}}5, 9]]>
qmodel.weight @zeros : tensor<1x1xui8> = dense<149> : tensor<1x1xui8>
qmodel.weight @s2 : tensor<2x1xf32> = dense<[[0.5], [-0.5]]> : tensor<2x1xf32>
qmodel.weight @s12 : tensor<2xf16> = dense<[0.5, 2.0]> : tensor<2xf16>
qmodel.weight @fzeros : tensor<2x1xf32> = dense<8.5> : tensor<2x1xf32>
qmodel.weight @order : tensor<32xi32> = dense<1> : tensor<32xi32>

// CHECK-LABEL: func.func @blocks_of_a_row
func.func @blocks_of_a_row(%x: tensor<?x32xf32>) -> tensor<?x2xf32> {
  // CHECK-DAG: %[[C:.*]] = qmodel.load @stored.codes
  // CHECK-DAG: %[[S:.*]] = qmodel.load @s2
  // CHECK-DAG: %[[Z:.*]] = onnx.constant dense<8> : tensor<1x1xui4>
  // CHECK: %[[W:.*]] = qmodel.dequantize %[[C]], %[[S]] zeros %[[Z]] group 0
  // CHECK: qmodel.linear "l/q" %arg0, %[[W]]
  %w = qmodel.load @stored : tensor<2x1x16xui8>
  %s = qmodel.load @s2 : tensor<2x1xf32>
  %y = onnx.node "MatMulNBits"(%x, %w, %s) attributes {K = 32 : i64, N = 2 : i64, bits = 4 : i64, block_size = 32 : i64} {domain = "com.microsoft", version = 1 : i64}
    : (tensor<?x32xf32>, tensor<2x1x16xui8>, tensor<2x1xf32>) -> tensor<?x2xf32> loc("/l/q/MatMul_Q4")
  return %y : tensor<?x2xf32>
}

// CHECK-LABEL: func.func @padded_blocks
func.func @padded_blocks(%x: tensor<?x24xf16>, %b: tensor<1xf16>) -> tensor<?x1xf16> {
  // CHECK: %[[W:.*]] = qmodel.dequantize %{{.*}}, %{{.*}} zeros %{{.*}} group 16 : (tensor<1x24xui4>, tensor<1x2xf16>, tensor<1x2xui4>) -> tensor<1x24xf16>
  // CHECK: qmodel.linear {{.*}} %arg0, %[[W]] bias %arg1
  %w = qmodel.load @padded : tensor<1x2x8xui8>
  %s = qmodel.load @s12 : tensor<2xf16>
  %z = qmodel.load @zeros : tensor<1x1xui8>
  %none = onnx.none
  %y = onnx.node "MatMulNBits"(%x, %w, %s, %z, %none, %b) attributes {K = 24 : i64, N = 1 : i64, bits = 4 : i64, block_size = 16 : i64} {domain = "com.microsoft", version = 1 : i64}
    : (tensor<?x24xf16>, tensor<1x2x8xui8>, tensor<2xf16>, tensor<1x1xui8>, none, tensor<1xf16>) -> tensor<?x1xf16>
  return %y : tensor<?x1xf16>
}

// REMARK: zero points are floats
// CHECK-LABEL: func.func @refused_float_zeros
func.func @refused_float_zeros(%x: tensor<?x32xf32>) -> tensor<?x2xf32> {
  // CHECK: onnx.node "MatMulNBits"
  %w = qmodel.load @stored : tensor<2x1x16xui8>
  %s = qmodel.load @s2 : tensor<2x1xf32>
  %z = qmodel.load @fzeros : tensor<2x1xf32>
  %y = onnx.node "MatMulNBits"(%x, %w, %s, %z) attributes {K = 32 : i64, N = 2 : i64, bits = 4 : i64, block_size = 32 : i64} {domain = "com.microsoft", version = 1 : i64}
    : (tensor<?x32xf32>, tensor<2x1x16xui8>, tensor<2x1xf32>, tensor<2x1xf32>) -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}

// REMARK: inputs are in another order than their groups (g_idx)
// CHECK-LABEL: func.func @refused_order
func.func @refused_order(%x: tensor<?x32xf32>) -> tensor<?x2xf32> {
  // CHECK: onnx.node "MatMulNBits"
  %w = qmodel.load @stored : tensor<2x1x16xui8>
  %s = qmodel.load @s2 : tensor<2x1xf32>
  %g = qmodel.load @order : tensor<32xi32>
  %none = onnx.none
  %y = onnx.node "MatMulNBits"(%x, %w, %s, %none, %g) attributes {K = 32 : i64, N = 2 : i64, bits = 4 : i64, block_size = 32 : i64} {domain = "com.microsoft", version = 1 : i64}
    : (tensor<?x32xf32>, tensor<2x1x16xui8>, tensor<2x1xf32>, none, tensor<32xi32>) -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}

qmodel.weight @c : tensor<4x6xi4> = dense<1> : tensor<4x6xi4>
qmodel.weight @per_row : tensor<4xf32> = dense<0.5> : tensor<4xf32>
qmodel.weight @per_block : tensor<2x6xf32> = dense<0.5> : tensor<2x6xf32>
qmodel.weight @zero_block : tensor<2x6xi4> = dense<1> : tensor<2x6xi4>
qmodel.weight @one : tensor<f32> = dense<0.5> : tensor<f32>

// [in, out] with a scale per output: blocks of a column, and after the permuted
// loads of the linear, of a row.
// CHECK-LABEL: func.func @blocks_of_a_column
// LINEAR-LABEL: func.func @blocks_of_a_column
func.func @blocks_of_a_column(%x: tensor<?x4xf32>) -> tensor<?x6xf32> {
  // CHECK: qmodel.dequantize %{{.*}}, %{{.*}} zeros %{{.*}} group 1 rows 2 : (tensor<4x6xi4>, tensor<2x6xf32>, tensor<2x6xi4>) -> tensor<4x6xf32>
  // LINEAR: %[[C:.*]] = qmodel.load @c permutation [1, 0] : tensor<6x4xi4>
  // LINEAR: %[[S:.*]] = qmodel.load @per_block permutation [1, 0] : tensor<6x2xf32>
  // LINEAR: %[[Z:.*]] = qmodel.load @zero_block permutation [1, 0] : tensor<6x2xi4>
  // LINEAR: %[[W:.*]] = qmodel.dequantize %[[C]], %[[S]] zeros %[[Z]] group 2 : (tensor<6x4xi4>
  // LINEAR: qmodel.linear "c" %arg0, %[[W]]
  %w = qmodel.load @c : tensor<4x6xi4>
  %s = qmodel.load @per_block : tensor<2x6xf32>
  %z = qmodel.load @zero_block : tensor<2x6xi4>
  %d = onnx.node "DequantizeLinear"(%w, %s, %z) attributes {axis = 0 : i64, block_size = 2 : i64} {version = 21 : i64}
    : (tensor<4x6xi4>, tensor<2x6xf32>, tensor<2x6xi4>) -> tensor<4x6xf32>
  %y = onnx.node "MatMul"(%x, %d) {version = 13 : i64} : (tensor<?x4xf32>, tensor<4x6xf32>) -> tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}

// One matrix for the embedding and, transposed, for the output head.
// CHECK-LABEL: func.func @tied
// LINEAR-LABEL: func.func @tied
func.func @tied(%i: tensor<?xi64>, %x: tensor<?x6xf32>) -> (tensor<?x6xf32>, tensor<?x4xf32>) {
  // CHECK: qmodel.dequantize %{{.*}}, %{{.*}} group 0 : (tensor<4x6xi4>, tensor<4x1xf32>) -> tensor<4x6xf32>
  // LINEAR-DAG: qmodel.linear {{.*}} : (tensor<?x6xf32>, tensor<4x6xf32>) -> tensor<?x4xf32>
  // LINEAR-DAG: qmodel.embedding {{.*}} : (tensor<4x6xf32>, tensor<?xi64>) -> tensor<?x6xf32>
  %w = qmodel.load @c : tensor<4x6xi4>
  %s = qmodel.load @per_row : tensor<4xf32>
  %d = onnx.node "DequantizeLinear"(%w, %s) attributes {axis = 0 : i64} {version = 13 : i64}
    : (tensor<4x6xi4>, tensor<4xf32>) -> tensor<4x6xf32>
  %e = onnx.node "Gather"(%d, %i) {version = 13 : i64} : (tensor<4x6xf32>, tensor<?xi64>) -> tensor<?x6xf32>
  %t = onnx.node "Transpose"(%d) attributes {perm = [1, 0]} {version = 13 : i64} : (tensor<4x6xf32>) -> tensor<6x4xf32>
  %y = onnx.node "MatMul"(%x, %t) {version = 13 : i64} : (tensor<?x6xf32>, tensor<6x4xf32>) -> tensor<?x4xf32>
  return %e, %y : tensor<?x6xf32>, tensor<?x4xf32>
}

// One scale for the whole matrix.
// CHECK-LABEL: func.func @one_scale
func.func @one_scale(%x: tensor<?x6xf32>) -> tensor<?x4xf32> {
  // CHECK: qmodel.dequantize %{{.*}}, %{{.*}} group 0 rows 0 : (tensor<4x6xi4>, tensor<1x1xf32>)
  %w = qmodel.load @c : tensor<4x6xi4>
  %s = qmodel.load @one : tensor<f32>
  %d = onnx.node "DequantizeLinear"(%w, %s) {version = 13 : i64} : (tensor<4x6xi4>, tensor<f32>) -> tensor<4x6xf32>
  %y = onnx.node "Gemm"(%x, %d) attributes {transB = 1 : i64} {version = 13 : i64} : (tensor<?x6xf32>, tensor<4x6xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// REMARK: its value is used by other than linear layers and embeddings
// CHECK-LABEL: func.func @refused_use
func.func @refused_use() -> tensor<4x6xf32> {
  // CHECK: onnx.node "DequantizeLinear"
  %w = qmodel.load @c : tensor<4x6xi4>
  %s = qmodel.load @per_row : tensor<4xf32>
  %d = onnx.node "DequantizeLinear"(%w, %s) attributes {axis = 0 : i64} {version = 13 : i64}
    : (tensor<4x6xi4>, tensor<4xf32>) -> tensor<4x6xf32>
  %y = onnx.node "Relu"(%d) {version = 13 : i64} : (tensor<4x6xf32>) -> tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// Bytes hold two codes each, with 8 for zero; blocks along the rows.
// CHECK-LABEL: func.func @table
func.func @table(%i: tensor<?xi64>) -> tensor<?x32xf32> {
  // CHECK: %[[C:.*]] = qmodel.load @stored.codes : tensor<2x32xui4>
  // CHECK: %[[W:.*]] = qmodel.dequantize %[[C]], %{{.*}} zeros %{{.*}} group 0
  // CHECK: qmodel.embedding {{.*}} %[[W]], %arg0
  %w = qmodel.load @stored : tensor<2x1x16xui8>
  %two = onnx.constant dense<[2, 16]> : tensor<2xi64>
  %r = onnx.node "Reshape"(%w, %two) {version = 13 : i64} : (tensor<2x1x16xui8>, tensor<2xi64>) -> tensor<2x16xui8>
  %s = qmodel.load @s2 : tensor<2x1xf32>
  %y = onnx.node "GatherBlockQuantized"(%r, %i, %s) attributes {bits = 4 : i64, block_size = 32 : i64, quantize_axis = 1 : i64} {domain = "com.microsoft", version = 1 : i64}
    : (tensor<2x16xui8>, tensor<?xi64>, tensor<2x1xf32>) -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}
