# ===- gptq_ranges.py - Searched ranges of GPTQ against the oracle --------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""usage: gptq_ranges.py FOLDER. Compares qmodel-gptq{ranges=searched} on text
modules with the float64 oracle's `mse`: codes, scales and zero points."""
import pathlib
import sys

import numpy as np

sys.path.insert(
    0, str(pathlib.Path(__file__).resolve().parents[3] / "oracles"))
from gptq import gptq  # noqa: E402
from text_modules import Layer, constants, module, quant_opt, rules  # noqa: E402

# rows, width, group, bits, symmetric
CASES = [
    (4, 16, 8, 2, False), (3, 24, 8, 3, False), (5, 20, 8, 4, False),
    (1, 12, 0, 3, False), (6, 32, 16, 2, True), (4, 32, 32, 3, True),
    (8, 48, 16, 4, True), (2, 8, 8, 8, False),
]


def expected(weight, hessian, group, bits, symmetric):
    """The oracle's, with the width padded to whole groups."""
    width = weight.shape[1]
    padding = -width % group if group else 0
    padded = np.pad(weight, ((0, 0), (0, padding)))
    full = np.pad(hessian, ((0, padding), (0, padding)))
    result = gptq(padded, full, bits, symmetric, group or -1, act_order=True,
                  static_groups=True, mse=True)
    return result["codes"][:, :width], result["scale"], result["zero"]


def main():
    generator = np.random.default_rng(5)
    layers, schemes, oracle = [], {}, {}
    for i, (rows, width, group, bits, symmetric) in enumerate(CASES):
        name = f"w{i}"
        weight = generator.standard_t(4, (rows, width)).astype(np.float32)
        inputs = generator.normal(size=(4 * width, width))
        inputs *= generator.uniform(0.5, 2, width)
        hessian = 2 / len(inputs) * inputs.T @ inputs
        layers.append(Layer(name, weight, tokens=len(inputs), hessian=hessian))
        schemes[name] = {"bits": bits, "group": group, "symmetric": symmetric,
                         "grid": "gptq"}
        oracle[name] = expected(weight, hessian, group, bits, symmetric)
    file = rules(sys.argv[1], schemes)
    text, _ = quant_opt(
        module(layers), f"--qmodel-plan=rules={file}",
        "--qmodel-gptq=ranges=searched precision=float64")
    found = constants(text)
    full, _ = quant_opt(
        module(layers), f"--qmodel-plan=rules={file}",
        "--qmodel-gptq=precision=float64")
    smaller = 0
    for name, (codes, scales, zeros) in oracle.items():
        np.testing.assert_array_equal(found[f"{name}.codes"], codes, name)
        np.testing.assert_array_equal(found[f"{name}.zeros"], zeros, name)
        np.testing.assert_allclose(found[f"{name}.scales"], scales, 1e-6)
        smaller += np.sum(found[f"{name}.scales"]
                          < constants(full)[f"{name}.scales"])
    if not smaller:
        sys.exit("no range was smaller than the full one")
    print(f"{len(CASES)} matrices agree, {smaller} ranges smaller")


main()
