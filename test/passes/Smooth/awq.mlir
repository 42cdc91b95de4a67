// AWQ from text alone. By hand: the mean |x| of [1, 4, 16] give s = [0.5, 1, 2]
// for the exponent 0.5, with which 4 bits lose less than with none (mean squared
// errors of 0.0016 and 0.0514).

// RUN: quant-opt %s --qmodel-awq=ratios=2 | FileCheck %s
// RUN: quant-opt %s --qmodel-awq='ratios=2 precision=float64 row-stride=1' | FileCheck %s
// RUN: quant-opt %s --qmodel-awq=ratios=1 | FileCheck %s --check-prefix=NONE
// RUN: quant-opt %s --qmodel-awq='ratios=2 form=inputs-and-weights' | FileCheck %s --check-prefix=BOTH
// RUN: quant-opt %s --qmodel-awq='ratios=2 clip=true' | FileCheck %s --check-prefix=CLIP
// RUN: quant-opt %s --qmodel-awq='ratios=2 clip=true' --remarks-filter='.*' --remark-format=emitRemark -o %t 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: quant-opt %s --qmodel-awq=ratios=2 --qmodel-fold-channel-scales --qmodel-quantize-rtn | FileCheck %s --check-prefix=FOLDED
// RUN: quant-opt %s --qmodel-awq=ratios=2 | FileCheck %s --check-prefix=TIED
// RUN: quant-opt %s --qmodel-awq=ratios=2 --qmodel-fold-channel-scales | FileCheck %s --check-prefix=TIED-FOLDED

// CHECK-DAG: qmodel.weight @w.awq.factors : tensor<3xf32> = dense<[2.000000e+00, 1.000000e+00, 5.000000e-01]>
// CHECK-DAG: qmodel.weight @w.awq : tensor<1x3xf32> = dense<{{\[\[}}5.000000e-01, 3.300000e-01, 2.400000e-01]]>
// The layer that stays in floating point shares the input, so it is scaled too.
// CHECK-DAG: qmodel.weight @kept.awq : tensor<1x3xf32> = dense<{{\[\[}}5.000000e-01, 1.000000e+00, 2.000000e+00]]>
// CHECK-LABEL: func.func @main
// CHECK: %[[C:.+]] = qmodel.channel_scale %{{.+}}, %{{.+}}
// CHECK: qmodel.linear "w" %[[C]], %{{.+}} {plan
// CHECK-NOT: qmodel.statistics
// CHECK: qmodel.linear "kept" %[[C]]

// The exponent 0 is no scale.
// NONE-DAG: qmodel.weight @w.awq.factors : tensor<3xf32> = dense<1.000000e+00>

// With weights: s = 1 / (relative |w| + 1e-4) for the exponent 0, which is best.
// BOTH-DAG: qmodel.weight @w.awq.factors : tensor<3xf32> = dense<[2.8856{{[0-9]*}}, 0.95247{{[0-9]*}}, 0.34653{{[0-9]*}}]>

// Between 0 and 0.6, two bits hold all of these weights but the one whose input
// is always 0.
// CLIP-DAG: qmodel.weight @clip.clamped : tensor<1x4xf32> = dense<{{\[\[}}6.000000e-01, 2.000000e-01, 4.000000e-01, 6.000000e-01]]>
// CLIP-DAG: qmodel.weight @query : tensor<4x4xf32>

// REMARK: Remark="its input cannot be scaled: an argument of the function has no constants
// REMARK: Remark="weights of queries and keys are not clamped
// REMARK: Remark="its scheme is not that of "s4", which reads the same input

// FOLDED-DAG: qmodel.weight @gain.scaled : tensor<3xf32> = dense<[2.000000e+00, 1.000000e+00, 5.000000e-01]>
// FOLDED-DAG: qmodel.weight @w.awq.codes
// FOLDED-NOT: channel_scale

#four = #qmodel.plan<weight = <bits = 4, group = 0, symmetric = false, grid = minmax, rounding = half_even>>
#two = #qmodel.plan<weight = <bits = 2, group = 0, symmetric = false, grid = minmax, rounding = half_even>>

qmodel.weight @gain : tensor<3xf32> = dense<1.0> : tensor<3xf32>
qmodel.weight @w : tensor<1x3xf32> = dense<[[1.0, 0.33, 0.12]]> : tensor<1x3xf32>
qmodel.weight @kept : tensor<1x3xf32> = dense<1.0> : tensor<1x3xf32>
func.func @main(%x: tensor<?x3xf32>) -> (tensor<?x1xf32>, tensor<?x1xf32>) {
  %gain = qmodel.load @gain : tensor<3xf32>
  %w = qmodel.load @w : tensor<1x3xf32>
  %kept = qmodel.load @kept : tensor<1x3xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x3xf32>, tensor<3xf32>) -> tensor<?x3xf32>
  %y = qmodel.linear "w" %n, %w {plan = #four,
      qmodel.statistics = {tokens = 2 : i64, mean_absolute = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>, absolute_max = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>,
                           rows = dense<[[1.0, 4.0, 16.0], [1.0, -4.0, -16.0]]> : tensor<2x3xf32>}}
    : (tensor<?x3xf32>, tensor<1x3xf32>) -> tensor<?x1xf32>
  %z = qmodel.linear "kept" %n, %kept {plan = #qmodel.keep<"asked for">} : (tensor<?x3xf32>, tensor<1x3xf32>) -> tensor<?x1xf32>
  return %y, %z : tensor<?x1xf32>, tensor<?x1xf32>
}

