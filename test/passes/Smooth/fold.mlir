// Where factors of channels go, and why they stay. That nothing else changes is
// checked by running both.

// RUN: rm -rf %t && split-file %s %t && cd %t
// RUN: quant-opt folds.mlir --qmodel-fold-channel-scales | FileCheck folds.mlir --implicit-check-not=qmodel.channel_scale
// RUN: quant-opt stays.mlir --qmodel-fold-channel-scales --remarks-filter='.*' --remark-format=emitRemark -o stays.out 2>&1 | FileCheck stays.mlir
// RUN: grep -c 'qmodel.channel_scale' stays.out | FileCheck %s --check-prefix=STAY
// STAY: 9
// RUN: quant-opt quantized.mlir --qmodel-fold-channel-scales --remarks-filter='.*' --remark-format=emitRemark -o quantized.out 2>&1 | FileCheck quantized.mlir
// RUN: grep -c 'qmodel.channel_scale' quantized.out | FileCheck %s --check-prefix=QUANTIZED
// QUANTIZED: 4
// RUN: %python %S/../Inputs/same_results.py folds.mlir 'builtin.module(qmodel-fold-channel-scales)'
// RUN: %python %S/../Inputs/same_results.py kernel.mlir --compiled

// Folding twice is folding once.
// RUN: quant-opt folds.mlir --qmodel-fold-channel-scales -o once.mlir
// RUN: quant-opt once.mlir --qmodel-fold-channel-scales -o twice.mlir
// RUN: diff once.mlir twice.mlir

