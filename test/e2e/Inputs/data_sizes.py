# ===- data_sizes.py - Sizes that data decide, against NumPy -------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""usage: data_sizes.py FOLDER

Makes a model of NonZero, Compress and Unique, and of nodes that use how much
they found; interprets it and runs its bundle on several sets of inputs, and
compares both with NumPy."""

import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = ("float32", "float64", "float16", "bool", "int8", "uint8", "int32",
         "uint32", "int64", "uint64")


def element(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class Model:
    """Nodes, and for each output the function that computes it with NumPy."""

    def __init__(self):
        self.nodes, self.outputs, self.constants, self.expected = [], [], [], {}

    def constant(self, name, value, dtype=np.int64):
        self.constants.append(
            numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def add(self, op, inputs, outputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, outputs, **attributes))

    def output(self, name, dtype, rank, function):
        self.outputs.append(helper.make_tensor_value_info(
            name, element(dtype), [f"{name}_{i}" for i in range(rank)]))
        self.expected[name] = function


def unique(x, axis, is_sorted):
    """Values, first indices, inverse and counts, as ONNX orders them."""
    slices = x.reshape(-1) if axis is None else np.moveaxis(x, axis, 0)
    slices = slices.reshape(len(slices), slices[:1].size)
    key = lambda i: tuple((bool(np.isnan(v)), 0 if np.isnan(v) else v)
                          for v in slices[i].tolist())
    groups = {}
    for i in range(len(slices)):
        groups.setdefault(key(i), []).append(i)
    order = sorted(groups) if is_sorted else list(groups)
    number = {k: n for n, k in enumerate(order)}
    first = np.array([groups[k][0] for k in order], np.int64)
    inverse = np.array([number[key(i)] for i in range(len(slices))], np.int64)
    counts = np.array([len(groups[k]) for k in order], np.int64)
    values = (x.reshape(-1).take(first) if axis is None
              else x.take(first, axis=axis))
    return values, first, inverse, counts


def typed(x, dtype):
    """Unsigned integers have no sign that a cast could keep."""
    return (np.abs(x) if dtype[0] == "u" else x).astype(dtype)


def build(path):
    m = Model()
    m.add("Abs", ["x"], ["magnitude"])
    for dtype in TYPES:
        m.add("Cast", ["magnitude" if dtype[0] == "u" else "x"], [f"x_{dtype}"],
              to=element(dtype))
        m.add("NonZero", [f"x_{dtype}"], [dtype])
        m.output(dtype, "int64", 2, lambda a, dtype=dtype: np.array(
            np.nonzero(typed(a["x"], dtype))))
    # No dimension at all, and a constant.
    m.add("NonZero", ["scalar"], ["of_scalar"])
    m.output("of_scalar", "int64", 2, lambda a: np.zeros(
        (0, int(a["scalar"] != 0)), np.int64))
    m.add("NonZero", [m.constant("fixed", [3, 0, -1])], ["of_constant"])
    m.output("of_constant", "int64", 2, lambda a: np.array([[0, 2]]))
    # The elements, their number, and the same number of others.
    m.add("Transpose", ["float32"], ["transposed"], perm=[1, 0])
    m.add("GatherND", ["x", "transposed"], ["picked"])
    m.add("Exp", ["picked"], ["exponentials"])
    m.add("Add", ["exponentials", "picked"], ["sums"])
    m.output("sums", "float32", 1, lambda a: (
        lambda p: np.exp(p.astype(np.float64)) + p)(a["x"][a["x"] != 0]))
    m.add("Shape", ["picked"], ["how_many"])
    m.add("Mul", ["how_many", m.constant("two", 2)], ["twice"])
    m.output("twice", "int64", 1,
             lambda a: np.array([2 * np.count_nonzero(a["x"])]))
    m.add("ConstantOfShape", ["twice"], ["zeros"])
    m.output("zeros", "float32", 1,
             lambda a: np.zeros(2 * np.count_nonzero(a["x"]), np.float32))
    # A size of what another size chose.
    m.add("Greater", ["picked", m.constant("half", 0.5, np.float32)], ["large"])
    m.add("NonZero", ["large"], ["of_picked"])
    m.output("of_picked", "int64", 2,
             lambda a: np.array(np.nonzero(a["x"][a["x"] != 0] > 0.5)))
    m.add("ReduceMean", ["x_float64", m.constant("rows_axis", [0])], ["means"],
          keepdims=0)
    m.add("Greater", ["means", m.constant("none", 0.0, np.float64)], ["columns"])
    m.add("Compress", ["x", "columns"], ["compressed"], axis=1)
    means = lambda a: a["x"].astype(np.float64).mean(0) > 0
    m.output("compressed", "float32", 2, lambda a: a["x"][:, means(a)])
    m.add("Compress", ["x", "columns"], ["compressed_flat"])
    m.output("compressed_flat", "float32", 1, lambda a: a["x"].reshape(-1)[
        :len(means(a))][means(a)])
    # An expert: the rows of some tokens through a matrix, and back to their
    # places.
    weight = np.random.default_rng(3).standard_normal((8, 5)).astype(np.float32)
    m.add("Gather", ["hidden", m.constant("column", 0)], ["scores"], axis=1)
    m.add("Greater", ["scores", m.constant("zero", 0.0, np.float32)], ["routed"])
    m.add("NonZero", ["routed"], ["token_row"])
    m.add("Squeeze", ["token_row", m.constant("front", [0])], ["tokens"])
    m.add("Gather", ["hidden", "tokens"], ["chosen"])
    m.add("MatMul", ["chosen", m.constant("weight", weight, np.float32)],
          ["product"])
    m.add("Relu", ["product"], ["activated"])
    m.add("Shape", ["hidden"], ["hidden_shape"], start=0, end=1)
    m.add("Concat", ["hidden_shape", m.constant("five", [5])], ["result_shape"],
          axis=0)
    m.add("ConstantOfShape", ["result_shape"], ["no_result"])
    m.add("Unsqueeze", ["tokens", m.constant("back", [1])], ["token_column"])
    m.add("ScatterND", ["no_result", "token_column", "activated"], ["expert"],
          reduction="add")
    m.output("expert", "float32", 2, lambda a: np.where(
        a["hidden"][:, :1] > 0, np.maximum(
            a["hidden"].astype(np.float64) @ weight, 0), 0).astype(np.float32))
    for dtype, axis, is_sorted in (("float32", None, 1), ("float32", None, 0),
                                   ("int8", 0, 1), ("int8", -1, 0),
                                   ("uint64", None, 1), ("bool", 1, 1)):
        name = f"unique_{dtype}_{axis}_{is_sorted}".replace("-", "m")
        names = [f"{name}_{part}" for part in ("y", "first", "inverse", "counts")]
        attributes = {} if axis is None else {"axis": axis}
        m.add("Unique", [f"x_{dtype}"], names, sorted=is_sorted, **attributes)
        for i, output in enumerate(names):
            m.output(output, dtype if i == 0 else "int64",
                     1 if i or axis is None else 2,
                     lambda a, i=i, d=dtype, x=axis, s=is_sorted: unique(
                         typed(a["x"], d), x, s)[i])
    graph = helper.make_graph(
        m.nodes, "sizes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "cols"]),
         helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["rows", 8]),
         helper.make_tensor_value_info("scalar", TensorProto.INT32, [])],
        m.outputs, m.constants)
    onnx.save(helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return m.expected


def sets():
    random = np.random.default_rng(11)
    for rows, cols in ((4, 6), (1, 5), (3, 1)):
        # Repeated values, a third of them zero.
        yield random.integers(-2, 3, (rows, cols)) * (
            random.integers(0, 3, (rows, cols)) > 0)
    yield np.zeros((4, 6))
    yield np.full((4, 6), 1.5)
    yield np.zeros((4, 0))
    yield np.arange(24).reshape(4, 6) % 7 - 1


def compare(what, got, expected):
    for name, want in expected.items():
        have = got[name]
        same = have.shape == want.shape and (
            np.allclose(have, want, rtol=1e-6, atol=1e-6)
            if want.dtype.kind == "f" else np.array_equal(have, want))
        if not same:
            sys.exit(f"{what}: {name} is {have.shape} {have.tolist()}, expected "
                     f"{want.shape} {want.tolist()}")


def run(command):
    subprocess.run(command, check=True)


def main():
    folder = sys.argv[1]
    model, bundle = f"{folder}/model.onnx", f"{folder}/model.nbl"
    expected = build(model)
    dims = ["--dim", "rows=0..4", "--dim", "cols=0..6"]
    run(["quant-compile", "-q", model, *dims, "-o", bundle])
    run(["quant-import", model, "-o", f"{folder}/model.mlir"])
    done = 0
    for x in sets():
        hidden = np.random.default_rng(done).standard_normal((len(x), 8))
        arrays = {"x": x.astype(np.float32), "hidden": hidden.astype(np.float32),
                  "scalar": np.array(done % 2, np.int32)}
        np.savez(f"{folder}/in.npz", **arrays)
        want = {name: np.asarray(f(arrays)) for name, f in expected.items()}
        run(["quant-opt", f"{folder}/model.mlir",
             f"--interpret={folder}/in.npz", "-o", f"{folder}/out.npz"])
        compare("interpreted", np.load(f"{folder}/out.npz"), want)
        for threads in (1, 3):
            run(["quant-run", bundle, "--input", f"{folder}/in.npz",
                 f"--threads={threads}", "-o", f"{folder}/out.npz"])
            compare("compiled", np.load(f"{folder}/out.npz"), want)
        done += 1
    print(f"{done} sets of inputs agree")


if __name__ == "__main__":
    main()
