# ===- onnx_ops.py - ONNX operators against ONNX Runtime -----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   onnx_ops.py FOLDER
#
# Every case is one node with random operands. The answer comes from ONNX
# Runtime, from ONNX's own evaluator where ONNX Runtime has no kernel for the
# element type, or from numpy where neither has one. All cases become one module
# for `quant-opt --interpret`.
#
# ===--------------------------------------------------------------------=== #

import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

rng = np.random.default_rng(20261121)
cases = []

F16, F32, F64, BF16 = np.float16, np.float32, np.float64, ml_dtypes.bfloat16
I8, I32, I64, U8, BOOL = np.int8, np.int32, np.int64, np.uint8, np.bool_


def normal(*shape, dtype=F32):
    return rng.standard_normal(shape).astype(dtype)


def positive(*shape, dtype=F32):
    return (rng.random(shape) + 0.1).astype(dtype)


def integers(low, high, *shape, dtype=I64):
    return rng.integers(low, high, shape).astype(dtype)


def booleans(*shape):
    return rng.random(shape) < 0.5


def ints(*values):
    return np.array(values, I64)


def case(op, *inputs, outputs=1, version=17, domain="", skip=(), oracle="",
         expected=None, rtol=None, **attributes):
    """One node; None is an absent operand, `skip` lists absent results."""
    inputs = [None if i is None else np.asarray(i) for i in inputs]
    cases.append(dict(op=op, inputs=inputs, outputs=outputs, version=version,
                      domain=domain, skip=skip, oracle=oracle,
                      expected=expected, rtol=rtol, attributes=attributes))


# ===--------------------------------------------------------------------=== #
# The cases
# ===--------------------------------------------------------------------=== #

def elementwise():
    shapes = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((2, 1, 4), (3, 1)),
              ((), (2, 3)), ((3, 1), (1,))]
    for op in ("Add", "Sub", "Mul", "Div"):
        for a, b in shapes:
            case(op, normal(*a), positive(*b))
        for dtype in (F64, F16):
            case(op, normal(2, 3, dtype=dtype), positive(3, dtype=dtype))
        case(op, normal(2, 3, dtype=BF16), positive(3, dtype=BF16))
        for dtype in (I64, I32, I8, U8):
            case(op, integers(0, 100, 3, 4, dtype=dtype),
                 integers(1, 9, 4, dtype=dtype), oracle="reference")
    case("Div", ints(7, -7, 7, -7), ints(2, 2, -2, -2))
    case("Pow", positive(3, 4), normal(4))
    case("Pow", normal(3, 4), np.float32(2))
    case("Pow", normal(3, 4), ints(3))
    case("Pow", integers(-4, 5, 6), ints(3))
    case("Pow", integers(0, 5, 6, dtype=I32), np.float32([2.0]))
    case("Mod", ints(7, -7, 7, -7), ints(3, 3, -3, -3))
    case("Mod", ints(7, -7, 7, -7), ints(3, 3, -3, -3), fmod=1)
    case("Mod", normal(8), normal(8), fmod=1)
    for op in ("Max", "Min"):
        case(op, normal(2, 3), normal(3), normal(2, 1))
        case(op, integers(-9, 9, 4), integers(-9, 9, 4))
        case(op, np.float32([1, np.nan, 3]), np.float32([np.nan, 2, 2]))
    case("Sum", normal(2, 3), normal(3), normal(2, 1))
    case("Mean", normal(2, 3), normal(3))
    for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        case(op, integers(0, 3, 3, 4), integers(0, 3, 4))
        case(op, np.float32([1, 2, np.nan]), np.float32([1, 1, np.nan]))
    case("Equal", booleans(5), booleans(5))
    for op in ("And", "Or", "Xor"):
        case(op, booleans(3, 4), booleans(4))
    for dtype in (F32, F16, I64, U8, BOOL):
        case("Where", booleans(3, 1), normal(3, 4).astype(dtype),
             normal(4).astype(dtype), oracle="reference")
    case("Clip", normal(9), np.float32(-0.5), np.float32(0.5))
    case("Clip", normal(9), None, np.float32(0.5))
    case("Clip", integers(-9, 9, 9), ints(-2)[0])
    case("Clip", normal(9), version=6, min=-0.25, max=0.75)
    case("PRelu", normal(2, 3), normal(3))
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        case(op, integers(-99, 99, 3, 4, dtype=I32), integers(-99, 99, 4,
                                                              dtype=I32),
             version=18)
    case("BitwiseNot", integers(-99, 99, 5, dtype=I8), version=18)
    for direction in ("LEFT", "RIGHT"):
        case("BitShift", integers(0, 255, 3, 4, dtype=U8),
             integers(0, 8, 4, dtype=U8), direction=direction)


