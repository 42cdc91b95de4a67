# ===- tiny_gpt2.py - A model of ONNX Runtime's operators -----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   tiny_gpt2.py MODEL FOLDER
#
# Packed queries, keys and values, one tensor for the past of a layer, sums with
# norms, all as com.microsoft's operators: what must be found is counted from
# the architecture, and ONNX Runtime says what must come out.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import sys

import numpy as np
import onnxruntime
from checks import RECIPES, Failed, check_finite, check_found, command, compare, quantize

LAYERS = 5
FOUND = dict(linear=21, embedding=2, layer_norm=11, attention=5, activation=5)
DIMS = ["--dim", "batch_size=1..2", "--dim", "seq_len=1..16", "--dim", "past_seq_len=0..16"]
# batch, new tokens, earlier tokens
RUNS = [(2, 5, 0), (1, 1, 6), (2, 3, 4)]


def inputs_of(batch, new, past, random):
    inputs = {
        "input_ids": random.integers(0, 1000, (batch, new)),
        "position_ids": np.tile(np.arange(past, past + new), (batch, 1)),
        "attention_mask": np.ones((batch, past + new), np.int64),
    }
    inputs = {name: x.astype(np.int32) for name, x in inputs.items()}
    for layer in range(LAYERS):
        cache = random.normal(size=(2, batch, 4, past, 8))
        inputs[f"past_{layer}"] = cache.astype(np.float32)
    return inputs


def check(model, folder):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    random = np.random.default_rng(1)
    imported, raised = folder / "model.mlir", folder / "raised.mlir"
    command("quant-import", model, *DIMS, "-o", imported)
    command("quant-opt", imported, "--nibble-frontend", "-o", raised)
    wrong = check_found(raised.read_text(), FOUND, LAYERS)
    if wrong:
        raise Failed("found " + ", ".join(wrong))
    for recipe in ["float32", *RECIPES]:
        bundle = folder / f"{recipe}.nbl"
        command("quant-compile", "-q", model, *DIMS, f"--recipe={recipe}", "-o", bundle)
    for recipe in RECIPES:
        quantize(model, recipe, imported, folder / f"{recipe}.mlir")
    arrays, out = folder / "in.npz", folder / "out.npz"

    def interpret(module):
        command("quant-opt", module, f"--interpret={arrays}", "-o", out)
        return dict(np.load(out))

    def run(recipe):
        bundle = folder / f"{recipe}.nbl"
        command("quant-run", bundle, "--threads=1", "--input", arrays, "-o", out)
        return dict(np.load(out))

    for sizes in RUNS:
        inputs = inputs_of(*sizes, random)
        np.savez(arrays, **inputs)
        expected = dict(zip(names, session.run(names, inputs)))
        compare("imported", 1e-4, sizes, interpret(imported), expected)
        compare("raised", 1e-4, sizes, interpret(raised), expected)
        compare("compiled", 1e-4, sizes, run("float32"), expected)
        for recipe, tolerance in RECIPES.items():
            outputs = run(recipe)
            check_finite(recipe, outputs["logits"])
            meaning = interpret(folder / f"{recipe}.mlir")
            compare(recipe, tolerance, sizes, outputs, meaning)


folder = pathlib.Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
try:
    check(sys.argv[1], folder)
except Failed as failure:
    sys.exit(str(failure))
