// RUN: quant-opt %s --onnx-raise-rope | FileCheck %s
// RUN: quant-opt %s --onnx-raise-rope --onnx-raise-rope | FileCheck %s
// RUN: quant-opt %s --onnx-raise-rope --remarks-filter='.*' --remark-format=emitRemark -o %t 2>&1 | FileCheck %s --check-prefix=REMARK

// Halves by Slice; cos and sin lose the dimension of the heads.
// CHECK-LABEL: func.func @halves
func.func @halves(%x: tensor<?x2x?x8xf32>, %cos: tensor<?x?x8xf32>, %sin: tensor<?x?x8xf32>)
    -> tensor<?x2x?x8xf32> {
  // CHECK: qmodel.rope %arg0, %arg1, %arg2 :
  // CHECK-NOT: onnx.node
  %zero = onnx.constant dense<0> : tensor<1xi64>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %half = onnx.constant dense<4> : tensor<1xi64>
  %axis = onnx.constant dense<3> : tensor<1xi64>
  %end = onnx.constant dense<9223372036854775807> : tensor<1xi64>
  %c = onnx.node "Unsqueeze"(%cos, %one) {version = 16 : i64}
    : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %s = onnx.node "Unsqueeze"(%sin, %one) {version = 16 : i64}
    : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %a = onnx.node "Mul"(%x, %c) {version = 16 : i64}
    : (tensor<?x2x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x2x?x8xf32>
  %x2 = onnx.node "Slice"(%x, %half, %end, %axis, %one) {version = 16 : i64}
    : (tensor<?x2x?x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x4xf32>
  %x1 = onnx.node "Slice"(%x, %zero, %half, %axis, %one) {version = 16 : i64}
    : (tensor<?x2x?x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x4xf32>
  %n = onnx.node "Neg"(%x2) {version = 16 : i64} : (tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %r = onnx.node "Concat"(%n, %x1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x8xf32>
  %b = onnx.node "Mul"(%r, %s) {version = 16 : i64}
    : (tensor<?x2x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x2x?x8xf32>
  %y = onnx.node "Add"(%a, %b) {version = 16 : i64}
    : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}

// Halves by Split, operands the other way round, tables of rank 4.
// CHECK-LABEL: func.func @split
func.func @split(%x: tensor<?x2x?x8xf32>, %cos: tensor<?x1x?x8xf32>, %sin: tensor<?x1x?x8xf32>)
    -> tensor<?x2x?x8xf32> {
  // CHECK: %[[C:.*]] = onnx.node "Squeeze"(%arg1
  // CHECK: %[[S:.*]] = onnx.node "Squeeze"(%arg2
  // CHECK: qmodel.rope %arg0, %[[C]], %[[S]] :
  %x1, %x2 = onnx.node "Split"(%x) attributes {axis = 3 : i64, num_outputs = 2 : i64} {version = 18 : i64}
    : (tensor<?x2x?x8xf32>) -> (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>)
  %n = onnx.node "Neg"(%x2) {version = 18 : i64} : (tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %r = onnx.node "Concat"(%n, %x1) attributes {axis = 3 : i64} {version = 18 : i64}
    : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x8xf32>
  %b = onnx.node "Mul"(%sin, %r) {version = 18 : i64}
    : (tensor<?x1x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  %a = onnx.node "Mul"(%cos, %x) {version = 18 : i64}
    : (tensor<?x1x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  %y = onnx.node "Add"(%b, %a) {version = 18 : i64}
    : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}

// Neighbours: taken apart with step 2 and stacked again. The reshape must give
// x's shape back, which the dimensions tell.
// CHECK-LABEL: func.func @interleaved
func.func @interleaved(%x: tensor<?x2x?x4xf32> {qmodel.dims = ["b", "2", "s", "4"]},
                       %cos: tensor<1x?x4xf32> {qmodel.dims = ["1", "s", "4"]},
                       %sin: tensor<1x?x4xf32> {qmodel.dims = ["1", "s", "4"]})
    -> tensor<?x2x?x4xf32> {
  // CHECK: qmodel.rope %arg0, %arg1, %arg2 interleaved
  // CHECK-NOT: onnx.node
  %zero = onnx.constant dense<0> : tensor<1xi64>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %two = onnx.constant dense<2> : tensor<1xi64>
  %last = onnx.constant dense<-1> : tensor<1xi64>
  %end = onnx.constant dense<9223372036854775807> : tensor<1xi64>
  %shape = qmodel.dim_tensor ["b", "2", "s", "4"] : tensor<4xi64>
  %a = onnx.node "Mul"(%x, %cos) {version = 16 : i64}
    : (tensor<?x2x?x4xf32>, tensor<1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %odd = onnx.node "Slice"(%x, %one, %end, %last, %two) {version = 16 : i64}
    : (tensor<?x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x2xf32>
  %even = onnx.node "Slice"(%x, %zero, %end, %last, %two) {version = 16 : i64}
    : (tensor<?x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x2x?x2xf32>
  %n = onnx.node "Neg"(%odd) {version = 16 : i64} : (tensor<?x2x?x2xf32>) -> tensor<?x2x?x2xf32>
  %un = onnx.node "Unsqueeze"(%n, %last) {version = 16 : i64}
    : (tensor<?x2x?x2xf32>, tensor<1xi64>) -> tensor<?x2x?x2x1xf32>
  %ue = onnx.node "Unsqueeze"(%even, %last) {version = 16 : i64}
    : (tensor<?x2x?x2xf32>, tensor<1xi64>) -> tensor<?x2x?x2x1xf32>
  %st = onnx.node "Concat"(%un, %ue) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x2x?x2x1xf32>, tensor<?x2x?x2x1xf32>) -> tensor<?x2x?x2x2xf32>
  %r = onnx.node "Reshape"(%st, %shape) {version = 16 : i64}
    : (tensor<?x2x?x2x2xf32>, tensor<4xi64>) -> tensor<?x2x?x4xf32>
  %b = onnx.node "Mul"(%r, %sin) {version = 16 : i64}
    : (tensor<?x2x?x4xf32>, tensor<1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %y = onnx.node "Add"(%a, %b) {version = 16 : i64}
    : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  return %y : tensor<?x2x?x4xf32>
}

// Only the first 4 of 8 elements are rotated.
// CHECK-LABEL: func.func @partial
func.func @partial(%x: tensor<?x2x?x8xf32>, %cos: tensor<1x?x4xf32>, %sin: tensor<1x?x4xf32>)
    -> tensor<?x2x?x8xf32> {
  // CHECK: qmodel.rope %arg0, %arg1, %arg2 : (tensor<?x2x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<?x2x?x8xf32>
  // CHECK-NOT: onnx.node
  %head, %rest = onnx.node "Split"(%x) attributes {axis = -1 : i64, num_outputs = 2 : i64} {version = 18 : i64}
    : (tensor<?x2x?x8xf32>) -> (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>)
  %x1, %x2 = onnx.node "Split"(%head) attributes {axis = -1 : i64, num_outputs = 2 : i64} {version = 18 : i64}
    : (tensor<?x2x?x4xf32>) -> (tensor<?x2x?x2xf32>, tensor<?x2x?x2xf32>)
  %n = onnx.node "Neg"(%x2) {version = 18 : i64} : (tensor<?x2x?x2xf32>) -> tensor<?x2x?x2xf32>
  %r = onnx.node "Concat"(%n, %x1) attributes {axis = 3 : i64} {version = 18 : i64}
    : (tensor<?x2x?x2xf32>, tensor<?x2x?x2xf32>) -> tensor<?x2x?x4xf32>
  %a = onnx.node "Mul"(%head, %cos) {version = 18 : i64}
    : (tensor<?x2x?x4xf32>, tensor<1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %b = onnx.node "Mul"(%r, %sin) {version = 18 : i64}
    : (tensor<?x2x?x4xf32>, tensor<1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %rot = onnx.node "Add"(%a, %b) {version = 18 : i64}
    : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %y = onnx.node "Concat"(%rot, %rest) attributes {axis = -1 : i64} {version = 18 : i64}
    : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}

// The wrong half is negated: that is another rotation. And tables with a
// dimension of heads are not cos and sin of positions.
// CHECK-LABEL: func.func @refused
func.func @refused(%x: tensor<?x2x?x8xf32>, %cos: tensor<1x?x8xf32>, %sin: tensor<1x?x8xf32>, %heads: tensor<?x2x?x8xf32>)
    -> (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) {
  // CHECK-NOT: qmodel.rope
  // CHECK: return
  // REMARK: expects cos and sin of [batch, 1, seq, d], as wide as x
  %x1, %x2 = onnx.node "Split"(%x) attributes {axis = 3 : i64, num_outputs = 2 : i64} {version = 18 : i64}
    : (tensor<?x2x?x8xf32>) -> (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>)
  %n = onnx.node "Neg"(%x1) {version = 18 : i64} : (tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %r = onnx.node "Concat"(%n, %x2) attributes {axis = 3 : i64} {version = 18 : i64}
    : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x8xf32>
  %a = onnx.node "Mul"(%x, %cos) {version = 18 : i64}
    : (tensor<?x2x?x8xf32>, tensor<1x?x8xf32>) -> tensor<?x2x?x8xf32>
  %b = onnx.node "Mul"(%r, %sin) {version = 18 : i64}
    : (tensor<?x2x?x8xf32>, tensor<1x?x8xf32>) -> tensor<?x2x?x8xf32>
  %y = onnx.node "Add"(%a, %b) {version = 18 : i64}
    : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  %n2 = onnx.node "Neg"(%x2) {version = 18 : i64} : (tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %r2 = onnx.node "Concat"(%n2, %x1) attributes {axis = 3 : i64} {version = 18 : i64}
    : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x8xf32>
  %a2 = onnx.node "Mul"(%x, %heads) {version = 18 : i64}
    : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  %b2 = onnx.node "Mul"(%r2, %heads) {version = 18 : i64}
    : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  %y2 = onnx.node "Add"(%a2, %b2) {version = 18 : i64}
    : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  return %y, %y2 : tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>
}

// By halves, with cosines of half the width.
// CHECK-LABEL: func.func @products
func.func @products(%x: tensor<?x2x?x8xf32>, %cos: tensor<?x1x?x4xf32>, %sin: tensor<?x1x?x4xf32>)
    -> tensor<?x2x?x8xf32> {
  // CHECK: %[[C3:.*]] = onnx.node "Squeeze"(%arg1
  // CHECK: %[[C:.*]] = onnx.node "Concat"(%[[C3]], %[[C3]])
  // CHECK: %[[S:.*]] = onnx.node "Concat"
  // CHECK: qmodel.rope %arg0, %[[C]], %[[S]] :
  %a, %b = onnx.node "Split"(%x) attributes {axis = 3 : i64, num_outputs = 2 : i64} {version = 18 : i64}
    : (tensor<?x2x?x8xf32>) -> (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>)
  %ac = onnx.node "Mul"(%a, %cos) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %bs = onnx.node "Mul"(%sin, %b) {version = 18 : i64} : (tensor<?x1x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %bc = onnx.node "Mul"(%b, %cos) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %as = onnx.node "Mul"(%a, %sin) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %first = onnx.node "Sub"(%ac, %bs) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %second = onnx.node "Add"(%as, %bc) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %y = onnx.node "Concat"(%first, %second) attributes {axis = -1 : i64} {version = 18 : i64}
    : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}

// The other sign would turn the other way.
// CHECK-LABEL: func.func @refused_direction
func.func @refused_direction(%x: tensor<?x2x?x8xf32>, %cos: tensor<?x1x?x4xf32>, %sin: tensor<?x1x?x4xf32>)
    -> tensor<?x2x?x8xf32> {
  // CHECK-NOT: qmodel.rope
  // CHECK: onnx.node "Concat"
  %a, %b = onnx.node "Split"(%x) attributes {axis = 3 : i64, num_outputs = 2 : i64} {version = 18 : i64}
    : (tensor<?x2x?x8xf32>) -> (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>)
  %ac = onnx.node "Mul"(%a, %cos) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %bs = onnx.node "Mul"(%sin, %b) {version = 18 : i64} : (tensor<?x1x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %bc = onnx.node "Mul"(%b, %cos) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %as = onnx.node "Mul"(%a, %sin) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x2x?x4xf32>
  %first = onnx.node "Add"(%ac, %bs) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %second = onnx.node "Sub"(%bc, %as) {version = 18 : i64} : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %y = onnx.node "Concat"(%first, %second) attributes {axis = -1 : i64} {version = 18 : i64}
    : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}

// [batch, seq, heads, d]: transposed around the rope, and the transpose that
// follows cancels.
// CHECK-LABEL: func.func @heads_last
func.func @heads_last(%x: tensor<?x?x2x8xf32>, %cos: tensor<?x?x1x8xf32>, %sin: tensor<?x?x1x8xf32>)
    -> tensor<?x2x?x8xf32> {
  // CHECK: %[[X:.*]] = onnx.node "Transpose"(%arg0)
  // CHECK: %[[Y:.*]] = qmodel.rope %[[X]],
  // CHECK: return %[[Y]]
  %x1, %x2 = onnx.node "Split"(%x) attributes {axis = 3 : i64, num_outputs = 2 : i64} {version = 18 : i64}
    : (tensor<?x?x2x8xf32>) -> (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>)
  %n = onnx.node "Neg"(%x2) {version = 18 : i64} : (tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %r = onnx.node "Concat"(%n, %x1) attributes {axis = 3 : i64} {version = 18 : i64}
    : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x8xf32>
  %b = onnx.node "Mul"(%r, %sin) {version = 18 : i64}
    : (tensor<?x?x2x8xf32>, tensor<?x?x1x8xf32>) -> tensor<?x?x2x8xf32>
  %a = onnx.node "Mul"(%x, %cos) {version = 18 : i64}
    : (tensor<?x?x2x8xf32>, tensor<?x?x1x8xf32>) -> tensor<?x?x2x8xf32>
  %s = onnx.node "Add"(%a, %b) {version = 18 : i64}
    : (tensor<?x?x2x8xf32>, tensor<?x?x2x8xf32>) -> tensor<?x?x2x8xf32>
  %y = onnx.node "Transpose"(%s) attributes {perm = [0, 2, 1, 3]} {version = 18 : i64}
    : (tensor<?x?x2x8xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}