def unary():
    for op in ("Sqrt", "Log", "Reciprocal"):
        case(op, positive(3, 4))
        case(op, positive(3, 4, dtype=F16), oracle="reference")
    for op in ("Exp", "Sin", "Cos", "Tan", "Erf", "Tanh", "Sigmoid", "Softplus",
               "Softsign", "HardSwish", "Floor", "Ceil", "Neg", "Abs", "Sign",
               "Relu", "LeakyRelu", "Elu", "HardSigmoid"):
        case(op, 3 * normal(3, 4))
    for op in ("Exp", "Tanh", "Neg", "Abs", "Floor"):
        case(op, normal(5, dtype=F64))
        case(op, normal(5, dtype=F16), oracle="reference")
    case("Mish", normal(7), version=18)
    case("Round", np.float32([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4]))
    for op in ("Neg", "Abs", "Sign"):
        case(op, integers(-9, 9, 5))
        case(op, integers(-9, 9, 5, dtype=I8))
    case("Gelu", normal(9), version=20)
    case("Gelu", normal(9), version=20, approximate="tanh")
    case("Swish", normal(9), version=24, alpha=1.5, oracle="reference")
    case("SwiGLU", normal(3, 4), normal(3, 4), version=28, alpha=1.5,
         oracle="reference")
    case("Celu", 3 * normal(9), alpha=0.7)
    case("Selu", 3 * normal(9))
    case("Selu", 3 * normal(9), alpha=1.2, gamma=0.9)
    case("ThresholdedRelu", normal(9), alpha=0.4)
    case("ThresholdedRelu", np.float32([0.999, 1, 1.001]))
    for bias in ((normal(4),), ()):
        case("FastGelu", normal(3, 4), *bias, domain="com.microsoft", version=1)
    case("Gelu", normal(9), domain="com.microsoft", version=1)
    case("BiasGelu", normal(3, 4), normal(4), domain="com.microsoft", version=1)
    case("QuickGelu", normal(9), domain="com.microsoft", version=1)
    special = np.float32([1, np.nan, np.inf, -np.inf, 0])
    case("IsNaN", special)
    case("IsInf", special)
    case("IsInf", special, detect_negative=0)
    case("Not", booleans(5))


