# ===- same_bits.py - Fusion does not change a bit -----------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""usage: same_bits.py MODEL [OPTION...] [NAME=SIZE...]

Compiles MODEL (a module, or ONNX, with options of quant-compile) with fusion and
without, runs @main of both on random inputs, and fails unless all outputs have
the same bytes with one thread and with three. NAME=SIZE gives the sizes of
dimensions (default 3). Integers are 0 to 3, but ones for a mask."""

import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np


def compiled(model, options, fuse, folder):
    bundle = os.path.join(folder, f"{fuse}.nbl")
    subprocess.run(["quant-compile", "-q", model, *options, f"--fuse={fuse}",
                    "-o", bundle], check=True)
    return bundle


def random_inputs(bundle, sizes):
    text = subprocess.run(["quant-run", bundle, "--inspect", "--json"],
                          check=True, capture_output=True).stdout
    main = json.loads(text)["entry_points"][0]
    random = np.random.default_rng(3)
    for port in main["inputs"]:
        # Dimensions are sums of products of names and numbers.
        shape = [eval(re.sub(r"[A-Za-z_]\w*",
                             lambda name: str(sizes.get(name[0], 3)), dim))
                 for dim in port["shape"]]
        if port["type"] == "f32":
            array = random.standard_normal(shape).astype(np.float32)
        elif "mask" in port["name"]:
            array = np.ones(shape, np.int64)
        else:
            array = random.integers(0, 4, shape)
        yield port["name"], array


def outputs(bundle, inputs, threads, folder):
    file = os.path.join(folder, "outputs.npz")
    subprocess.run(["quant-run", bundle, "--input", inputs, "-o", file,
                    f"--threads={threads}"], check=True)
    with np.load(file) as arrays:
        return {name: array.tobytes() for name, array in arrays.items()}


def main():
    model, *options = sys.argv[1:]
    sizes = {n: int(v) for n, v in
             (o.split("=") for o in options if not o.startswith("-"))}
    options = [o for o in options if o.startswith("-")]
    with tempfile.TemporaryDirectory() as folder:
        fused, plain = (compiled(model, options, kinds, folder)
                        for kinds in ("all", "none"))
        inputs = os.path.join(folder, "inputs.npz")
        np.savez(inputs, **dict(random_inputs(plain, sizes)))
        expected = outputs(plain, inputs, 1, folder)
        for threads in (1, 3):
            found = outputs(fused, inputs, threads, folder)
            wrong = [name for name in expected if found[name] != expected[name]]
            if wrong or found.keys() != expected.keys():
                sys.exit(f"{model} {' '.join(options)}: fusion changes {wrong} "
                         f"with {threads} threads")


if __name__ == "__main__":
    main()
