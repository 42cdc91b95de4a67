// Every op and attribute of the dialect survives text and bytecode.

// RUN: quant-opt %s | quant-opt | FileCheck %s
// RUN: quant-opt %s --emit-bytecode | quant-opt | FileCheck %s

// CHECK-LABEL: func.func @packed_linear
func.func @packed_linear(%x: tensor<?x?x32xf32>, %w4: tensor<128xui8>, %s: tensor<8xf32>, %z: tensor<8xui8>, %f: tensor<1024xui8>, %b: tensor<8xf32>, %w8: tensor<256xui8>, %s2: tensor<16xf32>) -> tensor<?x?x8xf32> {
  // CHECK: qkernel.packed_linear %{{.+}}, %{{.+}} scales %{{.+}} zeros %{{.+}} bias %{{.+}} layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x?x32xf32>, tensor<128xui8>, tensor<8xf32>, tensor<8xui8>, tensor<8xf32>) -> tensor<?x?x8xf32>
  %0 = qkernel.packed_linear %x, %w4 scales %s zeros %z bias %b layout <element = ui4, out = 8, in = 32, group = 32> : (tensor<?x?x32xf32>, tensor<128xui8>, tensor<8xf32>, tensor<8xui8>, tensor<8xf32>) -> tensor<?x?x8xf32>
  // CHECK: qkernel.packed_linear %{{.+}}, %{{.+}} layout <element = f32, out = 8, in = 32, group = 32> : (tensor<?x?x32xf32>, tensor<1024xui8>) -> tensor<?x?x8xf32>
  %1 = qkernel.packed_linear %x, %f layout <element = f32, out = 8, in = 32, group = 32> : (tensor<?x?x32xf32>, tensor<1024xui8>) -> tensor<?x?x8xf32>
  // CHECK: qkernel.packed_linear %{{.+}}, %{{.+}} scales %{{.+}} layout <element = i8, out = 8, in = 32, group = 16> : (tensor<?x?x32xf32>, tensor<256xui8>, tensor<16xf32>) -> tensor<?x?x8xf32>
  %2 = qkernel.packed_linear %x, %w8 scales %s2 layout <element = i8, out = 8, in = 32, group = 16> : (tensor<?x?x32xf32>, tensor<256xui8>, tensor<16xf32>) -> tensor<?x?x8xf32>
  return %2 : tensor<?x?x8xf32>
}

