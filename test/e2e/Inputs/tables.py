# ===- tables.py - Embeddings whose rows arrive as codes -----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   tables.py FOLDER
#
# GatherBlockQuantized in the forms that ONNX Runtime has: bytes that hold codes
# of 4 or 8 bits, int4 and uint4, with zero points and without; compiled, against
# ONNX Runtime, to the last bit.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(5)
ROWS, WIDTH, BLOCK = 10, 64, 16
BLOCKS = WIDTH // BLOCK


def tensor(name, kind, columns, bits):
    data = rng.integers(0, 256, (ROWS, columns * bits // 8), np.uint8)
    if kind == TensorProto.UINT8:
        return numpy_helper.from_array(data, name)
    return helper.make_tensor(name, kind, (ROWS, columns), data.tobytes(),
                              raw=True)


def model(kind, bits, zeros):
    stored = [tensor("codes", kind, WIDTH, bits),
              numpy_helper.from_array(rng.standard_normal(
                  (ROWS, BLOCKS)).astype(np.float32), "scales")]
    if zeros:
        stored.append(tensor("zeros", kind, BLOCKS, bits))
    attributes = {"bits": bits} if kind == TensorProto.UINT8 else {}
    node = helper.make_node(
        "GatherBlockQuantized",
        ["codes", "ids", "scales"] + ["zeros"] * zeros, ["y"],
        domain="com.microsoft", gather_axis=0, quantize_axis=1,
        block_size=BLOCK, **attributes)
    graph = helper.make_graph(
        [node], "table",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, WIDTH])],
        stored)
    return helper.make_model(
        graph, ir_version=10,
        opset_imports=[helper.make_opsetid("", 21),
                       helper.make_opsetid("com.microsoft", 1)])


folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for kind, bits, zeros in ((TensorProto.UINT8, 4, False),
                          (TensorProto.UINT8, 4, True),
                          (TensorProto.UINT8, 8, False),
                          (TensorProto.UINT8, 8, True),
                          (TensorProto.INT4, 4, False),
                          (TensorProto.UINT4, 4, False),
                          (TensorProto.UINT4, 4, True)):
    onnx.save(model(kind, bits, zeros), folder / "table.onnx")
    ids = rng.integers(0, ROWS, (2, 3))
    np.save(folder / "ids.npy", ids)
    expected, = onnxruntime.InferenceSession(folder / "table.onnx").run(
        None, {"ids": ids})
    subprocess.run(["quant-compile", "-q", folder / "table.onnx",
                    "--recipe=float32", "-o", folder / "table.nbl"], check=True)
    subprocess.run(["quant-run", folder / "table.nbl", "--input",
                    f"ids={folder}/ids.npy", "-o", folder / "out.npz"],
                   check=True)
    found = np.load(folder / "out.npz")["y"]
    if not np.array_equal(found, expected):
        sys.exit(f"{TensorProto.DataType.Name(kind)}, {bits} bits: largest "
                 f"difference {np.abs(found - expected).max()}")
