// Pruning from text alone: the statistics of the input are an attribute.

// RUN: quant-opt %s --qmodel-sparsify=method=magnitude | FileCheck %s --check-prefixes=CHECK,MAGNITUDE
// RUN: quant-opt %s --qmodel-sparsify=method=wanda | FileCheck %s --check-prefixes=CHECK,WANDA
// RUN: quant-opt %s --qmodel-sparsify='damping=0 precision=float64' | FileCheck %s --check-prefixes=CHECK,SPARSEGPT
// RUN: quant-opt %s --qmodel-sparsify='damping=0' | FileCheck %s --check-prefixes=CHECK,SPARSEGPT
// RUN: quant-opt %s --qmodel-sparsify='damping=0 quantize=true precision=float64' | FileCheck %s --check-prefix=JOINT
// RUN: quant-opt %s --qmodel-sparsify='method=magnitude pattern=none fraction=0.25' | FileCheck %s --check-prefix=FRACTION
// RUN: quant-opt %s --qmodel-sparsify='method=wanda pattern=none' | FileCheck %s --check-prefix=ROWS
// RUN: quant-opt %s --qmodel-sparsify='damping=0 pattern=none include=columns block=1' | FileCheck %s --check-prefix=COLUMNS
// RUN: quant-opt %s --qmodel-sparsify='damping=0 pattern=none include=columns' | FileCheck %s --check-prefix=WHOLE
// RUN: quant-opt %s --qmodel-sparsify='damping=0 pattern=none quantize=true include=y precision=float64' | FileCheck %s --check-prefix=CODES

// What is 2:4 sparse stays as it is, whatever comes after.
// RUN: quant-opt %s --qmodel-sparsify='damping=0' -o %t.once
// RUN: quant-opt %t.once --qmodel-sparsify=method=magnitude | diff %t.once -
// RUN: quant-opt %t.once --qmodel-sparsify=method=magnitude --remarks-filter='.*' 2>&1 | FileCheck %s --check-prefix=AGAIN
// AGAIN: 2:4 sparse already
// RUN: quant-opt %t.once --qmodel-gptq --qmodel-plan | FileCheck %s --check-prefix=KEPT
// KEPT: qmodel.linear "y" %{{.+}}, %{{.+}} {plan = #qmodel.keep<"2:4 sparse already">}

// The weight 3 counts most by itself, but its input is small, and correlated
// with the next one, which takes over a quarter of it. Of the four zeros of the
// first rows two are kept, so that two of every four are.
// MAGNITUDE-DAG: @w.values : tensor<1x4xf32> = dense<{{\[\[}}3.000000e+00, 4.000000e+00, 0.000000e+00, 0.000000e+00]]>
// MAGNITUDE-DAG: @w.positions : tensor<1x4xui2> = dense<{{\[\[}}0, 3, 2, 3]]>
// WANDA-DAG: @w.values : tensor<1x4xf32> = dense<{{\[\[}}5.000000e-01, 4.000000e+00, 0.000000e+00, 0.000000e+00]]>
// WANDA-DAG: @w.positions : tensor<1x4xui2> = dense<{{\[\[}}2, 3, 2, 3]]>
// SPARSEGPT-DAG: @w.values : tensor<1x4xf32> = dense<{{\[\[}}2.750000e+00, 4.000000e+00, 0.000000e+00, 0.000000e+00]]>
// SPARSEGPT-DAG: @w.positions : tensor<1x4xui2> = dense<{{\[\[}}1, 3, 2, 3]]>
// SPARSEGPT-DAG: @h.values : tensor<1x2xf16> = dense<{{\[\[}}2.750000e+00, 4.000000e+00]]>

// By hand: scale 4 / 15 and zero point 0 from [0, 4] of the original weights;
// zeros alone have the range [-1, 1].
// JOINT-DAG: @w.codes : tensor<1x4xui4> = dense<{{\[\[}}10, 15, 8, 8]]>
// JOINT-DAG: @w.scales : tensor<1x2xf32>
// JOINT-DAG: @w.positions : tensor<1x4xui2> = dense<{{\[\[}}1, 3, 2, 3]]>
// JOINT-NOT: @h.

// Every weight up to the one of rank int(8 / 4) goes, equals together.
// FRACTION: @w.pruned : tensor<1x8xf32> = dense<{{\[\[}}3.000000e+00, 2.000000e+00, 5.000000e-01, 4.000000e+00, 0.000000e+00,
// ROWS: @w.pruned : tensor<1x8xf32> = dense<{{\[\[}}3.000000e+00, 2.000000e+00, 5.000000e-01, 4.000000e+00, 0.000000e+00,

