// What packing makes of each layer.

// RUN: quant-opt %s --qkernel-pack | FileCheck %s
// RUN: quant-opt %s --qkernel-pack -o %t.once
// RUN: quant-opt %t.once --qkernel-pack -o %t.twice
// RUN: FileCheck %s --input-file=%t.twice --check-prefix=TWICE

// The layers are recorded where ids end, and stay recorded.
// CHECK: qkernel.layers = [
// CHECK-SAME: id = "float", kind = "linear", parameters = 24 : i64, scheme = "float32"
// CHECK-SAME: bits = 1.200000e+01 : f64, id = "quantized"
// TWICE: qkernel.layers = [
// TWICE-SAME: id = "quantized"

// Equal weights are packed once; what they were made of is gone.
// CHECK-NOT: qmodel.weight @codes
// CHECK: qmodel.weight @quantized.packed :
// CHECK-NOT: qmodel.weight @{{(same|codes|quantized.packed)}}

qmodel.weight @float : tensor<3x8xf32> = dense<1.0> : tensor<3x8xf32>
qmodel.weight @table : tensor<5x8xf32> = dense<1.0> : tensor<5x8xf32>
qmodel.weight @codes : tensor<3x8xui4> = dense<1> : tensor<3x8xui4>
qmodel.weight @scales : tensor<3x2xf32> = dense<1.0> : tensor<3x2xf32>

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x8xf32>, %i: tensor<?xi64>) -> (tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x8xf32>) {
  // CHECK: qkernel.packed_linear {{.*}} layout <element = f32, out = 3, in = 8, group = 8>
  %f = qmodel.load @float : tensor<3x8xf32>
  %0 = qmodel.linear "float" %x, %f : (tensor<?x8xf32>, tensor<3x8xf32>) -> tensor<?x3xf32>
  // CHECK-NOT: qmodel.dequantize
  // CHECK: qkernel.packed_linear {{.*}} layout <element = ui4, out = 3, in = 8, group = 4>
  %c = qmodel.load @codes : tensor<3x8xui4>
  %s = qmodel.load @scales : tensor<3x2xf32>
  %w = qmodel.dequantize %c, %s group 4 : (tensor<3x8xui4>, tensor<3x2xf32>) -> tensor<3x8xf32>
  %1 = qmodel.linear "quantized" %x, %w : (tensor<?x8xf32>, tensor<3x8xf32>) -> tensor<?x3xf32>
  // CHECK: qkernel.packed_linear {{.*}} layout <element = ui4, out = 3, in = 8, group = 4>
  %2 = qmodel.linear "same" %x, %w : (tensor<?x8xf32>, tensor<3x8xf32>) -> tensor<?x3xf32>
  // A float table is read as it is.
  // CHECK: qmodel.embedding "tokens"
  %t = qmodel.load @table : tensor<5x8xf32>
  %3 = qmodel.embedding "tokens" %t, %i : (tensor<5x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  return %0, %1, %2, %3 : tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x8xf32>
}
