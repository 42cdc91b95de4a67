// What the options decide, layer by layer.

// RUN: quant-opt %s --qmodel-plan | FileCheck %s --check-prefixes=CHECK,DEFAULT
// RUN: quant-opt %s --qmodel-plan='bits=8 group=0 symmetric=true grid=narrow rounding=half_away' | FileCheck %s --check-prefixes=CHECK,CHANNEL
// RUN: quant-opt %s --qmodel-plan='include=mlp' | FileCheck %s --check-prefixes=CHECK,INCLUDE
// RUN: quant-opt %s --qmodel-plan='exclude=up$' | FileCheck %s --check-prefixes=CHECK,EXCLUDE
// RUN: quant-opt %s --qmodel-plan='include=mlp exclude=up' | FileCheck %s --check-prefixes=CHECK,BOTH
// RUN: quant-opt %s --qmodel-plan='bits=3 head-bits=8 embedding-bits=4' | FileCheck %s --check-prefixes=CHECK,HEAD
// RUN: quant-opt %s --qmodel-plan='rows=0 group=0 scales=f16 scale-bits=6 scale-group=4 scale-rows=0 scale-symmetric=true scale-grid=narrow embedding-bits=4' | FileCheck %s --check-prefix=FORMS
// RUN: quant-opt %s --qmodel-plan='input-bits=8 embedding-bits=4' | FileCheck %s --check-prefix=DYNAMIC
// RUN: quant-opt %s --qmodel-plan='input-bits=4 input-symmetric=false input-grid=minmax input-group=4' | FileCheck %s --check-prefix=INPUTS
// RUN: quant-opt %s --qmodel-plan='input-bits=8 input-static=true' | FileCheck %s --check-prefix=STATIC

// Blocks, types and levels of scales; inputs, which embeddings do not have.
// FORMS: qmodel.embedding "tokens" {{.*}}bits = 4, group = 0, symmetric = false, grid = minmax, rounding = half_even, rows = 0, scales = f16, scale_scheme = <bits = 6, group = 4, symmetric = true, grid = narrow, rounding = half_even, rows = 0>>>}
// DYNAMIC: qmodel.embedding
// DYNAMIC-NOT: input
// DYNAMIC: qmodel.linear "attention/q" {{.*}}>, input = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>>}
// INPUTS: qmodel.linear "attention/q" {{.*}}>, input = <bits = 4, group = 4, symmetric = false, grid = minmax, rounding = half_even>>}
// STATIC: qmodel.linear "attention/q" {{.*}}>, input = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, rows = 0>>}

// A plan replaces what was planned before, and twice is once.
// RUN: quant-opt %s --qmodel-plan='bits=2 head-bits=2' --qmodel-plan | FileCheck %s --check-prefixes=CHECK,DEFAULT
// RUN: quant-opt %s --qmodel-plan -o %t.once
// RUN: quant-opt %s --qmodel-plan --qmodel-plan -o %t.twice
// RUN: cmp %t.once %t.twice

// CHECK-LABEL: func.func @main
func.func @main(%ids: tensor<?xi64>, %table: tensor<16x8xf32>, %up: tensor<12x8xf32>, %down: tensor<8x12xf32>, %q: tensor<8x8xf32>) -> tensor<?x16xf32> {
  // CHECK: qmodel.embedding "tokens"
  // DEFAULT-SAME: {plan = #qmodel.keep<"embedding; ask with embedding-bits">}
  // CHANNEL-SAME: {plan = #qmodel.keep<"embedding; ask with embedding-bits">}
  // INCLUDE-SAME: {plan = #qmodel.keep<"not included by 'mlp'">}
  // HEAD-SAME: {plan = #qmodel.plan<weight = <bits = 4, group = 32, symmetric = false, grid = minmax, rounding = half_even>>}
  %x = qmodel.embedding "tokens" %table, %ids : (tensor<16x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  // CHECK: qmodel.linear "attention/q"
  // DEFAULT-SAME: {plan = #qmodel.plan<weight = <bits = 4, group = 32, symmetric = false, grid = minmax, rounding = half_even>>}
  // CHANNEL-SAME: {plan = #qmodel.plan<weight = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_away>>}
  // INCLUDE-SAME: {plan = #qmodel.keep<"not included by 'mlp'">}
  // EXCLUDE-SAME: {plan = #qmodel.plan<
  // BOTH-SAME: {plan = #qmodel.keep<"not included by 'mlp'">}
  // HEAD-SAME: bits = 3,
  %0 = qmodel.linear "attention/q" %x, %q : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.linear "mlp/up"
  // DEFAULT-SAME: {plan = #qmodel.plan<
  // INCLUDE-SAME: {plan = #qmodel.plan<
  // EXCLUDE-SAME: {plan = #qmodel.keep<"excluded by 'up$'">}
  // BOTH-SAME: {plan = #qmodel.keep<"excluded by 'up'">}
  %1 = qmodel.linear "mlp/up" %0, %up : (tensor<?x8xf32>, tensor<12x8xf32>) -> tensor<?x12xf32>
  // CHECK: qmodel.linear "mlp/down"
  // DEFAULT-SAME: {plan = #qmodel.plan<
  // INCLUDE-SAME: {plan = #qmodel.plan<
  // EXCLUDE-SAME: {plan = #qmodel.plan<
  // BOTH-SAME: {plan = #qmodel.plan<
  %2 = qmodel.linear "mlp/down" %1, %down : (tensor<?x12xf32>, tensor<8x12xf32>) -> tensor<?x8xf32>
  // As many outputs as the embedding has entries: the output head.
  // CHECK: qmodel.linear "head"
  // DEFAULT-SAME: {plan = #qmodel.keep<"output head; ask with head-bits">}
  // CHANNEL-SAME: {plan = #qmodel.keep<"output head; ask with head-bits">}
  // HEAD-SAME: {plan = #qmodel.plan<weight = <bits = 8, group = 32, symmetric = false, grid = minmax, rounding = half_even>>}
  %3 = qmodel.linear "head" %2, %table : (tensor<?x8xf32>, tensor<16x8xf32>) -> tensor<?x16xf32>
  return %3 : tensor<?x16xf32>
}

// Tables of positions often have as many entries as the model is wide; layers
// that others come after are no head for that.
// CHECK-LABEL: func.func private @layer_0
func.func private @layer_0(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.linear "0/mlp/out"
  // DEFAULT-SAME: {plan = #qmodel.plan<
  %0 = qmodel.linear "0/mlp/out" %x, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}
// CHECK-LABEL: func.func @positions
func.func @positions(%ids: tensor<?xi64>, %table: tensor<8x8xf32>, %w: tensor<8x8xf32>) -> tensor<?x8xf32> {
  %x = qmodel.embedding "positions" %table, %ids : (tensor<8x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  // CHECK: qmodel.linear "mlp/in"
  // DEFAULT-SAME: {plan = #qmodel.plan<
  %0 = qmodel.linear "mlp/in" %x, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %1 = qmodel.activation relu %0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = call @layer_0(%1, %w) : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.linear "mlp/last"
  // DEFAULT-SAME: {plan = #qmodel.keep<"output head; ask with head-bits">}
  %3 = qmodel.linear "mlp/last" %2, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  return %3 : tensor<?x8xf32>
}
