// RUN: quant-opt %s --split-input-file --qkernel-to-gpu --verify-diagnostics

// All kernels are looked at before the pass fails.

qkernel.kernel @unknown scalars [] args [["4"]] {
^bb0(%a: tensor<4xf32>):
  // expected-error @below {{no CUDA code for ONNX operator 'Conv' yet}}
  %0 = onnx.node "Conv"(%a) {version = 11 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  qkernel.yield %0 : tensor<4xf32>
}

qkernel.kernel @other scalars [] args [["4"]] {
^bb0(%a: tensor<4xf32>):
  // expected-error @below {{no CUDA code for ONNX operator 'LSTM' yet}}
  %0 = onnx.node "LSTM"(%a) {version = 14 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  qkernel.yield %0 : tensor<4xf32>
}

// -----

// expected-error @below {{expects no 'kernels' in a module that is lowered to it}}
gpu.module @kernels {
}
