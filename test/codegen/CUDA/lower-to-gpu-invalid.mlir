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

// A linear whose blocks others share.
qkernel.kernel @fused scalars [] args [["1", "8"], ["256"], ["1", "8"]] {
^bb0(%x: tensor<1x8xf32>, %w: tensor<256xui8>, %r: tensor<1x8xf32>):
  // expected-error @below {{no CUDA code for 'qkernel.packed_linear': found other ops that share its tasks; lower without qkernel-fuse}}
  %0 = qkernel.packed_linear %x, %w layout <element = f32, out = 8, in = 8, group = 8> : (tensor<1x8xf32>, tensor<256xui8>) -> tensor<1x8xf32>
  %1 = qmodel.add %0, %r : (tensor<1x8xf32>, tensor<1x8xf32>) -> tensor<1x8xf32>
  qkernel.yield %1 : tensor<1x8xf32>
}

// -----

// expected-error @below {{expects no 'kernels' in a module that is lowered to it}}
gpu.module @kernels {
}