// CHECK-LABEL: func.func @fragment_linear
func.func @fragment_linear(%x: tensor<?x32xf16>, %w: tensor<2048xui8>, %s: tensor<64xf16>, %z: tensor<32xui8>, %f: tensor<8192xui8>) -> tensor<?x8xf32> {
  // CHECK: qkernel.packed_linear %{{.+}}, %{{.+}} scales %{{.+}} zeros %{{.+}} layout mma_fragments<element = ui4, out = 8, in = 32, group = 32, scales = f16> :
  %0 = qkernel.packed_linear %x, %w scales %s zeros %z layout mma_fragments<element = ui4, out = 8, in = 32, group = 32, scales = f16> : (tensor<?x32xf16>, tensor<2048xui8>, tensor<64xf16>, tensor<32xui8>) -> tensor<?x8xf32>
  // CHECK: qkernel.packed_linear %{{.+}}, %{{.+}} layout mma_fragments<element = bf16, out = 8, in = 32, group = 32> : (tensor<?x32xf16>, tensor<8192xui8>) -> tensor<?x8xbf16>
  %1 = qkernel.packed_linear %x, %f layout mma_fragments<element = bf16, out = 8, in = 32, group = 32> : (tensor<?x32xf16>, tensor<8192xui8>) -> tensor<?x8xbf16>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @sparse_linear
func.func @sparse_linear(%x: tensor<?x36xf32>, %w: tensor<192xui8>, %s: tensor<8xf32>, %f: tensor<640xui8>) -> tensor<?x8xf32> {
  // CHECK: qkernel.packed_linear %{{.+}}, %{{.+}} scales %{{.+}} layout <element = ui4, out = 8, in = 36, group = 36, sparse24 = true> :
  %0 = qkernel.packed_linear %x, %w scales %s layout <element = ui4, out = 8, in = 36, group = 36, sparse24 = true> : (tensor<?x36xf32>, tensor<192xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  // CHECK: qkernel.packed_linear %{{.+}}, %{{.+}} layout <element = f32, out = 8, in = 36, group = 36, sparse24 = true> :
  %1 = qkernel.packed_linear %x, %f layout <element = f32, out = 8, in = 36, group = 36, sparse24 = true> : (tensor<?x36xf32>, tensor<640xui8>) -> tensor<?x8xf32>
  return %1 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @packed_embedding
func.func @packed_embedding(%i: tensor<?x?xi64>, %c: tensor<16x3xui8>, %s: tensor<16x2xf32>, %z: tensor<16x2xui8>) -> tensor<?x?x5xf32> {
  // CHECK: qkernel.packed_embedding %{{.+}}, %{{.+}} scales %{{.+}} zeros %{{.+}} element ui4 width 5 group 4 : (tensor<?x?xi64>, tensor<16x3xui8>, tensor<16x2xf32>, tensor<16x2xui8>) -> tensor<?x?x5xf32>
  %0 = qkernel.packed_embedding %i, %c scales %s zeros %z element ui4 width 5 group 4 : (tensor<?x?xi64>, tensor<16x3xui8>, tensor<16x2xf32>, tensor<16x2xui8>) -> tensor<?x?x5xf32>
  // CHECK: qkernel.packed_embedding %{{.+}}, %{{.+}} scales %{{.+}} element i4 width 5 group 4 :
  %1 = qkernel.packed_embedding %i, %c scales %s element i4 width 5 group 4 : (tensor<?x?xi64>, tensor<16x3xui8>, tensor<16x2xf32>) -> tensor<?x?x5xf32>
  return %1 : tensor<?x?x5xf32>
}

// CHECK-LABEL: func.func @integer_linear
func.func @integer_linear(%x: tensor<?x64xi8>, %xs: tensor<?x2xf32>, %xz: tensor<?x2xi8>, %w: tensor<256xui8>, %s: tensor<16xf16>, %z: tensor<16xui8>, %b: tensor<8xf32>) -> tensor<?x8xf32> {
  // CHECK: qkernel.packed_integer_linear %{{.+}} scales %{{.+}} zeros %{{.+}} group 32, %{{.+}} scales %{{.+}} zeros %{{.+}} bias %{{.+}} layout <element = ui4, out = 8, in = 64, group = 32, scales = f16> :
  %0 = qkernel.packed_integer_linear %x scales %xs zeros %xz group 32, %w scales %s zeros %z bias %b layout <element = ui4, out = 8, in = 64, group = 32, scales = f16> : (tensor<?x64xi8>, tensor<?x2xf32>, tensor<?x2xi8>, tensor<256xui8>, tensor<16xf16>, tensor<16xui8>, tensor<8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @count_nonzero
func.func @count_nonzero(%x: tensor<?x4xi1>) -> tensor<1xi64> {
  // CHECK: qkernel.count_nonzero %{{.+}} : (tensor<?x4xi1>) -> tensor<1xi64>
  %0 = qkernel.count_nonzero %x : (tensor<?x4xi1>) -> tensor<1xi64>
  return %0 : tensor<1xi64>
}

// CHECK-LABEL: func.func @unique_groups
func.func @unique_groups(%x: tensor<3x4xf32>) -> tensor<1xi64> {
  // CHECK: qkernel.unique_groups %{{.+}} axis 1 sorted : (tensor<3x4xf32>) -> (tensor<4xi64>, tensor<4xi64>, tensor<4xi64>, tensor<1xi64>)
  %0:4 = qkernel.unique_groups %x axis 1 sorted : (tensor<3x4xf32>) -> (tensor<4xi64>, tensor<4xi64>, tensor<4xi64>, tensor<1xi64>)
  // CHECK: qkernel.unique_groups %{{.+}} : (tensor<3x4xf32>) -> (tensor<12xi64>, tensor<?xi64>, tensor<?xi64>, tensor<1xi64>)
  %1:4 = qkernel.unique_groups %x : (tensor<3x4xf32>) -> (tensor<12xi64>, tensor<?xi64>, tensor<?xi64>, tensor<1xi64>)
  return %1#3 : tensor<1xi64>
}

// CHECK-LABEL: qkernel.kernel @add scalars ["d0"] args
// CHECK-SAME{LITERAL}: [["d0", "64"], ["d0", "64"]]
// CHECK-NEXT: ^bb0(%[[A:.+]]: tensor<?x64xf32>, %[[B:.+]]: tensor<?x64xf32>):
// CHECK-NEXT: %[[S:.+]] = qmodel.add %[[A]], %[[B]]
// CHECK-NEXT: qkernel.yield %[[S]] : tensor<?x64xf32>
qkernel.kernel @add scalars ["d0"] args [["d0", "64"], ["d0", "64"]] {
^bb0(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>):
  %0 = qmodel.add %a, %b : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  qkernel.yield %0 : tensor<?x64xf32>
}

qmodel.weight @w : tensor<1x64xf32> = dense<1.0> : tensor<1x64xf32>

// CHECK-LABEL: qkernel.program @main
// CHECK-SAME: inputs [#qkernel.port<"x", f32, ["seq", "64"]>]
// CHECK-SAME: outputs [#qkernel.port<"y", f32, ["seq", "64"]>]
// CHECK-SAME: arena 512 checks [{input = 0 : i64, limit = 8 : i64, min = -8 : i64}]
// CHECK-NEXT: qkernel.step @add [#qkernel.buffer<input, bytes = "256*seq">, #qkernel.buffer<weight, symbol = @w, bytes = "256">, #qkernel.buffer<arena, offset = 256, bytes = "256*seq">] scalars ["seq"] after -1
// CHECK-NEXT: qkernel.step @add [#qkernel.buffer<arena, offset = 256, bytes = "256*seq">, #qkernel.buffer<input, bytes = "256*seq">, #qkernel.buffer<output, index = 1, bytes = "256*seq">] scalars ["seq"] after 0
qkernel.program @main inputs [#qkernel.port<"x", f32, ["seq", "64"]>] outputs [#qkernel.port<"y", f32, ["seq", "64"]>] arena 512 checks [{input = 0 : i64, min = -8 : i64, limit = 8 : i64}] {
  qkernel.step @add [#qkernel.buffer<input, bytes = "256*seq">, #qkernel.buffer<weight, symbol = @w, bytes = "256">, #qkernel.buffer<arena, offset = 256, bytes = "256*seq">] scalars ["seq"] after -1
  qkernel.step @add [#qkernel.buffer<arena, offset = 256, bytes = "256*seq">, #qkernel.buffer<input, bytes = "256*seq">, #qkernel.buffer<output, index = 1, bytes = "256*seq">] scalars ["seq"] after 0
}

qkernel.kernel @count scalars [] args [["8"]] {
^bb0(%x: tensor<8xi1>):
  %0 = qkernel.count_nonzero %x : (tensor<8xi1>) -> tensor<1xi64>
  qkernel.yield %0 : tensor<1xi64>
}

// A step defines a dimension for those behind it.
// CHECK-LABEL: qkernel.program @definition
// CHECK: qkernel.step @count [{{.*}}] scalars [] after -1 defines ["found"]
qkernel.program @definition inputs [#qkernel.port<"x", i1, ["8"]>] outputs [] arena 256 checks [] {
  qkernel.step @count [#qkernel.buffer<input, bytes = "8">, #qkernel.buffer<arena, bytes = "8">] scalars [] after -1 defines ["found"]
}

// CHECK: qkernel.state @key_0 : f16 dims ["batch", "4", "512", "64"]
qkernel.state @key_0 : f16 dims ["batch", "4", "512", "64"]

// CHECK-LABEL: func.func private @in_place(tensor<?x4x512x64xf16> {qkernel.state = @key_0}, tensor<?xi64> {qkernel.range = [0, 512]}) -> (tensor<?x4x512x64xf16> {qkernel.state = @key_0})
func.func private @in_place(tensor<?x4x512x64xf16> {qkernel.state = @key_0}, tensor<?xi64> {qkernel.range = [0, 512]}) -> (tensor<?x4x512x64xf16> {qkernel.state = @key_0})

qkernel.kernel @keep scalars ["d0"] args [["d0", "4", "512", "64"]] {
^bb0(%a: tensor<?x4x512x64xf16>):
  qkernel.yield %a : tensor<?x4x512x64xf16>
}

// CHECK-LABEL: qkernel.program @states
// CHECK: qkernel.step @keep [#qkernel.buffer<state, symbol = @key_0, bytes = "262144*batch">, #qkernel.buffer<state, symbol = @key_0, bytes = "262144*batch">] scalars ["batch"] after -1
qkernel.program @states inputs [] outputs [] arena 0 checks [] {
  qkernel.step @keep [#qkernel.buffer<state, symbol = @key_0, bytes = "262144*batch">, #qkernel.buffer<state, symbol = @key_0, bytes = "262144*batch">] scalars ["batch"] after -1
}

// CHECK-LABEL: func.func @group
// CHECK: %{{.*}} = qkernel.group(%arg0, %arg1) : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32> {
// CHECK-NEXT: ^bb0(%arg2: tensor<?x64xf32>, %arg3: tensor<64xf32>):
// CHECK-NEXT: qmodel.rms_norm
// CHECK-NEXT: qmodel.activation
// CHECK-NEXT: qkernel.yield
func.func @group(%x: tensor<?x64xf32>, %gain: tensor<64xf32>) -> tensor<?x64xf32> {
  %0 = qkernel.group(%x, %gain) : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32> {
  ^bb0(%arg0: tensor<?x64xf32>, %arg1: tensor<64xf32>):
    %1 = qmodel.rms_norm %arg0, %arg1 epsilon 1.0e-5 : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    %2 = qmodel.activation silu %1 : (tensor<?x64xf32>) -> tensor<?x64xf32>
    qkernel.yield %2 : tensor<?x64xf32>
  }
  return %0 : tensor<?x64xf32>
}
