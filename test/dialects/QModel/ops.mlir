// Every op and attribute of the dialect survives text and bytecode.

// RUN: quant-opt %s | quant-opt | FileCheck %s
// RUN: quant-opt %s --emit-bytecode | quant-opt | FileCheck %s

// CHECK: module attributes {qmodel.bounds = {batch = [1, 4], seq = [1, 512]}}
module attributes {qmodel.bounds = {batch = [1, 4], seq = [1, 512]}} {

// CHECK: qmodel.weight @literal : tensor<2x3xf32> = dense<{{.+}}> : tensor<2x3xf32>
qmodel.weight @literal : tensor<2x3xf32> = dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]> : tensor<2x3xf32>
// CHECK: qmodel.weight @codes : tensor<2x3xui4> = dense<{{.+}}> : tensor<2x3xui4>
qmodel.weight @codes : tensor<2x3xui4> = dense<[[0, 1, 15], [7, 8, 9]]> : tensor<2x3xui4>
// CHECK: qmodel.weight @signed : tensor<2x3xi3> = dense<{{.+}}> : tensor<2x3xi3>
qmodel.weight @signed : tensor<2x3xi3> = dense<[[-4, -1, 0], [1, 2, 3]]> : tensor<2x3xi3>
// CHECK: qmodel.weight @stored : tensor<64x64xf32> = #qmodel.stored<"model.onnx", 4096, 16384, "9f86">
qmodel.weight @stored : tensor<64x64xf32> = #qmodel.stored<"model.onnx", 4096, 16384, "9f86">

// CHECK-LABEL: func.func @load
func.func @load() -> (tensor<2x3xf32>, tensor<3x2xf32>) {
  // CHECK: qmodel.load @literal : tensor<2x3xf32>
  %a = qmodel.load @literal : tensor<2x3xf32>
  // CHECK: qmodel.load @literal permutation [1, 0] : tensor<3x2xf32>
  %b = qmodel.load @literal permutation [1, 0] : tensor<3x2xf32>
  return %a, %b : tensor<2x3xf32>, tensor<3x2xf32>
}

// CHECK-LABEL: func.func @dim_tensor
// CHECK-SAME: {qmodel.dims = ["batch", "past + seq"]}
func.func @dim_tensor(%x: tensor<?x?xf32> {qmodel.dims = ["batch", "past + seq"]}) -> tensor<3xi64> {
  // CHECK: qmodel.dim_tensor ["batch", "past + seq", "64"] : tensor<3xi64>
  %s = qmodel.dim_tensor ["batch", "past + seq", "64"] : tensor<3xi64>
  return %s : tensor<3xi64>
}

