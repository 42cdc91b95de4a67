// What cannot become a program is refused, with what to do.

// RUN: quant-opt %s --nibble-lower --verify-diagnostics --split-input-file

// expected-error @+1 {{expects a bound for every dimension, got none for 'batch', 'seq'; give them with --dim NAME=MIN..MAX, for instance --dim batch=1..512}}
func.func @main(%x: tensor<?x?xf32> {qmodel.dims = ["batch", "seq"]}) -> tensor<?x?xf32> {
  %0 = onnx.node "Neg"(%x) {version = 13 : i64} : (tensor<?x?xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}

// -----

func.func @data_dependent(%x: tensor<4xf32>) -> tensor<1x?xi64> {
  // expected-error @+1 {{the shape of NonZero's result depends on data: 'tensor<1x?xi64>'; only shapes that follow from the inputs' dimensions compile}}
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<1x?xi64>
  return %0 : tensor<1x?xi64>
}

// -----

func.func @declared(%x: tensor<4xf32>) -> tensor<1x2xi64> {
  // expected-error @+1 {{the shape of NonZero's result depends on data: 'tensor<1x2xi64>'; only}}
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<1x2xi64>
  return %0 : tensor<1x2xi64>
}

// -----

// A name that another dimension has: one of an input, one of another node.
module attributes {qmodel.bounds = {n = [1, 4]}} {
func.func @name_of_input(%x: tensor<?xf32> {qmodel.dims = ["n"]}) -> tensor<1x?xi64> {
  // expected-error @+1 {{expects a name for its size that no other dimension has, got 'n'}}
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64, qmodel.sizes = ["n"]} : (tensor<?xf32>) -> tensor<1x?xi64>
  return %0 : tensor<1x?xi64>
}
}

// -----

func.func @name_of_node(%x: tensor<4xf32>) -> (tensor<1x?xi64>, tensor<?xf32>) {
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64, qmodel.sizes = ["n"]} : (tensor<4xf32>) -> tensor<1x?xi64>
  // expected-error @+1 {{expects a name for its size that no other dimension has, got 'n'}}
  %1 = onnx.node "Unique"(%x) {version = 13 : i64, qmodel.sizes = ["n"]} : (tensor<4xf32>) -> tensor<?xf32>
  return %0, %1 : tensor<1x?xi64>, tensor<?xf32>
}

// -----

// As many elements as there can be, are too many.
module attributes {qmodel.bounds = {n = [1, 4611686018427387904]}} {
func.func @bound(%x: tensor<?x4xi8> {qmodel.dims = ["n", "4"]}) -> tensor<2x?xi64> {
  // expected-error @+1 {{cannot bound 'found', which is at most 4*n: }}
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64, qmodel.sizes = ["found"]} : (tensor<?x4xi8>) -> tensor<2x?xi64>
  return %0 : tensor<2x?xi64>
}
}

// -----

// A view has no buffer of its own, and a shape nevertheless.
func.func @view(%x: tensor<6xf32>, %to: tensor<2xi64> {onnx.name = "to"}) -> tensor<?x?xf32> {
  // expected-error @+1 {{the shape of Reshape's result depends on data: 'tensor<?x?xf32>'; only shapes that follow from the inputs' dimensions compile; input 'to' says a shape or axes: if it is always the same, give it with --fix to=FILE.npy}}
  %0 = onnx.node "Reshape"(%x, %to) {version = 19 : i64} : (tensor<6xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}

// -----

func.func @control_flow(%c: tensor<i1>, %x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{expects straight-line code, got a region; control flow does not compile yet}}
  %0 = onnx.node "If"(%c) {version = 16 : i64} : (tensor<i1>) -> tensor<4xf32> {
    onnx.yield %x : tensor<4xf32>
  }, {
    onnx.yield %x : tensor<4xf32>
  }
  return %0 : tensor<4xf32>
}

// -----

// expected-error @+1 {{expects an entry point to lower, got none}}
module {
}

// -----

// expected-error @+1 {{expects layers that do not call themselves}}
func.func @recursion(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = call @layer(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
func.func private @layer(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = call @layer(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @external_layer(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @+1 {{expects a callee of one block in the module}}
  %0 = call @layer(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}
func.func private @layer(%x: tensor<4xf32>) -> tensor<4xf32>

// -----

// expected-error @+1 {{expects tensors of numbers, got 'none'}}
func.func @no_tensor(%x: none) -> tensor<4xf32> {
  %0 = onnx.constant dense<1.0> : tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// States: an append in place is to one, nobody reads the old value behind it, and
// what is returned is what was appended.
func.func @no_state(%p: tensor<1x2x8x4xf32>, %x: tensor<1x2x1x4xf32>, %n: tensor<1xi64>) -> tensor<1x2x8x4xf32> {
  %t = onnx.constant dense<8> : tensor<1xi64>
  // expected-error @+1 {{expects the past of an append in place to be a state of the entry point}}
  %0 = qmodel.append %p, %x lengths %n total %t in_place : (tensor<1x2x8x4xf32>, tensor<1x2x1x4xf32>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x2x8x4xf32>
  return %0 : tensor<1x2x8x4xf32>
}

// -----

qkernel.state @k : f32 dims ["1", "2", "8", "4"]
func.func @old_value(%x: tensor<1x2x1x4xf32>, %n: tensor<1xi64>, %p: tensor<1x2x8x4xf32> {qkernel.state = @k}) -> (tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32> {qkernel.state = @k}) {
  %t = onnx.constant dense<8> : tensor<1xi64>
  %0 = qmodel.append %p, %x lengths %n total %t in_place : (tensor<1x2x8x4xf32>, tensor<1x2x1x4xf32>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x2x8x4xf32>
  // expected-error @+1 {{reads a state that an append writes in place; expects it to read what is appended to}}
  %1 = onnx.node "Neg"(%p) {version = 17 : i64} : (tensor<1x2x8x4xf32>) -> tensor<1x2x8x4xf32>
  return %1, %0 : tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>
}

// -----

qkernel.state @k : f32 dims ["1", "2", "8", "4"]
// expected-error @+1 {{expects result 0 to be what is appended in place to @k}}
func.func @other_value(%x: tensor<1x2x8x4xf32>, %p: tensor<1x2x8x4xf32> {qkernel.state = @k}) -> (tensor<1x2x8x4xf32> {qkernel.state = @k}) {
  %0 = qmodel.add %x, %p : (tensor<1x2x8x4xf32>, tensor<1x2x8x4xf32>) -> tensor<1x2x8x4xf32>
  return %0 : tensor<1x2x8x4xf32>
}
