// Layers whose input is quantized too: which ones multiply integers, and why the
// others do not.

// RUN: quant-opt %s --qkernel-pack --remarks-filter='.*' 2>%t.remarks | FileCheck %s
// RUN: FileCheck %s --input-file=%t.remarks --check-prefix=REMARKS

qmodel.weight @c : tensor<8x24xi4> = dense<1> : tensor<8x24xi4>
qmodel.weight @s : tensor<8x3xf16> = dense<1.0> : tensor<8x3xf16>
qmodel.weight @half : tensor<8x24xf16> = dense<1.0> : tensor<8x24xf16>
qmodel.weight @bias : tensor<8xf16> = dense<1.0> : tensor<8xf16>

// CHECK-LABEL: func.func @in_groups
func.func @in_groups(%q: tensor<?x24xi8>, %qs: tensor<?x2xf32>) -> tensor<?x8xf32> {
  %c = qmodel.load @c : tensor<8x24xi4>
  %s = qmodel.load @s : tensor<8x3xf16>
  %w = qmodel.dequantize %c, %s group 8 : (tensor<8x24xi4>, tensor<8x3xf16>) -> tensor<8x24xf32>
  // CHECK-NOT: qmodel.dequantize
  // CHECK: qkernel.packed_integer_linear %{{.*}} scales %{{.*}} group 16,
  // CHECK-SAME: layout <element = i4, out = 8, in = 24, group = 8, scales = f16>
  %x = qmodel.dequantize %q, %qs group 16 : (tensor<?x24xi8>, tensor<?x2xf32>) -> tensor<?x24xf32>
  %0 = qmodel.linear "l" %x, %w : (tensor<?x24xf32>, tensor<8x24xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// One scale for all of x, and a zero point.
// CHECK-LABEL: func.func @static
func.func @static(%q: tensor<?x24xui8>, %qs: tensor<1x1xf32>, %qz: tensor<1x1xui8>) -> tensor<?x8xf32> {
  %c = qmodel.load @c : tensor<8x24xi4>
  %s = qmodel.load @s : tensor<8x3xf16>
  %w = qmodel.dequantize %c, %s group 8 : (tensor<8x24xi4>, tensor<8x3xf16>) -> tensor<8x24xf32>
  // CHECK: qkernel.packed_integer_linear %{{.*}} scales %{{.*}} zeros %{{.*}} group 24,
  %x = qmodel.dequantize %q, %qs zeros %qz group 0 rows 0 : (tensor<?x24xui8>, tensor<1x1xf32>, tensor<1x1xui8>) -> tensor<?x24xf32>
  %0 = qmodel.linear "l" %x, %w : (tensor<?x24xf32>, tensor<8x24xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @groups_differ
func.func @groups_differ(%q: tensor<?x24xi8>, %qs: tensor<?x2xf32>) -> tensor<?x8xf32> {
  %c = qmodel.load @c : tensor<8x24xi4>
  %s = qmodel.load @s : tensor<8x3xf16>
  %w = qmodel.dequantize %c, %s group 8 : (tensor<8x24xi4>, tensor<8x3xf16>) -> tensor<8x24xf32>
  // CHECK: qmodel.dequantize
  // CHECK: qkernel.packed_linear
  // REMARKS: computes in float32: neither of the groups of x and of the weight, 12 and 8, divides the other
  %x = qmodel.dequantize %q, %qs group 12 : (tensor<?x24xi8>, tensor<?x2xf32>) -> tensor<?x24xf32>
  %0 = qmodel.linear "l" %x, %w : (tensor<?x24xf32>, tensor<8x24xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @half_scales_of_x
func.func @half_scales_of_x(%q: tensor<?x24xi8>, %qs: tensor<?x1xf16>) -> tensor<?x8xf32> {
  %c = qmodel.load @c : tensor<8x24xi4>
  %s = qmodel.load @s : tensor<8x3xf16>
  %w = qmodel.dequantize %c, %s group 8 : (tensor<8x24xi4>, tensor<8x3xf16>) -> tensor<8x24xf32>
  // CHECK: qkernel.packed_linear
  // REMARKS: computes in float32: scales of activations are not float32
  %x = qmodel.dequantize %q, %qs group 0 : (tensor<?x24xi8>, tensor<?x1xf16>) -> tensor<?x24xf32>
  %0 = qmodel.linear "l" %x, %w : (tensor<?x24xf32>, tensor<8x24xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @tokens_share_a_scale
func.func @tokens_share_a_scale(%q: tensor<4x24xi8>, %qs: tensor<2x1xf32>) -> tensor<4x8xf32> {
  %c = qmodel.load @c : tensor<8x24xi4>
  %s = qmodel.load @s : tensor<8x3xf16>
  %w = qmodel.dequantize %c, %s group 8 : (tensor<8x24xi4>, tensor<8x3xf16>) -> tensor<8x24xf32>
  // CHECK: qkernel.packed_linear
  // REMARKS: computes in float32: several tokens of x share a scale
  %x = qmodel.dequantize %q, %qs group 0 rows 2 : (tensor<4x24xi8>, tensor<2x1xf32>) -> tensor<4x24xf32>
  %0 = qmodel.linear "l" %x, %w : (tensor<4x24xf32>, tensor<8x24xf32>) -> tensor<4x8xf32>
  return %0 : tensor<4x8xf32>
}

// Floats of 16 bits stay as wide as they are; the bias is float32.
// CHECK-LABEL: func.func @half_weight
func.func @half_weight(%x: tensor<?x24xf32>) -> tensor<?x8xf32> {
  %w = qmodel.load @half : tensor<8x24xf16>
  %b = qmodel.load @bias : tensor<8xf16>
  // CHECK: qkernel.packed_linear {{.*}} layout <element = f16, out = 8, in = 24, group = 24{{.*}}tensor<384xui8>, tensor<8xf32>)
  %0 = qmodel.linear "half" %x, %w bias %b : (tensor<?x24xf32>, tensor<8x24xf16>, tensor<8xf16>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}
