//===- Passes.td - Passes that quantize weights -------------*- tablegen -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_QUANTIZE_PASSES_TD
#define NIBBLE_PASSES_QUANTIZE_PASSES_TD

include "mlir/Pass/PassBase.td"

def QuantizeRtn : Pass<"qmodel-quantize-rtn", "::mlir::ModuleOp"> {
  let summary = "round planned weights to the nearest code";
  let description = [{
    Data-free: every weight with a planned scheme becomes
    `dequantize(codes, scales, zeros)` of three new weights. Scales are computed
    in float64 and stored as float32; codes come from the float64 scales. A
    group that the width does not fill is quantized as if padded with zeros.

    ```mlir
    %w = qmodel.load @w : tensor<64x172xf32>
    %y = qmodel.linear "down" %x, %w {plan = #qmodel.plan<...>} : ...
    // becomes
    %c = qmodel.load @w.codes : tensor<64x172xui4>
    %s = qmodel.load @w.scales : tensor<64x6xf32>
    %z = qmodel.load @w.zeros : tensor<64x6xui4>
    %d = qmodel.dequantize %c, %s zeros %z group 32 scheme #qmodel.scheme<...>
    %y = qmodel.linear "down" %x, %d {plan = #qmodel.plan<...>} : ...
    ```

    Quantizing nothing is an error that says why each layer was kept.
  }];
  let dependentDialects = ["::nibble::qmodel::QModelDialect"];
}

#endif // NIBBLE_PASSES_QUANTIZE_PASSES_TD
