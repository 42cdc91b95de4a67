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

def MakeDecoder : Pass<"qmodel-make-decoder", "::mlir::ModuleOp"> {
  let summary = "entry points prefill and decode, with caches in place";
  let description = [{
    Beside a decoder @main with a cache, which takes and returns past keys and
    values, puts its deployment form: @prefill reads tokens of several sequences
    and @decode one more of each, and both keep keys and values in
    `qkernel.state`s. @main stays as it is; what is not a decoder with a cache
    stays alone, with a remark if something is in the way.

    Arguments are `input_ids` [batch, sequence], `past_lengths` [batch] (the
    tokens that each sequence has), for @prefill also `last` [batch] (the token
    whose logits are wanted), and the states; results are `logits` [batch,
    vocabulary] and the states. Sequences of one call may differ in length: rows
    behind the last token are padding, which nothing sees.

    Both are @main with a mask of ones, each sequence by itself:
    - the keys and values of an attention come from a `qmodel.append` to a state,
      in place, whatever form the model's cache has, and its key mask goes;
    - what says where tokens stand (an input, a Range behind the past, a sum over
      the mask, lengths) becomes `qmodel.positions` or a sum with past_lengths;
    - what comes behind the last attention is computed for one token of each
      sequence, by `qmodel.select_rows` as far up as rows are independent;
    - in @decode the sequence is one token.

    ```mlir
    %k = onnx.node "Concat"(%past_k, %new_k) attributes {axis = 2} ...
    %y = qmodel.attention %q, %k, %v key_mask %mask causal ...
    // becomes
    %k = qmodel.append %state, %new_k lengths %lengths total %room in_place : ...
    %y = qmodel.attention %q, %k, %v lengths %lengths causal ...
    ```

    The capacity is the largest number of tokens that the bounds of the
    dimensions and the tables of positions allow.
  }];
  let options = [Option<"cacheType", "cache-type", "std::string", "\"float32\"",
                        "elements of the cache: float32 or float16">];
  let dependentDialects = ["::nibble::qkernel::QKernelDialect"];
}

def Fuse : Pass<"qkernel-fuse", "::mlir::ModuleOp"> {
  let summary = "ops that run as one step";
  let description = [{
    Puts ops into groups (`qkernel.group`) that become one step each: fewer
    barriers, and intermediate values that stay in the cache of a core. Results
    are the same to the bit. `kinds` says which:

    - `blocks`: elementwise ops on the block that a linear has just computed (a
      residual sum, a bias, an activation), and two linears whose equal blocks
      one such op reads (gate and up);
    - `rows`: ops on rows behind each other (sum, norm, quantization), and the
      rows of an attention with the transpose behind it;
    - `elements`: moves and cheap arithmetic, computed where they are read;
    - `siblings`: ops of one kind that wait for the same op and not for each
      other (q, k and v).

    Ops say themselves what a piece of their results needs (the interface
    `PartitionInterface`).

    ```mlir
    %1 = qkernel.packed_linear %x, %w layout <...> : ...
    %2 = qmodel.add %residual, %1 : tensor<?x64xf32>
    // becomes
    %2 = qkernel.group(%x, %w, %residual) : ... {
    ^bb0(%arg0: tensor<?x172xf32>, %arg1: tensor<44032xui8>, %arg2: tensor<?x64xf32>):
      %3 = qkernel.packed_linear %arg0, %arg1 layout <...> : ...
      %4 = qmodel.add %arg2, %3 : tensor<?x64xf32>
      qkernel.yield %4 : tensor<?x64xf32>
    }
    ```
  }];
  let options = [ListOption<"kinds", "kinds", "std::string",
      "what to put together: all, none, or any of blocks, rows, elements and "
      "siblings (default: all)">];
  let dependentDialects = ["::nibble::qkernel::QKernelDialect"];
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

    A result that is a state (`qkernel.state`) must come from an append in place
    to the argument that is this state, and nothing may read the argument behind
    it: both are one buffer then.

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
