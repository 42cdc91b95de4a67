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

// -----

qmodel.weight @c : tensor<2x4xi8> = dense<1> : tensor<2x4xi8>
qmodel.weight @s : tensor<2x1xf32> = dense<1.0> : tensor<2x1xf32>
func.func @narrow_activations(%q: tensor<?x4xi4>, %qs: tensor<?x1xf32>) -> tensor<?x2xf32> {
  %c = qmodel.load @c : tensor<2x4xi8>
  %s = qmodel.load @s : tensor<2x1xf32>
  %w = qmodel.dequantize %c, %s group 0 : (tensor<2x4xi8>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %x = qmodel.dequantize %q, %qs group 0 : (tensor<?x4xi4>, tensor<?x1xf32>) -> tensor<?x4xf32>
  // expected-error @+1 {{expects activations in 8-bit codes for the CPU, got 'tensor<?x4xi4>'; plan 8 bits for the input, or none}}
  %0 = qmodel.linear "l" %x, %w : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  return %0 : tensor<?x2xf32>
}

// -----

qmodel.weight @c : tensor<2x2xi8> = dense<1> : tensor<2x2xi8>
qmodel.weight @s : tensor<2x1xf32> = dense<1.0> : tensor<2x1xf32>
qmodel.weight @p : tensor<2x2xui2> = dense<1> : tensor<2x2xui2>
func.func @positions(%x: tensor<?x4xf32>) -> tensor<?x2xf32> {
  %c = qmodel.load @c : tensor<2x2xi8>
  %s = qmodel.load @s : tensor<2x1xf32>
  %p = qmodel.load @p : tensor<2x2xui2>
  %v = qmodel.dequantize %c, %s group 0 : (tensor<2x2xi8>, tensor<2x1xf32>) -> tensor<2x2xf32>
  %w = qmodel.decompress_24 %v, %p : (tensor<2x2xf32>, tensor<2x2xui2>) -> tensor<2x4xf32>
  // expected-error @+1 {{cannot pack: expects the second of two positions to be the larger one, got 1 and 1}}
  %0 = qmodel.linear "l" %x, %w : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  return %0 : tensor<?x2xf32>
}

// -----

func.func @empty(%x: tensor<2x0xf32>) -> tensor<2x8xf32> {
  %v = onnx.constant dense<> : tensor<8x0xf32>
  %p = onnx.constant dense<> : tensor<8x0xui2>
  %w = qmodel.decompress_24 %v, %p : (tensor<8x0xf32>, tensor<8x0xui2>) -> tensor<8x0xf32>
  // expected-error @+1 {{cannot pack: expects a weight with at least one output and one input, got 'tensor<8x0xf32>'}}
  %y = qmodel.linear "l" %x, %w : (tensor<2x0xf32>, tensor<8x0xf32>) -> tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}