// A block compares all rows, and removes one more than its share.
// COLUMNS: @c.pruned : tensor<3x2xf32> = dense<{{\[\[}}0.000000e+00, 6.000000e+00], [0.000000e+00, 0.000000e+00], [5.000000e+00, 0.000000e+00]]>
// WHOLE: @c.pruned : tensor<3x2xf32> = dense<{{\[\[}}0.000000e+00, 6.000000e+00], [0.000000e+00, 0.000000e+00], [0.000000e+00, 0.000000e+00]]>

// Of rank 4 is the score of 0.5. The first code is 11.25 rounded, the second, a
// quarter of that error later, 7.56; removed weights have the code of 0.
// CODES: @w.codes : tensor<1x8xui4> = dense<{{\[\[}}11, 8, 0, 15, 8, 8, 8, 8]]>

qmodel.weight @w : tensor<1x8xf32> = dense<[[3.0, 2.0, 0.5, 4.0, 0.0, 0.0, 0.0, 0.0]]> : tensor<1x8xf32>
qmodel.weight @h : tensor<1x4xf16> = dense<[[3.0, 2.0, 0.5, 4.0]]> : tensor<1x4xf16>
qmodel.weight @c : tensor<3x2xf32> = dense<[[1.0, 6.0], [3.0, 5.0], [5.0, 4.0]]> : tensor<3x2xf32>

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<?x8xf32>, %a: tensor<?x4xf32>, %b: tensor<?x2xf32>) -> (tensor<?x1xf32>, tensor<?x1xf32>, tensor<?x3xf32>) {
  %w = qmodel.load @w : tensor<1x8xf32>
  // CHECK: %[[V:.+]] = qmodel.load @w.values
  // CHECK: %[[P:.+]] = qmodel.load @w.positions
  // CHECK: %[[D:.+]] = qmodel.decompress_24 %[[V]], %[[P]] : (tensor<1x4xf32>, tensor<1x4xui2>) -> tensor<1x8xf32>
  // MAGNITUDE: qmodel.linear "y" %{{.+}}, %[[D]] {plan
  // Statistics of the input are gone when they were used.
  // WANDA: qmodel.linear "y" %{{.+}}, %{{.+}} {plan = #qmodel.plan<{{[^{]+}}>} :
  // SPARSEGPT: qmodel.linear "y" %{{.+}}, %{{.+}} {plan = #qmodel.plan<{{[^{]+}}>} :
  // Groups of four inputs are groups of two kept values.
  // JOINT: %[[V:.+]] = qmodel.dequantize %{{.+}}, %{{.+}} zeros %{{.+}} group 2 scheme <bits = 4, group = 2, {{.*}}> : (tensor<1x4xui4>, tensor<1x2xf32>, tensor<1x2xui4>) -> tensor<1x4xf32>
  // JOINT: %[[D:.+]] = qmodel.decompress_24 %[[V]], %{{.+}} : (tensor<1x4xf32>, tensor<1x4xui2>) -> tensor<1x8xf32>
  // JOINT: qmodel.linear "y" %{{.+}}, %[[D]]
  // CODES: %[[D:.+]] = qmodel.dequantize %{{.+}}, %{{.+}} zeros %{{.+}} group 4 scheme
  // CODES: qmodel.linear "y" %{{.+}}, %[[D]]
  %0 = qmodel.linear "y" %x, %w {
      plan = #qmodel.plan<weight = <bits = 4, group = 4, symmetric = false, grid = gptq, rounding = half_even>>,
      qmodel.statistics = {
        hessian = dense<[[0.25, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.25, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                         [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
                         [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
                         [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]> : tensor<8x8xf64>,
        mean_square = dense<[0.01, 1.0, 100.0, 1.0, 1.0, 1.0, 1.0, 1.0]> : tensor<8xf64>}}
    : (tensor<?x8xf32>, tensor<1x8xf32>) -> tensor<?x1xf32>
  %h = qmodel.load @h : tensor<1x4xf16>
  %1 = qmodel.linear "half" %a, %h {
      qmodel.statistics = {
        hessian = dense<[[0.25, 0.25, 0.0, 0.0], [0.25, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]> : tensor<4x4xf64>,
        mean_square = dense<1.0> : tensor<4xf64>}}
    : (tensor<?x4xf32>, tensor<1x4xf16>) -> tensor<?x1xf32>
  %c = qmodel.load @c : tensor<3x2xf32>
  %2 = qmodel.linear "columns" %b, %c {
      qmodel.statistics = {hessian = dense<[[1.0, 0.0], [0.0, 1.0]]> : tensor<2x2xf64>, mean_square = dense<1.0> : tensor<2xf64>}}
    : (tensor<?x2xf32>, tensor<3x2xf32>) -> tensor<?x3xf32>
  return %0, %1, %2 : tensor<?x1xf32>, tensor<?x1xf32>, tensor<?x3xf32>
}
