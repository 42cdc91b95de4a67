// What packing for tensor cores makes of each layer, and why some stay as they
// are for processors.

// RUN: quant-opt %s --qkernel-pack=family=cuda --remarks-filter='.*' 2>%t.remarks | FileCheck %s
// RUN: FileCheck %s --input-file=%t.remarks --check-prefix=REMARKS
// RUN: quant-opt %s --qkernel-pack=family=cpu | FileCheck %s --check-prefix=CPU
// RUN: not quant-opt %s --qkernel-pack=family=tpu 2>&1 | FileCheck %s --check-prefix=OTHER

// CPU-NOT: mma_fragments
// OTHER: Cannot find option named 'tpu'

qmodel.weight @codes_w : tensor<3x32xui4> = dense<1> : tensor<3x32xui4>
qmodel.weight @three_w : tensor<3x32xi3> = dense<1> : tensor<3x32xi3>
qmodel.weight @five_w : tensor<3x32xi5> = dense<1> : tensor<3x32xi5>
qmodel.weight @scales_w : tensor<3x2xf16> = dense<1.0> : tensor<3x2xf16>
qmodel.weight @half_w : tensor<3x32xbf16> = dense<1.0> : tensor<3x32xbf16>
qmodel.weight @single_w : tensor<3x32xf32> = dense<1.0> : tensor<3x32xf32>
qmodel.weight @kept_w : tensor<3x16xf16> = dense<1.0> : tensor<3x16xf16>
qmodel.weight @kept8_w : tensor<3x16xui8> = dense<1> : tensor<3x16xui8>
qmodel.weight @scales1_w : tensor<3x1xf32> = dense<1.0> : tensor<3x1xf32>
qmodel.weight @positions_w : tensor<3x16xui2> = dense<[[0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]]> : tensor<3x16xui2>

// CHECK-LABEL: func.func @codes
func.func @codes(%x: tensor<?x32xf32>) -> tensor<?x3xf32> {
  %c = qmodel.load @codes_w : tensor<3x32xui4>
  %s = qmodel.load @scales_w : tensor<3x2xf16>
  %w = qmodel.dequantize %c, %s group 16 : (tensor<3x32xui4>, tensor<3x2xf16>) -> tensor<3x32xf32>
  // CHECK: qkernel.packed_linear {{.*}} layout mma_fragments<element = ui4, out = 3, in = 32, group = 16, scales = f16>
  %0 = qmodel.linear "codes" %x, %w : (tensor<?x32xf32>, tensor<3x32xf32>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// Narrow codes take the next registers that there are.
// CHECK-LABEL: func.func @three
func.func @three(%x: tensor<?x32xf32>) -> tensor<?x3xf32> {
  %c = qmodel.load @three_w : tensor<3x32xi3>
  %s = qmodel.load @scales_w : tensor<3x2xf16>
  %w = qmodel.dequantize %c, %s group 16 : (tensor<3x32xi3>, tensor<3x2xf16>) -> tensor<3x32xf32>
  // CHECK: layout mma_fragments<element = i4,
  %0 = qmodel.linear "three" %x, %w : (tensor<?x32xf32>, tensor<3x32xf32>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// CHECK-LABEL: func.func @five
func.func @five(%x: tensor<?x32xf32>) -> tensor<?x3xf32> {
  %c = qmodel.load @five_w : tensor<3x32xi5>
  %s = qmodel.load @scales_w : tensor<3x2xf16>
  %w = qmodel.dequantize %c, %s group 16 : (tensor<3x32xi5>, tensor<3x2xf16>) -> tensor<3x32xf32>
  // CHECK: layout mma_fragments<element = i8,
  %0 = qmodel.linear "five" %x, %w : (tensor<?x32xf32>, tensor<3x32xf32>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// CHECK-LABEL: func.func @half
func.func @half(%x: tensor<?x32xf32>) -> tensor<?x3xf32> {
  // CHECK: layout mma_fragments<element = bf16, out = 3, in = 32, group = 32>
  %w = qmodel.load @half_w : tensor<3x32xbf16>
  %0 = qmodel.linear "half" %x, %w : (tensor<?x32xf32>, tensor<3x32xbf16>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// CHECK-LABEL: func.func @single
func.func @single(%x: tensor<?x32xf32>) -> tensor<?x3xf32> {
  // CHECK: layout <element = f32,
  // REMARKS: runs without tensor cores: they would round its weight to 16 bits
  %w = qmodel.load @single_w : tensor<3x32xf32>
  %0 = qmodel.linear "single" %x, %w : (tensor<?x32xf32>, tensor<3x32xf32>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// CHECK-LABEL: func.func @codes_of_x
func.func @codes_of_x(%q: tensor<?x32xi8>, %qs: tensor<?x1xf32>) -> tensor<?x3xf32> {
  %c = qmodel.load @codes_w : tensor<3x32xui4>
  %s = qmodel.load @scales_w : tensor<3x2xf16>
  %w = qmodel.dequantize %c, %s group 16 : (tensor<3x32xui4>, tensor<3x2xf16>) -> tensor<3x32xf32>
  // CHECK: qkernel.packed_integer_linear {{.*}} layout <element = ui4,
  %x = qmodel.dequantize %q, %qs group 0 : (tensor<?x32xi8>, tensor<?x1xf32>) -> tensor<?x32xf32>
  %0 = qmodel.linear "codes_of_x" %x, %w : (tensor<?x32xf32>, tensor<3x32xf32>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// CHECK-LABEL: func.func @sparse
func.func @sparse(%x: tensor<?x32xf32>) -> tensor<?x3xf32> {
  %v = qmodel.load @kept_w : tensor<3x16xf16>
  %p = qmodel.load @positions_w : tensor<3x16xui2>
  %w = qmodel.decompress_24 %v, %p : (tensor<3x16xf16>, tensor<3x16xui2>) -> tensor<3x32xf16>
  // CHECK: layout mma_fragments<element = f16, out = 3, in = 32, group = 32, sparse24 = true>
  %0 = qmodel.linear "sparse" %x, %w : (tensor<?x32xf32>, tensor<3x32xf16>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// CHECK-LABEL: func.func @sparse_bytes
func.func @sparse_bytes(%x: tensor<?x32xf32>) -> tensor<?x3xf32> {
  %c = qmodel.load @kept8_w : tensor<3x16xui8>
  %s = qmodel.load @scales1_w : tensor<3x1xf32>
  %v = qmodel.dequantize %c, %s group 0 : (tensor<3x16xui8>, tensor<3x1xf32>) -> tensor<3x16xf32>
  %p = qmodel.load @positions_w : tensor<3x16xui2>
  %w = qmodel.decompress_24 %v, %p : (tensor<3x16xf32>, tensor<3x16xui2>) -> tensor<3x32xf32>
  // CHECK: layout mma_fragments<element = ui8, out = 3, in = 32, group = 32>
  // REMARKS: 2:4 sparse weight is packed in full: sparse tensor cores take values of 4 or 16 bits
  %0 = qmodel.linear "sparse_bytes" %x, %w : (tensor<?x32xf32>, tensor<3x32xf32>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}