def shapes():
    x = normal(2, 3, 4)
    case("Identity", x)
    case("Shape", x)
    case("Shape", x, start=1)
    case("Shape", x, start=-2, end=-1)
    case("Size", x)
    case("Dropout", x)
    case("Reshape", x, ints(6, -1))
    case("Reshape", x, ints(0, 0, 2, -1))
    case("Reshape", normal(0, 3), ints(3, 0), allowzero=1)
    case("Flatten", x)
    case("Flatten", x, axis=-1)
    case("Flatten", x, axis=0)
    y = normal(1, 3, 1, 2)
    case("Squeeze", y)
    case("Squeeze", y, ints(-2))
    case("Squeeze", y, version=11, axes=[0, 2])
    case("Unsqueeze", x, ints(0, -1))
    case("Unsqueeze", x, version=11, axes=[1, 3])
    case("Constant", value=np.arange(6, dtype=F32).reshape(2, 3))
    case("Constant", value_ints=[1, 2, 3])
    case("Constant", value_int=7)
    case("Constant", value_float=1.5)
    case("Constant", value_floats=[1.5, -2.0])
    case("ConstantOfShape", ints(2, 3))
    case("ConstantOfShape", ints(2, 0, 3), value=np.array([7], I64))
    case("ConstantOfShape", ints(), value=np.array([True]))
    case("Range", *(np.array(v, I64) for v in (3, 17, 4)))
    case("Range", *(np.array(v, I64) for v in (5, -5, -3)))
    case("Range", *(np.float32(v) for v in (0, 1, 0.3)))
    values = np.float32([-1.7, -0.2, 0.0, 0.9, 1.5, 100.6])
    for dtype in (F64, F16, I32, I64, I8, BOOL, BF16):
        case("Cast", values, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
             oracle="reference")
    for dtype in (I32, U8, BOOL, F16):
        case("Cast", integers(0, 200, 8),
             to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    case("Cast", booleans(5), to=onnx.TensorProto.FLOAT)
    case("CastLike", values, ints(0), oracle="reference")
    for source, target in ((F32, I32), (I64, F64), (I8, U8), (BOOL, U8),
                           (F16, np.uint16)):
        bits = values.astype(source)
        case("BitCast", bits, version=26, expected=[bits.view(target)],
             to=helper.np_dtype_to_tensor_dtype(np.dtype(target)))


def movement():
    x = normal(2, 3, 4)
    case("Transpose", x)
    case("Transpose", x, perm=[1, 0, 2])
    case("Transpose", integers(0, 9, 3, 4, dtype=U8), perm=[1, 0])
    case("Expand", normal(3, 1), ints(2, 3, 4))
    case("Expand", normal(3, 4), ints(1))
    case("Tile", normal(2, 3), ints(2, 3))
    for spec in (([1], [3], [1]), ([-3], [2 ** 63 - 1], [2]),
                 ([0, -1], [1, -1000], [0, 2], [1, -1]), ([2], [1], [1]),
                 ([-1], [-(2 ** 63)], [1], [-2])):
        case("Slice", x, *(ints(*part) for part in spec)) if len(spec) < 4 \
            and len(spec[2]) == 1 and spec[2] != [2] else \
            case("Slice", x, ints(*spec[0]), ints(*spec[1]),
                 *((ints(*spec[2]), ints(*spec[3])) if len(spec) == 4
                   else (None, ints(*spec[2]))))
    case("Slice", x, version=9, starts=[0, 1], ends=[1, 3], axes=[0, 2])
    case("Split", normal(6, 2), outputs=3)
    case("Split", normal(2, 6), ints(1, 5), outputs=2, axis=-1)
    case("Split", normal(7), outputs=3, version=18, num_outputs=3)
    case("Split", normal(6), outputs=2, version=11, split=[2, 4])
    case("Concat", normal(2, 3), normal(2, 1), axis=-1)
    case("Concat", integers(0, 9, 2, 3), integers(0, 9, 0, 3),
         integers(0, 9, 1, 3), axis=0)
    for mode in ("constant", "edge", "reflect", "wrap"):
        case("Pad", normal(3, 4), ints(1, 2, 0, 1), version=19, mode=mode)
    case("Pad", normal(3, 4), ints(1, 2), np.float32(7), ints(1), version=18)
    case("Pad", normal(3, 4), ints(-1, 0, 0, -2))
    for upper in (0, 1):
        case("Trilu", normal(2, 3, 4), upper=upper)
        case("Trilu", integers(0, 9, 4, 4), np.array(-1, I64), upper=upper)


def indexing():
    x = normal(3, 4, 5)
    case("Gather", x, ints(2, -1, 0))
    case("Gather", x, np.array(1, I64), axis=1)
    case("Gather", x, integers(-5, 5, 2, 3, dtype=I32), axis=-1)
    case("GatherElements", x, integers(-4, 4, 3, 2, 5), axis=1)
    case("GatherND", x, ints(0, 1, 2, 3).reshape(2, 2))
    case("GatherND", x, ints(1, 0, 3).reshape(3, 1), batch_dims=1)
    case("ScatterElements", normal(3, 4), ints(0, 2, 1, -1).reshape(1, 4),
         normal(1, 4), axis=0)
    for reduction in ("add", "mul", "max", "min"):
        case("ScatterElements", normal(3, 4), ints(1, 1, 0).reshape(3, 1),
             normal(3, 1), axis=1, version=18, reduction=reduction)
        case("ScatterND", normal(3, 4), ints(1, 1).reshape(2, 1), normal(2, 4),
             version=18, reduction=reduction)
    case("ScatterND", normal(3, 4), ints(0, 1, 2, 3).reshape(2, 2), normal(2))
    case("Scatter", normal(3, 4), ints(0, 2, 1, -1).reshape(1, 4),
         normal(1, 4), version=10)
    # Equal elements: those of the lower index come first.
    for largest in (0, 1):
        case("TopK", integers(0, 4, 4, 12).astype(F32), ints(5), outputs=2,
             largest=largest)
        case("TopK", integers(0, 4, 6, 5), ints(4), outputs=2, axis=0,
             largest=largest)
    case("NonZero", integers(0, 2, 3, 4))
    case("NonZero", booleans(6))
    case("OneHot", ints(0, 2, -1), np.array(4, I64), np.float32([0, 1]))
    case("OneHot", ints(0, 2), np.array(3, I64), ints(5, 7), axis=0)
    case("TopK", x, ints(3), outputs=2)
    case("TopK", x, ints(2), outputs=2, axis=0, largest=0)
    case("Compress", x, np.array([False, True, True]), axis=0)
    case("Compress", x, np.array([True, False, True]), axis=-1)
    case("Compress", x, booleans(60))
    for sorted_ in (0, 1):
        case("Unique", ints(2, 1, 1, 3, 4, 3), outputs=4, sorted=sorted_)
        case("Unique", integers(0, 2, 5, 2), outputs=4, axis=0, sorted=sorted_)
        case("Unique", integers(0, 2, 2, 6).astype(F32), outputs=4, axis=-1,
             sorted=sorted_)
    case("EyeLike", normal(4, 3))
    case("EyeLike", normal(3, 5), k=2, dtype=onnx.TensorProto.INT32)
    case("EyeLike", normal(3, 5), k=-7)
    for mode in ("DCR", "CRD"):
        case("DepthToSpace", normal(2, 12, 2, 3), blocksize=2, mode=mode)
    case("SpaceToDepth", normal(2, 3, 4, 6), blocksize=2)
    case("ReverseSequence", normal(4, 3, 2), ints(4, 1, 2))
    case("ReverseSequence", normal(3, 4), ints(4, 1, 2), batch_axis=0,
         time_axis=1)
    for op in ("ArgMax", "ArgMin"):
        case(op, x, axis=1)
        case(op, ints(1, 3, 3, 1), keepdims=0, select_last_index=1)


def reductions():
    x = normal(2, 3, 4)
    for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1",
               "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"):
        case(op, x, version=13, axes=[-1])
        case(op, x, version=13, axes=[0, 2], keepdims=0)
        case(op, x, ints(1), version=18)
        case(op, x, version=18)
    case("ReduceLogSum", positive(3, 4), ints(0), version=18)
    case("ReduceSum", x, ints(0, 1))
    case("ReduceSum", x, noop_with_empty_axes=1)
    case("ReduceSum", integers(-9, 9, 3, 4), ints(1), keepdims=0)
    case("ReduceMean", normal(2, 3, dtype=F16), ints(1), version=18)
    case("ReduceMax", integers(-9, 9, 3, 4), ints(1), version=18)
    for op in ("Softmax", "LogSoftmax"):
        case(op, x)
        case(op, x, axis=0)
        case(op, x, version=11)
        case(op, x, version=11, axis=2)
        case(op, normal(3, 4, dtype=F64), axis=1)
    for attributes in ({}, {"exclusive": 1}, {"reverse": 1},
                       {"exclusive": 1, "reverse": 1}):
        case("CumSum", normal(3, 4), np.array(1, I64), **attributes)
    case("CumSum", integers(0, 9, 5), np.array(0, I64))
    for attributes in ({}, {"exclusive": 1}, {"reverse": 1},
                       {"exclusive": 1, "reverse": 1}):
        case("CumProd", normal(3, 4), np.array(1, I64), version=26,
             oracle="reference", **attributes)
    for version, axis in ((13, 1), (13, -1), (11, 1)):
        case("Hardmax", x, version=version, axis=axis)
    case("Hardmax", np.float32([[1, 3, 3, 2], [0, 0, 0, 0]]), version=13)