// CHECK-LABEL: func.func @linear
func.func @linear(%x: tensor<?x4x3xf32>, %w: tensor<2x3xf32>, %b: tensor<2xf32>) -> tensor<?x4x2xf32> {
  // CHECK: qmodel.linear "a/plain" %{{.+}}, %{{.+}} : (tensor<?x4x3xf32>, tensor<2x3xf32>) -> tensor<?x4x2xf32>
  %0 = qmodel.linear "a/plain" %x, %w : (tensor<?x4x3xf32>, tensor<2x3xf32>) -> tensor<?x4x2xf32>
  // CHECK: qmodel.linear "a/bias" %{{.+}}, %{{.+}} bias %{{.+}} {plan = #qmodel.plan<weight = <bits = 4, group = 32, symmetric = false, grid = minmax, rounding = half_even>>}
  %1 = qmodel.linear "a/bias" %x, %w bias %b {plan = #qmodel.plan<weight = <bits = 4, group = 32, symmetric = false, grid = minmax, rounding = half_even>>} : (tensor<?x4x3xf32>, tensor<2x3xf32>, tensor<2xf32>) -> tensor<?x4x2xf32>
  // CHECK: qmodel.linear "a/kept" {{.*}} {plan = #qmodel.keep<"excluded by 'a'">}
  %2 = qmodel.linear "a/kept" %x, %w {plan = #qmodel.keep<"excluded by 'a'">} : (tensor<?x4x3xf32>, tensor<2x3xf32>) -> tensor<?x4x2xf32>
  return %2 : tensor<?x4x2xf32>
}

// CHECK-LABEL: func.func @embedding
func.func @embedding(%table: tensor<8x3xf32>, %ids: tensor<?x?xi64>) -> tensor<?x?x3xf32> {
  // CHECK: qmodel.embedding "tokens" %{{.+}}, %{{.+}} : (tensor<8x3xf32>, tensor<?x?xi64>) -> tensor<?x?x3xf32>
  %0 = qmodel.embedding "tokens" %table, %ids : (tensor<8x3xf32>, tensor<?x?xi64>) -> tensor<?x?x3xf32>
  return %0 : tensor<?x?x3xf32>
}

// CHECK-LABEL: func.func @norms
func.func @norms(%x: tensor<?x8xf32>, %g: tensor<8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.rms_norm %{{.+}}, %{{.+}} epsilon 1.000000e-05 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %0 = qmodel.rms_norm %x, %g epsilon 1.0e-5 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.layer_norm %{{.+}}, %{{.+}} epsilon 0.000000e+00 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %1 = qmodel.layer_norm %0, %g epsilon 0.0 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.layer_norm %{{.+}}, %{{.+}} bias %{{.+}} epsilon 1.000000e-05 : (tensor<?x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %2 = qmodel.layer_norm %1, %g bias %g epsilon 1.0e-5 : (tensor<?x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @rope
func.func @rope(%x: tensor<1x2x?x8xf32>, %c: tensor<1x?x4xf32>) -> tensor<1x2x?x8xf32> {
  // CHECK: qmodel.rope %{{.+}}, %{{.+}}, %{{.+}} : (tensor<1x2x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x2x?x8xf32>
  %0 = qmodel.rope %x, %c, %c : (tensor<1x2x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x2x?x8xf32>
  // CHECK: qmodel.rope %{{.+}}, %{{.+}}, %{{.+}} interleaved :
  %1 = qmodel.rope %0, %c, %c interleaved : (tensor<1x2x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x2x?x8xf32>
  return %1 : tensor<1x2x?x8xf32>
}

// CHECK-LABEL: func.func @attention
func.func @attention(%q: tensor<1x4x?x8xf32>, %k: tensor<1x2x?x8xf32>, %v: tensor<1x2x?x6xf32>, %m: tensor<1x?xi1>, %b: tensor<1x1x?x?xf32>) -> tensor<1x4x?x6xf32> {
  // CHECK: qmodel.attention %{{.+}}, %{{.+}}, %{{.+}} scale 5.000000e-01 mask_value 0xFFF0000000000000 :
  %0 = qmodel.attention %q, %k, %v scale 0.5 mask_value 0xFFF0000000000000 : (tensor<1x4x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x6xf32>) -> tensor<1x4x?x6xf32>
  // CHECK: qmodel.attention %{{.+}}, %{{.+}}, %{{.+}} key_mask %{{.+}} bias %{{.+}} causal scale 5.000000e-01 mask_value -1.000000e+09 :
  %1 = qmodel.attention %q, %k, %v key_mask %m bias %b causal scale 0.5 mask_value -1.0e+9 : (tensor<1x4x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x6xf32>, tensor<1x?xi1>, tensor<1x1x?x?xf32>) -> tensor<1x4x?x6xf32>
  return %1 : tensor<1x4x?x6xf32>
}

// CHECK-LABEL: func.func @cached_attention
func.func @cached_attention(%q: tensor<2x4x?x8xf32>, %past: tensor<2x2x?x8xf32>, %new: tensor<2x2x?x8xf32>, %n: tensor<2xi32>, %t: tensor<1xi64>) -> tensor<2x4x?x8xf32> {
  // CHECK: qmodel.append %{{.+}}, %{{.+}} lengths %{{.+}} total %{{.+}} : (tensor<2x2x?x8xf32>, tensor<2x2x?x8xf32>, tensor<2xi32>, tensor<1xi64>) -> tensor<2x2x?x8xf32>
  %k = qmodel.append %past, %new lengths %n total %t : (tensor<2x2x?x8xf32>, tensor<2x2x?x8xf32>, tensor<2xi32>, tensor<1xi64>) -> tensor<2x2x?x8xf32>
  // CHECK: qmodel.attention %{{.+}}, %{{.+}}, %{{.+}} lengths %{{.+}} causal scale 5.000000e-01 softcap 3.000000e+01 window 16 mask_value 0xFFF0000000000000 :
  %0 = qmodel.attention %q, %k, %k lengths %n causal scale 0.5 softcap 30.0 window 16 mask_value 0xFFF0000000000000 : (tensor<2x4x?x8xf32>, tensor<2x2x?x8xf32>, tensor<2x2x?x8xf32>, tensor<2xi32>) -> tensor<2x4x?x8xf32>
  return %0 : tensor<2x4x?x8xf32>
}

// CHECK-LABEL: func.func @decoder
func.func @decoder(%past: tensor<2x2x9x8xf16>, %new: tensor<2x2x?x8xf32>, %n: tensor<2xi64>, %t: tensor<1xi64>, %s: tensor<1xi64>, %x: tensor<2x?x8xf32>) -> tensor<2x1x8xf32> {
  // CHECK: qmodel.append %{{.+}}, %{{.+}} lengths %{{.+}} total %{{.+}} in_place : (tensor<2x2x9x8xf16>, tensor<2x2x?x8xf32>, tensor<2xi64>, tensor<1xi64>) -> tensor<2x2x9x8xf16>
  %0 = qmodel.append %past, %new lengths %n total %t in_place : (tensor<2x2x9x8xf16>, tensor<2x2x?x8xf32>, tensor<2xi64>, tensor<1xi64>) -> tensor<2x2x9x8xf16>
  // CHECK: qmodel.positions %{{.+}} count %{{.+}} limit 9 : (tensor<2xi64>, tensor<1xi64>) -> tensor<2x?xi64>
  %1 = qmodel.positions %n count %s limit 9 : (tensor<2xi64>, tensor<1xi64>) -> tensor<2x?xi64>
  // CHECK: qmodel.select_rows %{{.+}}, %{{.+}} : (tensor<2x?x8xf32>, tensor<2xi64>) -> tensor<2x1x8xf32>
  %2 = qmodel.select_rows %x, %n : (tensor<2x?x8xf32>, tensor<2xi64>) -> tensor<2x1x8xf32>
  return %2 : tensor<2x1x8xf32>
}

// CHECK-LABEL: func.func @elementwise
func.func @elementwise(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation silu %{{.+}} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %0 = qmodel.activation silu %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.activation gelu %
  %1 = qmodel.activation gelu %0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.activation gelu_tanh %
  %2 = qmodel.activation gelu_tanh %1 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.activation gelu_quick %
  %3 = qmodel.activation gelu_quick %2 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.activation relu %
  %4 = qmodel.activation relu %3 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.gated_activation silu %{{.+}}, %{{.+}} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %5 = qmodel.gated_activation silu %4, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.add %{{.+}}, %{{.+}} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %6 = qmodel.add %5, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: qmodel.multiply %{{.+}}, %{{.+}} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %7 = qmodel.multiply %6, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %7 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @dequantize
func.func @dequantize(%c: tensor<2x40xui4>, %s: tensor<2x2xf32>, %z: tensor<2x2xui4>, %n: tensor<2x40xi8>, %r: tensor<2x1xf32>) -> tensor<2x40xf32> {
  // CHECK: qmodel.dequantize %{{.+}}, %{{.+}} zeros %{{.+}} group 32 scheme <bits = 4, group = 32, symmetric = false, grid = gptq, rounding = half_away> : (tensor<2x40xui4>, tensor<2x2xf32>, tensor<2x2xui4>) -> tensor<2x40xf32>
  %0 = qmodel.dequantize %c, %s zeros %z group 32 scheme <bits = 4, group = 32, symmetric = false, grid = gptq, rounding = half_away> : (tensor<2x40xui4>, tensor<2x2xf32>, tensor<2x2xui4>) -> tensor<2x40xf32>
  // CHECK: qmodel.dequantize %{{.+}}, %{{.+}} group 0 : (tensor<2x40xi8>, tensor<2x1xf32>) -> tensor<2x40xf32>
  %1 = qmodel.dequantize %n, %r group 0 : (tensor<2x40xi8>, tensor<2x1xf32>) -> tensor<2x40xf32>
  return %1 : tensor<2x40xf32>
}

// CHECK-LABEL: func.func @quantized_forms
func.func @quantized_forms(%x: tensor<?x?x40xf32>, %c: tensor<5x40xui4>, %sc: tensor<3x2xi8>, %ss: tensor<1xf32>, %p: tensor<5x20xui2>, %v: tensor<5x20xf32>, %f: tensor<40xf32>) -> tensor<?x?x40xf32> {
  // A second level of scales, in two-dimensional blocks.
  // CHECK: %[[S:.+]] = qmodel.dequantize %{{.+}}, %{{.+}} group 0 rows 0 : (tensor<3x2xi8>, tensor<1xf32>) -> tensor<3x2xf16>
  %s = qmodel.dequantize %sc, %ss group 0 rows 0 : (tensor<3x2xi8>, tensor<1xf32>) -> tensor<3x2xf16>
  // CHECK: qmodel.dequantize %{{.+}}, %[[S]] group 32 rows 2 scheme <bits = 4, group = 32, symmetric = false, grid = minmax, rounding = half_even, rows = 2, scales = f16, scale_scheme = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, rows = 0>>
  %w = qmodel.dequantize %c, %s group 32 rows 2 scheme <bits = 4, group = 32, symmetric = false, grid = minmax, rounding = half_even, rows = 2, scales = f16, scale_scheme = <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, rows = 0>> : (tensor<5x40xui4>, tensor<3x2xf16>) -> tensor<5x40xf32>
  // CHECK: qmodel.decompress_24 %{{.+}}, %{{.+}} : (tensor<5x20xf32>, tensor<5x20xui2>) -> tensor<5x40xf32>
  %d = qmodel.decompress_24 %v, %p : (tensor<5x20xf32>, tensor<5x20xui2>) -> tensor<5x40xf32>
  // CHECK: qmodel.channel_scale %{{.+}}, %{{.+}} : (tensor<?x?x40xf32>, tensor<40xf32>) -> tensor<?x?x40xf32>
  %y = qmodel.channel_scale %x, %f : (tensor<?x?x40xf32>, tensor<40xf32>) -> tensor<?x?x40xf32>
  // CHECK: qmodel.quantize %{{.+}}, %{{.+}} scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, rows = 0> : (tensor<?x?x40xf32>, tensor<1xf32>) -> tensor<?x?x40xi8>
  %q = qmodel.quantize %y, %ss scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even, rows = 0> : (tensor<?x?x40xf32>, tensor<1xf32>) -> tensor<?x?x40xi8>
  // CHECK: qmodel.dynamic_quantize %{{.+}} scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<?x?x40xf32>) -> (tensor<?x?x40xi8>, tensor<?x?x1xf32>)
  %e:2 = qmodel.dynamic_quantize %y scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<?x?x40xf32>) -> (tensor<?x?x40xi8>, tensor<?x?x1xf32>)
  // CHECK: qmodel.dynamic_quantize {{.*}} -> (tensor<?x?x40xui4>, tensor<?x?x2xf32>, tensor<?x?x2xui4>)
  %g:3 = qmodel.dynamic_quantize %y scheme <bits = 4, group = 32, symmetric = false, grid = minmax, rounding = half_even> : (tensor<?x?x40xf32>) -> (tensor<?x?x40xui4>, tensor<?x?x2xf32>, tensor<?x?x2xui4>)
  // CHECK: qmodel.dequantize {{.*}} group 0 : (tensor<?x?x40xi8>, tensor<?x?x1xf32>) -> tensor<?x?x40xf32>
  %r = qmodel.dequantize %e#0, %e#1 group 0 : (tensor<?x?x40xi8>, tensor<?x?x1xf32>) -> tensor<?x?x40xf32>
  return %r : tensor<?x?x40xf32>
}

// Every grid and rounding has a spelling.
// CHECK-LABEL: func.func private @schemes
// CHECK-SAME: #qmodel.scheme<bits = 2, group = 0, symmetric = true, grid = awq, rounding = half_even>
// CHECK-SAME: #qmodel.scheme<bits = 3, group = 1, symmetric = true, grid = full_range, rounding = half_even>
// CHECK-SAME: #qmodel.scheme<bits = 8, group = 128, symmetric = true, grid = narrow, rounding = half_even>
func.func private @schemes() attributes {test.schemes = [
  #qmodel.scheme<bits = 2, group = 0, symmetric = true, grid = awq, rounding = half_even>,
  #qmodel.scheme<bits = 3, group = 1, symmetric = true, grid = full_range, rounding = half_even>,
  #qmodel.scheme<bits = 8, group = 128, symmetric = true, grid = narrow, rounding = half_even>]}

// Dequantized weights must not vanish: nothing folds, whatever runs.
}
