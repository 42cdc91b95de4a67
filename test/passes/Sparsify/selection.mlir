// Which layers qmodel-sparsify leaves alone, and why.

// RUN: quant-opt %s --qmodel-sparsify='method=magnitude exclude=^no$' --remarks-filter='.*' 2>&1 | FileCheck %s
// RUN: quant-opt %s --qmodel-sparsify='method=magnitude head=true' | FileCheck %s --check-prefix=HEAD
// RUN: quant-opt %s --qmodel-sparsify='method=magnitude include=yes' --remarks-filter='.*' 2>&1 | FileCheck %s --check-prefix=INCLUDE
// RUN: quant-opt %s --qmodel-sparsify='quantize=true include=no|groups' --remarks-filter='.*' 2>&1 | FileCheck %s --check-prefix=QUANTIZE
// RUN: quant-opt %s --qmodel-sparsify='method=magnitude pattern=none include=six' | FileCheck %s --check-prefix=NONE

// CHECK-DAG: excluded by '^no$'
// CHECK-DAG: 4 does not divide its 6 inputs
// CHECK-DAG: the plan keeps it: because
// CHECK-DAG: its weight is not stored in floating point
// CHECK-DAG: output head; ask with head=true
// INCLUDE-DAG: not included by 'yes'
// QUANTIZE-DAG: not planned
// QUANTIZE-DAG: 4 does not divide the groups of 6 of its scheme

// Only these became sparse.
// CHECK-NOT: @{{no|six|kept|codes|table}}.values
// CHECK: qmodel.weight @yes.values
// CHECK-NOT: @{{no|six|kept|codes|table}}.values
// HEAD: @table.values
// INCLUDE: qmodel.weight @yes.values
// INCLUDE-NOT: qmodel.weight @{{.*}}.values
// NONE: qmodel.weight @six.pruned
// QUANTIZE-NOT: decompress_24
qmodel.weight @yes : tensor<4x8xf32> = dense<1.0> : tensor<4x8xf32>
qmodel.weight @no : tensor<4x8xf32> = dense<1.0> : tensor<4x8xf32>
qmodel.weight @groups : tensor<4x8xf32> = dense<1.0> : tensor<4x8xf32>
qmodel.weight @six : tensor<4x6xf32> = dense<1.0> : tensor<4x6xf32>
qmodel.weight @kept : tensor<4x8xf32> = dense<1.0> : tensor<4x8xf32>
qmodel.weight @codes : tensor<4x8xui4> = dense<1> : tensor<4x8xui4>
qmodel.weight @scales : tensor<4x1xf32> = dense<1.0> : tensor<4x1xf32>
qmodel.weight @table : tensor<5x8xf32> = dense<1.0> : tensor<5x8xf32>
func.func @main(%i: tensor<?xi64>, %x: tensor<?x8xf32>, %s: tensor<?x6xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x5xf32>) {
  %table = qmodel.load @table : tensor<5x8xf32>
  %e = qmodel.embedding "tokens" %table, %i : (tensor<5x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %w0 = qmodel.load @yes : tensor<4x8xf32>
  %0 = qmodel.linear "yes" %x, %w0 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %w1 = qmodel.load @no : tensor<4x8xf32>
  %1 = qmodel.linear "no" %x, %w1 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %w2 = qmodel.load @six : tensor<4x6xf32>
  %2 = qmodel.linear "six" %s, %w2 : (tensor<?x6xf32>, tensor<4x6xf32>) -> tensor<?x4xf32>
  %w3 = qmodel.load @kept : tensor<4x8xf32>
  %3 = qmodel.linear "kept" %x, %w3 {plan = #qmodel.keep<"because">} : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %codes = qmodel.load @codes : tensor<4x8xui4>
  %scales = qmodel.load @scales : tensor<4x1xf32>
  %w4 = qmodel.dequantize %codes, %scales group 0 : (tensor<4x8xui4>, tensor<4x1xf32>) -> tensor<4x8xf32>
  %4 = qmodel.linear "codes" %x, %w4 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %w5 = qmodel.load @groups : tensor<4x8xf32>
  %5 = qmodel.linear "groups" %x, %w5 {plan = #qmodel.plan<weight = <bits = 4, group = 6, symmetric = false, grid = gptq, rounding = half_even>>} : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %6 = qmodel.linear "head" %e, %table : (tensor<?x8xf32>, tensor<5x8xf32>) -> tensor<?x5xf32>
  return %0, %1, %2, %3, %4, %5, %6 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x5xf32>
}