def products():
    case("MatMul", normal(3, 4), normal(4, 5))
    case("MatMul", normal(4), normal(4, 5))
    case("MatMul", normal(3, 4), normal(4))
    case("MatMul", normal(4), normal(4))
    case("MatMul", normal(2, 1, 3, 4), normal(5, 4, 2))
    case("MatMul", normal(2, 3, 4), normal(4, 5))
    case("MatMul", normal(2, 60, 70), normal(70, 50))
    case("MatMul", normal(3, 4, dtype=F64), normal(4, 5, dtype=F64))
    case("MatMul", integers(-9, 9, 3, 4), integers(-9, 9, 4, 5))
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        case("Gemm", normal(*((4, 3) if a else (3, 4))),
             normal(*((5, 4) if b else (4, 5))), normal(5), transA=a, transB=b,
             alpha=0.5, beta=2.0)
    case("Gemm", normal(3, 4), normal(4, 5))
    case("Gemm", normal(3, 4), normal(4, 5), normal(3, 1))
    case("MatMulInteger", integers(0, 255, 3, 4, dtype=U8),
         integers(0, 255, 4, 5, dtype=U8), U8(12), U8(7))
    case("MatMulInteger", integers(0, 255, 3, 4, dtype=U8),
         integers(-128, 127, 4, 5, dtype=I8))
    for equation, *operands in (
            ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("ij->ji", (3, 4)),
            ("ii->i", (3, 3)), ("bhid,bhjd->bhij", (2, 2, 3, 4), (2, 2, 5, 4)),
            ("...ij,jk->...ik", (2, 3, 4), (4, 5)), ("i,i", (4,), (4,))):
        case("Einsum", *(normal(*shape) for shape in operands),
             equation=equation)
    a, b = (integers(0, 255, *shape, dtype=U8) for shape in ((3, 4), (4, 5)))
    case("QLinearMatMul", a, np.float32(0.02), U8(120), b, np.float32(0.01),
         U8(130), np.float32(0.03), U8(100))
    # Scales per row of a and per column of b, which ONNX Runtime lacks.
    signed = [integers(-128, 128, *shape, dtype=I8)
              for shape in ((2, 3, 4), (2, 4, 5))]
    rows, columns = positive(2, 3, 1) / 50, positive(2, 1, 5) / 50
    product = np.matmul(*(each.astype(F64) for each in signed)) * (
        rows.astype(F64) * columns.astype(F64))
    case("QLinearMatMul", signed[0], rows, np.zeros((2, 3, 1), I8), signed[1],
         columns, np.zeros((2, 1, 5), I8), np.float32(0.05), I8(-3),
         version=21,
         expected=[np.clip(np.rint(product / F64(F32(0.05))) - 3, -128, 127)
                   .astype(I8)])
    case("FusedMatMul", normal(2, 4, 3), normal(2, 5, 4), transA=1, transB=1,
         alpha=0.5, domain="com.microsoft", version=1)


