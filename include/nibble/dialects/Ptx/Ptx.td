//===- Ptx.td - PTX instructions without an upstream op ---*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_PTX_PTX_TD
#define NIBBLE_DIALECTS_PTX_PTX_TD

include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Ptx_Dialect : Dialect {
  let name = "ptx";
  let cppNamespace = "::nibble::ptx";
  let summary = "PTX instructions that gpu, nvgpu and nvvm have no op for";
  let description = [{
    Kernels use upstream's ops; these stand where the only other way is inline
    assembly, which no pass and no emulator can look into.
  }];
}

class Ptx_Op<string mnemonic, list<Trait> traits = []>
    : Op<Ptx_Dialect, mnemonic, traits>;

def Ptx_Lop3Op : Ptx_Op<"lop3", [Pure]> {
  let summary = "any function of three bits, on 32 bits at once";
  let description = [{
    `lop3.b32`: bit i of the result is bit 4 a_i + 2 b_i + c_i of the table.
    Table 0xEA (234) is `(a & b) | c`, with which a magic number is or-ed to
    masked codes in one instruction; an `andi` and an `ori` with two constants
    become two.

    Constraints: (C1) the table has 8 bits.
  }];
  let arguments = (ins I32:$a, I32:$b, I32:$c, I32Attr:$table);
  let results = (outs I32:$result);
  let assemblyFormat = "$a `,` $b `,` $c `table` $table attr-dict";
  let hasVerifier = 1;
}

def Ptx_WgmmaOp : Ptx_Op<"wgmma",
    [AllTypesMatch<["accumulator", "result"]>]> {
  let summary = "warpgroup product with A in registers";
  let description = [{
    `wgmma.mma_async.sync.aligned.m64nNk16`: `accumulator + a b`, of which each
    of the four warps of a warpgroup has 16 rows. `a` is the fragment of
    `mma.m16n8k16`; `b` is the matrix descriptor of N rows of 16 elements each
    in shared memory (K-major). Element [j][h][c] of the accumulator in lane
    4 g + t is row g + 8 h, column 8 j + 2 t + c.

    The product runs on behind the op: between it and the `nvvm.wgmma.wait.group`
    that covers it, only another `wgmma` may read the result, and nobody may
    write what `b` describes.

    Constraints:
    - (C1) `a` is `vector<4x2xf16>` or `vector<4x2xbf16>`.
    - (C2) the accumulator is `vector<(N/8)x2x2xf32>` with N from 8 to 256.
  }];
  let arguments = (ins AnyVectorOfNonZeroRank:$a, I64:$b,
                       AnyVectorOfNonZeroRank:$accumulator);
  let results = (outs AnyVectorOfNonZeroRank:$result);
  let assemblyFormat = [{
    $a `,` $b `,` $accumulator attr-dict `:` type($a) `,` type($accumulator)
  }];
  let hasVerifier = 1;
}

#endif // NIBBLE_DIALECTS_PTX_PTX_TD
