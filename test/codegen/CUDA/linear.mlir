// What launches a linear: a function for each number of tokens, with blocks that
// share inputs where there are few outputs.

// RUN: quant-opt %s --qkernel-to-gpu | FileCheck %s

// 2048 outputs are 64 blocks of 32: two share the inputs of an output, and a
// second function adds their sums. Of 64 tokens a block has 64 outputs.
// CHECK-LABEL: qkernel.kernel @dynamic
// CHECK-SAME: {calls = [{function = @kernels::@dynamic_m8, grid = ["64", "2", "floordiv(m + 7, 8)"]},
// CHECK-SAME:           {function = @kernels::@dynamic_m8_sum, grid = ["8*m", "1", "1"]}],
// CHECK-SAME:  over = "m", up_to = 8 : i64, workspace = "16384*m"}
// CHECK-SAME: function = @kernels::@dynamic_m16, {{.*}} up_to = 16
// CHECK-SAME: function = @kernels::@dynamic_m32, {{.*}} up_to = 32
// CHECK-SAME: function = @kernels::@dynamic_m64, {{.*}} up_to = 64
// CHECK-SAME: {calls = [{function = @kernels::@dynamic_many, grid = ["32", "1", "floordiv(m + 63, 64)"]}]}]
qkernel.kernel @dynamic scalars ["m"] args [["m", "2048"], ["2097152"], ["32768"]] {
^bb0(%x: tensor<?x2048xf32>, %w: tensor<2097152xui8>, %s: tensor<32768xf32>):
  %0 = qkernel.packed_linear %x, %w scales %s layout mma_fragments<element = i4, out = 2048, in = 2048, group = 128> : (tensor<?x2048xf32>, tensor<2097152xui8>, tensor<32768xf32>) -> tensor<?x2048xf32>
  qkernel.yield %0 : tensor<?x2048xf32>
}

// One function where the number of tokens is known.
// CHECK-LABEL: qkernel.kernel @static
// CHECK-SAME: qkernel.launches = [{calls = [{function = @kernels::@static_m16, grid = ["2", "1", "1"]}]}]
qkernel.kernel @static scalars [] args [["12", "64"], ["8192"]] {
^bb0(%x: tensor<12x64xf16>, %w: tensor<8192xui8>):
  %0 = qkernel.packed_linear %x, %w layout mma_fragments<element = f16, out = 64, in = 64, group = 64> : (tensor<12x64xf16>, tensor<8192xui8>) -> tensor<12x64xf16>
  qkernel.yield %0 : tensor<12x64xf16>
}

// Weights of 32 bits.
// CHECK-LABEL: qkernel.kernel @single
// CHECK-SAME: qkernel.launches = [{calls = [{function = @kernels::@single_rows, grid = ["m", "3", "1"]}]}]
qkernel.kernel @single scalars ["m"] args [["m", "64"], ["18432"]] {
^bb0(%x: tensor<?x64xf32>, %w: tensor<18432xui8>):
  %0 = qkernel.packed_linear %x, %w layout <element = f32, out = 72, in = 64, group = 64> : (tensor<?x64xf32>, tensor<18432xui8>) -> tensor<?x72xf32>
  qkernel.yield %0 : tensor<?x72xf32>
}

// Rows that lanes load are 16 bytes; sums of products are float32.
// CHECK-LABEL: gpu.func @static_m16
// CHECK: llvm.load %{{.*}} {alignment = 16 : i64} : !llvm.ptr -> vector<4xi32>
// CHECK: nvgpu.ldmatrix
// CHECK: nvvm.mma.sync {{.*}} shape = #nvvm.shape<m = 16, n = 8, k = 16>