def norms():
    x = normal(2, 3, 8)
    case("LayerNormalization", x, normal(8), normal(8))
    case("LayerNormalization", x, normal(3, 8), axis=1, epsilon=1e-3)
    case("LayerNormalization", x, normal(8), normal(8), outputs=3)
    case("RMSNormalization", x, normal(8), version=23, oracle="reference")
    case("RMSNormalization", x, normal(3, 8), version=23, axis=1,
         oracle="reference")
    ms = dict(domain="com.microsoft", version=1)
    case("SimplifiedLayerNormalization", x, normal(8), version=17, axis=-1,
         epsilon=1e-5)
    case("SkipLayerNormalization", x, normal(2, 3, 8), normal(8), normal(8),
         normal(8), epsilon=1e-5, **ms)
    case("SkipLayerNormalization", x, normal(2, 3, 8), normal(8), normal(8),
         outputs=4, skip=(1, 2), **ms)
    case("SkipSimplifiedLayerNormalization", x, normal(2, 3, 8), normal(8),
         outputs=4, skip=(1, 2), **ms)
    case("EmbedLayerNormalization", integers(0, 9, 2, 4, dtype=I32),
         integers(0, 2, 2, 4, dtype=I32), normal(9, 8), normal(6, 8),
         normal(2, 8), normal(8), normal(8),
         np.int32([[1, 1, 1, 0], [1, 1, 0, 0]]), outputs=2, **ms)
    image = normal(2, 6, 3, 4)
    # Until opset 20 scale and bias were per group, from then on per channel.
    case("GroupNormalization", image, normal(3), normal(3), version=18,
         num_groups=3)
    case("GroupNormalization", image, normal(6), normal(6), version=21,
         num_groups=3, epsilon=1e-3)
    case("InstanceNormalization", image, normal(6), normal(6))
    case("BatchNormalization", image, normal(6), normal(6), normal(6),
         positive(6))
    for p in (1, 2):
        case("LpNormalization", x, p=p, axis=1)
    case("MeanVarianceNormalization", image)
    case("MeanVarianceNormalization", image, axes=[1, 3])