qmodel.weight @clip : tensor<1x4xf32> = dense<[[1.0, 0.2, 0.4, 0.6]]> : tensor<1x4xf32>
func.func @clipped(%x: tensor<?x4xf32>) -> tensor<?x1xf32> {
  %w = qmodel.load @clip : tensor<1x4xf32>
  %y = qmodel.linear "clip" %x, %w {plan = #two,
      qmodel.statistics = {mean_absolute = dense<[0.0, 1.0, 2.0, 3.0]> : tensor<4xf32>, absolute_max = dense<[0.0, 1.0, 2.0, 3.0]> : tensor<4xf32>,
                           rows = dense<[[0.0, 1.0, 2.0, 3.0]]> : tensor<1x4xf32>}}
    : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

qmodel.weight @query : tensor<4x4xf32> = dense<1.0> : tensor<4x4xf32>
func.func @queries(%x: tensor<?x1x?x4xf32>, %k: tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32> {
  %w = qmodel.load @query : tensor<4x4xf32>
  %q = qmodel.linear "query" %x, %w {plan = #two,
      qmodel.statistics = {mean_absolute = dense<1.0> : tensor<4xf32>, absolute_max = dense<1.0> : tensor<4xf32>, rows = dense<1.0> : tensor<1x4xf32>}}
    : (tensor<?x1x?x4xf32>, tensor<4x4xf32>) -> tensor<?x1x?x4xf32>
  %a = qmodel.attention %q, %k, %k scale 0.5 mask_value -1.0e9 : (tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  return %a : tensor<?x1x?x4xf32>
}

qmodel.weight @gain2 : tensor<3xf32> = dense<1.0> : tensor<3xf32>
qmodel.weight @s4 : tensor<1x3xf32> = dense<1.0> : tensor<1x3xf32>
func.func @schemes(%x: tensor<?x3xf32>) -> (tensor<?x1xf32>, tensor<?x1xf32>) {
  %gain = qmodel.load @gain2 : tensor<3xf32>
  %w = qmodel.load @s4 : tensor<1x3xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x3xf32>, tensor<3xf32>) -> tensor<?x3xf32>
  %y = qmodel.linear "s4" %n, %w {plan = #four,
      qmodel.statistics = {mean_absolute = dense<1.0> : tensor<3xf32>, absolute_max = dense<1.0> : tensor<3xf32>, rows = dense<1.0> : tensor<1x3xf32>}}
    : (tensor<?x3xf32>, tensor<1x3xf32>) -> tensor<?x1xf32>
  %z = qmodel.linear "s2" %n, %w {plan = #two} : (tensor<?x3xf32>, tensor<1x3xf32>) -> tensor<?x1xf32>
  return %y, %z : tensor<?x1xf32>, tensor<?x1xf32>
}

// A norm that feeds the sum too must not change: its reader is left alone.
// REMARK: Remark="its input is read by qmodel.add too
// CHECK-LABEL: func.func @residual
// CHECK-NOT: channel_scale
// CHECK: return
qmodel.weight @gain3 : tensor<3xf32> = dense<1.0> : tensor<3xf32>
qmodel.weight @r : tensor<3x3xf32> = dense<1.0> : tensor<3x3xf32>
func.func @residual(%x: tensor<?x3xf32>) -> tensor<?x3xf32> {
  %gain = qmodel.load @gain3 : tensor<3xf32>
  %w = qmodel.load @r : tensor<3x3xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x3xf32>, tensor<3xf32>) -> tensor<?x3xf32>
  %y = qmodel.linear "r" %n, %w {plan = #four,
      qmodel.statistics = {mean_absolute = dense<1.0> : tensor<3xf32>, absolute_max = dense<1.0> : tensor<3xf32>, rows = dense<1.0> : tensor<1x3xf32>}}
    : (tensor<?x3xf32>, tensor<3x3xf32>) -> tensor<?x3xf32>
  %sum = qmodel.add %n, %y : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %sum : tensor<?x3xf32>
}

// The input of o is made by v, if every query head has a v of its own; the rows
// of v take the factors.
// CHECK-LABEL: func.func @values
// CHECK: %[[O:.+]] = qmodel.channel_scale
// CHECK: qmodel.linear "o" %[[O]]
// FOLDED-LABEL: func.func @values
// FOLDED-NOT: channel_scale
// FOLDED: qmodel.linear "o"
qmodel.weight @v : tensor<3x3xf32> = dense<1.0> : tensor<3x3xf32>
qmodel.weight @o : tensor<1x3xf32> = dense<[[1.0, 0.33, 0.12]]> : tensor<1x3xf32>
func.func @values(%x: tensor<?x1x?x3xf32>, %k: tensor<?x1x?x3xf32>) -> tensor<?x?x1xf32> {
  %wv = qmodel.load @v : tensor<3x3xf32>
  %wo = qmodel.load @o : tensor<1x3xf32>
  %v = qmodel.linear "v" %x, %wv {plan = #qmodel.keep<"asked for">} : (tensor<?x1x?x3xf32>, tensor<3x3xf32>) -> tensor<?x1x?x3xf32>
  %a = qmodel.attention %k, %k, %v scale 0.5 mask_value -1.0e9 : (tensor<?x1x?x3xf32>, tensor<?x1x?x3xf32>, tensor<?x1x?x3xf32>) -> tensor<?x1x?x3xf32>
  %t = onnx.node "Transpose"(%a) attributes {perm = [0, 2, 1, 3]} {version = 16 : i64} : (tensor<?x1x?x3xf32>) -> tensor<?x?x1x3xf32>
  %join = qmodel.dim_tensor ["b", "t", "3"] : tensor<3xi64>
  %m = onnx.node "Reshape"(%t, %join) attributes {allowzero = 0 : i64} {version = 16 : i64} : (tensor<?x?x1x3xf32>, tensor<3xi64>) -> tensor<?x?x3xf32>
  %y = qmodel.linear "o" %m, %wo {plan = #four,
      qmodel.statistics = {tokens = 2 : i64, mean_absolute = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>, absolute_max = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>,
                           rows = dense<[[1.0, 4.0, 16.0], [1.0, -4.0, -16.0]]> : tensor<2x3xf32>}}
    : (tensor<?x?x3xf32>, tensor<1x3xf32>) -> tensor<?x?x1xf32>
  return %y : tensor<?x?x1xf32>
}

// Two query heads read one v: their channels get one scale, here from the mean
// inputs [1, 16], which are tied to those of [1, 6] and [1, 26].
// TIED: qmodel.weight @o2.awq.factors : tensor<4xf32> = dense<[2.000000e+00, 5.000000e-01, 2.000000e+00, 5.000000e-01]>
// TIED-FOLDED: qmodel.weight @v2.scaled : tensor<2x2xf32> = dense<{{\[\[}}2.000000e+00, 2.000000e+00], [5.000000e-01, 5.000000e-01]]>
qmodel.weight @v2 : tensor<2x2xf32> = dense<1.0> : tensor<2x2xf32>
qmodel.weight @o2 : tensor<1x4xf32> = dense<[[1.0, 0.12, 1.0, 0.12]]> : tensor<1x4xf32>
func.func @grouped(%x: tensor<?x?x2xf32>, %q: tensor<?x2x?x2xf32>, %k: tensor<?x1x?x2xf32>) -> tensor<?x?x1xf32> {
  %wv = qmodel.load @v2 : tensor<2x2xf32>
  %wo = qmodel.load @o2 : tensor<1x4xf32>
  %v = qmodel.linear "v2" %x, %wv {plan = #qmodel.keep<"asked for">} : (tensor<?x?x2xf32>, tensor<2x2xf32>) -> tensor<?x?x2xf32>
  %split = qmodel.dim_tensor ["b", "t", "1", "2"] : tensor<4xi64>
  %heads = onnx.node "Reshape"(%v, %split) attributes {allowzero = 0 : i64} {version = 16 : i64} : (tensor<?x?x2xf32>, tensor<4xi64>) -> tensor<?x?x1x2xf32>
  %vt = onnx.node "Transpose"(%heads) attributes {perm = [0, 2, 1, 3]} {version = 16 : i64} : (tensor<?x?x1x2xf32>) -> tensor<?x1x?x2xf32>
  %a = qmodel.attention %q, %k, %vt scale 0.5 mask_value -1.0e9 : (tensor<?x2x?x2xf32>, tensor<?x1x?x2xf32>, tensor<?x1x?x2xf32>) -> tensor<?x2x?x2xf32>
  %t = onnx.node "Transpose"(%a) attributes {perm = [0, 2, 1, 3]} {version = 16 : i64} : (tensor<?x2x?x2xf32>) -> tensor<?x?x2x2xf32>
  %join = qmodel.dim_tensor ["b", "t", "4"] : tensor<3xi64>
  %m = onnx.node "Reshape"(%t, %join) attributes {allowzero = 0 : i64} {version = 16 : i64} : (tensor<?x?x2x2xf32>, tensor<3xi64>) -> tensor<?x?x4xf32>
  %y = qmodel.linear "o2" %m, %wo {plan = #four,
      qmodel.statistics = {tokens = 2 : i64, mean_absolute = dense<[1.0, 6.0, 1.0, 26.0]> : tensor<4xf32>, absolute_max = dense<[1.0, 6.0, 1.0, 26.0]> : tensor<4xf32>,
                           rows = dense<[[1.0, 16.0, 1.0, 16.0], [1.0, -16.0, -1.0, -16.0]]> : tensor<2x4xf32>}}
    : (tensor<?x?x4xf32>, tensor<1x4xf32>) -> tensor<?x?x1xf32>
  return %y : tensor<?x?x1xf32>
}
