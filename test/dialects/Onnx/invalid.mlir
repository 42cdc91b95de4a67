// One case per constraint of Onnx.td, then what the types alone rule out.

// RUN: quant-opt %s --verify-diagnostics --split-input-file

func.func @node_c1(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects an operator type, got an empty one}}
  %y = onnx.node ""(%x) {version = 16 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @node_c2(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects a positive opset version, got 0}}
  %y = onnx.node "Neg"(%x) {version = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @constant_c1() {
  // expected-error @+1 {{all of {value, result} have same type}}
  %y = "onnx.constant"() {value = dense<1.0> : tensor<3xf32>} : () -> tensor<4xf32>
  return
}

// -----

func.func @node_without_version(%x: tensor<4xf32>) {
  // expected-error @+1 {{requires attribute 'version'}}
  %y = onnx.node "Neg"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @yield_outside(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects parent op 'onnx.node'}}
  onnx.yield %x : tensor<4xf32>
}