def quantization():
    x = 3 * normal(3, 8)
    case("QuantizeLinear", x, np.float32(0.05), U8(128))
    case("QuantizeLinear", x, positive(8) / 9, np.zeros(8, I8), axis=1)
    case("QuantizeLinear", np.float32([0.5, 1.5, 2.5, -0.5, 999]),
         np.float32(1), I8(0))
    case("QuantizeLinear", x, positive(3, 2), np.zeros((3, 2), I8), version=21,
         axis=1, block_size=4)
    codes = integers(-128, 128, 3, 8, dtype=I8)
    case("DequantizeLinear", codes, np.float32(0.05), I8(3))
    case("DequantizeLinear", codes, positive(3), integers(-9, 9, 3, dtype=I8),
         axis=0)
    case("DequantizeLinear", codes, positive(8))
    case("DequantizeLinear", codes, positive(3, 2),
         integers(-9, 9, 3, 2, dtype=I8), version=21, axis=1, block_size=4)
    case("DequantizeLinear", codes, positive(1, 8), version=21, axis=0,
         block_size=3)
    case("DynamicQuantizeLinear", x, outputs=3)
    case("DynamicQuantizeLinear", positive(5), outputs=3)
    ms = dict(domain="com.microsoft", version=1)
    for bits, k, extra in ((4, 64, True), (4, 40, False), (8, 32, True)):
        groups = -(-k // 32)
        packed = -(-groups * bits // 8)
        inputs = [normal(3, k), integers(0, 256, 5, groups, 4 * bits, dtype=U8),
                  positive(5, groups)]
        if extra:
            inputs.append(integers(0, 256, 5, packed, dtype=U8))
        case("MatMulNBits", *inputs, N=5, K=k, bits=bits, block_size=32,
             rtol=1e-4, **ms)


def attention():
    q, k, v = normal(2, 4, 3, 8), normal(2, 2, 5, 8), normal(2, 2, 5, 6)
    on23 = dict(version=23, oracle="reference")
    case("Attention", q, k, v, **on23)
    case("Attention", q, k, v, booleans(3, 5) | np.eye(3, 5, dtype=bool), **on23)
    case("Attention", q, k, v, normal(2, 1, 3, 5), scale=0.3, softcap=2.0,
         **on23)
    case("Attention", q, k, v, is_causal=1, **on23)
    case("Attention", normal(2, 3, 32), normal(2, 3, 16), normal(2, 3, 16),
         None, normal(2, 2, 4, 8), normal(2, 2, 4, 8), outputs=3, q_num_heads=4,
         kv_num_heads=2, is_causal=1, **on23)
    # ONNX's evaluator has softcapped scores for mode 0 too, which its text does
    # not say.
    for mode in range(4):
        case("Attention", q, k, v, normal(3, 5), outputs=4, skip=(1, 2),
             qk_matmul_output_mode=mode, softcap=1.5 if mode else 0.0, **on23)
    positions = integers(0, 16, 2, 3)
    for interleaved in (0, 1):
        case("RotaryEmbedding", normal(2, 4, 3, 8), normal(16, 4), normal(16, 4),
             positions, interleaved=interleaved, **on23)
    case("RotaryEmbedding", normal(2, 3, 32), normal(2, 3, 2), normal(2, 3, 2),
         num_heads=4, rotary_embedding_dim=4, **on23)
    ms = dict(domain="com.microsoft", version=1)
    case("RotaryEmbedding", normal(2, 3, 32), positions, normal(16, 4),
         normal(16, 4), **ms)
    case("RotaryEmbedding", normal(2, 4, 3, 8), ints(5), normal(16, 4),
         normal(16, 4), interleaved=1, **ms)
    case("GroupQueryAttention", normal(2, 3, 64), normal(2, 3, 32),
         normal(2, 3, 32), None, None, np.int32([2, 2]), np.array(3, I32),
         outputs=3, num_heads=4, kv_num_heads=2, **ms)
    case("GroupQueryAttention", normal(2, 1, 128), None, None,
         normal(2, 2, 5, 16), normal(2, 2, 5, 16), np.int32([5, 5]),
         np.array(6, I32), normal(16, 8), normal(16, 8), outputs=3, num_heads=4,
         kv_num_heads=2, do_rotary=1, **ms)
    for unidirectional in (0, 1):
        case("Attention", normal(2, 3, 8), normal(8, 24), normal(24),
             num_heads=2, unidirectional=unidirectional, **ms)
    case("Attention", normal(2, 3, 8), normal(8, 24), normal(24),
         np.int32([[1, 1, 1], [1, 1, 0]]), num_heads=2, **ms)
    case("MultiHeadAttention", normal(2, 3, 8), normal(2, 5, 8),
         normal(2, 5, 8), num_heads=2, **ms)
    for mode in ("linear", "circular"):
        case("TensorScatter", normal(2, 3, 6, 4), normal(2, 3, 2, 4),
             ints(1, 4), version=24, mode=mode, oracle="reference")


def state_space():
    on27 = dict(version=27, oracle="reference")
    q, k, v = normal(2, 3, 16), normal(2, 3, 8), normal(2, 3, 12)
    state = normal(2, 2, 4, 6)
    decay, beta = -positive(2, 3, 8), positive(2, 3, 2)
    heads = dict(q_num_heads=4, kv_num_heads=2, outputs=2)
    case("LinearAttention", q, k, v, update_rule="linear", **heads, **on27)
    case("LinearAttention", q, k, v, state, decay, update_rule="gated", **heads,
         **on27)
    case("LinearAttention", q, k, v, state, -positive(2, 3, 2),
         update_rule="gated", scale=0.3, **heads, **on27)
    case("LinearAttention", q, k, v, state, None, beta, update_rule="delta",
         **heads, **on27)
    case("LinearAttention", q, k, v, None, decay, positive(2, 3, 1), **heads,
         **on27)
    x, weight = normal(2, 3, 5), normal(3, 1, 4)
    case("CausalConvWithState", x, weight, outputs=2, **on27)
    case("CausalConvWithState", x, weight, normal(3), normal(2, 3, 3),
         outputs=2, activation="silu", **on27)
    case("CausalConvWithState", x[..., :2].copy(), weight, None,
         normal(2, 3, 3), outputs=2, **on27)


# ===--------------------------------------------------------------------=== #
# The independent answer
# ===--------------------------------------------------------------------=== #

def build_model(entry):
    make = lambda name, array: helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
    attributes = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray)
        else value for name, value in entry["attributes"].items()}
    names = ["" if array is None else f"i{n}"
             for n, array in enumerate(entry["inputs"])]
    results = ["" if n in entry["skip"] else f"o{n}"
               for n in range(entry["outputs"])]
    node = helper.make_node(entry["op"], names, results,
                            domain=entry["domain"], **attributes)
    # The version of a com.microsoft node is that of its own domain.
    imports = [helper.make_opsetid("", 21 if entry["domain"]
                                   else entry["version"]),
               helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(
        [node], "case",
        [make(name, array) for name, array in zip(names, entry["inputs"])
         if name],
        [onnx.ValueInfoProto(name=name) for name in results if name])
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def answer(entry):
    if entry["expected"] is not None:
        return entry["expected"]
    model = build_model(entry)
    feeds = {f"i{n}": array for n, array in enumerate(entry["inputs"])
             if array is not None}
    uses_bfloat = any(a.dtype == BF16 for a in feeds.values())
    if uses_bfloat or entry["oracle"] == "reference":
        return ReferenceEvaluator(model).run(None, feeds)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = \
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options,
            providers=["CPUExecutionProvider"])
    except Exception:
        if entry["domain"]:
            raise
        # No kernel for this element type or opset.
        return ReferenceEvaluator(model).run(None, feeds)
    return session.run(None, feeds)


