# ===- widened.py - A half-precision model in float32 ---------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
# What a float16 or bfloat16 model would compute if nothing were rounded on the
# way: the same graph and the same weights with every tensor in float32. ONNX
# Runtime executes it, also where it has no kernel for bfloat16.
#
# ===--------------------------------------------------------------------=== #

import ml_dtypes
import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def widened_tensor(tensor):
    if tensor.data_type not in HALF:
        return
    half = numpy_helper.to_array(tensor)
    wide = half.astype(np.float32)
    # "As far as it goes", as masks say it.
    wide[half == ml_dtypes.finfo(half.dtype).min] = np.finfo(np.float32).min
    tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def widened(model):
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for tensor in graph.initializer:
        widened_tensor(tensor)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type in HALF:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "value":
                widened_tensor(attribute.t)
            if attribute.name == "to" and attribute.i in HALF:
                attribute.i = TensorProto.FLOAT
    return result
