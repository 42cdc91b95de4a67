// Inputs become constants, small ones as literals and large ones as weights;
// symbols that their sizes settle become numbers.

// RUN: rm -rf %t && mkdir %t
// RUN: %python -c "import numpy as np; np.save('%t/to.npy', np.array([2, -1])); np.save('%t/mask.npy', np.ones((3, 7), np.float32)); np.save('%t/short.npy', np.array([2])); np.save('%t/float.npy', np.zeros(2, np.float32)); np.save('%t/wide.npy', np.ones((9, 7), np.float32))"
// RUN: quant-opt %s --onnx-fix-inputs="values=to=%t/to.npy,m=%t/mask.npy" -o %t/out.mlir
// RUN: FileCheck %s --input-file=%t/out.mlir

// CHECK: qmodel.weight @m : tensor<3x7xf32>
// CHECK: func.func @main(%arg0: tensor<3x?xf32> {onnx.name = "x", qmodel.dims = ["3", "n"]})
// CHECK-DAG: %[[M:.*]] = qmodel.load @m : tensor<3x7xf32>
// CHECK-DAG: %[[TO:.*]] = onnx.constant dense<[2, -1]> : tensor<2xi64>
// CHECK: onnx.node "Reshape"(%arg0, %[[TO]])
// CHECK: return {{.*}}, %[[M]]
module attributes {qmodel.bounds = {batch = [1, 4]}} {
  func.func @main(%x: tensor<?x?xf32> {onnx.name = "x", qmodel.dims = ["batch", "n"]},
                  %to: tensor<2xi64> {onnx.name = "to"},
                  %m: tensor<?x7xf32> {onnx.name = "m", qmodel.dims = ["batch", "7"]})
      -> (tensor<?x?xf32>, tensor<?x7xf32>) {
    %0 = onnx.node "Reshape"(%x, %to) {version = 19 : i64}
      : (tensor<?x?xf32>, tensor<2xi64>) -> tensor<?x?xf32>
    return %0, %m : tensor<?x?xf32>, tensor<?x7xf32>
  }
}

// What does not fit is refused.

// RUN: not quant-opt %s --onnx-fix-inputs="values=shape=%t/to.npy" 2>&1 | FileCheck %s --check-prefix=NAME
// NAME: error: {{.*}}cannot fix the input 'shape': expects one of x, to, m
// RUN: not quant-opt %s --onnx-fix-inputs="values=to=%t/short.npy" 2>&1 | FileCheck %s --check-prefix=SIZE
// SIZE: error: {{.*}}cannot fix the input 'to': expects dimension 0 to be 2, got 1xsi64
// RUN: not quant-opt %s --onnx-fix-inputs="values=to=%t/mask.npy" 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: not quant-opt %s --onnx-fix-inputs="values=to=%t/float.npy" 2>&1 | FileCheck %s --check-prefix=TYPE
// TYPE: error: {{.*}}cannot fix the input 'to': expects elements of type si64, got
// RUN: not quant-opt %s --onnx-fix-inputs="values=m=%t/float.npy" 2>&1 | FileCheck %s --check-prefix=RANK
// RANK: error: {{.*}}cannot fix the input 'm': expects rank 2, got 2xf32
// RUN: not quant-opt %s --onnx-fix-inputs="values=m=%t/wide.npy" 2>&1 | FileCheck %s --check-prefix=BOUND
// BOUND: error: {{.*}}cannot fix the input 'm': expects 'batch' within its bounds, got 9x7xf32
// RUN: not quant-opt %s --onnx-fix-inputs="values=to" 2>&1 | FileCheck %s --check-prefix=FORM
// FORM: error: {{.*}}expects NAME=FILE.npy for an input to fix, got 'to'
// RUN: not quant-opt %s --onnx-fix-inputs="values=to=%t/none.npy" 2>&1 | FileCheck %s --check-prefix=FILE
// FILE: error: {{.*}}cannot fix the input 'to': {{.*}}none.npy
// RUN: echo 'func.func @other() { return }' | not quant-opt - --onnx-fix-inputs="values=to=%t/to.npy" 2>&1 | FileCheck %s --check-prefix=MAIN
// MAIN: error: expects an entry point @main
