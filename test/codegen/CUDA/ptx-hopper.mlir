// What compute capability 8.0 lacks: for the devices that have it, and as errors
// before LLVM meets it.

// RUN: quant-compile %s --emit=ptx --target=sm_90a -o - | FileCheck %s
// RUN: not quant-compile %s --emit=ptx --target=sm_89 -o %t.ptx 2>&1 | FileCheck %s --check-prefix=ADA
// RUN: not quant-compile %s --emit=ptx --target=sm_100a -o %t.ptx 2>&1 | FileCheck %s --check-prefix=BLACKWELL

// ADA: error: {{.*}}expects sm_90a for 'nvvm.wgmma.fence.aligned', got sm_89
// ADA: error: {{.*}}expects sm_90a for 'ptx.wgmma', got sm_89
// BLACKWELL: error: {{.*}}expects sm_90a for 'ptx.wgmma', got sm_100a

gpu.module @kernels {
  // CHECK-LABEL: .entry product(
  // CHECK: wgmma.fence.sync.aligned
  // CHECK: wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%r{{[0-9]+}}, %r{{[0-9]+}}, %r{{[0-9]+}}, %r{{[0-9]+}}}, {%r{{[0-9]+}}, %r{{[0-9]+}}, %r{{[0-9]+}}, %r{{[0-9]+}}}, %rd{{[0-9]+}}, 1, 1, 1, 0;
  // CHECK: wgmma.commit_group.sync.aligned
  // CHECK: wgmma.wait_group.sync.aligned 0
  // CHECK: st.global
  gpu.func @product(%a: memref<128x8xf16>, %b: i64, %y: memref<128x4xf32>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
    %c0 = arith.constant 0 : index
    %t = gpu.thread_id x
    %halves = vector.load %a[%t, %c0] {alignment = 16 : i64} : memref<128x8xf16>, vector<8xf16>
    %fragment = vector.shape_cast %halves : vector<8xf16> to vector<4x2xf16>
    %zero = arith.constant dense<0.0> : vector<1x2x2xf32>
    nvvm.wgmma.fence.aligned
    %sum = ptx.wgmma %fragment, %b, %zero : vector<4x2xf16>, vector<1x2x2xf32>
    nvvm.wgmma.commit.group.sync.aligned
    nvvm.wgmma.wait.group.sync.aligned 0
    %row = vector.shape_cast %sum : vector<1x2x2xf32> to vector<4xf32>
    vector.store %row, %y[%t, %c0] {alignment = 16 : i64} : memref<128x4xf32>, vector<4xf32>
    gpu.return
  }
}
