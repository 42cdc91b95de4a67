# ===- layers.py - A small model, its data, and its statistics -----------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   layers.py make FOLDER              model.mlir and variants, x.npz, other.npz
#   layers.py check FILE [KIND...]     FILE has what numpy finds, and no kinds
#                                      but channels and these
#
# Two layers, of which each has two linears that read one value and a third
# behind them, and a head. Numpy computes the model in float64 from the same
# numbers.

import pathlib
import sys

import numpy as np

import safetensors

WIDTH, TOKENS, STRIDE = 4, 11, 8
RANDOM = np.random.default_rng(7)
WEIGHTS = {
    name: RANDOM.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    for name in ["q0", "k0", "o0", "q1", "k1", "o1", "head"]
}
X = RANDOM.standard_normal((TOKENS, WIDTH)).astype(np.float32)

HEADER = """module {{
{weights}
func.func @main(%x: tensor<?x4xf32> {{onnx.name = "x", qmodel.dims = ["tokens", "4"]}}) -> (tensor<?x4xf32> {{onnx.name = "y"}}) {{
  %0 = call @layer_0(%x) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = call @layer_1(%0) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %w = qmodel.load @head : tensor<4x4xf32>
  %y = qmodel.linear "head" %1, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}}
"""
LAYER = """func.func private @layer_{i}(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {{
  %a = qmodel.load @q{i} : tensor<4x4xf32>
  %b = qmodel.load @k{i} : tensor<4x4xf32>
  %c = qmodel.load @o{i} : tensor<4x4xf32>
  %q = qmodel.linear "q{i}" %x, %a {plan}: (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %k = qmodel.linear "k{i}" %x, %b {plan}: (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %s = qmodel.{op} %q, %k : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %y = qmodel.linear "o{i}" %s, %c {plan}: (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}}
"""
PLAN = (
    "{plan = #qmodel.plan<weight = <bits = 4, group = 0, symmetric = false, "
    "grid = gptq, rounding = half_even>>} "
)


def text(weights, op="add"):
    lines = [
        f"qmodel.weight @{name} : tensor<4x4xf32> = dense<{w.tolist()}> : tensor<4x4xf32>"
        for name, w in weights.items()
    ]
    parts = [LAYER.format(i=i, plan=PLAN, op=op) for i in range(2)]
    return HEADER.format(weights="\n".join(lines)) + "".join(parts) + "}\n"


def make(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.mlir").write_text(text(WEIGHTS))
    # Another number in one weight; another op.
    changed = dict(WEIGHTS, q0=WEIGHTS["q0"] + np.eye(WIDTH, dtype=np.float32))
    (folder / "weight.mlir").write_text(text(changed))
    (folder / "op.mlir").write_text(text(WEIGHTS, op="multiply"))
    np.savez(folder / "x.npz", x=X)
    np.savez(folder / "other.npz", x=X[:-1])
    np.savez(folder / "infinite.npz", x=np.full_like(X, np.inf))


def values():
    """The inputs of the linears by the first that reads them, in float64."""
    x, found = X.astype(np.float64), {}
    for i in range(2):
        found[f"q{i}"] = x
        s = x @ (WEIGHTS[f"q{i}"] + WEIGHTS[f"k{i}"].astype(np.float64)).T
        found[f"o{i}"] = s
        x = s @ WEIGHTS[f"o{i}"].T.astype(np.float64)
    found["head"] = x
    return found


def statistics(x):
    return {
        "absolute_max": np.abs(x).max(0),
        "mean_absolute": np.abs(x).mean(0),
        "mean_square": (x * x).mean(0),
        "range": np.array([x.min(), x.max()]),
        "hessian": 2 / len(x) * x.T @ x,
        "rows": x[::STRIDE],
    }


def check(path, kinds):
    tensors, metadata = safetensors.read(path)
    assert metadata["format"] == "nibble-statistics-1", metadata
    wanted = ["absolute_max", "mean_absolute", "mean_square", "range", *kinds]
    expected = {
        f"{name}#{kind}": value
        for name, x in values().items()
        for kind, value in statistics(x).items()
        if kind in wanted
    }
    assert tensors.keys() == expected.keys(), sorted(tensors)
    for name, value in expected.items():
        # The model runs in float32; its sums are short.
        np.testing.assert_allclose(tensors[name], value, rtol=2e-5, atol=2e-5)
    print(len(expected), "tensors equal")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        check(sys.argv[2], sys.argv[3:])
