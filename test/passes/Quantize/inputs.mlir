// The inputs of planned linears become codes; layers that read one value share
// them.

// RUN: quant-opt %s --qmodel-plan='input-bits=8 exclude=kept' --qmodel-quantize-inputs | FileCheck %s --check-prefixes=CHECK,DYNAMIC
// RUN: quant-opt %s --qmodel-plan='input-bits=4 input-group=4 input-symmetric=false input-grid=minmax exclude=kept' --qmodel-quantize-inputs | FileCheck %s --check-prefixes=CHECK,GROUPS
// RUN: quant-opt %s --qmodel-plan='input-bits=8 input-static=true input-symmetric=false input-grid=minmax exclude=kept' --qmodel-quantize-inputs | FileCheck %s --check-prefixes=CHECK,STATIC

// Without an input scheme nothing changes, and what is quantized stays.
// RUN: quant-opt %s --qmodel-plan -o %t.plan
// RUN: quant-opt %t.plan --qmodel-quantize-inputs | cmp - %t.plan
// RUN: quant-opt %s --qmodel-plan='input-bits=8' --qmodel-quantize-inputs -o %t.once
// RUN: quant-opt %t.once --qmodel-quantize-inputs | cmp - %t.once

// The scale is 3 / 255, and the zero point round(1 / scale) = 85.
// STATIC-DAG: qmodel.weight @q.input_scale : tensor<1xf32> = dense<0.0117647061>
// STATIC-DAG: qmodel.weight @q.input_zero : tensor<1xui8> = dense<85>
// STATIC-DAG: qmodel.weight @v.input_scale : tensor<1xf32>

// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[X:.+]]: tensor<?x2x6xf32>
func.func @main(%x: tensor<?x2x6xf32>, %w: tensor<6x6xf32>) -> tensor<?x2x6xf32> {
  // DYNAMIC: %[[C:.+]], %[[S:.+]] = qmodel.dynamic_quantize %[[X]] scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<?x2x6xf32>) -> (tensor<?x2x6xi8>, tensor<?x2x1xf32>)
  // DYNAMIC: %[[D:.+]] = qmodel.dequantize %[[C]], %[[S]] group 0 scheme
  // GROUPS: %[[C:.+]], %[[S:.+]], %[[Z:.+]] = qmodel.dynamic_quantize %[[X]] scheme {{.*}} -> (tensor<?x2x6xui4>, tensor<?x2x2xf32>, tensor<?x2x2xui4>)
  // GROUPS: %[[D:.+]] = qmodel.dequantize %[[C]], %[[S]] zeros %[[Z]] group 4 scheme
  // STATIC-DAG: %[[SV:.+]] = qmodel.load @v.input_scale
  // STATIC-DAG: %[[CV:.+]] = qmodel.quantize %[[X]], %[[SV]] zeros %{{.+}} scheme <bits = 8, group = 0, symmetric = false, grid = minmax, rounding = half_even, rows = 0> : (tensor<?x2x6xf32>, tensor<1xf32>, tensor<1xui8>) -> tensor<?x2x6xui8>
  // STATIC-DAG: %[[DV:.+]] = qmodel.dequantize %[[CV]], %[[SV]] zeros %{{.+}} group 0 rows 0 scheme
  // STATIC-DAG: %[[SQ:.+]] = qmodel.load @q.input_scale
  // STATIC-DAG: %[[D:.+]] = qmodel.dequantize %{{.+}}, %[[SQ]] zeros
  // CHECK: qmodel.linear "q" %[[D]]
  %0 = qmodel.linear "q" %x, %w {qmodel.statistics = {range = dense<[-1.0, 2.0]> : tensor<2xf32>}} : (tensor<?x2x6xf32>, tensor<6x6xf32>) -> tensor<?x2x6xf32>
  // The same range: the same codes.
  // CHECK: qmodel.linear "k" %[[D]]
  %1 = qmodel.linear "k" %x, %w {qmodel.statistics = {range = dense<[-1.0, 2.0]> : tensor<2xf32>}} : (tensor<?x2x6xf32>, tensor<6x6xf32>) -> tensor<?x2x6xf32>
  // DYNAMIC: qmodel.linear "v" %[[D]]
  // STATIC: qmodel.linear "v" %[[DV]]
  %2 = qmodel.linear "v" %x, %w {qmodel.statistics = {range = dense<[-1.0, 3.0]> : tensor<2xf32>}} : (tensor<?x2x6xf32>, tensor<6x6xf32>) -> tensor<?x2x6xf32>
  // CHECK: qmodel.linear "kept" %[[X]]
  %3 = qmodel.linear "kept" %x, %w {qmodel.statistics = {range = dense<[-1.0, 3.0]> : tensor<2xf32>}} : (tensor<?x2x6xf32>, tensor<6x6xf32>) -> tensor<?x2x6xf32>
  %4 = qmodel.add %0, %1 : (tensor<?x2x6xf32>, tensor<?x2x6xf32>) -> tensor<?x2x6xf32>
  %5 = qmodel.add %2, %3 : (tensor<?x2x6xf32>, tensor<?x2x6xf32>) -> tensor<?x2x6xf32>
  %6 = qmodel.add %4, %5 : (tensor<?x2x6xf32>, tensor<?x2x6xf32>) -> tensor<?x2x6xf32>
  return %6 : tensor<?x2x6xf32>
}