//--- folds.mlir
// CHECK-DAG: qmodel.weight @gain.scaled : tensor<4xf32> = dense<[2.000000e+00, -1.000000e+00, 2.000000e+00, 1.000000e+00]>
// CHECK-DAG: qmodel.weight @shift.scaled : tensor<4xf32> = dense<[2.000000e+00, -5.000000e-01, 4.000000e+00, 2.000000e-01]>
// CHECK-DAG: qmodel.weight @w.scaled : tensor<4x2xf32> = dense<{{\[\[}}2.000000e+00, 4.000000e+00], [-1.500000e+00, -2.000000e+00], [2.000000e+01, 2.400000e+01], [1.400000e+00, 1.600000e+00]]>
// CHECK-DAG: qmodel.weight @rows.scaled : tensor<4x2xf32> = dense<{{\[\[}}1.000000e+00, 2.000000e+00], [-5.000000e-01, -1.000000e+00], [1.200000e+01, 1.000000e+00], [2.000000e-01, 4.000000e-01]]>
// CHECK-NOT: qmodel.weight @s :
qmodel.weight @gain : tensor<4xf32> = dense<[1.0, 2.0, 0.5, 5.0]> : tensor<4xf32>
qmodel.weight @shift : tensor<4xf32> = dense<1.0> : tensor<4xf32>
qmodel.weight @s : tensor<4xf32> = dense<[2.0, -0.5, 4.0, 0.2]> : tensor<4xf32>
qmodel.weight @w : tensor<4x2xf32> = dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]> : tensor<4x2xf32>
qmodel.weight @narrow : tensor<2xf32> = dense<[2.0, 0.5]> : tensor<2xf32>
qmodel.weight @positive : tensor<4xf32> = dense<[2.0, 0.5, 4.0, 0.2]> : tensor<4xf32>
qmodel.weight @groups : tensor<4xf32> = dense<[2.0, 0.5, 2.0, 0.5]> : tensor<4xf32>
qmodel.weight @half : tensor<4xf16> = dense<[1.0, 2.0, 0.5, 5.0]> : tensor<4xf16>
// CHECK-LABEL: func.func @main
func.func @main(
    %x: tensor<?x4xf32> {onnx.name = "x", qmodel.dims = ["n", "4"]},
    %n: tensor<?x2xf32> {onnx.name = "n", qmodel.dims = ["n", "2"]},
    %q: tensor<?x2x?x2xf32> {onnx.name = "q", qmodel.dims = ["b", "2", "t", "2"]},
    %k: tensor<?x1x?x2xf32> {onnx.name = "k", qmodel.dims = ["b", "1", "t", "2"]},
    %h: tensor<?x?x2xf32> {onnx.name = "h", qmodel.dims = ["b", "t", "2"]})
    -> (tensor<?x4xf32> {onnx.name = "y0", qmodel.dims = ["n", "4"]},
        tensor<?x4xf32> {onnx.name = "y1", qmodel.dims = ["n", "4"]},
        tensor<?x4xf32> {onnx.name = "y2", qmodel.dims = ["n", "4"]},
        tensor<?x4xf32> {onnx.name = "y3", qmodel.dims = ["n", "4"]},
        tensor<?x4xf32> {onnx.name = "y4", qmodel.dims = ["n", "4"]},
        tensor<?x4xf32> {onnx.name = "y5", qmodel.dims = ["n", "4"]},
        tensor<?x4xf32> {onnx.name = "y6", qmodel.dims = ["n", "4"]},
        tensor<?x?x4xf32> {onnx.name = "y7", qmodel.dims = ["b", "t", "4"]},
        tensor<?x2xf32> {onnx.name = "y8", qmodel.dims = ["n", "2"]},
        tensor<?x2xf32> {onnx.name = "y9", qmodel.dims = ["n", "2"]},
        tensor<?x4xf32> {onnx.name = "y10", qmodel.dims = ["n", "4"]}) {
  %gain = qmodel.load @gain : tensor<4xf32>
  %half = qmodel.load @half : tensor<4xf16>
  %shift = qmodel.load @shift : tensor<4xf32>
  %s = qmodel.load @s : tensor<4xf32>
  %positive = qmodel.load @positive : tensor<4xf32>
  %w = qmodel.load @w : tensor<4x2xf32>
  %groups = qmodel.load @groups : tensor<4xf32>
  %narrow = qmodel.load @narrow : tensor<2xf32>
  %square = qmodel.load @square : tensor<2x2xf32>
  // A norm: its gain.
  %norm = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %y0 = qmodel.channel_scale %norm, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // A gain in 16 bits becomes one in float32; the bias takes part.
  %layer = qmodel.layer_norm %x, %half bias %shift epsilon 1.0e-5 : (tensor<?x4xf32>, tensor<4xf16>, tensor<4xf32>) -> tensor<?x4xf32>
  %y1 = qmodel.channel_scale %layer, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // A linear: rows of weight and bias.
  %l2 = qmodel.linear "l2" %n, %w bias %shift : (tensor<?x2xf32>, tensor<4x2xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %y2 = qmodel.channel_scale %l2, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // The up half of a gated activation.
  %l3 = qmodel.linear "l3" %n, %w : (tensor<?x2xf32>, tensor<4x2xf32>) -> tensor<?x4xf32>
  %gated = qmodel.gated_activation gelu %y2, %l3 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %y3 = qmodel.channel_scale %gated, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // The operand of a product that can take them.
  %l4 = qmodel.linear "l4" %n, %w : (tensor<?x2xf32>, tensor<4x2xf32>) -> tensor<?x4xf32>
  %product = qmodel.multiply %x, %l4 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %y4 = qmodel.channel_scale %product, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // Positive factors pass a relu.
  %l5 = qmodel.linear "l5" %n, %w : (tensor<?x2xf32>, tensor<4x2xf32>) -> tensor<?x4xf32>
  %relu = qmodel.activation relu %l5 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %y5 = qmodel.channel_scale %relu, %positive : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // Two in a row.
  %l6 = qmodel.linear "l6" %n, %w : (tensor<?x2xf32>, tensor<4x2xf32>) -> tensor<?x4xf32>
  %once = qmodel.channel_scale %l6, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %y6 = qmodel.channel_scale %once, %positive : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // v of an attention; its one head serves two query heads with equal factors.
  %l7 = qmodel.linear "v" %h, %square : (tensor<?x?x2xf32>, tensor<2x2xf32>) -> tensor<?x?x2xf32>
  %split = qmodel.dim_tensor ["b", "t", "1", "2"] : tensor<4xi64>
  %heads = onnx.node "Reshape"(%l7, %split) attributes {allowzero = 0 : i64} {version = 16 : i64} : (tensor<?x?x2xf32>, tensor<4xi64>) -> tensor<?x?x1x2xf32>
  %v = onnx.node "Transpose"(%heads) attributes {perm = [0, 2, 1, 3]} {version = 16 : i64} : (tensor<?x?x1x2xf32>) -> tensor<?x1x?x2xf32>
  %a = qmodel.attention %q, %k, %v causal scale 0.5 mask_value -1.0e9 : (tensor<?x2x?x2xf32>, tensor<?x1x?x2xf32>, tensor<?x1x?x2xf32>) -> tensor<?x2x?x2xf32>
  %back = onnx.node "Transpose"(%a) attributes {perm = [0, 2, 1, 3]} {version = 16 : i64} : (tensor<?x2x?x2xf32>) -> tensor<?x?x2x2xf32>
  %join = qmodel.dim_tensor ["b", "t", "4"] : tensor<3xi64>
  %joined = onnx.node "Reshape"(%back, %join) attributes {allowzero = 0 : i64} {version = 16 : i64} : (tensor<?x?x2x2xf32>, tensor<3xi64>) -> tensor<?x?x4xf32>
  %y7 = qmodel.channel_scale %joined, %groups : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  // A part of a linear; the other part stays as it is.
  %l8 = qmodel.linear "l8" %n, %w bias %shift : (tensor<?x2xf32>, tensor<4x2xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %parts:2 = onnx.node "Split"(%l8) attributes {axis = -1 : i64, num_outputs = 2 : i64} {version = 18 : i64} : (tensor<?x4xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>)
  %y8 = qmodel.channel_scale %parts#1, %narrow : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  // A quantized linear: the rows of its scales; a bias takes part, codes do not.
  %codes = qmodel.load @codes : tensor<4x2xi8>
  %rows = qmodel.load @rows : tensor<4x2xf32>
  %d = qmodel.dequantize %codes, %rows group 1 : (tensor<4x2xi8>, tensor<4x2xf32>) -> tensor<4x2xf32>
  %l9 = qmodel.linear "l9" %n, %d bias %shift : (tensor<?x2xf32>, tensor<4x2xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %y10 = qmodel.channel_scale %l9, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %y0, %y1, %y2, %y3, %y4, %y5, %y6, %y7, %y8, %parts#0, %y10 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x?x4xf32>, tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x4xf32>
}
qmodel.weight @codes : tensor<4x2xi8> = dense<[[1, -2], [3, 4], [5, -6], [7, 8]]> : tensor<4x2xi8>
qmodel.weight @rows : tensor<4x2xf32> = dense<[[0.5, 1.0], [1.0, 2.0], [3.0, 0.25], [1.0, 2.0]]> : tensor<4x2xf32>
qmodel.weight @square : tensor<2x2xf32> = dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>

//--- stays.mlir
qmodel.weight @gain : tensor<4xf32> = dense<[1.0, 2.0, 0.5, 5.0]> : tensor<4xf32>
qmodel.weight @s : tensor<4xf32> = dense<[2.0, -0.5, 4.0, 0.2]> : tensor<4xf32>
qmodel.weight @huge : tensor<4xf32> = dense<3.0e38> : tensor<4xf32>
qmodel.weight @w : tensor<4x4xf32> = dense<1.0> : tensor<4x4xf32>
qmodel.weight @codes : tensor<4x4xi8> = dense<1> : tensor<4x4xi8>
qmodel.weight @scales : tensor<4x1xf32> = dense<1.0> : tensor<4x1xf32>
func.func @main(%x: tensor<?x4xf32>, %q: tensor<?x2x?x2xf32>, %k: tensor<?x1x?x2xf32>, %h: tensor<?x?x2xf32>, %past: tensor<?x2x?x2xf32>, %u: tensor<?x4xf32>)
    -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>) {
  %gain = qmodel.load @gain : tensor<4xf32>
  %s = qmodel.load @s : tensor<4xf32>
  %huge = qmodel.load @huge : tensor<4xf32>
  %w = qmodel.load @w : tensor<4x4xf32>
  %square = qmodel.load @square : tensor<2x2xf32>
  %codes = qmodel.load @codes : tensor<4x4xi8>
  %scales = qmodel.load @scales : tensor<4x1xf32>
  // The norm feeds the residual too.
  // CHECK: Remark="its operand has other users, which would see the change
  %norm = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %y0 = qmodel.channel_scale %norm, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: Remark="an argument of the function has no constants
  %y1 = qmodel.channel_scale %u, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: Remark="qmodel.add cannot take factors
  %sum = qmodel.add %x, %norm : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %y2 = qmodel.channel_scale %sum, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // Of a negative factor, relu would let through what it stops.
  // CHECK: Remark="qmodel.activation cannot take factors
  %l3 = qmodel.linear "l3" %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %relu = qmodel.activation relu %l3 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %y3 = qmodel.channel_scale %relu, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: Remark="the constants of qmodel.linear are computed
  %d = qmodel.dequantize %codes, %scales group 0 : (tensor<4x4xi8>, tensor<4x1xf32>) -> tensor<4x4xf32>
  %computed = qmodel.multiply %d, %d : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %l4 = qmodel.linear "l4" %x, %computed : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %y4 = qmodel.channel_scale %l4, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: Remark="the producer's constants would overflow
  %n5 = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %y5 = qmodel.channel_scale %n5, %huge : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // The up half is used elsewhere.
  // CHECK: Remark="a value on the way to the producer has other users
  %y6 = qmodel.linear "l6" %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %gated = qmodel.gated_activation silu %x, %y6 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %y7 = qmodel.channel_scale %gated, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %split = qmodel.dim_tensor ["b", "t", "1", "2"] : tensor<4xi64>
  %join = qmodel.dim_tensor ["b", "t", "4"] : tensor<3xi64>
  // Two query heads share a value head and want different factors.
  // CHECK: Remark="query heads that share a value head need equal factors
  %lv = qmodel.linear "v" %h, %square : (tensor<?x?x2xf32>, tensor<2x2xf32>) -> tensor<?x?x2xf32>
  %heads = onnx.node "Reshape"(%lv, %split) attributes {allowzero = 0 : i64} {version = 16 : i64} : (tensor<?x?x2xf32>, tensor<4xi64>) -> tensor<?x?x1x2xf32>
  %v = onnx.node "Transpose"(%heads) attributes {perm = [0, 2, 1, 3]} {version = 16 : i64} : (tensor<?x?x1x2xf32>) -> tensor<?x1x?x2xf32>
  %a = qmodel.attention %q, %k, %v causal scale 0.5 mask_value -1.0e9 : (tensor<?x2x?x2xf32>, tensor<?x1x?x2xf32>, tensor<?x1x?x2xf32>) -> tensor<?x2x?x2xf32>
  %back = onnx.node "Transpose"(%a) attributes {perm = [0, 2, 1, 3]} {version = 16 : i64} : (tensor<?x2x?x2xf32>) -> tensor<?x?x2x2xf32>
  %joined = onnx.node "Reshape"(%back, %join) attributes {allowzero = 0 : i64} {version = 16 : i64} : (tensor<?x?x2x2xf32>, tensor<3xi64>) -> tensor<?x?x4xf32>
  %y8 = qmodel.channel_scale %joined, %s : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  // Values of the past would have to change too.
  // CHECK: Remark="onnx.Concat cannot take factors
  %all = onnx.node "Concat"(%past, %q) attributes {axis = 2 : i64} {version = 16 : i64} : (tensor<?x2x?x2xf32>, tensor<?x2x?x2xf32>) -> tensor<?x2x?x2xf32>
  %a9 = qmodel.attention %q, %q, %all causal scale 0.5 mask_value -1.0e9 : (tensor<?x2x?x2xf32>, tensor<?x2x?x2xf32>, tensor<?x2x?x2xf32>) -> tensor<?x2x?x2xf32>
  %back9 = onnx.node "Transpose"(%a9) attributes {perm = [0, 2, 1, 3]} {version = 16 : i64} : (tensor<?x2x?x2xf32>) -> tensor<?x?x2x2xf32>
  %joined9 = onnx.node "Reshape"(%back9, %join) attributes {allowzero = 0 : i64} {version = 16 : i64} : (tensor<?x?x2x2xf32>, tensor<3xi64>) -> tensor<?x?x4xf32>
  %y9 = qmodel.channel_scale %joined9, %s : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  return %y0, %y1, %y2, %y3, %y4, %y5, %y6, %y7, %y8, %y9 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>
}
qmodel.weight @square : tensor<2x2xf32> = dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>

//--- quantized.mlir
// Factors of rows that are not factors of scales, or not exactly.
qmodel.weight @s : tensor<4xf32> = dense<[2.0, -0.5, 4.0, 0.2]> : tensor<4xf32>
qmodel.weight @codes : tensor<4x4xi8> = dense<1> : tensor<4x4xi8>
qmodel.weight @scales : tensor<4x1xf32> = dense<1.0> : tensor<4x1xf32>
qmodel.weight @half : tensor<4x1xf16> = dense<1.0> : tensor<4x1xf16>
qmodel.weight @pairs : tensor<2x1xf32> = dense<1.0> : tensor<2x1xf32>
qmodel.weight @level : tensor<4x1xi8> = dense<1> : tensor<4x1xi8>
func.func @main(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %s = qmodel.load @s : tensor<4xf32>
  %codes = qmodel.load @codes : tensor<4x4xi8>
  %scales = qmodel.load @scales : tensor<4x1xf32>
  // CHECK: Remark="the constants of qmodel.linear are quantized, and others read them too
  %d0 = qmodel.dequantize %codes, %scales group 0 : (tensor<4x4xi8>, tensor<4x1xf32>) -> tensor<4x4xf32>
  %l0 = qmodel.linear "l0" %x, %d0 : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %y0 = qmodel.channel_scale %l0, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %y1 = qmodel.linear "l1" %x, %d0 : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  // CHECK: Remark="the constants of qmodel.linear are quantized, and their scales, which have 16 bits, would be rounded
  %half = qmodel.load @half : tensor<4x1xf16>
  %d2 = qmodel.dequantize %codes, %half group 0 : (tensor<4x4xi8>, tensor<4x1xf16>) -> tensor<4x4xf32>
  %l2 = qmodel.linear "l2" %x, %d2 : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %y2 = qmodel.channel_scale %l2, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: Remark="the constants of qmodel.linear are quantized, and their rows share scales
  %pairs = qmodel.load @pairs : tensor<2x1xf32>
  %d3 = qmodel.dequantize %codes, %pairs group 0 rows 2 : (tensor<4x4xi8>, tensor<2x1xf32>) -> tensor<4x4xf32>
  %l3 = qmodel.linear "l3" %x, %d3 : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %y3 = qmodel.channel_scale %l3, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: Remark="the constants of qmodel.linear are quantized, and so are their scales
  %level = qmodel.load @level : tensor<4x1xi8>
  %second = qmodel.dequantize %level, %scales group 0 : (tensor<4x1xi8>, tensor<4x1xf32>) -> tensor<4x1xf32>
  %d4 = qmodel.dequantize %codes, %second group 0 : (tensor<4x4xi8>, tensor<4x1xf32>) -> tensor<4x4xf32>
  %l4 = qmodel.linear "l4" %x, %d4 : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %y4 = qmodel.channel_scale %l4, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %y0, %y1, %y2, %y3, %y4 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

//--- kernel.mlir
// What stays has a kernel.
module attributes {qmodel.bounds = {n = [1, 8]}} {
qmodel.weight @s : tensor<4xf32> = dense<[2.0, -0.5, 4.0, 0.2]> : tensor<4xf32>
func.func @main(%x: tensor<?x4xf32> {onnx.name = "x", qmodel.dims = ["n", "4"]})
    -> (tensor<?x4xf32> {onnx.name = "y", qmodel.dims = ["n", "4"]}) {
  %s = qmodel.load @s : tensor<4xf32>
  %y = qmodel.channel_scale %x, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
}
