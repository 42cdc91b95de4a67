# ===- emulated_gpu.py - A decoder's GPU code against its CPU code -------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   emulated_gpu.py bundle.nbl cuda.mlir TOLERANCE
#
# Two sequences of different lengths: the prompt with the entry point prefill and
# two tokens with decode, in the GPU emulator, against the exported signature of
# the bundle on all tokens of a sequence. Logits may differ by the tolerance,
# relative to the largest of them.
#
# ===--------------------------------------------------------------------=== #

import os
import subprocess
import sys
import tempfile

import numpy as np

BUNDLE, MODULE = sys.argv[1:3]
TOLERANCE = float(sys.argv[3])
SEQUENCES = [[1, 403, 407, 261, 378, 20, 99, 410, 42, 311, 7],
             [1, 275, 33, 298, 410, 12, 401, 263]]
STEPS = 2


def on_processor(tokens, folder):
    """[tokens, vocabulary]"""
    count = len(tokens)
    empty = np.zeros((1, 4, 0, 8), np.float32)
    inputs = {f"past_key_values.{layer}.{kind}": empty
              for layer in range(5) for kind in ("key", "value")}
    inputs["input_ids"] = np.array([tokens])
    inputs["attention_mask"] = np.ones((1, count), np.int64)
    inputs["position_ids"] = np.arange(count)[None]
    np.savez(f"{folder}/in.npz", **inputs)
    subprocess.run(["quant-run", BUNDLE, "--entry=main", "--input",
                    f"{folder}/in.npz", "-o", f"{folder}/out.npz"], check=True)
    return np.load(f"{folder}/out.npz")["logits"][0]


def emulated(entry, inputs, folder):
    """The outputs, states too, by name."""
    np.savez(f"{folder}/in.npz", **inputs)
    subprocess.run(
        ["quant-opt", MODULE, f"--nibble-emulate-gpu=entry={entry} "
         f"inputs={folder}/in.npz outputs={folder}/out.npz",
         "-o", os.devnull], check=True)
    return dict(np.load(f"{folder}/out.npz"))


def main():
    with tempfile.TemporaryDirectory() as folder:
        want = [on_processor(tokens, folder) for tokens in SEQUENCES]
        lengths = np.array([len(tokens) - STEPS for tokens in SEQUENCES])
        prompt = np.zeros((len(SEQUENCES), lengths.max()), np.int64)
        for row, tokens, length in zip(prompt, SEQUENCES, lengths):
            row[:length] = tokens[:length]
        got = emulated("prefill", {
            "input_ids": prompt, "last": lengths - 1,
            "past_lengths": np.zeros_like(lengths)}, folder)
        worst = 0.0
        for step in range(STEPS + 1):
            for logits, reference, length in zip(got.pop("logits"), want,
                                                 lengths + step):
                reference = reference[length - 1]
                worst = max(worst, np.abs(logits - reference).max() /
                            np.abs(reference).max())
            if step < STEPS:
                tokens = [[s[n]] for s, n in zip(SEQUENCES, lengths + step)]
                got = emulated("decode", {
                    "input_ids": np.array(tokens),
                    "past_lengths": lengths + step, **got}, folder)
        if not worst <= TOLERANCE:
            sys.exit(f"logits differ by {worst:.3g}, expected {TOLERANCE}")
        print(f"logits of {len(SEQUENCES)} sequences agree: {worst:.1e}")


if __name__ == "__main__":
    main()
