//===- DecoderOperators.cpp - What decoders are made of -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Found in decoders that torch.onnx (both exporters), Optimum and
// onnxruntime-genai write, and in what quantizers make of them.
//
//===----------------------------------------------------------------------===//

#include "DecoderOperators.h"

#include <algorithm>

const std::vector<std::string_view> &nibble::decoderOperators() {
  static const std::vector<std::string_view> list = [] {
    std::vector<std::string_view> names = {
        // Products and normalization.
        "Einsum", "Gemm", "LayerNormalization", "MatMul", "RMSNormalization",
        // Views and movement.
        "Concat", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Split",
        "Squeeze", "Tile", "Transpose", "Unsqueeze",
        // Shapes, positions and masks.
        "And", "Constant", "ConstantOfShape", "CumSum", "Equal", "Greater",
        "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or",
        "Range", "Shape", "Size", "Trilu", "Where",
        // Embeddings, caches, routing of experts.
        "Gather", "GatherElements", "GatherND", "NonZero", "OneHot",
        "ScatterElements", "ScatterND", "TensorScatter", "TopK",
        // Elementwise arithmetic.
        "Abs", "Add", "Cast", "CastLike", "Clip", "Cos", "Div", "Dropout",
        "Erf", "Exp", "Log", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal",
        "Sin", "Sqrt", "Sub",
        // Activations.
        "Gelu", "HardSwish", "LogSoftmax", "Mish", "Relu", "Sigmoid", "Softmax",
        "Softplus", "SwiGLU", "Swish", "Tanh",
        // Reductions.
        "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
        "ReduceSum", "ReduceSumSquare",
        // Attention and its newer forms.
        "Attention", "CausalConvWithState", "LinearAttention",
        "RotaryEmbedding",
        // Quantized weights and activations.
        "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger",
        "QLinearMatMul", "QuantizeLinear"};
    std::sort(names.begin(), names.end());
    return names;
  }();
  return list;
}
