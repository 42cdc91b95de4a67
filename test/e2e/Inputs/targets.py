# ===- targets.py - Code variants of a bundle give the same bits ----------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Runs bundles with each code variant that this processor has the instructions
for, and compares all outputs bit by bit.

    targets.py BUNDLE..."""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np


def run(*arguments):
    return subprocess.run(["quant-run", *arguments], check=True, text=True,
                          capture_output=True).stdout


def inputs_of(entry):
    """Three sequences of 40 tokens, without a past."""
    sizes = {"batch": 3, "sequence": 40, "past_sequence": 0}
    tokens = np.random.default_rng(1).integers(1, 500, (3, 40))
    values = {"input_ids": tokens, "attention_mask": 1,
              "position_ids": np.arange(40)}
    for port in entry["inputs"]:
        shape = [eval(size, {}, sizes) for size in port["shape"]]
        kind = {"i64": np.int64, "si64": np.int64,
                "f32": np.float32}[port["type"]]
        yield port["name"], np.broadcast_to(
            values.get(port["name"], 0), shape).astype(kind)


def outputs(bundle, variant, arguments, folder):
    result = os.path.join(folder, "out.npz")
    run(bundle, "--entry", "main", "--cpu", variant, *arguments, "-o", result)
    with np.load(result) as arrays:
        return dict(arrays)


def main():
    usable = []
    for bundle in sys.argv[1:]:
        described = json.loads(run(bundle, "--inspect", "--json"))
        usable = [variant["target"] for variant in described["variants"]
                  if variant["usable"]]
        largest = max(variant["bytes"] for variant in described["variants"])
        assert largest < 2 << 20, f"{largest} bytes of code"
        entry = next(entry for entry in described["entry_points"]
                     if entry["name"] == "main")
        with tempfile.TemporaryDirectory() as folder:
            arguments = []
            for i, (name, array) in enumerate(inputs_of(entry)):
                np.save(f"{folder}/{i}.npy", array)
                arguments += ["--input", f"{name}={folder}/{i}.npy"]
            expected = outputs(bundle, usable[0], arguments, folder)
            for variant in usable[1:]:
                found = outputs(bundle, variant, arguments, folder)
                for name, array in expected.items():
                    assert np.array_equal(
                        array.view(np.uint8), found[name].view(np.uint8)), \
                        f"{bundle}: {name} differs on {variant}"
    print(f"{len(sys.argv) - 1} bundles, the same bits with "
          f"{', '.join(reversed(usable))}")


if __name__ == "__main__":
    main()
