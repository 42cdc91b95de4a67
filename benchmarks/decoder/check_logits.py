#!/usr/bin/env python3
# ===- check_logits.py - One model, three programs, the same logits -------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compiles FOLDER/model.onnx (see make_model.py) without quantization and
compares its logits with ONNX Runtime's and, with --peer, with llama.cpp's on
FOLDER/model-f16.gguf: what compare.py times is one model. Exits with 1 if the
largest difference is above --tolerance of the largest logit."""

import argparse
import pathlib
import subprocess
import sys

import numpy as np


def feed(folder, tokens):
    """Inputs for the tokens and an empty past, by name."""
    import onnx

    model = onnx.load(folder / "model.onnx", load_external_data=False)
    known = {
        "input_ids": tokens,
        "attention_mask": np.ones_like(tokens),
        "position_ids": np.arange(tokens.shape[1])[None],
    }
    for value in model.graph.input:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.name not in known:
            known[value.name] = np.zeros((1, dims[1], 0, dims[3]), np.float32)
    return known


def by_onnxruntime(folder, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run(["logits"], inputs)[0][0]


def by_nibble(folder, inputs):
    bundle, result = folder / "float.nbl", folder / "logits.npz"
    command = ["quant-compile", "-q", folder / "model.onnx", "-o", bundle]
    for dim in ("batch=1..2", "sequence=1..64", "past_sequence=0..63"):
        command += ["--dim", dim]
    subprocess.run(command, check=True)
    np.savez(folder / "inputs.npz", **inputs)
    command = ["quant-run", bundle, "--input", folder / "inputs.npz", "-o", result]
    subprocess.run(command, check=True)
    return np.load(result)["logits"][0]


def by_peer(folder, tokens, peer):
    command = [peer / "peer_logits", folder / "model-f16.gguf"]
    command += [str(token) for token in tokens[0]]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return np.frombuffer(done.stdout, np.float32).reshape(tokens.shape[1], -1)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--peer", type=pathlib.Path, help="what build_peer made")
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    given = parser.parse_args()
    tokens = np.load(given.folder / "calibration.npy")[:1, : given.tokens]
    inputs = feed(given.folder, tokens)
    wanted = by_onnxruntime(given.folder, inputs)
    largest = np.abs(wanted).max()
    found = {"nibble": by_nibble(given.folder, inputs)}
    if given.peer:
        found["llama.cpp"] = by_peer(given.folder, tokens, given.peer)
    worst = 0
    for name, logits in found.items():
        error = np.abs(logits - wanted).max() / largest
        worst = max(worst, error)
        print(f"{name}: {error:.2e} of the largest logit, {largest:.3f}")
    if not worst <= given.tolerance:
        sys.exit("error: the logits differ")
    print("the logits agree")


if __name__ == "__main__":
    main()
