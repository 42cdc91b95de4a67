// One case per constraint of QModel.td; the name says which.

// RUN: quant-opt %s --verify-diagnostics --split-input-file

// weight_c1
// expected-error @+1 {{expects a dense literal or #qmodel.stored, got}}
qmodel.weight @weight_c1 : tensor<2xf32> = "text"

// -----

// weight_c2
// expected-error @+1 {{expects a literal of type 'tensor<2xf32>', got 'tensor<3xf32>'}}
qmodel.weight @weight_c2 : tensor<2xf32> = dense<1.0> : tensor<3xf32>

// -----

// weight_c3
// expected-error @+1 {{expects 3 stored bytes for 'tensor<2x3xui4>', got 4}}
qmodel.weight @weight_c3 : tensor<2x3xui4> = #qmodel.stored<"w", 0, 4, "">

// -----

// weight_c4
// expected-error @+1 {{expects a static tensor of integers or floats, got 'tensor<?xf32>'}}
qmodel.weight @weight_c4 : tensor<?xf32> = dense<1.0> : tensor<2xf32>

// -----

func.func @load_c1() {
  // expected-error @+1 {{names no weight of the module: @nowhere}}
  %0 = qmodel.load @nowhere : tensor<2xf32>
  return
}

// -----

qmodel.weight @w : tensor<2x3xf32> = dense<1.0> : tensor<2x3xf32>
func.func @load_c2() {
  // expected-error @+1 {{expects a permutation of 2 dimensions, got [0, 0]}}
  %0 = qmodel.load @w permutation [0, 0] : tensor<2x2xf32>
  return
}

// -----

qmodel.weight @w : tensor<2x3xf32> = dense<1.0> : tensor<2x3xf32>
func.func @load_c3() {
  // expected-error @+1 {{expects a result of type 'tensor<3x2xf32>', got 'tensor<2x3xf32>'}}
  %0 = qmodel.load @w permutation [1, 0] : tensor<2x3xf32>
  return
}

// -----

func.func @dim_tensor_c1() {
  // expected-error @+1 {{expects one expression per element of 'tensor<2xi64>', at most 64, got 1}}
  %0 = qmodel.dim_tensor ["a"] : tensor<2xi64>
  return
}

// -----

func.func @dim_tensor_c2() {
  // expected-error @+1 {{cannot read dimension "a +"}}
  %0 = qmodel.dim_tensor ["a +"] : tensor<1xi64>
  return
}

// -----

func.func @dim_tensor_c3() {
  // expected-error @+1 {{must be statically shaped tensor}}
  %0 = qmodel.dim_tensor ["a"] : tensor<1xf32>
  return
}

// -----

func.func @linear_c1(%x: tensor<?x4xf32>, %w: tensor<2x4xf32>, %b: tensor<3xf32>, %v: tensor<4xf32>) {
  // expected-error @+1 {{expects a weight [out, in], got 'tensor<4xf32>'}}
  %0 = qmodel.linear "l" %x, %v : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x2xf32>
  return
}

// -----

