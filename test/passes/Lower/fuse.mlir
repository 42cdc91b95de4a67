// Which ops become one step, kind by kind; what they compute is the same.

// RUN: quant-opt %s --qkernel-pack --qkernel-fuse | FileCheck %s
// RUN: quant-opt %s --qkernel-pack --qkernel-fuse=kinds=none | FileCheck %s --check-prefix=NONE
// RUN: quant-opt %s --qkernel-pack --qkernel-fuse=kinds=rows,siblings | FileCheck %s --check-prefix=SOME
// RUN: not quant-opt %s --qkernel-fuse=kinds=columns 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: quant-opt %s --qkernel-pack --qkernel-fuse --qkernel-lower | FileCheck %s --check-prefix=STEPS
// RUN: %python %S/../Inputs/same_results.py %s nibble-lower batch=2 seq=5
// RUN: %python %S/../Inputs/same_results.py %s nibble-lower{fuse=none} batch=2 seq=5
// RUN: %python %S/../Inputs/same_results.py %s --compiled batch=2 seq=5
// RUN: %python %S/../Inputs/same_results.py %s --compiled batch=1 seq=1
// RUN: %python %S/../Inputs/same_bits.py %s batch=3 seq=6

// NONE-NOT: qkernel.group
// UNKNOWN: expects kinds of fusion among all, none, blocks, rows, elements and siblings, got 'columns'

#scheme = #qmodel.scheme<bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>

module attributes {qmodel.bounds = {batch = [1, 4], seq = [1, 16]}} {
qmodel.weight @gain : tensor<16xf32> = dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> : tensor<16xf32>
qmodel.weight @w : tensor<16x16xf32> = dense<0.03> : tensor<16x16xf32>
qmodel.weight @v : tensor<16x16xf32> = dense<-0.125> : tensor<16x16xf32>
qmodel.weight @up : tensor<20x16xf32> = dense<0.07> : tensor<20x16xf32>
qmodel.weight @gate : tensor<20x16xf32> = dense<0.2> : tensor<20x16xf32>
qmodel.weight @narrow : tensor<8x16xf32> = dense<0.4> : tensor<8x16xf32>

// CHECK-LABEL: func.func @main

// A norm and what quantizes its rows; the norm leaves the group as well.
// CHECK: %[[ROWS:.*]]:3 = qkernel.group(%arg0, %{{.*}}) {{.*}} -> (tensor<?x?x16xf32>, tensor<?x?x16xi8>, tensor<?x?x1xf32>) {
// CHECK-NEXT: ^bb0
// CHECK-NEXT: qmodel.rms_norm
// CHECK-NEXT: qmodel.dynamic_quantize
// CHECK-NEXT: qkernel.yield
// SOME: qkernel.group
// SOME: qmodel.rms_norm
// SOME-NEXT: qmodel.dynamic_quantize
// SOME-NEXT: qkernel.yield

// Three linears that wait for the norm, of which two and their product run
// block by block; then sums in their order.
// CHECK: qkernel.group(
// CHECK: %[[Q:.*]] = qkernel.packed_linear %[[X:.*]], %{{.*}} layout <element = f32, out = 16
// CHECK: %[[GATE:.*]] = qkernel.packed_linear %[[X]], %{{.*}} layout <element = f32, out = 20
// CHECK: %[[UP:.*]] = qkernel.packed_linear %[[X]], %{{.*}} layout <element = f32, out = 20
// CHECK: %[[GATED:.*]] = qmodel.gated_activation silu %[[GATE]], %[[UP]]
// CHECK: qkernel.yield %[[Q]], %[[GATED]]
// SOME: qkernel.group
// SOME-COUNT-3: qkernel.packed_linear
// SOME: qkernel.yield
// SOME-NOT: qkernel.group
// SOME: qmodel.gated_activation

// A residual sum behind a linear, and an activation behind that; the sum goes to
// a norm too, which needs whole rows.
// CHECK: %[[SUM:.*]]:2 = qkernel.group(
// CHECK: qkernel.packed_linear
// CHECK-NEXT: %[[ADD:.*]] = qmodel.add
// CHECK-NEXT: %[[ACT:.*]] = qmodel.activation gelu %[[ADD]]
// CHECK-NEXT: qkernel.yield %[[ADD]], %[[ACT]]
// CHECK: qmodel.layer_norm %[[SUM]]#0

// STEPS: qkernel.kernel @rms_norm_dynamic_quantize_
// STEPS: qkernel.kernel @packed_linear_gated_activation_
// STEPS: qkernel.kernel @packed_linear_add_activation_
// STEPS: qkernel.program @main
// STEPS-COUNT-5: qkernel.step
// STEPS-NOT: qkernel.step
func.func @main(%x: tensor<?x?x16xf32> {onnx.name = "x", qmodel.dims = ["batch", "seq", "16"]}) -> (tensor<?x?x16xi8> {onnx.name = "codes"}, tensor<?x?x1xf32> {onnx.name = "scales"}, tensor<?x?x20xf32> {onnx.name = "gated"}, tensor<?x?x16xf32> {onnx.name = "activation"}, tensor<?x?x16xf32> {onnx.name = "norm"}, tensor<?x?x8xf32> {onnx.name = "head"}) {
  %gain = qmodel.load @gain : tensor<16xf32>
  %w = qmodel.load @w : tensor<16x16xf32>
  %v = qmodel.load @v : tensor<16x16xf32>
  %wup = qmodel.load @up : tensor<20x16xf32>
  %wgate = qmodel.load @gate : tensor<20x16xf32>
  %narrow = qmodel.load @narrow : tensor<8x16xf32>
  %0 = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x?x16xf32>, tensor<16xf32>) -> tensor<?x?x16xf32>
  %codes, %scales = qmodel.dynamic_quantize %0 scheme #scheme : (tensor<?x?x16xf32>) -> (tensor<?x?x16xi8>, tensor<?x?x1xf32>)
  %q = qmodel.linear "q" %0, %w : (tensor<?x?x16xf32>, tensor<16x16xf32>) -> tensor<?x?x16xf32>
  %gate = qmodel.linear "gate" %0, %wgate : (tensor<?x?x16xf32>, tensor<20x16xf32>) -> tensor<?x?x20xf32>
  %up = qmodel.linear "up" %0, %wup : (tensor<?x?x16xf32>, tensor<20x16xf32>) -> tensor<?x?x20xf32>
  %gated = qmodel.gated_activation silu %gate, %up : (tensor<?x?x20xf32>, tensor<?x?x20xf32>) -> tensor<?x?x20xf32>
  %o = qmodel.linear "o" %q, %v : (tensor<?x?x16xf32>, tensor<16x16xf32>) -> tensor<?x?x16xf32>
  %sum = qmodel.add %x, %o : (tensor<?x?x16xf32>, tensor<?x?x16xf32>) -> tensor<?x?x16xf32>
  %activation = qmodel.activation gelu %sum : (tensor<?x?x16xf32>) -> tensor<?x?x16xf32>
  %norm = qmodel.layer_norm %sum, %gain epsilon 1.0e-5 : (tensor<?x?x16xf32>, tensor<16xf32>) -> tensor<?x?x16xf32>
  %head = qmodel.linear "head" %norm, %narrow : (tensor<?x?x16xf32>, tensor<8x16xf32>) -> tensor<?x?x8xf32>
  return %codes, %scales, %gated, %activation, %norm, %head : tensor<?x?x16xi8>, tensor<?x?x1xf32>, tensor<?x?x20xf32>, tensor<?x?x16xf32>, tensor<?x?x16xf32>, tensor<?x?x8xf32>
}
}
