// A quantized weight stays one under canonicalization: otherwise quantization
// would vanish, or be undone, without a word.

// RUN: quant-opt %s --canonicalize --cse --sccp | FileCheck %s

// CHECK-LABEL: func.func @dequantize
func.func @dequantize() -> tensor<2x4xf32> {
  // CHECK: %[[D:.+]] = qmodel.dequantize
  // CHECK: return %[[D]]
  %c = qmodel.load @codes : tensor<2x4xi4>
  %s = qmodel.load @scales : tensor<2x1xf32>
  %d = qmodel.dequantize %c, %s group 0 : (tensor<2x4xi4>, tensor<2x1xf32>) -> tensor<2x4xf32>
  return %d : tensor<2x4xf32>
}
// CHECK-DAG: qmodel.weight @codes
qmodel.weight @codes : tensor<2x4xi4> = dense<1> : tensor<2x4xi4>
// CHECK-DAG: qmodel.weight @scales
qmodel.weight @scales : tensor<2x1xf32> = dense<1.0> : tensor<2x1xf32>
