# ===- aarch64.py - Executables for AArch64 agree with x86 ----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compares text and logits of executables with those of the bundles of the same
name, which quant-run runs.

    aarch64.py QEMU [OPTION]... EXECUTABLE..."""

import subprocess
import sys
import tempfile

import numpy as np

LAYERS, KV_HEADS, HEAD_DIM, TOKENS = 5, 4, 8, 24


def arguments_of_run(folder):
    """Two sequences of tokens without a past, as files."""
    inputs = {
        "input_ids": np.random.default_rng(1).integers(1, 500, (2, TOKENS)),
        "attention_mask": np.ones((2, TOKENS), np.int64),
        "position_ids": np.tile(np.arange(TOKENS), (2, 1)),
    }
    for layer in range(LAYERS):
        for kind in ("key", "value"):
            inputs[f"past_key_values.{layer}.{kind}"] = np.zeros(
                (2, KV_HEADS, 0, HEAD_DIM), np.float32)
    arguments = ["--entry", "main"]
    for number, (name, array) in enumerate(inputs.items()):
        np.save(f"{folder}/{number}.npy", array)
        arguments += ["--input", f"{name}={folder}/{number}.npy"]
    return arguments


def run(command):
    return subprocess.run(command, check=True, capture_output=True,
                          text=True).stdout


def logits(command, arguments, folder):
    run([*command, *arguments, "-o", f"{folder}/out.npz"])
    with np.load(f"{folder}/out.npz") as outputs:
        return outputs["logits"].copy()


def main():
    first = next(i for i, word in enumerate(sys.argv) if word.startswith("/")
                 and i > 1 and sys.argv[i - 1] != "-L")
    qemu, executables = sys.argv[1:first], sys.argv[first:]
    generate = ["--generate", "--prompt", "Once upon a time", "--max-tokens",
                "40", "--temperature", "0"]
    for executable in executables:
        host = ["quant-run", f"{executable}.nbl"]
        expected_text = run(host + generate)
        with tempfile.TemporaryDirectory() as folder:
            arguments = arguments_of_run(folder)
            expected = logits(host, arguments, folder)
            for variant in ("aarch64-dotprod", "aarch64-i8mm"):
                command = [*qemu, executable, "--cpu", variant]
                text = run(command + generate)
                assert text == expected_text, (variant, text, expected_text)
                found = logits(command, arguments, folder)
                assert np.array_equal(found.view(np.int32),
                                      expected.view(np.int32)), \
                    (variant, np.abs(found - expected).max())


if __name__ == "__main__":
    main()
