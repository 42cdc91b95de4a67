# ===- sparse.py - Small models of many families, pruned ------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   sparse.py FOLDER FAMILY...
#
# The first models of these families with two of every four weights, in float32
# and in 4 bits: the bundle gives what the interpreter computes, and linears run
# 2:4 sparse weights.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import re
import sys

import numpy as np
from checks import Failed, check_finite, command
from families import models
from run import Case

FLOAT = "w16a16-24"
RECIPES = [FLOAT, "w4a16-24"]
TOLERANCE = 1e-4


def check(case, recipe):
    data = f"{case.path}.data.npy"
    random = np.random.default_rng(case.config.seed)
    np.save(data, random.integers(0, case.config.vocabulary, (4, 16)))
    options = [f"--recipe={recipe}", f"--data={data}"]
    bundle, module = f"{case.path}.nbl", f"{case.path}.{recipe}.mlir"
    command("quant-import", f"{case.path}.onnx", *case.dims, "-o",
            f"{case.path}.mlir")
    command("quant-compile", "-q", f"{case.path}.onnx", *case.dims, *options,
            "-o", bundle)
    pipeline = command("quant-compile", f"{case.path}.onnx", *case.dims,
                       *options, "--print-pipeline").strip()
    pipeline = pipeline.replace(",nibble-lower", "")
    command("quant-opt", f"{case.path}.mlir", f"--pass-pipeline={pipeline}",
            "-o", module)
    pruned = len(re.findall("qmodel.decompress_24",
                            pathlib.Path(module).read_text()))
    packed = command("quant-opt", module, "--qkernel-pack")
    kept = len(re.findall("sparse24 = true", packed))
    # Codes of few inputs are smaller in full.
    filled = len(re.findall("; packed in full", packed))
    if kept == 0 or kept + filled != pruned or (recipe == FLOAT and filled):
        raise Failed(f"{recipe}: {kept} of {pruned} pruned linears are sparse")
    for number in {0, len(case.runs) - 1}:
        inputs = f"{case.path}.{number}.npz"
        out = f"{case.path}.out.npz"
        command("quant-run", bundle, "--threads=2", "--input", inputs, "-o", out)
        with np.load(out) as arrays:
            compiled = case.forget_padding(case.runs[number], dict(arrays))
        check_finite(recipe, compiled["logits"])
        case.interpret(recipe, module, {number: compiled}, TOLERANCE)
    return kept


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    families = {}
    for config in models():
        families.setdefault(config.name.split("-")[0], config)
    for name in sys.argv[2:]:
        case = Case(families[name], folder)
        for recipe in RECIPES:
            try:
                print(f"{name} {recipe}: {check(case, recipe)} sparse linears")
            except Failed as failure:
                sys.exit(f"{name}: {failure}")


if __name__ == "__main__":
    main()