# ===--------------------------------------------------------------------=== #
# The module under test
# ===--------------------------------------------------------------------=== #

NAMES = {np.dtype(F32): "f32", np.dtype(F64): "f64", np.dtype(F16): "f16",
         np.dtype(BF16): "bf16", np.dtype(BOOL): "i1"}


def mlir_type(shape, dtype):
    dtype = np.dtype(dtype)
    name = NAMES.get(dtype) or \
        f"{'ui' if dtype.kind == 'u' else 'i'}{dtype.itemsize * 8}"
    return "tensor<" + "".join(f"{d}x" for d in shape) + name + ">"


def mlir_attribute(value):
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (bool, int, np.integer)):
        return f"{int(value)} : i64"
    if isinstance(value, float):
        return f"{value:.9e} : f32"
    if isinstance(value, list):
        return "[" + ", ".join(map(mlir_attribute, value)) + "]"
    flat = [str(v).lower() if value.dtype == BOOL else
            f"{v:.9e}" if value.dtype.kind == "f" else str(v)
            for v in value.reshape(-1)]
    text = "[" + ", ".join(flat) + "]"
    literal = f"dense<{text}> : {mlir_type((value.size,), value.dtype)}"
    if value.ndim > 1:
        # Nested brackets, as dense literals want them.
        nested = np.array(flat, dtype=object).reshape(value.shape).tolist()
        text = str(nested).replace("'", "")
        literal = f"dense<{text}> : {mlir_type(value.shape, value.dtype)}"
    return literal


