// What generated code looks like.

// RUN: nibble-kernel-test %s llvm | FileCheck %s --check-prefix=LLVM
// RUN: nibble-kernel-test %s asm %build/bin/nibble-codegen | FileCheck %s --check-prefix=ASM
// RUN: nibble-kernel-test %s asm %build/bin/nibble-codegen | FileCheck %s --check-prefix=CALLS

// The body may assume that buffers do not overlap.
// LLVM: define internal void @linear_4.body(ptr noalias readonly %0, {{.*}}, ptr noalias %4, i64 %5, i64 %6, i64 %7)
// LLVM: define {{(dso_local )?}}void @linear_4(ptr %0, ptr %1, i64 %2, i64 %3)

// Codes are widened and summed eight rows at a time.
// ASM-LABEL: linear_4.body:
// ASM: vcvtdq2ps {{.*}}ymm
// ASM: vfmadd{{.*}}ymm
qkernel.kernel @linear_4 scalars ["d0"] args [["d0", "64"], ["2048"], ["128"], ["128"]] {
^bb0(%x: tensor<?x64xf32>, %w: tensor<2048xui8>, %s: tensor<128xf32>, %z: tensor<128xui8>):
  %0 = qkernel.packed_linear %x, %w scales %s zeros %z layout <element = ui4, out = 64, in = 64, group = 32> : (tensor<?x64xf32>, tensor<2048xui8>, tensor<128xf32>, tensor<128xui8>) -> tensor<?x64xf32>
  qkernel.yield %0 : tensor<?x64xf32>
}

// The plain loop over a row becomes vector code, exponentials included.
// ASM-LABEL: silu.body:
// ASM: vdivps {{.*}}ymm
qkernel.kernel @silu scalars ["d0"] args [["d0", "64"], ["d0", "64"]] {
^bb0(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>):
  %0 = qmodel.gated_activation silu %a, %b : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  qkernel.yield %0 : tensor<?x64xf32>
}

// Nothing outside is called, memory functions included.
// ASM-LABEL: copy.body:
// CALLS-NOT: @PLT
// CALLS-NOT: memcpy
// CALLS-NOT: memset
qkernel.kernel @copy scalars [] args [["8", "4096"]] {
^bb0(%a: tensor<8x4096xf32>):
  %0 = onnx.node "Identity"(%a) {version = 13 : i64} : (tensor<8x4096xf32>) -> tensor<8x4096xf32>
  %k = onnx.constant dense<[64, 64]> : tensor<2xi64>
  %1 = onnx.node "ConstantOfShape"(%k) {version = 9 : i64} : (tensor<2xi64>) -> tensor<64x64xf32>
  qkernel.yield %0, %1 : tensor<8x4096xf32>, tensor<64x64xf32>
}
