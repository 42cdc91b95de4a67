// What the CPU kernels cannot have is refused, with what to do.

// RUN: quant-opt %s --qkernel-pack --verify-diagnostics --split-input-file

qmodel.weight @w : tensor<2x3xf16> = dense<1.0> : tensor<2x3xf16>
func.func @half(%x: tensor<?x3xf16>) -> tensor<?x2xf16> {
  %w = qmodel.load @w : tensor<2x3xf16>
  // expected-error @+1 {{expects float32 activations for the CPU, got 'tensor<?x3xf16>'; convert the model to float32 when exporting it}}
  %0 = qmodel.linear "l" %x, %w : (tensor<?x3xf16>, tensor<2x3xf16>) -> tensor<?x2xf16>
  return %0 : tensor<?x2xf16>
}

// -----

func.func @computed(%x: tensor<?x3xf32>, %w: tensor<2x3xf32>) -> tensor<?x2xf32> {
  // expected-error @+1 {{expects constant weights to pack, got a computed value of type 'tensor<2x3xf32>'}}
  %0 = qmodel.linear "l" %x, %w : (tensor<?x3xf32>, tensor<2x3xf32>) -> tensor<?x2xf32>
  return %0 : tensor<?x2xf32>
}
