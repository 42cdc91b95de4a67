# ===- models.py - Small ONNX models for the import tests ----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Writes the small ONNX models that the import tests read.

usage: models.py NAME OUTPUT_FOLDER

Each function below writes model.onnx, and whatever it refers to, into the
folder.
"""

import os
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def save(folder, graph, opset=17, domains=(), ir=8, functions=()):
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(name, 1) for name in domains]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=ir, functions=functions
    )
    path = os.path.join(folder, "model.onnx")
    with open(path, "wb") as file:
        file.write(model.SerializeToString(deterministic=True))
    return path


def typed_fields(folder):
    """Payloads in the typed fields of TensorProto, and raw ones."""
    tensors = [
        helper.make_tensor("f32", FLOAT, [3], [1.0, -2.5, 0.0]),
        helper.make_tensor("f64", TensorProto.DOUBLE, [2], [1.0, 3.0]),
        helper.make_tensor("i64", INT64, [3], [-1, 0, 9223372036854775807]),
        helper.make_tensor("i32", TensorProto.INT32, [2], [-5, 7]),
        helper.make_tensor("i8", TensorProto.INT8, [3], [-128, 0, 127]),
        helper.make_tensor("u8", TensorProto.UINT8, [2], [0, 255]),
        helper.make_tensor("u64", TensorProto.UINT64, [1], [2**64 - 1]),
        helper.make_tensor("flag", BOOL, [3], [True, False, True]),
        helper.make_tensor("i4", TensorProto.INT4, [5], [-8, 7, -1, 0, 3]),
        helper.make_tensor("u2", TensorProto.UINT2, [5], [0, 1, 2, 3, 1]),
        # Bits of 1.0 and -2.0.
        TensorProto(
            name="f16", data_type=TensorProto.FLOAT16, dims=[2],
            int32_data=[0x3C00, 0xC000],
        ),
        TensorProto(
            name="bf16", data_type=TensorProto.BFLOAT16, dims=[2],
            int32_data=[0x3F80, 0xC000],
        ),
        helper.make_tensor("raw", FLOAT, [2], struct.pack("<2f", 4, 8), True),
        # Large enough for weights: one mapped, one decoded from varints.
        helper.make_tensor("mapped", FLOAT, [20], list(range(20))),
        helper.make_tensor("decoded", INT64, [1025], list(range(1025))),
        helper.make_tensor("rate", FLOAT, [17], [0.0] * 17),
    ]
    names = [t.name for t in tensors if t.name != "rate"]
    graph = helper.make_graph(
        [helper.make_node("Identity", [n], [n + "_out"], n) for n in names],
        "typed",
        [],
        [
            value(t.name + "_out", list(t.dims), t.data_type)
            for t in tensors
            if t.name != "rate"
        ],
        tensors,
    )
    save(folder, graph, opset=25, ir=13)


def constants(folder):
    """Every supported form of Constant."""
    node = helper.make_node
    tensor = helper.make_tensor("t", INT64, [2], [3, 4])
    large = numpy_helper.from_array(np.arange(32, dtype=np.float32))
    graph = helper.make_graph(
        [
            node("Constant", [], ["a"], "tensor", value=tensor),
            node("Constant", [], ["b"], "int", value_int=5),
            node("Constant", [], ["c"], "ints", value_ints=[6, 7]),
            node("Constant", [], ["d"], "float", value_float=0.5),
            node("Constant", [], ["e"], "floats", value_floats=[1.5, 2.5]),
            node("Constant", [], ["f"], "large", value=large),
        ],
        "constants",
        [],
        [
            value("a", [2], INT64), value("b", [], INT64),
            value("c", [2], INT64), value("d", []), value("e", [2]),
            value("f", [32]),
        ],
    )
    save(folder, graph)


def wrong_rank(folder):
    """A result and an output declared with a rank that does not follow."""
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Transpose", ["x"], ["y"], "turned"),
            node("Identity", ["y"], ["z"], "after"),
        ],
        "wrong_rank",
        [value("x", ["n", 4])],
        [value("y", ["n", 4, 1]), value("z", None), value("x", ["n"])],
    )
    save(folder, graph)


def bad_attribute(folder):
    """An attribute that cannot be represented, and all that follows from it."""
    fill = TensorProto(name="s", data_type=TensorProto.STRING, dims=[1])
    fill.string_data.append(b"text")
    graph = helper.make_graph(
        [helper.make_node("Strange", ["x"], ["y"], "strange", fill=fill,
                          domain="com.example")],
        "bad_attribute",
        [value("x", ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
    )
    save(folder, graph, domains=["com.example"])


def agreeing_branches(folder):
    """Branches that agree on one dimension of two; the file declares none."""
    def branch(name, axis):
        part = helper.make_node("Concat", ["x", "x"], [name], name + "_concat",
                                axis=axis)
        return helper.make_graph([part], name, [], [value(name, None)])

    node = helper.make_node(
        "If", ["c"], ["y"], "if", then_branch=branch("a", 0),
        else_branch=branch("b", 0),
    )
    graph = helper.make_graph(
        [node], "agreeing", [value("c", [1], BOOL), value("x", ["n", 4])],
        [value("y", None)],
    )
    save(folder, graph)


def namesakes(folder):
    """Weights of many nodes of one name."""
    nodes, outputs = [], []
    for i in range(4):
        table = helper.make_tensor("t", FLOAT, [20], [float(i)] * 20)
        nodes.append(helper.make_node("Constant", [], [f"t{i}"], "same",
                                      value=table))
        nodes.append(helper.make_node("Identity", [f"t{i}"], [f"y{i}"], "id"))
        outputs.append(value(f"y{i}", [20]))
    save(folder, helper.make_graph(nodes, "namesakes", [], outputs))


def external(folder, location="weights.bin", offset=64, size=None,
             length=True):
    size = 64 + 128 if size is None else size
    with open(os.path.join(folder, "weights.bin"), "wb") as file:
        file.write(np.arange(size // 4, dtype=np.float32).tobytes())
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[32])
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": str(offset)}
    if length:
        entries["length"] = "128"
    for key, text in entries.items():
        tensor.external_data.add(key=key, value=text)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"], "add")],
        "external",
        [value("x", ["n", 32])],
        [value("y", ["n", 32])],
        [tensor],
    )
    save(folder, graph)


def external_parent(folder):
    external(folder, location="../weights.bin")


def external_absolute(folder):
    external(folder, location="/weights.bin")


def external_short(folder):
    external(folder, size=128)


def external_missing(folder):
    external(folder, location="nothing.bin")


def external_offset(folder):
    external(folder, offset=2**64 - 64)


def external_link(folder):
    external(folder, location="link.bin")
    outside = os.path.join(os.path.dirname(folder.rstrip("/")), "outside.bin")
    with open(outside, "wb") as file:
        file.write(bytes(192))
    link = os.path.join(folder, "link.bin")
    if not os.path.islink(link):
        os.symlink(outside, link)


def opset_axes(folder, opset):
    """Squeeze and ReduceMean with axes as attribute or as input."""
    node = helper.make_node
    initializers = []
    if opset < 13:
        nodes = [
            node("Unsqueeze", ["x"], ["u"], "unsqueeze", axes=[1]),
            node("ReduceMean", ["u"], ["y"], "mean", axes=[-1], keepdims=0),
        ]
    else:
        initializers = [
            helper.make_tensor("one", INT64, [1], [1]),
            helper.make_tensor("last", INT64, [1], [-1]),
        ]
        nodes = [
            node("Unsqueeze", ["x", "one"], ["u"], "unsqueeze"),
            node("ReduceMean", ["u", "last"], ["y"], "mean", keepdims=0),
        ]
    graph = helper.make_graph(
        nodes, "axes", [value("x", ["n", 8])], [value("y", None)],
        initializers,
    )
    save(folder, graph, opset=opset)


def opset11(folder):
    opset_axes(folder, 11)


def opset18(folder):
    opset_axes(folder, 18)


def ir3(folder):
    """Until IR version 3 initializers are graph inputs, too."""
    weight = helper.make_tensor("w", FLOAT, [4, 8], [0.5] * 32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")],
        "ir3",
        [value("x", [None, 4]), value("w", [4, 8])],
        [value("y", [None, 8])],
        [weight],
    )
    save(folder, graph, opset=8, ir=3)


def branches(folder):
    """An If whose branches read values of the graph around them."""
    node = helper.make_node
    then_graph = helper.make_graph(
        [node("Add", ["x", "x"], ["t"], "twice")], "then", [],
        [value("t", ["n", 4])],
    )
    else_graph = helper.make_graph(
        [node("Identity", ["x"], ["e"], "once")], "else", [],
        [value("e", ["n", 4])],
    )
    graph = helper.make_graph(
        [node("If", ["c"], ["y"], "choose", then_branch=then_graph,
              else_branch=else_graph)],
        "branches",
        [value("c", [], BOOL), value("x", ["n", 4])],
        [value("y", ["n", 4])],
    )
    save(folder, graph)


def function(folder):
    """A model-local function, which is inlined."""
    body = helper.make_function(
        "local", "Double", ["a"], ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"], "inner")],
        [helper.make_opsetid("", 17)],
    )
    graph = helper.make_graph(
        [helper.make_node("Double", ["x"], ["y"], "call", domain="local")],
        "function", [value("x", ["n"])], [value("y", ["n"])],
    )
    save(folder, graph, domains=["local"], functions=[body])


def unknown(folder):
    """Operators that nobody knows, with and without a declared result."""
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Strange", ["x"], ["y"], "strange", domain="com.example",
                 level=3, names=["a", "b"]),
            node("SimplifiedLayerNormalization", ["y", "g"], ["z"], "norm"),
        ],
        "unknown",
        [value("x", ["n", 4]), value("g", [4])],
        [value("z", None)],
        value_info=[value("y", ["n", 4])],
    )
    save(folder, graph, domains=["com.example"])


def undeclared(folder):
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Strange", ["x"], ["y"], "first", domain="com.example"),
            node("Relu", ["y"], ["z"], "after"),
            node("Stranger", ["x"], ["w"], "second", domain="com.example"),
            helper.make_node("StringNormalizer", ["s"], ["t"], "text"),
        ],
        "undeclared",
        [value("x", ["n", 4]), value("s", [2], TensorProto.STRING)],
        [value("z", None), value("w", None),
         value("t", [2], TensorProto.STRING)],
    )
    save(folder, graph, domains=["com.example"])


def cache(folder, key="total", value_dim="total"):
    """A cache: the outputs tell that `total` is past + seq."""
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Concat", ["past_k", "k"], ["present_k"], "key", axis=1),
            node("Concat", ["past_v", "v"], ["present_v"], "value", axis=1),
            node("Mul", ["present_k", "mask"], ["masked"], "masked"),
        ],
        "cache",
        [
            value("k", ["batch", "seq"]), value("past_k", ["batch", "past"]),
            value("v", ["batch", "seq"]), value("past_v", ["batch", "past2"]),
            value("mask", ["batch", "total"]),
        ],
        [
            value("present_k", ["batch", key]),
            value("present_v", ["batch", value_dim]),
            value("masked", None),
        ],
    )
    save(folder, graph)


def cache_related(folder):
    cache(folder, value_dim="other")


def cache_conflict(folder):
    cache(folder)


def wrong_output(folder):
    graph = helper.make_graph(
        [helper.make_node("com_concat", ["x", "w"], ["y"], "join",
                          domain="com.microsoft")],
        "wrong", [value("x", [2, 3]), value("w", [4])],
        [value("y", [2, 5])],
    )
    # FusedMatMul has no schema in ONNX: only our own rule knows its result.
    graph.node[0].op_type = "FusedMatMul"
    graph.input[1].CopyFrom(value("w", [3, 4]))
    save(folder, graph, domains=["com.microsoft"])


def dims(folder):
    """Names of dimensions as exporters write them."""
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Shape", ["x"], ["s"], "shape"),
            node("Concat", ["x", "y"], ["z"], "concat", axis=1),
        ],
        "dims",
        [value("x", ["batch size", None, 4]), value("y", [None, "past + seq", 4])],
        [value("s", [3], INT64), value("z", None)],
    )
    save(folder, graph)


def large(folder):
    """A file above protobuf's limit, without its bytes on the disk."""
    with open(os.path.join(folder, "model.onnx"), "wb") as file:
        file.truncate(2**31)


def garbage(folder):
    with open(os.path.join(folder, "model.onnx"), "wb") as file:
        file.write(b"this is not a model, but a text of some length\n" * 4)


def truncated(folder):
    typed_fields(folder)
    path = os.path.join(folder, "model.onnx")
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])


def deep(folder):
    """Graphs inside graphs inside graphs, in wire format: Python's protobuf
    would not write them."""
    content = b""
    # Fields: attribute.g = 6, node.attribute = 5, graph.node = 1.
    for _ in range(60):
        for number in (6, 5, 1):
            content = wire_field(number, content)
    with open(os.path.join(folder, "model.onnx"), "wb") as file:
        file.write(wire_field(7, content))


def wire_field(number, content):
    size, length = len(content), b""
    while size >= 128:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def short_payload(folder):
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[400])
    tensor.raw_data = bytes(1500)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"], "id")],
        "short", [], [value("y", [400])], [tensor],
    )
    save(folder, graph)


if __name__ == "__main__":
    os.makedirs(sys.argv[2], exist_ok=True)
    globals()[sys.argv[1]](sys.argv[2])
