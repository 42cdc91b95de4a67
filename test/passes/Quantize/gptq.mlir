// GPTQ from text alone: the second moment of the input is an attribute.

// RUN: quant-opt %s --split-input-file --pass-pipeline='builtin.module(qmodel-gptq{damping=0 act-order=false precision=float64})' | FileCheck %s
// RUN: quant-opt %s --split-input-file --pass-pipeline='builtin.module(qmodel-gptq{damping=0 groups=fresh precision=float64})' | FileCheck %s --check-prefix=FRESH
// RUN: quant-opt %s --split-input-file --pass-pipeline='builtin.module(qmodel-gptq{damping=0.001 damping-limit=0.5 block=1})' 2>&1 | FileCheck %s --check-prefix=DAMPED

// By hand: scale 1/3 and zero point 0 from [0, 1]; 0.5 becomes code 2 (a tie
// between 1 and 2: 1.5), and 1 takes over its error.
// CHECK: qmodel.weight @w.codes : tensor<1x3xui2> = dense<{{\[\[}}2, 3, 0]]>
// CHECK-LABEL: func.func @by_hand
// CHECK: %[[C:.+]] = qmodel.load @w.codes : tensor<1x3xui2>
// CHECK: %[[D:.+]] = qmodel.dequantize %[[C]], %{{.+}} zeros %{{.+}} group 0 scheme
// CHECK: qmodel.linear "y" %{{.+}}, %[[D]] {plan
// CHECK-NOT: qmodel.statistics
qmodel.weight @w : tensor<1x3xf32> = dense<[[0.5, 1.0, 0.0]]> : tensor<1x3xf32>
func.func @by_hand(%x: tensor<?x3xf32>) -> tensor<?x1xf32> {
  %w = qmodel.load @w : tensor<1x3xf32>
  %y = qmodel.linear "y" %x, %w {
      plan = #qmodel.plan<weight = <bits = 2, group = 0, symmetric = false, grid = gptq, rounding = half_even>>,
      qmodel.statistics = {tokens = 3 : i64, hessian = dense<[[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]> : tensor<3x3xf64>}}
    : (tensor<?x3xf32>, tensor<1x3xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// -----

// With act order and groups that are not static, the channels of a group must
// be brought together: a Gather of the input. The diagonal says 3, 1, 2, 0.
// FRESH-LABEL: func.func @gathered
// FRESH: %[[ORDER:.+]] = onnx.constant dense<[1, 3, 0, 2]>
// FRESH: %[[X:.+]] = onnx.node "Gather"(%{{.+}}, %[[ORDER]]) attributes {axis = -1 : i64}
// FRESH: qmodel.linear "z" %[[X]]
// A static grid needs none.
// CHECK-LABEL: func.func @gathered
// CHECK-NOT: Gather
// CHECK: return
qmodel.weight @v : tensor<1x4xf32> = dense<[[0.5, -1.0, 0.25, 2.0]]> : tensor<1x4xf32>
func.func @gathered(%x: tensor<?x4xf32>) -> tensor<?x1xf32> {
  %w = qmodel.load @v : tensor<1x4xf32>
  %y = qmodel.linear "z" %x, %w {
      plan = #qmodel.plan<weight = <bits = 4, group = 2, symmetric = false, grid = gptq, rounding = half_even>>,
      qmodel.statistics = {hessian = dense<[[1.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 4.0]]> : tensor<4x4xf64>}}
    : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// -----

// A Hessian that is not quite positive cannot be factored with so little damping: it is raised,
// and that is said. Four channels from two tokens are few.
// DAMPED: warning: "few" saw 2 tokens, fewer than its 4 inputs; give more calibration data
// DAMPED: warning: "few" needed damping of {{.+}} instead of 0.001: its Hessian could not be factored before
qmodel.weight @u : tensor<1x4xf32> = dense<[[0.5, -1.0, 0.25, 2.0]]> : tensor<1x4xf32>
func.func @few(%x: tensor<?x4xf32>) -> tensor<?x1xf32> {
  %w = qmodel.load @u : tensor<1x4xf32>
  %y = qmodel.linear "few" %x, %w {
      plan = #qmodel.plan<weight = <bits = 4, group = 0, symmetric = true, grid = gptq, rounding = half_even>>,
      qmodel.statistics = {tokens = 2 : i64, hessian = dense<[[1.0, 1.002, 0.0, 0.0], [1.002, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]> : tensor<4x4xf64>}}
    : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}
