// State-space operators whose operands do not go together have no code: nothing
// outside of a buffer may be read.

// RUN: not nibble-kernel-test %s llvm 2>&1 | FileCheck %s

// CHECK: error: no CPU code for ONNX operator 'LinearAttention': found head counts that do not divide
qkernel.kernel @heads scalars [] args [["1", "2", "8"]] {
^bb0(%a: tensor<1x2x8xf32>):
  %0:2 = onnx.node "LinearAttention"(%a, %a, %a) attributes {q_num_heads = 2 : i64, kv_num_heads = 0 : i64, update_rule = "linear"} {version = 27 : i64} : (tensor<1x2x8xf32>, tensor<1x2x8xf32>, tensor<1x2x8xf32>) -> (tensor<1x2x8xf32>, tensor<1x2x4x4xf32>)
  qkernel.yield %0#0, %0#1 : tensor<1x2x8xf32>, tensor<1x2x4x4xf32>
}

// CHECK: error: no CPU code for ONNX operator 'LinearAttention': found shapes that are not known to fit together
qkernel.kernel @keys scalars [] args [["1", "2", "8"], ["1", "2", "4"]] {
^bb0(%a: tensor<1x2x8xf32>, %b: tensor<1x2x4xf32>):
  %0:2 = onnx.node "LinearAttention"(%a, %b, %a) attributes {q_num_heads = 2 : i64, kv_num_heads = 2 : i64, update_rule = "linear"} {version = 27 : i64} : (tensor<1x2x8xf32>, tensor<1x2x4xf32>, tensor<1x2x8xf32>) -> (tensor<1x2x8xf32>, tensor<1x2x4x4xf32>)
  qkernel.yield %0#0, %0#1 : tensor<1x2x8xf32>, tensor<1x2x4x4xf32>
}

// CHECK: error: no CPU code for ONNX operator 'LinearAttention': found a decay or a beta that 'update_rule' does not go with
qkernel.kernel @rule scalars [] args [["1", "2", "8"]] {
^bb0(%a: tensor<1x2x8xf32>):
  %0:2 = onnx.node "LinearAttention"(%a, %a, %a) attributes {q_num_heads = 2 : i64, kv_num_heads = 2 : i64} {version = 27 : i64} : (tensor<1x2x8xf32>, tensor<1x2x8xf32>, tensor<1x2x8xf32>) -> (tensor<1x2x8xf32>, tensor<1x2x4x4xf32>)
  qkernel.yield %0#0, %0#1 : tensor<1x2x8xf32>, tensor<1x2x4x4xf32>
}

// CHECK: error: no CPU code for ONNX operator 'CausalConvWithState': found shapes that are not known to fit together
qkernel.kernel @conv scalars [] args [["1", "2", "8"], ["3", "1", "4"]] {
^bb0(%a: tensor<1x2x8xf32>, %b: tensor<3x1x4xf32>):
  %0:2 = onnx.node "CausalConvWithState"(%a, %b) {version = 27 : i64} : (tensor<1x2x8xf32>, tensor<3x1x4xf32>) -> (tensor<1x2x8xf32>, tensor<1x2x3xf32>)
  qkernel.yield %0#0, %0#1 : tensor<1x2x8xf32>, tensor<1x2x3xf32>
}

// CHECK: error: no CPU code for ONNX operator 'CausalConvWithState': found an activation other than silu and swish
qkernel.kernel @activation scalars [] args [["1", "2", "8"], ["2", "1", "4"]] {
^bb0(%a: tensor<1x2x8xf32>, %b: tensor<2x1x4xf32>):
  %0:2 = onnx.node "CausalConvWithState"(%a, %b) attributes {activation = "relu"} {version = 27 : i64} : (tensor<1x2x8xf32>, tensor<2x1x4xf32>) -> (tensor<1x2x8xf32>, tensor<1x2x3xf32>)
  qkernel.yield %0#0, %0#1 : tensor<1x2x8xf32>, tensor<1x2x3xf32>
}
