// One case per constraint of QKernel.td; the name says which.

// RUN: quant-opt %s --verify-diagnostics --split-input-file

// expected-error @+1 {{expects groups of 1 to 32 inputs, got 33}}
func.func private @row_interleaved_c1() attributes {a = #qkernel.row_interleaved<element = ui4, out = 8, in = 32, group = 33>}

// -----

// expected-error @+1 {{expects weights for tensor cores of f16, bf16 or of integers of 4 or 8 bits, got ui5}}
func.func private @mma_fragments_c1() attributes {a = #qkernel.mma_fragments<element = ui5, out = 8, in = 32, group = 32>}

// -----

// expected-error @+1 {{expects one group of all 32 inputs for float weights, got groups of 16}}
func.func private @mma_fragments_c1_group() attributes {a = #qkernel.mma_fragments<element = bf16, out = 8, in = 32, group = 16>}

// -----

// expected-error @+1 {{expects 2:4 sparse weights for tensor cores of 4 or 16 bits, got si8}}
func.func private @mma_fragments_c1_sparse() attributes {a = #qkernel.mma_fragments<element = i8, out = 8, in = 32, group = 32, sparse24 = true>}

// -----

// expected-error @+1 {{expects packed weights of f32, f16, bf16 or of integers of 2 to 8 bits, got ui16}}
func.func private @row_interleaved_c1_bits() attributes {a = #qkernel.row_interleaved<element = ui16, out = 8, in = 32, group = 32>}

// -----

// expected-error @+1 {{expects integer or float elements and float scales, got 'none' and 'f32'}}
func.func private @row_interleaved_c1_type() attributes {a = #qkernel.row_interleaved<element = none, out = 8, in = 32, group = 32>}

// -----

// expected-error @+1 {{expects scales of f32, f16 or bf16, got f64}}
func.func private @row_interleaved_c1_scales() attributes {a = #qkernel.row_interleaved<element = ui4, out = 8, in = 32, group = 32, scales = f64>}

// -----

// expected-error @+1 {{expects inputs and groups of them that 4 divides for 2:4 sparse weights, got 32 in groups of 6}}
func.func private @row_interleaved_c1_sparse() attributes {a = #qkernel.row_interleaved<element = ui4, out = 8, in = 32, group = 6, sparse24 = true>}

// -----

func.func @packed_linear_c1(%x: tensor<?x31xf32>, %w: tensor<128xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects x with last dimension 32, got 'tensor<?x31xf32>'}}
  %0 = qkernel.packed_linear %x, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x31xf32>, tensor<128xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_linear_c2(%x: tensor<?x32xf32>, %w: tensor<127xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects 128 bytes of weight, 32 of scales in 'f32' and, if any, 8 of zero points}}
  %0 = qkernel.packed_linear %x, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xf32>, tensor<127xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_linear_c2_scales(%x: tensor<?x32xf32>, %w: tensor<128xui8>) {
  // expected-error @+1 {{expects 128 bytes of weight, 32 of scales}}
  %0 = qkernel.packed_linear %x, %w layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xf32>, tensor<128xui8>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_linear_c2_float(%x: tensor<?x32xf32>, %w: tensor<1024xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects 1024 bytes of weight, 0 of scales}}
  %0 = qkernel.packed_linear %x, %w scales %s layout <element = f32, out = 8, in = 32, group = 32> : (tensor<?x32xf32>, tensor<1024xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_linear_c2_sparse(%x: tensor<?x32xf32>, %w: tensor<128xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects 96 bytes of weight, 32 of scales in 'f32'}}
  %0 = qkernel.packed_linear %x, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32, sparse24 = true> : (tensor<?x32xf32>, tensor<128xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_linear_c2_fragments(%x: tensor<?x32xf32>, %w: tensor<128xui8>, %s: tensor<64xf32>) {
  // expected-error @+1 {{expects 2048 bytes of weight, 256 of scales in 'f32' and, if any, 32 of zero points}}
  %0 = qkernel.packed_linear %x, %w scales %s layout mma_fragments<element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xf32>, tensor<128xui8>, tensor<64xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_linear_c5(%x: tensor<?x32xf16>, %w: tensor<128xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects float32 for x and the result, got 'f16' and 'f32'; other types need a layout for tensor cores}}
  %0 = qkernel.packed_linear %x, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xf16>, tensor<128xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_linear_layout(%x: tensor<?x32xf32>, %w: tensor<128xui8>) {
  // expected-error @+1 {{attribute 'layout' failed to satisfy constraint}}
  %0 = "qkernel.packed_linear"(%x, %w) {layout = "rows", operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>} : (tensor<?x32xf32>, tensor<128xui8>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_linear_c3(%x: tensor<?x32xf32>, %w: tensor<128xui8>, %s: tensor<8xf32>, %b: tensor<7xf32>) {
  // expected-error @+1 {{expects a bias of 8 elements, got 'tensor<7xf32>'}}
  %0 = qkernel.packed_linear %x, %w scales %s bias %b layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xf32>, tensor<128xui8>, tensor<8xf32>, tensor<7xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_linear_c4(%x: tensor<?x32xf32>, %w: tensor<128xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects x's leading dimensions and 8 for the result, got 'tensor<?x9xf32>'}}
  %0 = qkernel.packed_linear %x, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xf32>, tensor<128xui8>, tensor<8xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @packed_integer_linear_c1(%x: tensor<?x31xi8>, %xs: tensor<?x1xf32>, %w: tensor<128xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects x with last dimension 32, got 'tensor<?x31xi8>'}}
  %0 = qkernel.packed_integer_linear %x scales %xs group 31, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x31xi8>, tensor<?x1xf32>, tensor<128xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_integer_linear_c1_zeros(%x: tensor<?x32xi8>, %xs: tensor<?x1xf32>, %xz: tensor<?x1xui8>, %w: tensor<128xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects scales and zeros of x with 1 groups per row or one element}}
  %0 = qkernel.packed_integer_linear %x scales %xs zeros %xz group 32, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xi8>, tensor<?x1xf32>, tensor<?x1xui8>, tensor<128xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_integer_linear_c2(%x: tensor<?x32xi8>, %xs: tensor<?x1xf32>, %w: tensor<128xui8>, %s: tensor<8xf16>) {
  // expected-error @+1 {{expects 128 bytes of weight, 32 of scales in 'f32'}}
  %0 = qkernel.packed_integer_linear %x scales %xs group 32, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xi8>, tensor<?x1xf32>, tensor<128xui8>, tensor<8xf16>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_integer_linear_c2_float(%x: tensor<?x32xi8>, %xs: tensor<?x1xf32>, %w: tensor<1024xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects integer weights, got #qkernel.row_interleaved<element = f32}}
  %0 = qkernel.packed_integer_linear %x scales %xs group 32, %w scales %s layout <element = f32, out = 8, in = 32, group = 32> : (tensor<?x32xi8>, tensor<?x1xf32>, tensor<1024xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_integer_linear_c3(%x: tensor<?x32xi8>, %xs: tensor<?x1xf32>, %w: tensor<128xui8>, %s: tensor<8xf32>, %b: tensor<7xf32>) {
  // expected-error @+1 {{expects a bias of 8 elements, got 'tensor<7xf32>'}}
  %0 = qkernel.packed_integer_linear %x scales %xs group 32, %w scales %s bias %b layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xi8>, tensor<?x1xf32>, tensor<128xui8>, tensor<8xf32>, tensor<7xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_integer_linear_c4(%x: tensor<?x32xi8>, %xs: tensor<?x1xf32>, %w: tensor<128xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects x's leading dimensions and 8 for the result, got 'tensor<?x9xf32>'}}
  %0 = qkernel.packed_integer_linear %x scales %xs group 32, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xi8>, tensor<?x1xf32>, tensor<128xui8>, tensor<8xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @packed_integer_linear_c5(%x: tensor<?x32xi8>, %xs: tensor<?x3xf32>, %w: tensor<128xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects scales and zeros of x with 2 groups per row or one element, got 'tensor<?x3xf32>'}}
  %0 = qkernel.packed_integer_linear %x scales %xs group 16, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x32xi8>, tensor<?x3xf32>, tensor<128xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_integer_linear_c6(%x: tensor<?x32xi8>, %xs: tensor<?x3xf32>, %w: tensor<128xui8>, %s: tensor<16xf32>) {
  // expected-error @+1 {{expects groups of x that are a multiple or a divisor of the weight's 16, or all 32 inputs, got 12}}
  %0 = qkernel.packed_integer_linear %x scales %xs group 12, %w scales %s layout <element = ui4, out = 8, in = 32, group = 16> : (tensor<?x32xi8>, tensor<?x3xf32>, tensor<128xui8>, tensor<16xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_integer_linear_c7(%x: tensor<?x32xi8>, %xs: tensor<?x1xf32>, %w: tensor<96xui8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{expects weights that are not 2:4 sparse, got #qkernel.row_interleaved<element = ui4, out = 8, in = 32, group = 32, sparse24 = true>; pack them in full}}
  %0 = qkernel.packed_integer_linear %x scales %xs group 32, %w scales %s layout <element = ui4, out = 8, in = 32, group = 32, sparse24 = true> : (tensor<?x32xi8>, tensor<?x1xf32>, tensor<96xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @packed_embedding_c1(%i: tensor<?xi64>, %c: tensor<16x2xui8>, %s: tensor<16x2xf32>) {
  // expected-error @+1 {{expects codes [entries, 3] and scales and zeros [entries, 2], got}}
  %0 = qkernel.packed_embedding %i, %c scales %s element ui4 width 5 group 4 : (tensor<?xi64>, tensor<16x2xui8>, tensor<16x2xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @packed_embedding_c2(%i: tensor<?xi64>, %c: tensor<16x3xui8>, %s: tensor<16x2xf32>) {
  // expected-error @+1 {{expects codes of 2 to 8 bits and a group in 1..5, got 'ui4' and 0}}
  %0 = qkernel.packed_embedding %i, %c scales %s element ui4 width 5 group 0 : (tensor<?xi64>, tensor<16x3xui8>, tensor<16x2xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @packed_embedding_c2_bits(%i: tensor<?xi64>, %c: tensor<16x3xui8>, %s: tensor<16x2xf32>) {
  // expected-error @+1 {{expects codes of 2 to 8 bits}}
  %0 = qkernel.packed_embedding %i, %c scales %s element f32 width 5 group 4 : (tensor<?xi64>, tensor<16x3xui8>, tensor<16x2xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @packed_embedding_c3(%i: tensor<?xi64>, %c: tensor<16x3xui8>, %s: tensor<16x2xf32>) {
  // expected-error @+1 {{expects the dimensions of the indices and 5 for the result, got 'tensor<?x6xf32>'}}
  %0 = qkernel.packed_embedding %i, %c scales %s element ui4 width 5 group 4 : (tensor<?xi64>, tensor<16x3xui8>, tensor<16x2xf32>) -> tensor<?x6xf32>
  return
}

// -----

// expected-error @+1 {{expects dimensions for 1 arguments, got 0}}
qkernel.kernel @kernel_c1 scalars [] args [] {
^bb0(%a: tensor<4xf32>):
  qkernel.yield %a : tensor<4xf32>
}

// -----

// expected-error @+1 {{expects one dimension per rank of argument 0, 'tensor<4xf32>', got ["4", "4"]}}
qkernel.kernel @kernel_c1_rank scalars [] args [["4", "4"]] {
^bb0(%a: tensor<4xf32>):
  qkernel.yield %a : tensor<4xf32>
}

// -----

// expected-error @+1 {{expects dimensions over the scalars ["d0"], got 'd1'}}
qkernel.kernel @kernel_c2 scalars ["d0"] args [["d1"]] {
^bb0(%a: tensor<?xf32>):
  qkernel.yield %a : tensor<?xf32>
}

// -----

// expected-error @+1 {{cannot read dimension "d0 +"}}
qkernel.kernel @kernel_c2_text scalars ["d0"] args [["d0 +"]] {
^bb0(%a: tensor<?xf32>):
  qkernel.yield %a : tensor<?xf32>
}

// -----

qkernel.program @step_c1 inputs [] outputs [] arena 0 checks [] {
  // expected-error @+1 {{names no kernel of the module: nowhere}}
  qkernel.step @nowhere [] scalars [] after -1
}

// -----

qkernel.kernel @copy scalars ["d0"] args [["d0"]] {
^bb0(%a: tensor<?xf32>):
  qkernel.yield %a : tensor<?xf32>
}
qkernel.program @step_c2 inputs [] outputs [] arena 0 checks [] {
  // expected-error @+1 {{expects 2 buffers and 1 scalars for @copy, got 1 and 1}}
  qkernel.step @copy [#qkernel.buffer<input, bytes = "4*d0">] scalars ["d0"] after -1
}

// -----

// A step may be verified before the kernel that it names.
qkernel.program @step_before_kernel inputs [] outputs [] arena 0 checks [] {
  // expected-error @+1 {{expects the body of @empty to be one block that ends in qkernel.yield}}
  qkernel.step @empty [] scalars [] after -1
}
"qkernel.kernel"() ({}) {sym_name = "empty", scalars = [], arg_dims = []} : () -> ()

// -----

qkernel.kernel @count scalars [] args [["8"]] {
^bb0(%x: tensor<8xi1>):
  %0 = qkernel.count_nonzero %x : (tensor<8xi1>) -> tensor<1xi64>
  qkernel.yield %0 : tensor<1xi64>
}
qkernel.program @step_c3_count inputs [] outputs [] arena 256 checks [] {
  // expected-error @+1 {{expects 2 elements of i64 in the arena as last result, for ["a", "b"]}}
  qkernel.step @count [#qkernel.buffer<input, bytes = "8">, #qkernel.buffer<arena, bytes = "16">] scalars [] after -1 defines ["a", "b"]
}

// -----

qkernel.kernel @count scalars [] args [["8"]] {
^bb0(%x: tensor<8xi1>):
  %0 = qkernel.count_nonzero %x : (tensor<8xi1>) -> tensor<1xi64>
  qkernel.yield %0 : tensor<1xi64>
}
qkernel.program @step_c3_place inputs [] outputs [] arena 0 checks [] {
  // expected-error @+1 {{expects 1 elements of i64 in the arena as last result, for ["a"]}}
  qkernel.step @count [#qkernel.buffer<input, bytes = "8">, #qkernel.buffer<output, bytes = "8">] scalars [] after -1 defines ["a"]
}

// -----

qkernel.kernel @copy scalars [] args [["1"]] {
^bb0(%a: tensor<1xf64>):
  qkernel.yield %a : tensor<1xf64>
}
qkernel.program @step_c3_type inputs [] outputs [] arena 256 checks [] {
  // expected-error @+1 {{expects 1 elements of i64 in the arena as last result, for ["a"]}}
  qkernel.step @copy [#qkernel.buffer<input, bytes = "8">, #qkernel.buffer<arena, bytes = "8">] scalars [] after -1 defines ["a"]
}

// -----

func.func @unique_groups_c1(%x: tensor<3x4xf32>) {
  // expected-error @+1 {{expects an axis of 'tensor<3x4xf32>', got 2}}
  %0:4 = qkernel.unique_groups %x axis 2 : (tensor<3x4xf32>) -> (tensor<4xi64>, tensor<4xi64>, tensor<4xi64>, tensor<1xi64>)
  return
}

// -----

func.func @unique_groups_c2(%x: tensor<3x4xf32>) {
  // expected-error @+1 {{expects 12 elements for result 1, got 'tensor<4xi64>'}}
  %0:4 = qkernel.unique_groups %x : (tensor<3x4xf32>) -> (tensor<12xi64>, tensor<4xi64>, tensor<4xi64>, tensor<1xi64>)
  return
}

// -----

func.func @unique_groups_c2_count(%x: tensor<3x4xf32>) {
  // expected-error @+1 {{expects 1 elements for result 3, got 'tensor<2xi64>'}}
  %0:4 = qkernel.unique_groups %x axis 0 : (tensor<3x4xf32>) -> (tensor<3xi64>, tensor<3xi64>, tensor<3xi64>, tensor<2xi64>)
  return
}

// -----

// expected-error @+1 {{expects floats of 16 or 32 bits, got 'i32'}}
qkernel.state @state_c1 : i32 dims ["4"]

// -----

// expected-error @+1 {{cannot read dimension "4 +"}}
qkernel.state @state_c2 : f32 dims ["4 +"]

// -----

qkernel.state @k : f16 dims ["4", "8"]
// expected-error @+1 {{expects argument 0 alone to be a state of the module with its elements and rank, got @k}}
func.func private @state_c3(tensor<4x8xf32> {qkernel.state = @k})

// -----

// expected-error @+1 {{expects result 0 alone to be a state of the module with its elements and rank, got @k}}
func.func private @state_c3_symbol() -> (tensor<4x8xf32> {qkernel.state = @k})

// -----

qkernel.state @k : f32 dims ["4", "8"]
// expected-error @+1 {{expects argument 0 alone to be a state of the module}}
func.func private @state_c3_alone(tensor<4x8xf32> {qkernel.state = @k}, tensor<4x8xf32> {qkernel.state = @k})

// -----

// expected-error @+1 {{expects 'qkernel.range' of argument 0 to be two integers, got [1]}}
func.func private @range(tensor<4xi64> {qkernel.range = [1]})

// -----

func.func @yield_outside(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects parent op to be one of 'qkernel.kernel, qkernel.group'}}
  qkernel.yield %x : tensor<4xf32>
}

// -----

// expected-error @+1 {{expects parent op 'qkernel.program'}}
qkernel.step @copy [] scalars [] after -1

// -----

func.func @group_c1(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects a body with the 1 inputs as arguments, got 1 of other types or number}}
  %0 = "qkernel.group"(%x) ({
  ^bb0(%a: tensor<8xf32>):
    qkernel.yield %a : tensor<8xf32>
  }) : (tensor<4xf32>) -> tensor<8xf32>
  return
}

// -----

func.func @group_c1_number(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects a body with the 1 inputs as arguments, got 2 of other types or number}}
  %0 = "qkernel.group"(%x) ({
  ^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>):
    qkernel.yield %a : tensor<4xf32>
  }) : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @group_c2(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects a body that yields the 1 results}}
  %0 = "qkernel.group"(%x) ({
  ^bb0(%a: tensor<4xf32>):
    qkernel.yield %a, %a : tensor<4xf32>, tensor<4xf32>
  }) : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @group_c3(%x: tensor<4xf32>) {
  // expected-error @+1 {{expects ops without regions in its body, got qkernel.group}}
  %0 = qkernel.group(%x) : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    %1 = qkernel.group(%a) : (tensor<4xf32>) -> tensor<4xf32> {
    ^bb0(%b: tensor<4xf32>):
      qkernel.yield %b : tensor<4xf32>
    }
    qkernel.yield %1 : tensor<4xf32>
  }
  return
}
