//===- Passes.td - Passes that make the program -------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_LOWER_PASSES_TD
#define NIBBLE_PASSES_LOWER_PASSES_TD

include "mlir/Pass/PassBase.td"

def InlineLayers : Pass<"qkernel-inline-layers", "::mlir::ModuleOp"> {
  let summary = "put the outlined layers back into the entry points";
  let description = [{
    Every call is replaced by the body of its callee and the private functions
    are removed: the program is one list of steps.
  }];
}

def LowerToProgram : Pass<"qkernel-lower", "::mlir::ModuleOp"> {
  let summary = "one qkernel.program per entry point";
  let description = [{
    Turns every op of an entry point that computes something into one
    `qkernel.step` on a `qkernel.kernel`; equal instances share the kernel.
    Reshapes and other views become aliases of their operand's buffer. Buffers
    get their place in one arena here, at sizes maximised over the bounds of the
    dimensions, so that nothing is allocated at run time.

    A size that data decide (`qmodel.sizes`) is bounded here, by as many elements
    as there can be at the bounds of the other dimensions, and becomes a
    dimension of the program; a step in front of the op finds its value. A bound
    that the module gives for it is kept.

    Fails, naming the flag to give, for a dimension without a bound, and, naming
    the op, for a shape that is not known in either way.

    ```mlir
    func.func @main(%x: tensor<?x64xf32> {qmodel.dims = ["batch", "64"]}, ...) {
      %0 = qmodel.rms_norm %x, %g epsilon 1.0e-5 : ...
    // becomes
    qkernel.kernel @rms_norm_1f3a... scalars ["d0"] args [["d0", "64"], ["64"]] {...}
    qkernel.program @main inputs [...] outputs [...] arena 0 checks [] {
      qkernel.step @rms_norm_1f3a... [#qkernel.buffer<input, ...>, ...] scalars ["batch"] after -1
    }
    ```
  }];
  let dependentDialects = ["::nibble::qkernel::QKernelDialect"];
}

#endif // NIBBLE_PASSES_LOWER_PASSES_TD
