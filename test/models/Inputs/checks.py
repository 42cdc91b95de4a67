# ===- checks.py - Running the tools, comparing what comes out ------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #

import re
import subprocess

import numpy as np

KINDS = [
    "linear",
    "embedding",
    "rms_norm",
    "layer_norm",
    "rope",
    "attention",
    "activation",
    "gated_activation",
]
# Recipes, and how far a bundle may be from the interpreter.
RECIPES = {"w4a16-rtn": 1e-4}


class Failed(Exception):
    pass


def command(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        errors = [line for line in lines if "error:" in line]
        raise Failed(f"{words[0]}: {(errors or lines)[0]}")
    return done.stdout


def compare(what, tolerance, run, outputs, expected):
    """Fails unless every expected array is there, as near as `tolerance` of its
    largest element. Returns the largest error."""
    largest = 0.0
    for name, wanted in expected.items():
        got = outputs[name].astype(np.float64)
        if got.shape != wanted.shape:
            raise Failed(f"{what}: {name} expects {wanted.shape}, got {got.shape}")
        error = np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-6)
        if not error <= tolerance:
            raise Failed(f"{what}: {name} differs by {error:.1e} in run {run}")
        largest = max(largest, error)
    return largest


def check_found(text, expected, layers):
    """Ops of the model after the frontend, against what it was built of."""
    found = {kind: len(re.findall(rf"\bqmodel\.{kind}\b", text)) for kind in KINDS}
    wrong = [
        f"{found[kind]} of {expected.get(kind, 0)} {kind}"
        for kind in KINDS
        if found[kind] != expected.get(kind, 0)
    ]
    outlined = len(re.findall(r"func\.func private @layer_", text))
    if outlined != layers:
        wrong.append(f"{outlined} of {layers} layers")
    return wrong


def quantize(model, recipe, module, result):
    """Writes the IR of `model` as a recipe quantizes it."""
    pipeline = command("quant-compile", model, f"--recipe={recipe}", "--print-pipeline")
    command(
        "quant-opt",
        module,
        "--pass-pipeline=" + pipeline.strip().replace(",nibble-lower", ""),
        "-o",
        result,
    )


def check_finite(recipe, logits):
    if not np.isfinite(logits).all() or np.ptp(logits) == 0:
        raise Failed(f"{recipe}: logits are not finite, or all the same")