func.func @linear_c2(%x: tensor<?x5xf32>, %w: tensor<2x4xf32>) {
  // expected-error @+1 {{expects x with last dimension 4 (the weight's inputs), got 'tensor<?x5xf32>'}}
  %0 = qmodel.linear "l" %x, %w : (tensor<?x5xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  return
}

// -----

func.func @linear_c3(%x: tensor<?x4xf32>, %w: tensor<2x4xf32>, %b: tensor<3xf32>, %v: tensor<4xf32>) {
  // expected-error @+1 {{expects a bias of 2 elements, got 'tensor<3xf32>'}}
  %0 = qmodel.linear "l" %x, %w bias %b : (tensor<?x4xf32>, tensor<2x4xf32>, tensor<3xf32>) -> tensor<?x2xf32>
  return
}

// -----

func.func @linear_c4(%x: tensor<?x4xf32>, %w: tensor<2x4xf32>, %b: tensor<3xf32>, %v: tensor<4xf32>) {
  // expected-error @+1 {{expects x's leading dimensions and 2 for the result, got 'tensor<?x3xf32>'}}
  %0 = qmodel.linear "l" %x, %w : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x3xf32>
  return
}

// -----

func.func @linear_c5(%x: tensor<?x4xf32>, %w: tensor<2x4xf32>, %b: tensor<3xf32>, %v: tensor<4xf32>) {
  // expected-error @+1 {{expects an id that is not empty}}
  %0 = qmodel.linear "" %x, %w : (tensor<?x4xf32>, tensor<2x4xf32>) -> tensor<?x2xf32>
  return
}

// -----

func.func @embedding_c1(%t: tensor<8x3xf32>, %i: tensor<?xi64>, %v: tensor<8xf32>) {
  // expected-error @+1 {{expects a table [entries, width], got 'tensor<8xf32>'}}
  %0 = qmodel.embedding "e" %v, %i : (tensor<8xf32>, tensor<?xi64>) -> tensor<?x3xf32>
  return
}

// -----

func.func @embedding_c2(%t: tensor<8x3xf32>, %i: tensor<?xi64>, %v: tensor<8xf32>) {
  // expected-error @+1 {{expects the dimensions of the indices and 3 for the result, got 'tensor<?x4xf32>'}}
  %0 = qmodel.embedding "e" %t, %i : (tensor<8x3xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  return
}

// -----

func.func @embedding_c3(%t: tensor<8x3xf32>, %i: tensor<?xi64>, %v: tensor<8xf32>) {
  // expected-error @+1 {{expects an id that is not empty}}
  %0 = qmodel.embedding "" %t, %i : (tensor<8x3xf32>, tensor<?xi64>) -> tensor<?x3xf32>
  return
}

// -----

func.func @rms_norm_c1(%x: tensor<?x4xf32>, %g: tensor<4xf32>, %h: tensor<3xf32>) {
  // expected-error @+1 {{expects gain to be [width] for x 'tensor<?x4xf32>', got 'tensor<3xf32>'}}
  %0 = qmodel.rms_norm %x, %h epsilon 1.0e-5 : (tensor<?x4xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @rms_norm_c2(%x: tensor<?x4xf32>, %g: tensor<4xf32>, %h: tensor<3xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x4xf32>', got 'tensor<?x5xf32>'}}
  %0 = qmodel.rms_norm %x, %g epsilon 1.0e-5 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @rms_norm_c3(%x: tensor<?x4xf32>, %g: tensor<4xf32>, %h: tensor<3xf32>) {
  // expected-error @+1 {{expects epsilon of 0 or more, got}}
  %0 = qmodel.rms_norm %x, %g epsilon -1.0e-5 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @layer_norm_c1(%x: tensor<?x4xf32>, %g: tensor<4xf32>, %h: tensor<3xf32>) {
  // expected-error @+1 {{expects gain to be [width] for x 'tensor<?x4xf32>', got 'tensor<3xf32>'}}
  %0 = qmodel.layer_norm %x, %h epsilon 1.0e-5 : (tensor<?x4xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @layer_norm_c1_bias(%x: tensor<?x4xf32>, %g: tensor<4xf32>, %h: tensor<3xf32>) {
  // expected-error @+1 {{expects bias to be [width] for x 'tensor<?x4xf32>', got 'tensor<3xf32>'}}
  %0 = qmodel.layer_norm %x, %g bias %h epsilon 1.0e-5 : (tensor<?x4xf32>, tensor<4xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @layer_norm_c2(%x: tensor<?x4xf32>, %g: tensor<4xf32>, %h: tensor<3xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x4xf32>', got 'tensor<?x5xf32>'}}
  %0 = qmodel.layer_norm %x, %g epsilon 1.0e-5 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @layer_norm_c3(%x: tensor<?x4xf32>, %g: tensor<4xf32>, %h: tensor<3xf32>) {
  // expected-error @+1 {{expects epsilon of 0 or more, got}}
  %0 = qmodel.layer_norm %x, %g epsilon -1.0e-5 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @rope_c1(%x: tensor<1x2x?x8xf32>, %y: tensor<2x?x8xf32>, %c: tensor<1x?x4xf32>, %o: tensor<1x?x3xf32>) {
  // expected-error @+1 {{expects x of rank 4 and cos and sin of one type of rank 3, got}}
  %0 = qmodel.rope %y, %c, %c : (tensor<2x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<2x?x8xf32>
  return
}

// -----

func.func @rope_c2(%x: tensor<1x2x?x8xf32>, %y: tensor<2x?x8xf32>, %c: tensor<1x?x4xf32>, %o: tensor<1x?x3xf32>) {
  // expected-error @+1 {{expects an even static rotated width of at most 8, got 'tensor<1x?x3xf32>'}}
  %0 = qmodel.rope %x, %o, %o : (tensor<1x2x?x8xf32>, tensor<1x?x3xf32>, tensor<1x?x3xf32>) -> tensor<1x2x?x8xf32>
  return
}

// -----

func.func @rope_c3(%x: tensor<1x2x?x8xf32>, %y: tensor<2x?x8xf32>, %c: tensor<1x?x4xf32>, %o: tensor<1x?x3xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<1x2x?x8xf32>', got 'tensor<1x2x?x6xf32>'}}
  %0 = qmodel.rope %x, %c, %c : (tensor<1x2x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x2x?x6xf32>
  return
}

// -----

func.func @attention_c1(%q: tensor<1x4x?x8xf32>, %k: tensor<1x2x?x7xf32>, %v: tensor<1x2x?x6xf32>) {
  // expected-error @+1 {{expects q [batch, heads, seq, d], k [batch, kv_heads, total, d] and v [batch, kv_heads, total, dv], got}}
  %0 = qmodel.attention %q, %k, %v scale 0.5 mask_value -1.0e+9 : (tensor<1x4x?x8xf32>, tensor<1x2x?x7xf32>, tensor<1x2x?x6xf32>) -> tensor<1x4x?x6xf32>
  return
}

// -----

func.func @attention_c2(%q: tensor<1x4x?x8xf32>, %k: tensor<1x3x?x8xf32>, %v: tensor<1x3x?x6xf32>) {
  // expected-error @+1 {{expects static heads and widths, with kv_heads dividing heads, got}}
  %0 = qmodel.attention %q, %k, %v scale 0.5 mask_value -1.0e+9 : (tensor<1x4x?x8xf32>, tensor<1x3x?x8xf32>, tensor<1x3x?x6xf32>) -> tensor<1x4x?x6xf32>
  return
}

// -----

func.func @attention_c3(%q: tensor<1x4x?x8xf32>, %k: tensor<1x2x?x8xf32>, %v: tensor<1x2x?x6xf32>) {
  // expected-error @+1 {{expects a result [batch, heads, seq, dv], got 'tensor<1x4x?x8xf32>'}}
  %0 = qmodel.attention %q, %k, %v scale 0.5 mask_value -1.0e+9 : (tensor<1x4x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x6xf32>) -> tensor<1x4x?x8xf32>
  return
}

// -----

func.func @attention_c4(%q: tensor<1x4x?x8xf32>, %k: tensor<1x2x?x8xf32>, %v: tensor<1x2x?x6xf32>) {
  // expected-error @+1 {{expects a negative mask_value, got 0}}
  %0 = qmodel.attention %q, %k, %v scale 0.5 mask_value 0.0 : (tensor<1x4x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x6xf32>) -> tensor<1x4x?x6xf32>
  return
}

// -----

func.func @attention_c5(%q: tensor<3x4x?x8xf32>, %k: tensor<3x2x?x8xf32>, %n: tensor<2xi64>) {
  // expected-error @+1 {{expects lengths [batch] for q 'tensor<3x4x?x8xf32>', got 'tensor<2xi64>'}}
  %0 = qmodel.attention %q, %k, %k lengths %n scale 0.5 mask_value -1.0 : (tensor<3x4x?x8xf32>, tensor<3x2x?x8xf32>, tensor<3x2x?x8xf32>, tensor<2xi64>) -> tensor<3x4x?x8xf32>
  return
}

// -----

func.func @attention_c6(%q: tensor<1x4x?x8xf32>) {
  // expected-error @+1 {{expects a window of 1 or more keys of a causal attention, got 3}}
  %0 = qmodel.attention %q, %q, %q scale 0.5 window 3 mask_value -1.0 : (tensor<1x4x?x8xf32>, tensor<1x4x?x8xf32>, tensor<1x4x?x8xf32>) -> tensor<1x4x?x8xf32>
  return
}

// -----

func.func @attention_c6_softcap(%q: tensor<1x4x?x8xf32>) {
  // expected-error @+1 {{expects a positive softcap, got 0}}
  %0 = qmodel.attention %q, %q, %q scale 0.5 softcap 0.0 mask_value -1.0 : (tensor<1x4x?x8xf32>, tensor<1x4x?x8xf32>, tensor<1x4x?x8xf32>) -> tensor<1x4x?x8xf32>
  return
}

// -----

func.func @append_c1(%p: tensor<2x4x?x8xf32>, %x: tensor<2x3x?x8xf32>, %n: tensor<2xi64>, %t: tensor<1xi64>) {
  // expected-error @+1 {{expects past, new tokens and result [batch, kv_heads, tokens, d], got}}
  %0 = qmodel.append %p, %x lengths %n total %t : (tensor<2x4x?x8xf32>, tensor<2x3x?x8xf32>, tensor<2xi64>, tensor<1xi64>) -> tensor<2x4x?x8xf32>
  return
}

// -----

func.func @append_c2(%p: tensor<2x4x?x8xf32>, %n: tensor<2xi64>, %t: tensor<2xi64>) {
  // expected-error @+1 {{expects lengths [batch] and one total, got 'tensor<2xi64>' and 'tensor<2xi64>'}}
  %0 = qmodel.append %p, %p lengths %n total %t : (tensor<2x4x?x8xf32>, tensor<2x4x?x8xf32>, tensor<2xi64>, tensor<2xi64>) -> tensor<2x4x?x8xf32>
  return
}

// -----

func.func @append_c3(%p: tensor<2x4x?x8xf16>, %x: tensor<2x4x?x8xf32>, %n: tensor<2xi64>, %t: tensor<1xi64>) {
  // expected-error @+1 {{expects a result of the elements of 'tensor<2x4x?x8xf16>', got 'tensor<2x4x?x8xf32>'}}
  %0 = qmodel.append %p, %x lengths %n total %t : (tensor<2x4x?x8xf16>, tensor<2x4x?x8xf32>, tensor<2xi64>, tensor<1xi64>) -> tensor<2x4x?x8xf32>
  return
}

// -----

func.func @append_c3_in_place(%p: tensor<2x4x9x8xf32>, %n: tensor<2xi64>, %t: tensor<1xi64>) {
  // expected-error @+1 {{expects a result of the type of 'tensor<2x4x9x8xf32>', got 'tensor<2x4x?x8xf32>'}}
  %0 = qmodel.append %p, %p lengths %n total %t in_place : (tensor<2x4x9x8xf32>, tensor<2x4x9x8xf32>, tensor<2xi64>, tensor<1xi64>) -> tensor<2x4x?x8xf32>
  return
}

// -----

func.func @positions_c1(%p: tensor<2xi64>, %n: tensor<1xi64>) {
  // expected-error @+1 {{expects past [batch], one count and a result [batch, count], got}}
  %0 = qmodel.positions %p count %n limit 8 : (tensor<2xi64>, tensor<1xi64>) -> tensor<3x?xi64>
  return
}

// -----

func.func @positions_c2(%p: tensor<2xi64>, %n: tensor<1xi64>) {
  // expected-error @+1 {{expects a limit of 1 or more, got 0}}
  %0 = qmodel.positions %p count %n limit 0 : (tensor<2xi64>, tensor<1xi64>) -> tensor<2x?xi64>
  return
}

// -----

func.func @select_rows_c1(%x: tensor<2x?x8xf32>, %r: tensor<3xi64>) {
  // expected-error @+1 {{expects x [batch, seq, ...] and rows [batch], got 'tensor<2x?x8xf32>' and 'tensor<3xi64>'}}
  %0 = qmodel.select_rows %x, %r : (tensor<2x?x8xf32>, tensor<3xi64>) -> tensor<2x1x8xf32>
  return
}

// -----

func.func @select_rows_c2(%x: tensor<2x?x8xf32>, %r: tensor<2xi64>) {
  // expected-error @+1 {{expects a result of 'tensor<2x1x8xf32>', got 'tensor<2x8xf32>'}}
  %0 = qmodel.select_rows %x, %r : (tensor<2x?x8xf32>, tensor<2xi64>) -> tensor<2x8xf32>
  return
}

// -----

func.func @activation_c1(%x: tensor<?x4xf32>, %y: tensor<?x5xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x4xf32>', got 'tensor<?x5xf32>'}}
  %0 = qmodel.activation silu %x : (tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @gated_activation_c1(%x: tensor<?x4xf32>, %y: tensor<?x5xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x4xf32>', got 'tensor<?x5xf32>'}}
  %0 = qmodel.gated_activation silu %x, %y : (tensor<?x4xf32>, tensor<?x5xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @gated_activation_c1_result(%x: tensor<?x4xf32>, %y: tensor<?x5xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x4xf32>', got 'tensor<?x5xf32>'}}
  %0 = qmodel.gated_activation silu %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @add_c1(%x: tensor<?x4xf32>, %y: tensor<?x5xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x4xf32>', got 'tensor<?x5xf32>'}}
  %0 = qmodel.add %x, %y : (tensor<?x4xf32>, tensor<?x5xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @add_c1_result(%x: tensor<?x4xf32>, %y: tensor<?x5xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x4xf32>', got 'tensor<?x5xf32>'}}
  %0 = qmodel.add %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @multiply_c1(%x: tensor<?x4xf32>, %y: tensor<?x5xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x4xf32>', got 'tensor<?x5xf32>'}}
  %0 = qmodel.multiply %x, %y : (tensor<?x4xf32>, tensor<?x5xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @multiply_c1_result(%x: tensor<?x4xf32>, %y: tensor<?x5xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x4xf32>', got 'tensor<?x5xf32>'}}
  %0 = qmodel.multiply %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @dequantize_c1(%c: tensor<2x40xi16>, %s: tensor<2x2xf32>) {
  // expected-error @+1 {{expects codes [..., out, in] of 2 to 8 bits, got 'tensor<2x40xi16>'}}
  %0 = qmodel.dequantize %c, %s group 32 : (tensor<2x40xi16>, tensor<2x2xf32>) -> tensor<2x40xf32>
  return
}

// -----

func.func @dequantize_c2(%c: tensor<2x40xui4>, %s: tensor<2x1xf32>) {
  // expected-error @+1 {{expects scales and zeros of the shape of 'tensor<2x2xf32>' or with one element for 'tensor<2x40xui4>' in blocks of 1 x 32, got scales 'tensor<2x1xf32>'}}
  %0 = qmodel.dequantize %c, %s group 32 : (tensor<2x40xui4>, tensor<2x1xf32>) -> tensor<2x40xf32>
  return
}

// -----

func.func @dequantize_c2_zeros(%c: tensor<2x40xui4>, %s: tensor<2x2xf32>, %z: tensor<2x1xui4>) {
  // expected-error @+1 {{got scales 'tensor<2x2xf32>' and zeros 'tensor<2x1xui4>'}}
  %0 = qmodel.dequantize %c, %s zeros %z group 32 : (tensor<2x40xui4>, tensor<2x2xf32>, tensor<2x1xui4>) -> tensor<2x40xf32>
  return
}

// -----

func.func @dequantize_c3(%c: tensor<2x40xui4>, %s: tensor<2x2xf32>, %z: tensor<2x2xui8>) {
  // expected-error @+1 {{expects zeros in the type of the codes, 'ui4', got 'tensor<2x2xui8>'}}
  %0 = qmodel.dequantize %c, %s zeros %z group 32 : (tensor<2x40xui4>, tensor<2x2xf32>, tensor<2x2xui8>) -> tensor<2x40xf32>
  return
}

// -----

func.func @dequantize_c4(%c: tensor<2x40xui4>, %s: tensor<2x2xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<2x40xui4>', got 'tensor<2x39xf32>'}}
  %0 = qmodel.dequantize %c, %s group 32 : (tensor<2x40xui4>, tensor<2x2xf32>) -> tensor<2x39xf32>
  return
}

// -----

func.func @dequantize_c5(%c: tensor<2x40xui4>, %s: tensor<2x2xf32>) {
  // expected-error @+1 {{expects a group of 0 (per row) or more and rows of 0 (all) or more, got -1 and 1}}
  %0 = qmodel.dequantize %c, %s group -1 : (tensor<2x40xui4>, tensor<2x2xf32>) -> tensor<2x40xf32>
  return
}

// -----

// expected-error @+1 {{expects 2 to 8 bits, got 9}}
func.func private @scheme_c1() attributes {a = #qmodel.scheme<bits = 9, group = 32, symmetric = false, grid = minmax, rounding = half_even>}

// -----

// expected-error @+1 {{expects 2 to 8 bits, got 1}}
func.func private @scheme_c1_low() attributes {a = #qmodel.scheme<bits = 1, group = 32, symmetric = false, grid = minmax, rounding = half_even>}

// -----

// expected-error @+1 {{expects a group size of 0 (per channel) or more, got -1}}
func.func private @scheme_c2() attributes {a = #qmodel.scheme<bits = 4, group = -1, symmetric = false, grid = minmax, rounding = half_even>}

// -----

// expected-error @+1 {{expects the narrow grid to be symmetric}}
func.func private @scheme_c3() attributes {a = #qmodel.scheme<bits = 4, group = 32, symmetric = false, grid = narrow, rounding = half_even>}

// -----

// @bounds: the smallest must not exceed the largest.
// expected-error @+1 {{expects bounds [min, max] with 0 <= min <= max for dimension 'seq', got [4, 1]}}
module attributes {qmodel.bounds = {seq = [4, 1]}} {
}

// -----

// @bounds_kind
// expected-error @+1 {{expects 'qmodel.bounds' to be a dictionary on the module}}
module attributes {qmodel.bounds = 3} {
}

// -----

func.func @sizes(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects 'qmodel.sizes' to be a list of names of dimensions, got ["2*n"]}}
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64, qmodel.sizes = ["2*n"]} : (tensor<4xf32>) -> tensor<1x?xi64>
  return
}

// -----

func.func @sizes_text(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects 'qmodel.sizes' to be a list of names of dimensions, got "n"}}
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64, qmodel.sizes = "n"} : (tensor<4xf32>) -> tensor<1x?xi64>
  return
}

// -----

// expected-error @+1 {{expects 'qmodel.dims' of argument 0 to be a list of dimension expressions, got ["seq +"]}}
func.func private @dims(%x: tensor<?xf32> {qmodel.dims = ["seq +"]})

// -----

// expected-error @+1 {{expects 0 (all) or more rows per block, got -1}}
func.func private @scheme_c2_rows() attributes {a = #qmodel.scheme<bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, rows = -1>}

// -----

// expected-error @+1 {{expects scales of f32, f16 or bf16, got 'f64'}}
func.func private @scheme_c4() attributes {a = #qmodel.scheme<bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, scales = f64>}

// -----

// expected-error @+1 {{expects a scheme of scales without a second level of its own}}
func.func private @scheme_c5() attributes {a = #qmodel.scheme<bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, scale_scheme = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, scale_scheme = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>>>}

// -----

// expected-error @+1 {{expects an input scheme with 1 row (per token) or 0 (per tensor), got 2}}
func.func private @plan_c1() attributes {a = #qmodel.plan<weight = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>, input = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, rows = 2>>}

// -----

// expected-error @+1 {{expects an input scheme without scale_scheme, got}}
func.func private @plan_c2() attributes {a = #qmodel.plan<weight = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>, input = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, scale_scheme = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>>>}

// -----

func.func @dequantize_c2_blocks(%c: tensor<5x40xui4>, %s: tensor<5x2xf32>) {
  // expected-error @+1 {{expects scales and zeros of the shape of 'tensor<3x2xf32>' or with one element for 'tensor<5x40xui4>' in blocks of 2 x 32, got scales 'tensor<5x2xf32>'}}
  %0 = qmodel.dequantize %c, %s group 32 rows 2 : (tensor<5x40xui4>, tensor<5x2xf32>) -> tensor<5x40xf32>
  return
}

// -----

func.func @dequantize_c5_rows(%c: tensor<2x40xui4>, %s: tensor<2x2xf32>) {
  // expected-error @+1 {{expects a group of 0 (per row) or more and rows of 0 (all) or more, got 32 and -1}}
  %0 = qmodel.dequantize %c, %s group 32 rows -1 : (tensor<2x40xui4>, tensor<2x2xf32>) -> tensor<2x40xf32>
  return
}

// -----

func.func @quantize_c1(%x: tensor<?x3x8xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{expects scales and zeros of the shape of}}
  %0 = qmodel.quantize %x, %s scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<?x3x8xf32>, tensor<2xf32>) -> tensor<?x3x8xi8>
  return
}

// -----

func.func @quantize_c2(%x: tensor<?x8xf32>, %s: tensor<1xf32>) {
  // expected-error @+1 {{expects codes of 'i8' of the shape of 'tensor<?x8xf32>', got 'tensor<?x8xui8>'}}
  %0 = qmodel.quantize %x, %s scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<?x8xf32>, tensor<1xf32>) -> tensor<?x8xui8>
  return
}

// -----

func.func @quantize_c3(%x: tensor<8xf32>, %s: tensor<2xf32>) {
  // expected-error @+1 {{expects one scale and one zero for x of rank 1, got 'tensor<2xf32>'}}
  %0 = qmodel.quantize %x, %s scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<8xf32>, tensor<2xf32>) -> tensor<8xi8>
  return
}

// -----

func.func @dynamic_quantize_c1(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expects a scheme with one row per block, got}}
  %0:2 = qmodel.dynamic_quantize %x scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, rows = 0> : (tensor<?x8xf32>) -> (tensor<?x8xi8>, tensor<1x1xf32>)
  return
}

// -----

func.func @dynamic_quantize_c2(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expects codes of 'i8' of the shape of 'tensor<?x8xf32>', got 'tensor<?x8xi4>'}}
  %0:2 = qmodel.dynamic_quantize %x scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<?x8xf32>) -> (tensor<?x8xi4>, tensor<?x1xf32>)
  return
}

// -----

func.func @dynamic_quantize_c2_groups(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expects scales of 'f32', and zeros, with 1 groups per row of 'tensor<?x8xf32>', got 'tensor<?x2xf32>'}}
  %0:2 = qmodel.dynamic_quantize %x scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<?x8xf32>) -> (tensor<?x8xi8>, tensor<?x2xf32>)
  return
}

// -----

func.func @dynamic_quantize_c2_type(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expects scales of 'f32', and zeros, with 1 groups per row of 'tensor<?x8xf32>', got 'tensor<?x1xf16>'}}
  %0:2 = qmodel.dynamic_quantize %x scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<?x8xf32>) -> (tensor<?x8xi8>, tensor<?x1xf16>)
  return
}

// -----

func.func @dynamic_quantize_c3(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expects zeros in the type of the codes exactly if the scheme stores them, got none}}
  %0:2 = qmodel.dynamic_quantize %x scheme <bits = 8, group = 0, symmetric = false, grid = minmax, rounding = half_even> : (tensor<?x8xf32>) -> (tensor<?x8xui8>, tensor<?x1xf32>)
  return
}

// -----

func.func @decompress_24_c1(%v: tensor<2x4xf32>, %p: tensor<2x4xui8>) {
  // expected-error @+1 {{expects values [out, in / 2] and ui2 positions of the same even width, got 'tensor<2x4xf32>' and 'tensor<2x4xui8>'}}
  %0 = qmodel.decompress_24 %v, %p : (tensor<2x4xf32>, tensor<2x4xui8>) -> tensor<2x8xf32>
  return
}

// -----

func.func @decompress_24_c1_odd(%v: tensor<2x3xf32>, %p: tensor<2x3xui2>) {
  // expected-error @+1 {{expects values [out, in / 2] and ui2 positions of the same even width}}
  %0 = qmodel.decompress_24 %v, %p : (tensor<2x3xf32>, tensor<2x3xui2>) -> tensor<2x6xf32>
  return
}

// -----

func.func @decompress_24_c2(%v: tensor<2x4xf32>, %p: tensor<2x4xui2>) {
  // expected-error @+1 {{expects a result twice as wide as 'tensor<2x4xf32>', got 'tensor<2x4xf32>'}}
  %0 = qmodel.decompress_24 %v, %p : (tensor<2x4xf32>, tensor<2x4xui2>) -> tensor<2x4xf32>
  return
}

// -----

func.func @channel_scale_c1(%x: tensor<?x8xf32>, %s: tensor<7xf32>) {
  // expected-error @+1 {{scales}}
  %0 = qmodel.channel_scale %x, %s : (tensor<?x8xf32>, tensor<7xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @channel_scale_c2(%x: tensor<?x8xf32>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects a result of the shape of 'tensor<?x8xf32>', got 'tensor<?x7xf32>'}}
  %0 = qmodel.channel_scale %x, %s : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x7xf32>
  return
}
