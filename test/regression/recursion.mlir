// A function that calls itself is an error everywhere, not an endless recursion.

// RUN: not quant-opt %s --onnx-fold-shapes 2>&1 | FileCheck %s
// RUN: not quant-opt %s --nibble-frontend 2>&1 | FileCheck %s
// RUN: not quant-compile %s -o %t.nbl 2>&1 | FileCheck %s
// RUN: %python -c "import numpy; numpy.savez('%t.npz', x=numpy.ones(4, numpy.float32))"
// RUN: not quant-opt %s --interpret=%t.npz -o %t.out.npz 2>&1 | FileCheck %s
// RUN: not quant-eval %s --tokens %examples/stories260K/eval.npy 2>&1 | FileCheck %s
// CHECK: error: {{.*}}expects a function that does not call itself

func.func @main(%x: tensor<4xf32> {onnx.name = "x"}) -> (tensor<4xf32> {onnx.name = "y"}) {
  %0 = call @layer(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
func.func private @layer(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = call @other(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
func.func private @other(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = call @layer(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
