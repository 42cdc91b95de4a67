// Whatever the model's own cache looks like, an attention gets its keys and values
// from states.

// RUN: quant-opt %s --split-input-file --qmodel-make-decoder | FileCheck %s
// RUN: %python %S/Inputs/decoder_steps.py %s %t

// In the order of the projections, transposed behind the past; positions are made
// behind the past, for all sequences alike.
// CHECK: qkernel.state @key_0 : f32 dims ["batch", "2", "12", "4"]
// CHECK-LABEL: func.func @prefill
// CHECK-DAG: %[[AT:.+]] = qmodel.positions %{{.+}} count %{{.+}} limit 12
// CHECK-DAG: %[[THREE:.+]] = onnx.node "Reshape"(%[[AT]], %{{.+}}) {{.*}} -> tensor<?x1x?xi64>
// CHECK: onnx.node "Cast"(%[[THREE]])
// CHECK: qmodel.append %{{.+}}, %{{.+}} lengths %{{.+}} total %{{.+}} in_place : (tensor<?x2x12x4xf32>, tensor<?x2x?x4xf32>,
// CHECK-LABEL: func.func @decode
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x?x2x4xf32> {onnx.name = "past", qmodel.dims = ["batch", "past", "2", "4"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x?x2x4xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x0 = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %start = qmodel.dim_tensor ["past"] : tensor<i64>
  %end = qmodel.dim_tensor ["past + sequence"] : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %range = onnx.node "Range"(%start, %end, %one) {version = 17 : i64} : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %axes = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %at = onnx.node "Unsqueeze"(%range, %axes) {version = 17 : i64} : (tensor<?xi64>, tensor<2xi64>) -> tensor<1x1x?xi64>
  %f = onnx.node "Cast"(%at) attributes {to = 1 : i64} {version = 17 : i64} : (tensor<1x1x?xi64>) -> tensor<1x1x?xf32>
  %turned = onnx.node "Transpose"(%f) attributes {perm = [0, 2, 1]} {version = 17 : i64} : (tensor<1x1x?xf32>) -> tensor<1x?x1xf32>
  %x = onnx.node "Add"(%x0, %turned) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<1x?x1xf32>) -> tensor<?x?x8xf32>
  %heads = qmodel.dim_tensor ["batch", "sequence", "2", "4"] : tensor<4xi64>
  %new = onnx.node "Reshape"(%x, %heads) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<4xi64>) -> tensor<?x?x2x4xf32>
  %all = onnx.node "Concat"(%p, %new) attributes {axis = 1 : i64} {version = 17 : i64} : (tensor<?x?x2x4xf32>, tensor<?x?x2x4xf32>) -> tensor<?x?x2x4xf32>
  %q = onnx.node "Transpose"(%new) attributes {perm = [0, 2, 1, 3]} {version = 17 : i64} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %k = onnx.node "Transpose"(%all) attributes {perm = [0, 2, 1, 3]} {version = 17 : i64} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %a = qmodel.attention %q, %k, %k causal scale 0.5 mask_value 0xFFF0000000000000 : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %b = onnx.node "Transpose"(%a) attributes {perm = [0, 2, 1, 3]} {version = 17 : i64} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %flat = qmodel.dim_tensor ["batch", "sequence", "8"] : tensor<3xi64>
  %c = onnx.node "Reshape"(%b, %flat) {version = 17 : i64} : (tensor<?x?x2x4xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %c, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %all : tensor<?x?x16xf32>, tensor<?x?x2x4xf32>
}
}

// -----

