// Nibble's passes in a stock mlir-opt. The codes are worked out by hand: a group
// of four spans 15, so that its scale is 1, and a row that goes below 0 starts
// at its zero point.

// UNSUPPORTED: sanitizer
// DEFINE: %{nibble} = mlir-opt --load-dialect-plugin=%build/lib/NibblePlugin.so --load-pass-plugin=%build/lib/NibblePlugin.so

// RUN: %{nibble} %s --pass-pipeline='builtin.module(qmodel-plan{bits=4 group=4},qmodel-quantize-rtn)' | FileCheck %s

// Passes of both sides in one pipeline.
// RUN: %{nibble} %s --pass-pipeline='builtin.module(qmodel-plan{bits=4 group=4},qmodel-quantize-rtn,canonicalize,cse)' | FileCheck %s

// Verifiers and errors of passes.
// RUN: not %{nibble} %s --pass-pipeline='builtin.module(qmodel-plan{grid=round})' 2>&1 | FileCheck %s --check-prefix=ERROR
// RUN: %{nibble} %source/test/dialects/Onnx/invalid.mlir --verify-diagnostics --split-input-file
// RUN: %{nibble} %source/test/dialects/QModel/invalid.mlir --verify-diagnostics --split-input-file
// RUN: %{nibble} %source/test/dialects/QKernel/invalid.mlir --verify-diagnostics --split-input-file
// ERROR: error: {{.*}}qmodel-plan: expects a grid of gptq, awq, minmax, full_range, narrow; got 'round'

// CHECK-DAG: qmodel.weight @w.codes : tensor<2x4xui4> = dense<{{\[\[}}0, 5, 10, 15], [0, 3, 9, 15]]> : tensor<2x4xui4>
// CHECK-DAG: qmodel.weight @w.scales : tensor<2x1xf32> = dense<1.000000e+00> : tensor<2x1xf32>
// CHECK-DAG: qmodel.weight @w.zeros : tensor<2x1xui4> = dense<{{\[\[}}0], [3]]> : tensor<2x1xui4>
qmodel.weight @w : tensor<2x4xf32> = dense<[[0.0, 5.0, 10.0, 15.0], [-3.0, 0.0, 6.0, 12.0]]> : tensor<2x4xf32>

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x4xf32>) -> tensor<?x2xf32> {
  // CHECK: %[[D:.+]] = qmodel.dequantize
  // CHECK: qmodel.linear "up" %{{.+}}, %[[D]]
  %w = qmodel.load @w : tensor<2x4xf32>
  %0 = qmodel.linear "up" %x, %w : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  return %0 : tensor<?x2xf32>
}
