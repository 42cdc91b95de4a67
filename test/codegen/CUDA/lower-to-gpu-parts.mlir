// A kernel of several parts: the calls of all, by the limits of both linears.

// RUN: quant-opt %s --qkernel-to-gpu | FileCheck %s
// RUN: rm -rf %t && mkdir %t
// RUN: %python -c "import numpy as np; r = np.random.default_rng(1); f = lambda *s: r.integers(-8, 9, s).astype(np.float32) / 8; np.savez('%t/in.npz', x=f(19, 64), w=r.integers(0, 255, 4096).astype(np.uint8), s=f(64) + 2, v=f(512).view(np.uint8))"
// RUN: quant-opt %s --qkernel-to-gpu --emulate-gpu=%t/in.npz -o %t/out.npz
// RUN: quant-opt %s --interpret=%t/in.npz -o %t/want.npz
// RUN: %python -c "import numpy as np; a, b = np.load('%t/out.npz'), np.load('%t/want.npz'); [np.testing.assert_allclose(a[n], b[n], rtol=1e-4, atol=1e-3) for n in b]; print(len(b.files))" | FileCheck %s --check-prefix=EQUAL
// EQUAL: 3

// CHECK: qkernel.launches = [
// CHECK-SAME: {calls = [{function = @kernels::@parts_m8, {{[^}]*}}}, {function = @kernels::@parts_rows, {{[^}]*}}}, {function = @kernels::@parts, {{[^}]*}}}], over = "d0", up_to = 8 : i64}
// CHECK-SAME: {calls = [{function = @kernels::@parts_m{{[0-9a-z]+}}, {{[^}]*}}}, {function = @kernels::@parts_rows, {{[^}]*}}}, {function = @kernels::@parts, {{[^}]*}}}]}]
qkernel.kernel @parts scalars ["d0"] args [["d0", "64"], ["4096"], ["64"], ["2048"]] {
^bb0(%x: tensor<?x64xf32>, %w: tensor<4096xui8>, %s: tensor<64xf32>, %v: tensor<2048xui8>):
  %0 = qkernel.packed_linear %x, %w scales %s layout mma_fragments<element = i8, out = 64, in = 64, group = 64> : (tensor<?x64xf32>, tensor<4096xui8>, tensor<64xf32>) -> tensor<?x64xf32>
  %1 = qkernel.packed_linear %x, %v layout <element = f32, out = 8, in = 64, group = 64> : (tensor<?x64xf32>, tensor<2048xui8>) -> tensor<?x8xf32>
  %2 = onnx.node "Neg"(%x) {version = 13 : i64} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  qkernel.yield %0, %1, %2 : tensor<?x64xf32>, tensor<?x8xf32>, tensor<?x64xf32>
}

qkernel.program @main inputs [#qkernel.port<"x", f32, ["n", "64"]>, #qkernel.port<"w", ui8, ["4096"]>, #qkernel.port<"s", f32, ["64"]>, #qkernel.port<"v", ui8, ["2048"]>]
    outputs [#qkernel.port<"a", f32, ["n", "64"]>, #qkernel.port<"b", f32, ["n", "8"]>, #qkernel.port<"c", f32, ["n", "64"]>] arena 0 checks [] {
  qkernel.step @parts [#qkernel.buffer<input, bytes = "256*n">, #qkernel.buffer<input, index = 1, bytes = "4096">, #qkernel.buffer<input, index = 2, bytes = "256">, #qkernel.buffer<input, index = 3, bytes = "2048">, #qkernel.buffer<output, bytes = "256*n">, #qkernel.buffer<output, index = 1, bytes = "32*n">, #qkernel.buffer<output, index = 2, bytes = "256*n">] scalars ["n"] after -1
}
