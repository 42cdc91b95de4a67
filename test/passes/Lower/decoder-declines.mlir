// What the pass cannot take as a decoder stays @main alone, and a remark says why.

// RUN: quant-opt %s --split-input-file --qmodel-make-decoder --remarks-filter='.*' --remark-format=emitRemark -o %t.mlir 2> %t.remarks
// RUN: FileCheck %s --check-prefix=REMARK < %t.remarks
// RUN: FileCheck %s --check-prefix=ALONE < %t.mlir

// ALONE-NOT: qkernel.state
// ALONE-NOT: @prefill

// REMARK: is not causal
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x1x?x8xf32> {onnx.name = "past", qmodel.dims = ["batch", "1", "past", "8"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x1x?x8xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %q = onnx.node "Unsqueeze"(%x, %one) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %k = onnx.node "Concat"(%p, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = qmodel.attention %q, %k, %k scale 0.5 mask_value -1.0e+9 : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %b = onnx.node "Squeeze"(%a, %one) {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<1xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %b, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x1x?x8xf32>
}
}

// -----

// REMARK: has a mask that hides too little
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x1x?x8xf32> {onnx.name = "past", qmodel.dims = ["batch", "1", "past", "8"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x1x?x8xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %q = onnx.node "Unsqueeze"(%x, %one) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %k = onnx.node "Concat"(%p, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = qmodel.attention %q, %k, %k causal scale 0.5 mask_value -10.0 : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %b = onnx.node "Squeeze"(%a, %one) {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<1xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %b, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x1x?x8xf32>
}
}

// -----

// REMARK: has a key mask that hides more than padding
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x1x?x8xf32> {onnx.name = "past", qmodel.dims = ["batch", "1", "past", "8"]},
                %m: tensor<?x?xi1> {onnx.name = "keys", qmodel.dims = ["batch", "past + sequence"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x1x?x8xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %q = onnx.node "Unsqueeze"(%x, %one) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %k = onnx.node "Concat"(%p, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = qmodel.attention %q, %k, %k key_mask %m causal scale 0.5 mask_value -1.0e+9 : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x?xi1>) -> tensor<?x1x?x8xf32>
  %b = onnx.node "Squeeze"(%a, %one) {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<1xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %b, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x1x?x8xf32>
}
}

// -----

// REMARK: has a bias that is more than a mask of padding
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x1x?x8xf32> {onnx.name = "past", qmodel.dims = ["batch", "1", "past", "8"]},
                %m: tensor<?x1x1x?xf32> {onnx.name = "bias", qmodel.dims = ["batch", "1", "1", "past + sequence"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x1x?x8xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %q = onnx.node "Unsqueeze"(%x, %one) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %k = onnx.node "Concat"(%p, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = qmodel.attention %q, %k, %k bias %m causal scale 0.5 mask_value -1.0e+9 : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x1x?xf32>) -> tensor<?x1x?x8xf32>
  %b = onnx.node "Squeeze"(%a, %one) {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<1xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %b, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x1x?x8xf32>
}
}

// -----

// REMARK: keys or values are not past ones with new ones behind them
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x1x?x8xf32> {onnx.name = "past", qmodel.dims = ["batch", "1", "past", "8"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x1x?x8xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %q = onnx.node "Unsqueeze"(%x, %one) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %k = onnx.node "Concat"(%p, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %n = onnx.node "Neg"(%k) {version = 17 : i64} : (tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = qmodel.attention %q, %n, %n causal scale 0.5 mask_value -1.0e+9 : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %b = onnx.node "Squeeze"(%a, %one) {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<1xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %b, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x1x?x8xf32>
}
}

// -----

// REMARK: does not have as many keys as past and new tokens
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x1x?x8xf32> {onnx.name = "past", qmodel.dims = ["batch", "1", "past", "8"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x1x?x8xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %q = onnx.node "Unsqueeze"(%x, %one) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %k = onnx.node "Concat"(%p, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %n = onnx.node "Concat"(%k, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = qmodel.attention %q, %n, %n causal scale 0.5 mask_value -1.0e+9 : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %b = onnx.node "Squeeze"(%a, %one) {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<1xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %b, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x1x?x8xf32>
}
}

// -----

// REMARK: reads argument 2, which no prompt says: it is no part of a cache
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x1x?x8xf32> {onnx.name = "past", qmodel.dims = ["batch", "1", "past", "8"]},
                %m: tensor<?x1x?x8xf32> {onnx.name = "other", qmodel.dims = ["batch", "1", "sequence", "8"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x1x?x8xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %q = onnx.node "Unsqueeze"(%x, %one) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %k = onnx.node "Concat"(%p, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a0 = qmodel.attention %q, %k, %k causal scale 0.5 mask_value -1.0e+9 : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = qmodel.add %a0, %m : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %b = onnx.node "Squeeze"(%a, %one) {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<1xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %b, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x1x?x8xf32>
}
}

// -----

// REMARK: reads operand 0, which depends on the past or the mask and is no position of the new tokens
module attributes {qmodel.bounds = {batch = [1, 4], past = [0, 11], sequence = [1, 8]}} {
qmodel.weight @table : tensor<16x8xf32> = dense<0.5> : tensor<16x8xf32>
func.func @main(%ids: tensor<?x?xi64> {onnx.name = "input_ids", qmodel.dims = ["batch", "sequence"]},
                %p: tensor<?x1x?x8xf32> {onnx.name = "past", qmodel.dims = ["batch", "1", "past", "8"]})
    -> (tensor<?x?x16xf32> {onnx.name = "logits"}, tensor<?x1x?x8xf32> {onnx.name = "present"}) {
  %t = qmodel.load @table : tensor<16x8xf32>
  %x = qmodel.embedding "tokens" %t, %ids : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %one = onnx.constant dense<1> : tensor<1xi64>
  %q = onnx.node "Unsqueeze"(%x, %one) {version = 17 : i64} : (tensor<?x?x8xf32>, tensor<1xi64>) -> tensor<?x1x?x8xf32>
  %k = onnx.node "Concat"(%p, %q) attributes {axis = 2 : i64} {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %count = qmodel.dim_tensor ["past"] : tensor<1xi64>
  %f = onnx.node "Cast"(%count) attributes {to = 1 : i64} {version = 17 : i64} : (tensor<1xi64>) -> tensor<1xf32>
  %a0 = qmodel.attention %q, %k, %k causal scale 0.5 mask_value -1.0e+9 : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = onnx.node "Add"(%a0, %f) {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<1xf32>) -> tensor<?x1x?x8xf32>
  %b = onnx.node "Squeeze"(%a, %one) {version = 17 : i64} : (tensor<?x1x?x8xf32>, tensor<1xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.linear "head" %b, %t : (tensor<?x?x8xf32>, tensor<16x8xf32>) -> tensor<?x?x16xf32>
  return %y, %k : tensor<?x?x16xf32>, tensor<?x1x?x8xf32>
}
}
