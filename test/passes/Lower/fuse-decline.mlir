// What looks as if it could run as one step, and cannot.

// RUN: quant-opt %s --qkernel-fuse --remarks-filter='.*' -o %t 2>&1 | FileCheck %s --check-prefix=REMARK
// RUN: FileCheck %s --input-file=%t

#layout = #qkernel.row_interleaved<element = f32, out = 16, in = 16, group = 16>
#other = #qkernel.row_interleaved<element = f16, out = 16, in = 16, group = 16>

// Blocks of another size: one of the linears stays for itself.
// CHECK-LABEL: func.func @other_blocks
// CHECK: qkernel.packed_linear
// CHECK: qkernel.group
// REMARK: its operands are computed in different blocks
func.func @other_blocks(%x: tensor<4x16xf32>, %a: tensor<1024xui8>, %b: tensor<512xui8>) -> tensor<4x16xf32> {
  %0 = qkernel.packed_linear %x, %a layout <element = f32, out = 16, in = 16, group = 16> : (tensor<4x16xf32>, tensor<1024xui8>) -> tensor<4x16xf32>
  %1 = qkernel.packed_linear %x, %b layout <element = f16, out = 16, in = 16, group = 16> : (tensor<4x16xf32>, tensor<512xui8>) -> tensor<4x16xf32>
  %2 = qmodel.gated_activation silu %0, %1 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return %2 : tensor<4x16xf32>
}

// The sum waits for a norm of the linear's result.
// CHECK-LABEL: func.func @waits
// CHECK: qkernel.packed_linear
// CHECK: %[[SUM:.*]] = qkernel.group
// CHECK-NEXT: ^bb0
// CHECK-NEXT: qmodel.rms_norm
// CHECK-NEXT: qmodel.add
// REMARK: another operand waits for what it would run with
func.func @waits(%x: tensor<4x16xf32>, %a: tensor<1024xui8>, %gain: tensor<16xf32>) -> tensor<4x16xf32> {
  %0 = qkernel.packed_linear %x, %a layout <element = f32, out = 16, in = 16, group = 16> : (tensor<4x16xf32>, tensor<1024xui8>) -> tensor<4x16xf32>
  %1 = qmodel.rms_norm %0, %gain epsilon 1.0e-5 : (tensor<4x16xf32>, tensor<16xf32>) -> tensor<4x16xf32>
  %2 = qmodel.add %0, %1 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return %2 : tensor<4x16xf32>
}

// A norm needs whole rows, which a linear computes in blocks.
// CHECK-LABEL: func.func @row_of_blocks
// CHECK-NOT: qkernel.group
func.func @row_of_blocks(%x: tensor<4x16xf32>, %a: tensor<1024xui8>, %gain: tensor<16xf32>) -> tensor<4x16xf32> {
  %0 = qkernel.packed_linear %x, %a layout <element = f32, out = 16, in = 16, group = 16> : (tensor<4x16xf32>, tensor<1024xui8>) -> tensor<4x16xf32>
  %1 = qmodel.rms_norm %0, %gain epsilon 1.0e-5 : (tensor<4x16xf32>, tensor<16xf32>) -> tensor<4x16xf32>
  return %1 : tensor<4x16xf32>
}

// Too long for a task to keep.
// CHECK-LABEL: func.func @long_rows
// CHECK-NOT: qkernel.group
// REMARK: a row of 40000 bytes is more than 32768 for a task to keep
func.func @long_rows(%x: tensor<4x10000xf32>, %gain: tensor<10000xf32>) -> tensor<4x10000xf32> {
  %0 = qmodel.add %x, %x : (tensor<4x10000xf32>, tensor<4x10000xf32>) -> tensor<4x10000xf32>
  %1 = qmodel.rms_norm %0, %gain epsilon 1.0e-5 : (tensor<4x10000xf32>, tensor<10000xf32>) -> tensor<4x10000xf32>
  return %1 : tensor<4x10000xf32>
}

// An exponential that two others read is not computed twice.
// CHECK-LABEL: func.func @expensive
// CHECK: onnx.node "Exp"
// CHECK-NEXT: qkernel.group
// CHECK-NOT: "Exp"
func.func @expensive(%x: tensor<4x16xf32>) -> (tensor<16x4xf32>, tensor<4x16xf32>) {
  %0 = onnx.node "Exp"(%x) {version = 13 : i64} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  %1 = onnx.node "Transpose"(%0) attributes {perm = [1, 0]} {version = 13 : i64} : (tensor<4x16xf32>) -> tensor<16x4xf32>
  %2 = onnx.node "Sqrt"(%0) {version = 13 : i64} : (tensor<4x16xf32>) -> tensor<4x16xf32>
  return %1, %2 : tensor<16x4xf32>, tensor<4x16xf32>
}

// Each sum reads the one before twice: computed anew for each reader, their
// number doubles with every one. Two steps share what is between them.
// CHECK-LABEL: func.func @doubling
// CHECK-COUNT-2: qkernel.group
// CHECK-NOT: qkernel.group
// REMARK: an element would take 127 operations, more than 64
func.func @doubling(%x: tensor<4x16xf32>) -> tensor<4x16xf32> {
  %0 = qmodel.add %x, %x : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %1 = qmodel.add %0, %0 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %2 = qmodel.add %1, %1 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %3 = qmodel.add %2, %2 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %4 = qmodel.add %3, %3 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %5 = qmodel.add %4, %4 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %6 = qmodel.add %5, %5 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %7 = qmodel.add %6, %6 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %8 = qmodel.add %7, %7 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %9 = qmodel.add %8, %8 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %10 = qmodel.add %9, %9 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  %11 = qmodel.add %10, %10 : (tensor<4x16xf32>, tensor<4x16xf32>) -> tensor<4x16xf32>
  return %11 : tensor<4x16xf32>
}
