// SmoothQuant from text alone: the largest inputs of every channel are an
// attribute. By hand: the largest weights are [1, 4], inputs [16, 1], so
// alpha = 0.5 gives s = [4, 0.5].

// RUN: quant-opt %s --qmodel-smooth-outliers | FileCheck %s
// RUN: quant-opt %s --qmodel-smooth-outliers=alpha=1 | FileCheck %s --check-prefix=ONE
// RUN: quant-opt %s --qmodel-smooth-outliers='producers=all' | FileCheck %s --check-prefix=ALL
// RUN: quant-opt %s --qmodel-smooth-outliers --remarks-filter='.*' --remark-format=emitRemark -o %t 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: quant-opt %s --qmodel-smooth-outliers='alpha=auto row-stride=1' | FileCheck %s --check-prefix=AUTO
// RUN: quant-opt %s --qmodel-smooth-outliers --qmodel-fold-channel-scales | FileCheck %s --check-prefix=FOLDED

// CHECK-DAG: qmodel.weight @a.smoothed.factors : tensor<2xf32> = dense<[2.500000e-01, 2.000000e+00]>
// CHECK-DAG: qmodel.weight @a.smoothed : tensor<1x2xf32> = dense<{{\[\[}}4.000000e+00, 1.000000e+00]]>
// CHECK-DAG: qmodel.weight @b.smoothed : tensor<1x2xf32> = dense<{{\[\[}}2.000000e+00, -2.000000e+00]]>
// CHECK-LABEL: func.func @main
// CHECK: %[[N:.+]] = qmodel.rms_norm
// CHECK: %[[C:.+]] = qmodel.channel_scale %[[N]], %{{.+}}
// CHECK: qmodel.linear "a" %[[C]], %{{[^{]*}} {plan
// CHECK: qmodel.linear "b" %[[C]],
// CHECK-NOT: channel_scale

// s = [16, 1].
// ONE-DAG: qmodel.weight @a.smoothed.factors : tensor<2xf32> = dense<[6.250000e-02, 1.000000e+00]>
// ONE-DAG: qmodel.weight @a.smoothed : tensor<1x2xf32> = dense<{{\[\[}}1.600000e+01, 2.000000e+00]]>

// What a linear makes is scaled too if asked; s = sqrt([9, 9] / [1, 4]).
// ALL-DAG: qmodel.weight @e.smoothed.factors : tensor<2xf32> = dense<[0.333333343, 0.666666686]>

// REMARK: Remark="its input cannot be scaled: an argument of the function has no constants
// REMARK: Remark="its input is not the result of a norm
// REMARK: its input is read by func.return too
// REMARK: its plan is to stay in floating point

// Eight bits for [16, 1] lose the small channel's digits: some alpha above 0
// is better than none.
// AUTO: qmodel.weight @a.smoothed.factors
// AUTO: qmodel.channel_scale

// FOLDED-DAG: qmodel.weight @gain.scaled : tensor<2xf32> = dense<[2.500000e-01, 4.000000e+00]>
// FOLDED-NOT: channel_scale
// FOLDED-NOT: @gain :

qmodel.weight @gain : tensor<2xf32> = dense<[1.0, 2.0]> : tensor<2xf32>
qmodel.weight @a : tensor<1x2xf32> = dense<[[1.0, 2.0]]> : tensor<1x2xf32>
qmodel.weight @b : tensor<1x2xf32> = dense<[[0.5, -4.0]]> : tensor<1x2xf32>
func.func @main(%x: tensor<?x2xf32>) -> (tensor<?x1xf32>, tensor<?x1xf32>) {
  %gain = qmodel.load @gain : tensor<2xf32>
  %a = qmodel.load @a : tensor<1x2xf32>
  %b = qmodel.load @b : tensor<1x2xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %y = qmodel.linear "a" %n, %a {
      plan = #qmodel.plan<weight = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>, input = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>>,
      qmodel.statistics = {tokens = 2 : i64, mean_absolute = dense<[9.0, 0.5]> : tensor<2xf32>, absolute_max = dense<[16.0, 1.0]> : tensor<2xf32>,
                           rows = dense<[[16.0, 0.03], [-2.0, 1.0]]> : tensor<2x2xf32>}}
    : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  %z = qmodel.linear "b" %n, %b {
      plan = #qmodel.plan<weight = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>, input = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>>}
    : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  return %y, %z : tensor<?x1xf32>, tensor<?x1xf32>
}

qmodel.weight @d : tensor<2x2xf32> = dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
qmodel.weight @e : tensor<1x2xf32> = dense<[[1.0, 4.0]]> : tensor<1x2xf32>
func.func @linear(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %d = qmodel.load @d : tensor<2x2xf32>
  %e = qmodel.load @e : tensor<1x2xf32>
  %y = qmodel.linear "d" %x, %d : (tensor<?x2xf32>, tensor<2x2xf32>) -> tensor<?x2xf32>
  %z = qmodel.linear "e" %y, %e {
      plan = #qmodel.plan<weight = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>, input = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>>,
      qmodel.statistics = {mean_absolute = dense<9.0> : tensor<2xf32>, absolute_max = dense<9.0> : tensor<2xf32>, rows = dense<[[9.0, -9.0]]> : tensor<1x2xf32>}}
    : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  return %z : tensor<?x1xf32>
}

// A norm after the sum, as in BERT: the next sum reads it too.
func.func @residual(%x: tensor<?x2xf32>) -> (tensor<?x1xf32>, tensor<?x2xf32>) {
  %gain = qmodel.load @gain2 : tensor<2xf32>
  %f = qmodel.load @f : tensor<1x2xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %y = qmodel.linear "f" %n, %f : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  return %y, %n : tensor<?x1xf32>, tensor<?x2xf32>
}
qmodel.weight @gain2 : tensor<2xf32> = dense<1.0> : tensor<2xf32>
qmodel.weight @f : tensor<1x2xf32> = dense<1.0> : tensor<1x2xf32>

// Nothing is gained where nothing is rounded.
func.func @kept(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %gain = qmodel.load @gain2 : tensor<2xf32>
  %f = qmodel.load @f : tensor<1x2xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %y = qmodel.linear "k" %n, %f {plan = #qmodel.keep<"asked for">} : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}
