// The readers of one input have their turn together, with those that read only
// what activations make of their results; all others are kept meanwhile. Methods
// are through with a, b and d before they look at c.

// RUN: rm -rf %t && split-file %s %t && cd %t
// RUN: quant-opt layer.mlir --nibble-for-each-input='pipeline=qmodel-awq{ratios=2},qmodel-fold-channel-scales,qmodel-quantize-rtn' -o %t/out --mlir-print-ir-before=qmodel-awq 2>%t/turns
// RUN: FileCheck layer.mlir --input-file=turns
// RUN: FileCheck layer.mlir --input-file=out --check-prefix=AFTER

// RUN: not quant-opt layer.mlir --nibble-for-each-input=pipeline=no-such-pass 2>&1 | FileCheck %s --check-prefix=PIPELINE
// PIPELINE: error: {{.*}}nibble-for-each-input: expects a pipeline of module passes, got 'no-such-pass'
// RUN: not quant-opt noplan.mlir --nibble-for-each-input=pipeline=qmodel-quantize-rtn 2>&1 | FileCheck %s --check-prefix=PLAN
// PLAN: error: {{.*}}expects a plan, got none; run qmodel-plan first

// What the nested pipeline says stands, and the pass fails with it.
// RUN: not quant-opt layer.mlir --nibble-for-each-input=pipeline=qmodel-gptq 2>&1 | FileCheck %s --check-prefix=NESTED
// NESTED: error: {{.*}}expects 'hessian' in qmodel.statistics

// A layer without schemes has no turns: passes that want something to quantize
// do not run.
// RUN: quant-opt kept.mlir --nibble-for-each-input=pipeline=qmodel-quantize-rtn | FileCheck kept.mlir

//--- layer.mlir
// The factors of d reach the rows of b before it is rounded.
// AFTER-DAG: qmodel.weight @b.awq.scaled.codes
// AFTER-DAG: qmodel.weight @c.awq.codes
// AFTER-DAG: qmodel.weight @d.awq.codes
// AFTER-DAG: qmodel.weight @gain.scaled
// AFTER-DAG: qmodel.weight @gain2.scaled
// AFTER-NOT: channel_scale
// AFTER-NOT: qmodel.keep
// AFTER-NOT: qmodel.turn
// AFTER-NOT: waiting_plan

// CHECK: qmodel.linear "a" {{.*}}#qmodel.plan
// CHECK: qmodel.linear "b" {{.*}}#qmodel.plan
// CHECK: qmodel.linear "d" {{.*}}#qmodel.plan
// CHECK: qmodel.linear "c" {{.*}}#qmodel.keep<"waits for its turn">
// CHECK: func.func @main
// CHECK: %[[D:.+]] = qmodel.dequantize
// CHECK: qmodel.linear "a" {{.*}}%[[D]] {{.*}}#qmodel.keep<"waits for its turn">
// CHECK: qmodel.linear "b" {{.*}}#qmodel.keep<"waits for its turn">
// CHECK: qmodel.linear "d" {{.*}}#qmodel.keep<"waits for its turn">
// CHECK: qmodel.linear "c" {{.*}}#qmodel.plan
// CHECK-NOT: qmodel.linear
#plan = #qmodel.plan<weight = <bits = 4, group = 0, symmetric = false, grid = minmax, rounding = half_even>>
qmodel.weight @gain : tensor<3xf32> = dense<1.0> : tensor<3xf32>
qmodel.weight @gain2 : tensor<3xf32> = dense<1.0> : tensor<3xf32>
qmodel.weight @a : tensor<3x3xf32> = dense<[[1.0, 0.33, 0.12], [0.5, 0.7, -0.2], [0.1, 0.2, 0.3]]> : tensor<3x3xf32>
qmodel.weight @b : tensor<3x3xf32> = dense<[[0.4, -0.33, 0.12], [0.25, 0.7, 0.2], [-0.1, 0.2, 0.3]]> : tensor<3x3xf32>
qmodel.weight @d : tensor<3x3xf32> = dense<[[1.0, 0.33, 0.12], [0.4, -0.33, 0.12], [0.1, 0.2, 0.3]]> : tensor<3x3xf32>
qmodel.weight @c : tensor<1x3xf32> = dense<[[1.0, 0.33, 0.12]]> : tensor<1x3xf32>
func.func @main(%x: tensor<?x3xf32>) -> tensor<?x1xf32> {
  %gain = qmodel.load @gain : tensor<3xf32>
  %gain2 = qmodel.load @gain2 : tensor<3xf32>
  %a = qmodel.load @a : tensor<3x3xf32>
  %b = qmodel.load @b : tensor<3x3xf32>
  %d = qmodel.load @d : tensor<3x3xf32>
  %c = qmodel.load @c : tensor<1x3xf32>
  %n = qmodel.rms_norm %x, %gain epsilon 1.0e-5 : (tensor<?x3xf32>, tensor<3xf32>) -> tensor<?x3xf32>
  %g = qmodel.linear "a" %n, %a {plan = #plan,
      qmodel.statistics = {tokens = 2 : i64, mean_absolute = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>, absolute_max = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>,
                           rows = dense<[[1.0, 4.0, 16.0], [1.0, -4.0, -16.0]]> : tensor<2x3xf32>}}
    : (tensor<?x3xf32>, tensor<3x3xf32>) -> tensor<?x3xf32>
  %u = qmodel.linear "b" %n, %b {plan = #plan} : (tensor<?x3xf32>, tensor<3x3xf32>) -> tensor<?x3xf32>
  %h = qmodel.gated_activation silu %g, %u : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %z = qmodel.linear "d" %h, %d {plan = #plan,
      qmodel.statistics = {tokens = 2 : i64, mean_absolute = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>, absolute_max = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>,
                           rows = dense<[[1.0, 4.0, 16.0], [1.0, -4.0, -16.0]]> : tensor<2x3xf32>}}
    : (tensor<?x3xf32>, tensor<3x3xf32>) -> tensor<?x3xf32>
  %m = qmodel.rms_norm %z, %gain2 epsilon 1.0e-5 : (tensor<?x3xf32>, tensor<3xf32>) -> tensor<?x3xf32>
  %y = qmodel.linear "c" %m, %c {plan = #plan,
      qmodel.statistics = {tokens = 2 : i64, mean_absolute = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>, absolute_max = dense<[1.0, 4.0, 16.0]> : tensor<3xf32>,
                           rows = dense<[[1.0, 4.0, 16.0], [1.0, -4.0, -16.0]]> : tensor<2x3xf32>}}
    : (tensor<?x3xf32>, tensor<1x3xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

//--- kept.mlir
// CHECK: qmodel.linear "y" {{.*}}#qmodel.keep<"asked for">
func.func @main(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %w = qmodel.load @w : tensor<1x2xf32>
  %y = qmodel.linear "y" %x, %w {plan = #qmodel.keep<"asked for">} : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}
qmodel.weight @w : tensor<1x2xf32> = dense<1.0> : tensor<1x2xf32>

//--- noplan.mlir
func.func @main(%x: tensor<?x2xf32>) -> tensor<?x1xf32> {
  %w = qmodel.load @w : tensor<1x2xf32>
  %y = qmodel.linear "y" %x, %w : (tensor<?x2xf32>, tensor<1x2xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}
qmodel.weight @w : tensor<1x2xf32> = dense<1.0> : tensor<1x2xf32>
