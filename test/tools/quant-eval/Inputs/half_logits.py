# ===- half_logits.py - A model whose logits have 16 bits ----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   half_logits.py MODEL OUTPUT

import sys

import onnx
from onnx import TensorProto, helper

model = onnx.load(sys.argv[1])
logits = model.graph.output[0]
for node in model.graph.node:
    for i, name in enumerate(node.output):
        if name == logits.name:
            node.output[i] = "logits_f32"
model.graph.node.append(
    helper.make_node("Cast", ["logits_f32"], [logits.name], to=TensorProto.FLOAT16)
)
logits.type.tensor_type.elem_type = TensorProto.FLOAT16
onnx.save(model, sys.argv[2])
