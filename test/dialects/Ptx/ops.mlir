// RUN: quant-opt %s | quant-opt | FileCheck %s

// CHECK-LABEL: @dequantize_magic
func.func @dequantize_magic(%codes: i32) -> i32 {
  %mask = arith.constant 0x000f000f : i32
  %magic = arith.constant 0x64006400 : i32
  // CHECK: ptx.lop3 %{{.*}}, %{{.*}}, %{{.*}} table 234
  %0 = ptx.lop3 %codes, %mask, %magic table 234
  return %0 : i32
}

// CHECK-LABEL: @weights_as_a
func.func @weights_as_a(%a: vector<4x2xf16>, %b: i64, %sum: vector<8x2x2xf32>) -> vector<8x2x2xf32> {
  nvvm.wgmma.fence.aligned
  // CHECK: ptx.wgmma %{{.*}}, %{{.*}}, %{{.*}} : vector<4x2xf16>, vector<8x2x2xf32>
  %0 = ptx.wgmma %a, %b, %sum : vector<4x2xf16>, vector<8x2x2xf32>
  nvvm.wgmma.commit.group.sync.aligned
  nvvm.wgmma.wait.group.sync.aligned 0
  return %0 : vector<8x2x2xf32>
}
