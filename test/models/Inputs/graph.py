# ===- graph.py - Writes ONNX graphs node by node -------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   g = Graph(seed=1, opset=17, style=Style(swap=True))
#   y = g.add(g.matmul(x, g.weight((64, 32))), g.vector(32))
#
# Exporters spell the same arithmetic in many ways. What differs between them is
# here: where constants stand, the order of commutative operands, how axes and
# sizes are given in each opset, what nodes are called.
#
# ===--------------------------------------------------------------------=== #

import dataclasses

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


MICROSOFT = "com.microsoft"


@dataclasses.dataclass
class Style:
    """How an exporter writes."""

    swap: bool = False  # commutative operands in a random order
    constant_nodes: bool = False  # constants as nodes, not initializers
    anonymous: bool = False  # nodes, values and weights without telling names
    shapes: str = "computed"  # of Reshape: "computed" from Shape, or "zeros"
    weights: str = "float32"  # or "float16", "int8": with a Cast or
    # DequantizeLinear each
    compute: str = "float32"  # or "float16", "bfloat16"


class Graph:
    def __init__(self, seed, opset, style):
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.style = style
        self.nodes, self.initializers = [], []
        self.inputs, self.outputs = [], []
        self.scope = []

    # Names and nodes.

    def name(self, kind):
        number = len(self.nodes) + len(self.initializers)
        if self.style.anonymous:
            return f"n{number * 7919 % 10007}_{number}"
        return "/" + "/".join([*self.scope, kind]) + f"_{number}"

    def node(self, kind, *operands, results=1, **attributes):
        name = self.name(kind)
        outputs = [f"{name}_out{i}" for i in range(results)]
        self.nodes.append(
            helper.make_node(kind, list(operands), outputs, name, **attributes)
        )
        return outputs[0] if results == 1 else outputs

    def either(self, kind, a, b):
        if self.style.swap and self.random.integers(2):
            a, b = b, a
        return self.node(kind, a, b)

    def add(self, a, b):
        return self.either("Add", a, b)

    def mul(self, a, b):
        return self.either("Mul", a, b)

    def matmul(self, a, b):
        return self.node("MatMul", a, b)

    # Constants and weights.

    def initializer(self, array, kind="constant"):
        name = self.name(kind)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    @property
    def float(self):
        half = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
        return half.get(self.style.compute, np.float32)

    @property
    def float_type(self):
        return helper.np_dtype_to_tensor_dtype(np.dtype(self.float))

    def constant(self, value, dtype=None):
        array = np.asarray(value, dtype or self.float)
        if not self.style.constant_nodes:
            return self.initializer(array)
        return self.node("Constant", value=numpy_helper.from_array(array))

    def ints(self, *values):
        return self.constant(values, np.int64)

    def stored(self, array):
        """A matrix; its quantization is per column."""
        if self.style.weights == "float16":
            half = self.initializer(array.astype(np.float16), "weight")
            return self.node("Cast", half, to=TensorProto.FLOAT)
        if self.style.weights == "int8":
            scale = np.abs(array).max(0).astype(np.float32) / 127
            codes = np.rint(array / scale).astype(np.int8)
            operands = [
                self.initializer(codes, "weight"),
                self.initializer(scale, "scale"),
                self.initializer(np.zeros(scale.shape, np.int8), "zero"),
            ]
            return self.node("DequantizeLinear", *operands, axis=1)
        return self.initializer(array.astype(self.float), "weight")

    def weight(self, shape, scale=None):
        scale = scale or 1.2 / np.sqrt(shape[0])
        return self.stored(self.random.normal(size=shape) * scale)

    def vector(self, size, around=0.0):
        array = around + 0.3 * self.random.normal(size=size)
        return self.initializer(array.astype(self.float), "vector")

    # What opsets spell differently.

    def axes(self, kind, x, axes, since, **attributes):
        if self.opset < since:
            return self.node(kind, x, axes=list(axes), **attributes)
        return self.node(kind, x, self.ints(*axes), **attributes)

    def mean(self, x):
        return self.axes("ReduceMean", x, [-1], 18, keepdims=1)

    def sum(self, x, axis, keepdims):
        return self.axes("ReduceSum", x, [axis], 13, keepdims=keepdims)

    def unsqueeze(self, x, *axes):
        return self.axes("Unsqueeze", x, axes, 13)

    def squeeze(self, x, *axes):
        return self.axes("Squeeze", x, axes, 13)

    def split(self, x, sizes, axis=-1):
        if self.opset >= 18 and len(set(sizes)) == 1:
            return self.node(
                "Split", x, results=len(sizes), axis=axis, num_outputs=len(sizes)
            )
        return self.node("Split", x, self.ints(*sizes), results=len(sizes), axis=axis)

    def slice(self, x, start, end, axis=-1, step=None):
        def value(v):
            return v if isinstance(v, str) else self.ints(v)

        operands = [x, value(start), value(end), self.ints(axis)]
        if step is not None:
            operands.append(self.ints(step))
        return self.node("Slice", *operands)

    def last(self, x, start, end):
        """x[..., start:end], with the end that exporters write for 'all'."""
        return self.slice(x, start, np.iinfo(np.int64).max if end is None else end)

    # Shapes.

    def size(self, x, dim):
        """A dimension as an integer scalar."""
        shape = self.node("Shape", x)
        return self.node("Gather", shape, self.constant(dim, np.int64), axis=0)

    def reshape(self, x, dims, like=None):
        """`dims` holds integers, or ("of", value, dimension)."""
        if self.style.shapes == "zeros" and not any(
            isinstance(d, tuple) and d[2] != i for i, d in enumerate(dims)
        ):
            fixed = [0 if isinstance(d, tuple) else d for d in dims]
            if like is None and all(
                not isinstance(d, tuple) or d[1] == x for d in dims
            ):
                return self.node("Reshape", x, self.ints(*fixed))
        parts = [
            (
                self.unsqueeze(self.size(d[1], d[2]), 0)
                if isinstance(d, tuple)
                else self.ints(d)
            )
            for d in dims
        ]
        return self.node("Reshape", x, self.node("Concat", *parts, axis=0))

    def transpose(self, x, *perm):
        return self.node("Transpose", x, perm=list(perm))

    def cast(self, x, to):
        return self.node("Cast", x, to=to)

    # The whole.

    def input(self, name, kind, dims):
        self.inputs.append(helper.make_tensor_value_info(name, kind, dims))
        return name

    def output(self, value, name, dims):
        self.nodes.append(helper.make_node("Identity", [value], [name], f"{name}_out"))
        self.outputs.append(helper.make_tensor_value_info(name, self.float_type, dims))

    def model(self):
        graph = helper.make_graph(
            self.nodes, "main", self.inputs, self.outputs, self.initializers
        )
        opsets = [helper.make_opsetid("", self.opset)]
        if any(node.domain == MICROSOFT for node in self.nodes):
            opsets.append(helper.make_opsetid(MICROSOFT, 1))
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            producer_name="nibble-test",
            ir_version=8 if self.opset < 23 else 11,
        )
        onnx.checker.check_model(model, full_check=True)
        return model
