# ===- unchanged.py - Scales move, logits stay ----------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   unchanged.py MODELS FOLDER
#
# Without quantization, models with folded scales give the logits that they gave
# before, but for rounding. MODELS has the ONNX files and inputs that
# test/models checks against PyTorch. How many constants are scaled says what
# was folded; no channel_scale stays.

import pathlib
import re
import subprocess
import sys

import numpy as np

# Scaled gains, biases and weights in a layer, for SmoothQuant and for AWQ.
MODELS = {
    # Two gains; AWQ also up -> down and v -> o. Heads are grouped: some channels
    # of o's input have one scale.
    "llama-ts14": (2, 4),
    # The gains are 1 + g. Nothing is outlined: this is two layers.
    "gemma2-ts17": (4, 8),
    # Norms with bias. v is a part of one weight with q and k; gelu takes none.
    "gpt2-ts16": (4, 6),
    # v -> o with bias, and relu takes factors.
    "opt-ts14": (4, 8),
    # Norms feed the residual; v -> o remains.
    "bert-ts14": (0, 2),
    # One norm for attention and MLP.
    "falcon-ts16": (2, 2),
    # up is a part of one weight with gate, by Slice and by Split.
    "phi3-ts15": (2, 2),
    "phi3-ex21": (2, 3),
}
METHODS = ["qmodel-smooth-outliers", "qmodel-awq{ratios=4 row-stride=1}"]


def run(*command):
    subprocess.run([str(part) for part in command], check=True)


def logits(module, inputs, output):
    run("quant-opt", module, f"--interpret={inputs}", "-o", output)
    with np.load(output) as arrays:
        return arrays["logits"]


def scaled(text):
    """New constants per layer, and scales that are left."""
    layers = max(len(re.findall(r"func\.func private @layer_", text)), 1)
    weights = re.findall(r"qmodel\.weight @\S*\.scaled(?:\.\d+)?\"? ", text)
    return len(weights) / layers, text.count("= qmodel.channel_scale")


def main():
    models, folder = map(pathlib.Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    failures = 0
    for name, expected in MODELS.items():
        path = folder / name
        with np.load(models / f"{name}.npz") as arrays:
            np.save(f"{path}.npy", arrays["0.input_ids"])
            np.savez(
                f"{path}.npz",
                input_ids=arrays["1.input_ids"],
                attention_mask=arrays["1.attention_mask"],
            )
        dims = ["--dim", "batch=1..4", "--dim", "sequence=1..32"]
        run("quant-import", models / f"{name}.onnx", *dims, "-o", f"{path}.mlir")
        wanted = logits(f"{path}.mlir", f"{path}.npz", f"{path}.out.npz")
        for method, count in zip(METHODS, expected):
            stages = f"{method},qmodel-fold-channel-scales"
            run(
                "quant-opt",
                f"{path}.mlir",
                "--pass-pipeline=builtin.module(nibble-frontend,qmodel-plan{bits=4 "
                f"group=8}},nibble-for-each-layer{{data={path}.npy "
                f"pipeline='{stages}'}})",
                "-o",
                f"{path}.scaled.mlir",
            )
            found = logits(f"{path}.scaled.mlir", f"{path}.npz", f"{path}.out.npz")
            error = np.abs(found - wanted).max() / np.abs(wanted).max()
            constants, left = scaled(pathlib.Path(f"{path}.scaled.mlir").read_text())
            ok = error < 1e-5 and constants == count and left == 0
            failures += not ok
            print(
                f"{name:12} {method.split('{')[0]:24} error {error:.1e}, "
                f"{constants:g} constants per layer (expected {count}), "
                f"{left} scales left: {'ok' if ok else 'FAIL'}",
                flush=True,
            )
    sys.exit(f"{failures} checks failed" if failures else 0)


main()