class Module:
    """One function with the operands of all cases as arguments."""

    def __init__(self):
        self.arguments, self.body, self.returned, self.types = [], [], [], []
        self.arrays = {}

    def cast(self, value, source, target):
        name = f"{value}_{len(self.body)}"
        self.body.append(
            f'{name} = onnx.node "Cast"({value}) {{version = 13 : i64}} : '
            f"({source}) -> {target}")
        return name

    def operand(self, name, array):
        value = "%" + name
        # .npz files have no bfloat16, so it travels as float32.
        stored = array.astype(F32) if array.dtype == BF16 else array
        self.arrays[name] = stored
        source = mlir_type(stored.shape, stored.dtype)
        self.arguments.append(f'{value}: {source} {{onnx.name = "{name}"}}')
        if array.dtype != BF16:
            return value, source
        target = mlir_type(array.shape, BF16)
        return self.cast(value, source, target), target

    def add(self, number, entry, expected):
        operands, types = [], []
        for n, array in enumerate(entry["inputs"]):
            if array is None:
                value, kind = f"%c{number}n{n}", "none"
                self.body.append(f"{value} = onnx.none")
            else:
                value, kind = self.operand(f"c{number}i{n}", array)
            operands.append(value)
            types.append(kind)
        values, kinds, answers = [], [], list(expected)
        for n in range(entry["outputs"]):
            values.append(f"%c{number}o{n}")
            if n in entry["skip"]:
                kinds.append("none")
                continue
            found = np.asarray(answers.pop(0))
            kinds.append(mlir_type(found.shape, found.dtype))
        attributes = ", ".join(f"{k} = {mlir_attribute(v)}"
                               for k, v in entry["attributes"].items())
        domain = f'domain = "{entry["domain"]}", ' if entry["domain"] else ""
        self.body.append(
            f'{", ".join(values)} = onnx.node "{entry["op"]}"'
            f'({", ".join(operands)})'
            + (f" attributes {{{attributes}}}" if attributes else "")
            + f' {{{domain}version = {entry["version"]} : i64}} : '
            f'({", ".join(types)}) -> ({", ".join(kinds)})'
            f' loc("case {number}")')
        for n, (value, kind) in enumerate(zip(values, kinds)):
            if kind == "none":
                continue
            if kind.endswith("bf16>"):
                value = self.cast(value, kind, kind.replace("bf16", "f32"))
                kind = kind.replace("bf16", "f32")
            self.returned.append(value)
            self.types.append((kind, f"c{number}o{n}"))

    def text(self):
        results = ", ".join(f'{kind} {{onnx.name = "{name}"}}'
                            for kind, name in self.types)
        body = "\n  ".join(self.body)
        return (f'func.func @main({", ".join(self.arguments)}) -> ({results}) '
                f'{{\n  {body}\n  return {", ".join(self.returned)} : '
                + ", ".join(kind for kind, _ in self.types) + "\n}\n")


def compare(entry, found, expected):
    """None, or what differs."""
    expected = np.asarray(expected)
    if expected.dtype == BF16:
        expected = expected.astype(F32)
        rtol, atol = 8e-3, 1e-6
    elif expected.dtype.kind != "f":
        return None if np.array_equal(found, expected) else "elements differ"
    else:
        rtol, atol = {2: (2e-3, 1e-4), 4: (3e-5, 3e-6),
                      8: (1e-9, 1e-9)}[expected.dtype.itemsize]
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.shape} {found.dtype} for {expected.shape} " \
               f"{expected.dtype}"
    if np.allclose(found, expected, rtol=entry["rtol"] or rtol, atol=atol,
                   equal_nan=True):
        return None
    return f"differs by {np.nanmax(np.abs(found - expected))}"


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    for family in (elementwise, unary, shapes, movement, indexing, reductions,
                   products, norms, quantization, attention, state_space):
        family()
    module, answers = Module(), []
    np.seterr(all="ignore")
    for number, entry in enumerate(cases):
        try:
            answers.append(answer(entry))
        except Exception as error:
            sys.exit(f"case {number} {entry['op']}: no answer: {error}")
        module.add(number, entry, answers[-1])
    source, inputs, outputs = (os.path.join(folder, name) for name in (
        "ops.mlir", "inputs.npz", "outputs.npz"))
    with open(source, "w") as file:
        file.write(module.text())
    np.savez(inputs, **module.arrays)
    subprocess.run(["quant-opt", source, f"--interpret={inputs}", "-o",
                    outputs], check=True)
    failures = 0
    with np.load(outputs) as found:
        for number, (entry, expected) in enumerate(zip(cases, answers)):
            expected = list(expected)
            for n in range(entry["outputs"]):
                if n in entry["skip"]:
                    continue
                problem = compare(entry, found[f"c{number}o{n}"],
                                  expected.pop(0))
                if problem:
                    failures += 1
                    print(f"FAIL case {number} {entry['op']} result {n} "
                          f"{entry['attributes']}: {problem}")
    if failures:
        sys.exit(f"{failures} results differ")
    print(f"{len(cases)} cases agree")


if __name__ == "__main__":
    main()
