// Moves and cheap arithmetic are computed where they are read; the rows of an
// attention go where a transpose puts them.

// RUN: quant-opt %s --qkernel-fuse | FileCheck %s
// RUN: %python %S/../Inputs/same_results.py %s nibble-lower batch=2 seq=5
// RUN: %python %S/../Inputs/same_results.py %s --compiled batch=2 seq=5
// RUN: %python %S/../Inputs/same_bits.py %s batch=2 seq=5

module attributes {qmodel.bounds = {batch = [1, 4], seq = [1, 16]}} {

// Both ropes and the copy of the values wait for nothing.
// CHECK-LABEL: func.func @main
// CHECK: %[[TABLES:.*]]:2 = qkernel.group(
// CHECK: onnx.node "Concat"
// CHECK: onnx.node "Cos"
// CHECK: onnx.node "Sin"
// CHECK-NEXT: qkernel.yield
// CHECK: %[[HEADS:.*]]:3 = qkernel.group(%{{.*}}, %[[TABLES]]#0, %[[TABLES]]#1
// CHECK-DAG: onnx.node "Transpose"
// CHECK-DAG: qmodel.rope
// CHECK: qkernel.yield
// CHECK: %[[ROWS:.*]] = qkernel.group(%[[HEADS]]#0, %[[HEADS]]#1, %[[HEADS]]#2)
// CHECK-NEXT: ^bb0
// CHECK-NEXT: qmodel.attention
// CHECK-NEXT: onnx.node "Transpose"
// CHECK-NEXT: qkernel.yield
// CHECK: return %[[ROWS]]
func.func @main(%x: tensor<?x?x4x8xf32> {onnx.name = "x", qmodel.dims = ["batch", "seq", "4", "8"]}, %angles: tensor<?x?x4xf32> {onnx.name = "angles", qmodel.dims = ["batch", "seq", "4"]}) -> (tensor<?x?x4x8xf32> {onnx.name = "y"}) {
  %0 = onnx.node "Concat"(%angles, %angles) attributes {axis = -1 : i64} {version = 13 : i64} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x8xf32>
  %cos = onnx.node "Cos"(%0) {version = 7 : i64} : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %sin = onnx.node "Sin"(%0) {version = 7 : i64} : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %n = onnx.node "Exp"(%x) {version = 13 : i64} : (tensor<?x?x4x8xf32>) -> tensor<?x?x4x8xf32>
  %1 = onnx.node "Transpose"(%n) attributes {perm = [0, 2, 1, 3]} {version = 13 : i64} : (tensor<?x?x4x8xf32>) -> tensor<?x4x?x8xf32>
  %q = qmodel.rope %1, %cos, %sin : (tensor<?x4x?x8xf32>, tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x4x?x8xf32>
  %2 = onnx.node "Transpose"(%n) attributes {perm = [0, 2, 1, 3]} {version = 13 : i64} : (tensor<?x?x4x8xf32>) -> tensor<?x4x?x8xf32>
  %k = qmodel.rope %2, %cos, %sin : (tensor<?x4x?x8xf32>, tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x4x?x8xf32>
  %v = onnx.node "Transpose"(%n) attributes {perm = [0, 2, 1, 3]} {version = 13 : i64} : (tensor<?x?x4x8xf32>) -> tensor<?x4x?x8xf32>
  %y = qmodel.attention %q, %k, %v causal scale 0.35 mask_value -1.0e9 : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  %r = onnx.node "Transpose"(%y) attributes {perm = [0, 2, 1, 3]} {version = 13 : i64} : (tensor<?x4x?x8xf32>) -> tensor<?x?x4x8xf32>
  return %r : tensor<?x?x4x8xf32>
}
}
