// RUN: quant-opt %s --onnx-raise-fused | FileCheck %s
// RUN: quant-opt %s --onnx-raise-fused --onnx-raise-fused | FileCheck %s
// RUN: quant-opt %s --onnx-raise-fused --remarks-filter='.*' --remark-format=emitRemark -o %t 2>&1 | FileCheck %s --check-prefix=REMARK

// ONNX's operator: heads in the width, the past inside, a mask of keys.
// CHECK-LABEL: func.func @operator
func.func @operator(%q: tensor<?x?x32xf32> {qmodel.dims = ["b", "s", "32"]}, %k: tensor<?x?x16xf32> {qmodel.dims = ["b", "s", "16"]}, %v: tensor<?x?x16xf32> {qmodel.dims = ["b", "s", "16"]}, %m: tensor<?x1x1x?xi1> {qmodel.dims = ["b", "1", "1", "p + s"]}, %pk: tensor<?x2x?x8xf32> {qmodel.dims = ["b", "2", "p", "8"]}, %pv: tensor<?x2x?x8xf32> {qmodel.dims = ["b", "2", "p", "8"]})
    -> (tensor<?x?x32xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) {
  // CHECK: %[[M:.*]] = onnx.node "Squeeze"(%arg3
  // CHECK: %[[K:.*]] = onnx.node "Concat"(%arg4, %{{.*}})
  // CHECK: %[[V:.*]] = onnx.node "Concat"(%arg5, %{{.*}})
  // CHECK: qmodel.attention %{{.*}}, %[[K]], %[[V]] key_mask %[[M]] causal scale 5.0{{.*}}e-01 mask_value 0xFFF0000000000000
  // CHECK: return %{{.*}}, %[[K]], %[[V]]
  %y, %nk, %nv = onnx.node "Attention"(%q, %k, %v, %m, %pk, %pv) attributes {is_causal = 1 : i64, kv_num_heads = 2 : i64, q_num_heads = 4 : i64, scale = 0.5 : f32} {version = 23 : i64}
    : (tensor<?x?x32xf32>, tensor<?x?x16xf32>, tensor<?x?x16xf32>, tensor<?x1x1x?xi1>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> (tensor<?x?x32xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>)
  return %y, %nk, %nv : tensor<?x?x32xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>
}

// A soft cap, and a window of three keys: the query's own and two before.
// CHECK-LABEL: func.func @softcap_and_window
func.func @softcap_and_window(%q: tensor<2x4x5x8xf32>) -> tensor<2x4x5x8xf32> {
  // CHECK: qmodel.attention %arg0, %arg0, %arg0 causal scale {{.*}} softcap 3.0{{.*}}e+01 window 3 mask_value
  %y = onnx.node "Attention"(%q, %q, %q) attributes {is_causal = 1 : i64, left_window_size = 2 : i64, softcap = 30.0 : f32} {version = 25 : i64}
    : (tensor<2x4x5x8xf32>, tensor<2x4x5x8xf32>, tensor<2x4x5x8xf32>) -> tensor<2x4x5x8xf32>
  return %y : tensor<2x4x5x8xf32>
}

// Valid keys per sequence; the last query stands at the last of them.
// CHECK-LABEL: func.func @lengths
func.func @lengths(%q: tensor<2x4x5x8xf32>, %k: tensor<2x4x9x8xf32>, %n: tensor<2xi64>) -> tensor<2x4x5x8xf32> {
  // CHECK: qmodel.attention %arg0, %arg1, %arg1 lengths %arg2 causal
  %none = onnx.none
  %y = onnx.node "Attention"(%q, %k, %k, %none, %none, %none, %n) attributes {is_causal = 1 : i64} {version = 24 : i64}
    : (tensor<2x4x5x8xf32>, tensor<2x4x9x8xf32>, tensor<2x4x9x8xf32>, none, none, none, tensor<2xi64>) -> tensor<2x4x5x8xf32>
  return %y : tensor<2x4x5x8xf32>
}

// ONNX counts rows from the front: row i sees keys up to i.
// CHECK-LABEL: func.func @from_front
func.func @from_front(%q: tensor<2x4x5x8xf32>, %k: tensor<2x4x9x8xf32>) -> tensor<2x4x5x8xf32> {
  // CHECK: %[[FIVE:.*]] = onnx.constant dense<5> : tensor<1xi64>
  // CHECK: %[[N:.*]] = onnx.node "Expand"(%[[FIVE]], {{.*}}) -> tensor<2xi64>
  // CHECK: qmodel.attention %arg0, %arg1, %arg1 lengths %[[N]] causal
  %y = onnx.node "Attention"(%q, %k, %k) attributes {is_causal = 1 : i64} {version = 24 : i64}
    : (tensor<2x4x5x8xf32>, tensor<2x4x9x8xf32>, tensor<2x4x9x8xf32>) -> tensor<2x4x5x8xf32>
  return %y : tensor<2x4x5x8xf32>
}

// Columns that a mask lacks are hidden.
// CHECK-LABEL: func.func @short_mask
func.func @short_mask(%q: tensor<2x4x5x8xf32>, %k: tensor<2x4x9x8xf32>, %m: tensor<5x6xf32>) -> tensor<2x4x5x8xf32> {
  // CHECK: %[[B:.*]] = onnx.node "Pad"(%arg2, {{.*}}) {{.*}} -> tensor<5x9xf32>
  // CHECK: qmodel.attention %arg0, %arg1, %arg1 bias %[[B]] scale
  %y = onnx.node "Attention"(%q, %k, %k, %m) {version = 24 : i64}
    : (tensor<2x4x5x8xf32>, tensor<2x4x9x8xf32>, tensor<2x4x9x8xf32>, tensor<5x6xf32>) -> tensor<2x4x5x8xf32>
  return %y : tensor<2x4x5x8xf32>
}

// The scores themselves, before the softmax.
// CHECK-LABEL: func.func @scores
func.func @scores(%q: tensor<2x4x5x8xf32>, %k: tensor<2x2x9x8xf32>) -> (tensor<2x4x5x8xf32>, tensor<2x4x5x9xf32>) {
  // CHECK: %[[P:.*]] = onnx.node "MatMul"({{.*}}) {version = 24 : i64} : (tensor<2x2x?x8xf32>, tensor<2x2x8x9xf32>)
  // CHECK: onnx.node "Reshape"(%[[P]],
  // CHECK: %[[S:.*]] = onnx.node "Mul"
  // CHECK: %[[Y:.*]] = qmodel.attention %arg0, %arg1, %arg1 scale
  // CHECK: return %[[Y]], %[[S]]
  %y, %nk, %nv, %s = onnx.node "Attention"(%q, %k, %k) {version = 24 : i64}
    : (tensor<2x4x5x8xf32>, tensor<2x2x9x8xf32>, tensor<2x2x9x8xf32>) -> (tensor<2x4x5x8xf32>, tensor<2x2x9x8xf32>, tensor<2x2x9x8xf32>, tensor<2x4x5x9xf32>)
  return %y, %s : tensor<2x4x5x8xf32>, tensor<2x4x5x9xf32>
}

// REMARK: scores as a result are not taken with windows or lengths
// CHECK-LABEL: func.func @refused_scores
func.func @refused_scores(%q: tensor<2x4x5x8xf32>, %n: tensor<2xi64>) -> tensor<2x4x5x5xf32> {
  // CHECK: onnx.node "Attention"
  %none = onnx.none
  %y, %nk, %nv, %s = onnx.node "Attention"(%q, %q, %q, %none, %none, %none, %n) {version = 24 : i64}
    : (tensor<2x4x5x8xf32>, tensor<2x4x5x8xf32>, tensor<2x4x5x8xf32>, none, none, none, tensor<2xi64>) -> (tensor<2x4x5x8xf32>, tensor<2x4x5x8xf32>, tensor<2x4x5x8xf32>, tensor<2x4x5x5xf32>)
  return %s : tensor<2x4x5x5xf32>
}

// REMARK: windows are only taken with a causal mask
// CHECK-LABEL: func.func @refused_window
func.func @refused_window(%q: tensor<2x4x5x8xf32>) -> tensor<2x4x5x8xf32> {
  // CHECK: onnx.node "Attention"
  %y = onnx.node "Attention"(%q, %q, %q) attributes {left_window_size = 2 : i64} {version = 25 : i64}
    : (tensor<2x4x5x8xf32>, tensor<2x4x5x8xf32>, tensor<2x4x5x8xf32>) -> tensor<2x4x5x8xf32>
  return %y : tensor<2x4x5x8xf32>
}

// ONNX Runtime's: a length per sequence, positions counted from it.
// CHECK-LABEL: func.func @group_query
func.func @group_query(%q: tensor<?x?x32xf32> {qmodel.dims = ["b", "s", "32"]}, %k: tensor<?x?x16xf32> {qmodel.dims = ["b", "s", "16"]}, %v: tensor<?x?x16xf32> {qmodel.dims = ["b", "s", "16"]}, %pk: tensor<?x2x?x8xf32> {qmodel.dims = ["b", "2", "p", "8"]}, %pv: tensor<?x2x?x8xf32> {qmodel.dims = ["b", "2", "p", "8"]}, %n: tensor<?xi32> {qmodel.dims = ["b"]}, %t: tensor<i32>, %cos: tensor<64x4xf32>, %sin: tensor<64x4xf32>)
    -> (tensor<?x?x32xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) {
  // CHECK: %[[VALID:.*]] = onnx.node "Add"({{.*}}) {version = 17 : i64} : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  // CHECK: %[[PROMPT:.*]] = onnx.node "Equal"
  // CHECK: %[[N:.*]] = onnx.node "Where"(%[[PROMPT]], %{{.*}}, %[[VALID]])
  // CHECK: %[[FIRST:.*]] = onnx.node "Sub"(%[[N]],
  // CHECK: onnx.node "Gather"(%arg7,
  // CHECK: onnx.node "Gather"(%arg8,
  // CHECK: %[[Q:.*]] = qmodel.rope
  // CHECK: %[[K:.*]] = qmodel.rope
  // CHECK: %[[ROOM:.*]] = qmodel.dim_tensor ["p + s"]
  // CHECK: %[[KEYS:.*]] = qmodel.append %arg3, %[[K]] lengths %[[N]] total %[[ROOM]]
  // CHECK: %[[VALUES:.*]] = qmodel.append %arg4, %{{.*}} lengths %[[N]] total %[[ROOM]]
  // CHECK: qmodel.attention %[[Q]], %[[KEYS]], %[[VALUES]] lengths %[[N]] causal scale {{.*}} softcap 5.0{{.*}}e+01 window 7
  // CHECK: return %{{.*}}, %[[KEYS]], %[[VALUES]]
  %y, %nk, %nv = onnx.node "GroupQueryAttention"(%q, %k, %v, %pk, %pv, %n, %t, %cos, %sin) attributes {do_rotary = 1 : i64, kv_num_heads = 2 : i64, local_window_size = 7 : i64, num_heads = 4 : i64, softcap = 50.0 : f32} {domain = "com.microsoft", version = 1 : i64}
    : (tensor<?x?x32xf32>, tensor<?x?x16xf32>, tensor<?x?x16xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?xi32>, tensor<i32>, tensor<64x4xf32>, tensor<64x4xf32>) -> (tensor<?x?x32xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>)
  return %y, %nk, %nv : tensor<?x?x32xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>
}

// REMARK: head sinks, quantized caches and norms inside of the operator (operand 11) are not taken
// CHECK-LABEL: func.func @refused_sink
func.func @refused_sink(%q: tensor<2x3x32xf32>, %n: tensor<2xi32>, %t: tensor<i32>, %s: tensor<4xf32>) -> tensor<2x3x32xf32> {
  // CHECK: onnx.node "GroupQueryAttention"
  %o = onnx.none
  %y = onnx.node "GroupQueryAttention"(%q, %q, %q, %o, %o, %n, %t, %o, %o, %o, %o, %s) attributes {kv_num_heads = 4 : i64, num_heads = 4 : i64} {domain = "com.microsoft", version = 1 : i64}
    : (tensor<2x3x32xf32>, tensor<2x3x32xf32>, tensor<2x3x32xf32>, none, none, tensor<2xi32>, tensor<i32>, none, none, none, none, tensor<4xf32>) -> tensor<2x3x32xf32>
  return %y : tensor<2x3x32xf32>
}

// One matrix for q, k and v: a product that onnx-raise-linear finds.
// CHECK-LABEL: func.func @packed_weights
func.func @packed_weights(%x: tensor<2x3x12xf32>, %w: tensor<12x48xf32>, %b: tensor<48xf32>, %m: tensor<2x3xi32>) -> tensor<2x3x16xf32> {
  // CHECK: %[[P:.*]] = onnx.node "MatMul"(%arg0, %arg1)
  // CHECK: %[[S:.*]] = onnx.node "Add"(%[[P]], %arg2)
  // CHECK: onnx.node "Split"(%[[S]],
  // CHECK: %[[M:.*]] = onnx.node "Cast"(%arg3)
  // CHECK: qmodel.attention {{.*}} key_mask %[[M]] causal scale 5.0{{.*}}e-01 mask_value -1.0{{.*}}e+04
  %y = onnx.node "Attention"(%x, %w, %b, %m) attributes {num_heads = 4 : i64, unidirectional = 1 : i64} {domain = "com.microsoft", version = 1 : i64}
    : (tensor<2x3x12xf32>, tensor<12x48xf32>, tensor<48xf32>, tensor<2x3xi32>) -> tensor<2x3x16xf32>
  return %y : tensor<2x3x16xf32>
}

// CHECK-LABEL: func.func @product
func.func @product(%a: tensor<?x4xf32>, %b: tensor<5x4xf32>) -> tensor<?x5xf32> {
  // CHECK: %[[T:.*]] = onnx.node "Transpose"(%arg1)
  // CHECK: %[[P:.*]] = onnx.node "MatMul"(%arg0, %[[T]])
  // CHECK: onnx.node "Mul"(%[[P]], %{{.*}})
  %y = onnx.node "FusedMatMul"(%a, %b) attributes {alpha = 0.25 : f32, transB = 1 : i64} {domain = "com.microsoft", version = 1 : i64}
    : (tensor<?x4xf32>, tensor<5x4xf32>) -> tensor<?x5xf32>
  return %y : tensor<?x5xf32>
}
