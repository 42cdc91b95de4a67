# ===- onnxruntime_equal.py - Statistics of another runtime's values -----=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   onnxruntime_equal.py MODEL TOKENS ROWS STRIDE FILE
#
# The inputs of the model's products with weights become outputs, ONNX Runtime
# computes them for each row of tokens, and numpy their statistics in float64.

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "passes/Calibrate/Inputs"))
import safetensors  # noqa: E402

model = onnx.load(sys.argv[1])
tokens = np.load(sys.argv[2])[: int(sys.argv[3])]
stride = int(sys.argv[4])
tensors, metadata = safetensors.read(sys.argv[5])

constants = {i.name for i in model.graph.initializer}
for node in model.graph.node:
    # Weights may be stored transposed.
    if node.op_type == "Constant" or (
        node.op_type == "Transpose" and node.input[0] in constants
    ):
        constants.update(node.output)
inputs = {
    node.name.strip("/").removesuffix("/MatMul").removesuffix("/Gemm"): node.input[0]
    for node in model.graph.node
    if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants
}
for name in sorted(set(inputs.values())):
    model.graph.output.append(onnx.ValueInfoProto(name=name))
options = onnxruntime.SessionOptions()
# Every value as the graph has it.
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession(model.SerializeToString(), options)
names = [output.name for output in session.get_outputs()]
given = {i.name for i in session.get_inputs()}


def feed(row):
    ids = row[None].astype(np.int64)
    everything = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.arange(ids.shape[1])[None],
    }
    return {name: everything[name] for name in given}


runs = [dict(zip(names, session.run(None, feed(row)))) for row in tokens]

checked = 0
for key, text in metadata.items():
    if not key.startswith("value:"):
        continue
    value = key.removeprefix("value:")
    fields = json.loads(text)
    sources = {inputs[reader] for reader in fields["readers"]}
    assert len(sources) == 1, (value, sources)
    source = sources.pop()
    # Every layer that reads the value is named.
    assert set(fields["readers"]) == {r for r, x in inputs.items() if x == source}
    x = np.concatenate([run[source].reshape(-1, run[source].shape[-1]) for run in runs])
    x = x.astype(np.float64)
    assert fields["tokens"] == len(x) == tokens.size, (value, fields["tokens"])
    hessian = 2 / len(x) * x.T @ x
    expected = {
        "absolute_max": np.abs(x).max(0),
        "mean_absolute": np.abs(x).mean(0),
        "mean_square": (x * x).mean(0),
        "range": np.array([x.min(), x.max()]),
        "hessian": hessian,
        "rows": x[::stride],
    }
    for kind, array in expected.items():
        found = tensors[f"{value}#{kind}"]
        # Both runtimes compute in float32, in different order: a few last places
        # of the largest number that takes part.
        error = np.abs(found - array).max()
        assert error <= 2e-5 * np.abs(array).max(), (value, kind, error)
    checked += 1
assert checked == len(set(inputs.values())), (checked, len(set(inputs.values())))
print(checked, "values equal")
