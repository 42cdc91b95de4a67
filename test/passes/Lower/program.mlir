// One step per op that computes, one kernel per distinct instance.

// RUN: quant-opt %s --qkernel-pack --qkernel-inline-layers --qkernel-lower | FileCheck %s
// RUN: quant-opt %s --nibble-lower | FileCheck %s
// RUN: %python %S/../Inputs/same_results.py %s nibble-lower batch=2 seq=5
// RUN: %python %S/../Inputs/same_results.py %s --compiled batch=2 seq=5

module attributes {qmodel.bounds = {batch = [1, 4], seq = [1, 16]}} {
qmodel.weight @gain : tensor<8xf32> = dense<[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> : tensor<8xf32>
qmodel.weight @a : tensor<8x8xf32> = dense<0.5> : tensor<8x8xf32>
qmodel.weight @b : tensor<8x8xf32> = dense<-0.25> : tensor<8x8xf32>
qmodel.weight @unused : tensor<8x8xf32> = dense<1.0> : tensor<8x8xf32>

// Layers differ in their weights only: they share code.
// CHECK-NOT: func.func
// CHECK-NOT: @unused
// CHECK-COUNT-1: qkernel.kernel @rms_norm_
// CHECK: qkernel.kernel @[[LINEAR:packed_linear_[0-9a-f]+]] scalars ["d0", "d1"]
// CHECK-NOT: qkernel.kernel @packed_linear_
// CHECK: qkernel.program @main
// CHECK-SAME: inputs [#qkernel.port<"x", f32, ["batch", "seq", "8"]>]
// CHECK-SAME: outputs [#qkernel.port<"y", f32, ["batch*seq", "8"]>]
// CHECK: qkernel.step @rms_norm_{{.*}} [#qkernel.buffer<input, bytes = "32*batch*seq">, #qkernel.buffer<weight, symbol = @gain, bytes = "32">, #qkernel.buffer<arena{{.*}}scalars ["batch", "seq"] after -1
// CHECK-NEXT: qkernel.step @[[LINEAR]] {{.*}} after 0
// CHECK-NEXT: qkernel.step @rms_norm_{{.*}} after 1
// CHECK-NEXT: qkernel.step @[[LINEAR]] {{.*}} after 2
// A reshape is another view of the same bytes; the last op writes the output.
// CHECK-NEXT: qkernel.step @relu_{{.*}}#qkernel.buffer<output, bytes = "32*batch*seq">]
// CHECK-NOT: qkernel.step
func.func @main(%x: tensor<?x?x8xf32> {onnx.name = "x", qmodel.dims = ["batch", "seq", "8"]}) -> (tensor<?x8xf32> {onnx.name = "y"}) {
  %a = qmodel.load @a : tensor<8x8xf32>
  %b = qmodel.load @b : tensor<8x8xf32>
  %0 = call @layer_0(%x, %a) : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32>
  %1 = call @layer_1(%0, %b) : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32>
  %s = onnx.constant dense<[-1, 8]> : tensor<2xi64>
  %2 = onnx.node "Reshape"(%1, %s) {version = 14 : i64} : (tensor<?x?x8xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  %3 = onnx.node "Relu"(%2) {version = 14 : i64} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %3 : tensor<?x8xf32>
}
func.func private @layer_0(%x: tensor<?x?x8xf32> {qmodel.dims = ["batch", "seq", "8"]}, %w: tensor<8x8xf32>) -> tensor<?x?x8xf32> {
  %g = qmodel.load @gain : tensor<8xf32>
  %l = qmodel.load @a : tensor<8x8xf32>
  %0 = qmodel.rms_norm %x, %g epsilon 1.0e-5 : (tensor<?x?x8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32>
  %1 = qmodel.linear "0/linear" %0, %l : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32>
  return %1 : tensor<?x?x8xf32>
}
func.func private @layer_1(%x: tensor<?x?x8xf32> {qmodel.dims = ["batch", "seq", "8"]}, %w: tensor<8x8xf32>) -> tensor<?x?x8xf32> {
  %g = qmodel.load @gain : tensor<8xf32>
  %l = qmodel.load @b : tensor<8x8xf32>
  %0 = qmodel.rms_norm %x, %g epsilon 1.0e-5 : (tensor<?x?x8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32>
  %1 = qmodel.linear "1/linear" %0, %l : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32>
  return %1 : tensor<?x?x8xf32>
}
}
