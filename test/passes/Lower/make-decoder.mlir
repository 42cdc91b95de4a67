// Entry points @prefill and @decode beside a decoder with a cache.

// RUN: quant-opt %s --qmodel-make-decoder | FileCheck %s
// RUN: quant-opt %s --qmodel-make-decoder=cache-type=float16 | FileCheck %s --check-prefix=HALF
// RUN: not quant-opt %s --qmodel-make-decoder=cache-type=float8 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: quant-opt %s --nibble-lower | FileCheck %s --check-prefix=PROGRAM

// TYPE: error: expects a cache-type of float32 or float16, got 'float8'

// The table of positions has 10 rows, so that 10 tokens fit.
// CHECK: qkernel.decoder = {capacity = 10 : i64, decode = @decode, prefill = @prefill}
// CHECK-DAG: qkernel.state @key_0 : f32 dims ["batch", "2", "10", "4"]
// CHECK-DAG: qkernel.state @value_0 : f32 dims ["batch", "2", "10", "4"]
// HALF: qkernel.state @{{.+}} : f16 dims

// CHECK-LABEL: func.func @main
// CHECK: qmodel.attention {{.*}} key_mask

// CHECK-LABEL: func.func @prefill
// CHECK-SAME: %[[IDS:.+]]: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]}
// CHECK-SAME: %[[PAST:.+]]: tensor<?xi64> {onnx.name = "past_lengths", qkernel.range = [0, 10], qmodel.dims = ["batch"]}
// CHECK-SAME: %[[LAST:.+]]: tensor<?xi64> {onnx.name = "last", qkernel.range = [0, 8], qmodel.dims = ["batch"]}
// CHECK-SAME: %[[K:.+]]: tensor<?x2x10x4xf32> {onnx.name = "key_0", qkernel.state = @key_0
// CHECK-SAME: %[[V:.+]]: tensor<?x2x10x4xf32> {onnx.name = "value_0", qkernel.state = @value_0
// CHECK-DAG: %[[N:.+]] = qmodel.dim_tensor ["sequence"] : tensor<1xi64>
// CHECK-DAG: %[[AT:.+]] = qmodel.positions %[[PAST]] count %{{.+}} limit 10
// CHECK-DAG: %[[LENGTHS:.+]] = onnx.node "Add"(%[[PAST]], %{{.+}})
// CHECK: qmodel.embedding "positions" %{{.+}}, %[[AT]]
// CHECK: %[[NK:.+]] = qmodel.append %[[K]], %{{.+}} lengths %[[LENGTHS]] total %{{.+}} in_place
// CHECK: %[[NV:.+]] = qmodel.append %[[V]], %{{.+}} lengths %[[LENGTHS]] total %{{.+}} in_place
// CHECK: qmodel.attention %{{.+}}, %[[NK]], %[[NV]] lengths %[[LENGTHS]] causal scale 5.000000e-01 mask_value 0xFFF0000000000000
// What is behind the attention runs for one row of each sequence.
// CHECK: %[[Y:.+]] = qmodel.select_rows %{{.+}}, %[[LAST]] : (tensor<?x?x8xf32>, tensor<?xi64>) -> tensor<?x1x8xf32>
// CHECK: qmodel.rms_norm {{.*}} -> tensor<?x1x8xf32>
// CHECK: %[[LOGITS:.+]] = onnx.node "Squeeze"
// CHECK: return %[[LOGITS]], %[[NK]], %[[NV]] : tensor<?x16xf32>, tensor<?x2x10x4xf32>, tensor<?x2x10x4xf32>

// CHECK-LABEL: func.func @decode
// CHECK-SAME: tensor<?x1xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "1"]}
// CHECK-NOT: qmodel.select_rows
// CHECK: onnx.node "Transpose"({{.*}} -> tensor<?x2x1x4xf32>

