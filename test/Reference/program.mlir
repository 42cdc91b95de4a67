// A lowered program runs on the arena that the runtime would use: two results
// lie beside each other there, and the last step reads both.

// RUN: rm -rf %t && split-file %s %t && cd %t
// RUN: %python arrays.py
// RUN: quant-opt main.mlir --interpret=in.npz -o out.npz
// RUN: %python check.py
// RUN: not quant-opt small.mlir --interpret=in.npz -o no.npz 2>&1 | FileCheck %s

// CHECK: needs 24 bytes at 0, but there are 8

//--- arrays.py
import numpy as np

np.savez("in.npz", x=np.arange(6, dtype=np.float32).reshape(2, 3))

//--- check.py
import numpy as np

x = np.arange(6, dtype=np.float32).reshape(2, 3)
y = np.load("out.npz")["y"]
assert np.array_equal(y, x * x * (x * [1, 2, 3])), y

//--- main.mlir
qmodel.weight @w : tensor<3xf32> = dense<[1.0, 2.0, 3.0]> : tensor<3xf32>

qkernel.kernel @multiply_1 scalars ["n"] args [["n", "3"], ["n", "3"]] {
^bb0(%a: tensor<?x3xf32>, %b: tensor<?x3xf32>):
  %0 = qmodel.multiply %a, %b
    : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  qkernel.yield %0 : tensor<?x3xf32>
}

qkernel.kernel @scale_1 scalars ["n"] args [["n", "3"], ["3"]] {
^bb0(%a: tensor<?x3xf32>, %w: tensor<3xf32>):
  %0 = onnx.node "Mul"(%a, %w) {version = 14 : i64}
    : (tensor<?x3xf32>, tensor<3xf32>) -> tensor<?x3xf32>
  qkernel.yield %0 : tensor<?x3xf32>
}

qkernel.program @main
    inputs [#qkernel.port<"x", f32, ["rows", "3"]>]
    outputs [#qkernel.port<"y", f32, ["rows", "3"]>] arena 64 checks [] {
  qkernel.step @multiply_1 [#qkernel.buffer<input, bytes = "12*rows">,
    #qkernel.buffer<input, bytes = "12*rows">,
    #qkernel.buffer<arena, offset = 32, bytes = "12*rows">]
    scalars ["rows"] after -1
  qkernel.step @scale_1 [#qkernel.buffer<input, bytes = "12*rows">,
    #qkernel.buffer<weight, symbol = @w, bytes = "12">,
    #qkernel.buffer<arena, bytes = "12*rows">]
    scalars ["rows"] after 0
  qkernel.step @multiply_1 [#qkernel.buffer<arena, offset = 32, bytes = "12*rows">,
    #qkernel.buffer<arena, bytes = "12*rows">,
    #qkernel.buffer<output, bytes = "12*rows">]
    scalars ["rows"] after 1
}

//--- small.mlir
qkernel.kernel @double_1 scalars ["n"] args [["n", "3"]] {
^bb0(%a: tensor<?x3xf32>):
  %0 = qmodel.add %a, %a
    : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  qkernel.yield %0 : tensor<?x3xf32>
}

qkernel.program @main
    inputs [#qkernel.port<"x", f32, ["rows", "3"]>]
    outputs [#qkernel.port<"y", f32, ["rows", "3"]>] arena 8 checks [] {
  qkernel.step @double_1 [#qkernel.buffer<input, bytes = "12*rows">,
    #qkernel.buffer<arena, bytes = "12*rows">]
    scalars ["rows"] after -1
}