// A static cache that is written at given places, and the number of valid keys:
// the lengths after and before the new tokens.
// CHECK: qkernel.state @key_0 : f32 dims ["batch", "2", "12", "4"]
// CHECK-LABEL: func.func @prefill
// CHECK-SAME: tensor<?xi64> {onnx.name = "past_lengths", qkernel.range = [0, 12]
// CHECK-NOT: TensorScatter
// CHECK: qmodel.append %{{.+}}, %{{.+}} lengths
// CHECK-LABEL: func.func @decode
module attributes {qmodel.bounds = {batch = [1, 4], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x2x12x4xf32> {onnx.name = "past", qmodel.dims = ["batch", "2", "12", "4"]},
                %at: tensor<?xi64> {onnx.name = "write_indices", qmodel.dims = ["batch"]},
                %n: tensor<?xi64> {onnx.name = "nonpad_kv_seqlen", qmodel.dims = ["batch"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x2x12x4xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %heads = qmodel.dim_tensor ["batch", "sequence", "2", "4"] : tensor<4xi64>
  %r = onnx.node "Reshape"(%x, %heads) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<4xi64>) -> tensor<?x?x2x4xf32>
  %q = onnx.node "Transpose"(%r) attributes {perm = [0, 2, 1, 3]} {version = 17 : i64} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %k = onnx.node "TensorScatter"(%p, %q, %at) {version = 24 : i64} : (tensor<?x2x12x4xf32>, tensor<?x2x?x4xf32>, tensor<?xi64>) -> tensor<?x2x12x4xf32>
  %a = qmodel.attention %q, %k, %k lengths %n causal scale 0.5 mask_value 0xFFF0000000000000 : (tensor<?x2x?x4xf32>, tensor<?x2x12x4xf32>, tensor<?x2x12x4xf32>, tensor<?xi64>) -> tensor<?x2x?x4xf32>
  %b = onnx.node "Transpose"(%a) attributes {perm = [0, 2, 1, 3]} {version = 17 : i64} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %flat = qmodel.dim_tensor ["batch", "sequence", "8"] : tensor<3xi64>
  %c = onnx.node "Reshape"(%b, %flat) {version = 17 : i64} : (tensor<?x?x2x4xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %c, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x2x12x4xf32>
}
}

// -----

// GroupQueryAttention's inputs: one buffer for past and present, lengths less 1,
// and the total of the longest.
// CHECK: qkernel.state @key_0 : f32 dims ["batch", "2", "12", "4"]
// CHECK-LABEL: func.func @prefill
// CHECK-NOT: "Where"
// CHECK: qmodel.append %{{.+}}, %{{.+}} lengths %{{.+}} total %{{.+}} in_place
// CHECK-LABEL: func.func @decode
module attributes {qmodel.bounds = {batch = [1, 4], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x2x12x4xf32> {onnx.name = "past", qmodel.dims = ["batch", "2", "12", "4"]},
                %n: tensor<?xi32> {onnx.name = "seqlens_k", qmodel.dims = ["batch"]},
                %total: tensor<1xi32> {onnx.name = "total_sequence_length", qmodel.dims = ["1"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x2x12x4xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %heads = qmodel.dim_tensor ["batch", "sequence", "2", "4"] : tensor<4xi64>
  %r = onnx.node "Reshape"(%x, %heads) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<4xi64>) -> tensor<?x?x2x4xf32>
  %q = onnx.node "Transpose"(%r) attributes {perm = [0, 2, 1, 3]} {version = 17 : i64} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %seq = qmodel.dim_tensor ["sequence"] : tensor<1xi64>
  %n64 = onnx.node "Cast"(%n) attributes {to = 7 : i64} {version = 17 : i64} : (tensor<?xi32>) -> tensor<?xi64>
  %valid = onnx.node "Add"(%n64, %one) {version = 17 : i64} : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %all = onnx.node "Cast"(%total) attributes {to = 7 : i64} {version = 17 : i64} : (tensor<1xi32>) -> tensor<1xi64>
  %prompt = onnx.node "Equal"(%all, %seq) {version = 17 : i64} : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi1>
  %lengths = onnx.node "Where"(%prompt, %seq, %valid) {version = 17 : i64} : (tensor<1xi1>, tensor<1xi64>, tensor<?xi64>) -> tensor<?xi64>
  %room = onnx.constant dense<12> : tensor<1xi64>
  %k = qmodel.append %p, %q lengths %lengths total %room : (tensor<?x2x12x4xf32>, tensor<?x2x?x4xf32>, tensor<?xi64>, tensor<1xi64>) -> tensor<?x2x12x4xf32>
  %a = qmodel.attention %q, %k, %k lengths %lengths causal scale 0.5 mask_value 0xFFF0000000000000 : (tensor<?x2x?x4xf32>, tensor<?x2x12x4xf32>, tensor<?x2x12x4xf32>, tensor<?xi64>) -> tensor<?x2x?x4xf32>
  %b = onnx.node "Transpose"(%a) attributes {perm = [0, 2, 1, 3]} {version = 17 : i64} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %flat = qmodel.dim_tensor ["batch", "sequence", "8"] : tensor<3xi64>
  %c = onnx.node "Reshape"(%b, %flat) {version = 17 : i64} : (tensor<?x?x2x4xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %c, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x2x12x4xf32>
}
}