// PROGRAM: qkernel.program @main
// PROGRAM: qkernel.program @prefill inputs [#qkernel.port<"input_ids", i64, ["batch", "sequence"]>, #qkernel.port<"past_lengths", i64, ["batch"]>, #qkernel.port<"last", i64, ["batch"]>] outputs [#qkernel.port<"logits", f32, ["batch", "16"]>]
// PROGRAM-SAME: checks [{input = 1 : i64, limit = 10 : i64, min = 0 : i64}, {input = 2 : i64, limit = 8 : i64, min = 0 : i64}, {input = 0 : i64, limit = 16 : i64, min = -16 : i64}]
// A cache is read and written where it is.
// PROGRAM: qkernel.step @append_{{.*}} [#qkernel.buffer<state, symbol = @key_0, bytes = "320*batch">, {{.*}}, #qkernel.buffer<state, symbol = @key_0, bytes = "320*batch">
// PROGRAM: qkernel.program @decode
// A dimension of one moves for free.
// PROGRAM-NOT: qkernel.step @transpose_
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
qmodel.weight @places : tensor<10x8xf32> = dense<0.5> : tensor<10x8xf32>
qmodel.weight @w : tensor<8x8xf32> = dense<0.5> : tensor<8x8xf32>
qmodel.weight @g : tensor<8xf32> = dense<0.5> : tensor<8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %mask: tensor<?x?xi64> {onnx.name = "attention_mask", qmodel.dims = ["batch", "past + sequence"]},
                %at: tensor<?x?xi64> {onnx.name = "position_ids", qmodel.dims = ["batch", "sequence"]},
                %pk: tensor<?x2x?x4xf32> {onnx.name = "past_k", qmodel.dims = ["batch", "2", "past", "4"]},
                %pv: tensor<?x2x?x4xf32> {onnx.name = "past_v", qmodel.dims = ["batch", "2", "past", "4"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x2x?x4xf32> {onnx.name = "present_k"}, tensor<?x2x?x4xf32> {onnx.name = "present_v"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %p = qmodel.load @places : tensor<10x8xf32>
  %w = qmodel.load @w : tensor<8x8xf32>
  %g = qmodel.load @g : tensor<8xf32>
  %x0 = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %x1 = qmodel.embedding "positions" %p, %at : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %x = qmodel.add %x0, %x1 : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %l = qmodel.linear "qkv" %x, %w : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32>
  %heads = qmodel.dim_tensor ["batch", "sequence", "2", "4"] : tensor<4xi64>
  %r = onnx.node "Reshape"(%l, %heads) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<4xi64>) -> tensor<?x?x2x4xf32>
  %q = onnx.node "Transpose"(%r) attributes {perm = [0, 2, 1, 3]} {version = 17 : i64} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %k = onnx.node "Concat"(%pk, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %v = onnx.node "Concat"(%pv, %q) attributes {axis = -2 : i64} {version = 17 : i64} : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %seen = onnx.node "Cast"(%mask) attributes {to = 9 : i64} {version = 17 : i64} : (tensor<?x?xi64>) -> tensor<?x?xi1>
  %a = qmodel.attention %q, %k, %v key_mask %seen causal scale 0.5 mask_value -1.0e+9 : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xi1>) -> tensor<?x2x?x4xf32>
  %b = onnx.node "Transpose"(%a) attributes {perm = [0, 2, 1, 3]} {version = 17 : i64} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %flat = qmodel.dim_tensor ["batch", "sequence", "8"] : tensor<3xi64>
  %c = onnx.node "Reshape"(%b, %flat) {version = 17 : i64} : (tensor<?x?x2x4xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %o = qmodel.linear "o" %c, %w : (tensor<?x?x8xf32>, tensor<8x8xf32>) -> tensor<?x?x8xf32>
  %s = qmodel.add %x, %o : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %n = qmodel.rms_norm %s, %g epsilon 1.0e-5 : (tensor<?x?x8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %n, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k, %v : tensor<?x?x16xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>
}
}
