// The search for alpha, for inputs that are quantized by token and all alike.

// RUN: quant-opt %s --qmodel-smooth-outliers='alpha=auto row-stride=1' --remarks-filter='.*' --remark-format=emitRemark -o %t 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: FileCheck %s --input-file=%t
// RUN: quant-opt %s --qmodel-smooth-outliers='alpha=auto row-stride=1 precision=float64' -o - | FileCheck %s

// By hand: in [127, 1] and [127, 5] every number is a whole number of steps, so
// that nothing is lost without smoothing.
// REMARK: remark: [Missed] qmodel-smooth-outliers {{.*}}Remark="no alpha loses less than none
// REMARK-NOT: Remark=
// CHECK-LABEL: func.func @exact
// CHECK-NOT: channel_scale
// CHECK: return

// One scale for all tokens has to reach 16, so that the second channel has few
// steps; divided by its largest values every channel has all.
// CHECK-LABEL: func.func @static
// CHECK: qmodel.channel_scale
// CHECK-LABEL: func.func @asymmetric
// CHECK: qmodel.channel_scale

#dynamic = #qmodel.plan<weight = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>, input = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>>
#static = #qmodel.plan<weight = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>, input = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, rows = 0>>
#asymmetric = #qmodel.plan<weight = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even>, input = <bits = 8, group = 0, symmetric = false, grid = minmax, rounding = half_even, rows = 0>>

qmodel.weight @gain : tensor<2xf32> = dense<1.0> : tensor<2xf32>
qmodel.weight @whole : tensor<1x2xf32> = dense<[[127.0, 5.0]]> : tensor<1x2xf32>
func.func @exact(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %gain = qmodel.load @gain : tensor<2xf32>
  %w = qmodel.load @whole : tensor<1x2xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %y = qmodel.linear "exact" %n, %w {plan = #dynamic,
      qmodel.statistics = {mean_absolute = dense<1.0> : tensor<2xf32>, absolute_max = dense<[127.0, 1.0]> : tensor<2xf32>, rows = dense<[[127.0, 1.0]]> : tensor<1x2xf32>}}
    : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

qmodel.weight @w : tensor<1x2xf32> = dense<[[1.0, 2.0]]> : tensor<1x2xf32>
func.func @static(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %gain = qmodel.load @gain : tensor<2xf32>
  %w = qmodel.load @w : tensor<1x2xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %y = qmodel.linear "static" %n, %w {plan = #static,
      qmodel.statistics = {mean_absolute = dense<1.0> : tensor<2xf32>, absolute_max = dense<[16.0, 0.07]> : tensor<2xf32>, rows = dense<[[0.0, 0.03], [0.0, 0.05], [16.0, 0.07]]> : tensor<3x2xf32>}}
    : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

func.func @asymmetric(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %gain = qmodel.load @gain : tensor<2xf32>
  %w = qmodel.load @w : tensor<1x2xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  %y = qmodel.linear "asymmetric" %n, %w {plan = #asymmetric,
      qmodel.statistics = {mean_absolute = dense<1.0> : tensor<2xf32>, absolute_max = dense<[16.0, 0.07]> : tensor<2xf32>, rows = dense<[[0.0, 0.03], [0.0, 0.05], [16.0, 0.07]]> : tensor<3x2xf32>}}
    : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}
