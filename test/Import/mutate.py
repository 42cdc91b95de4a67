# ===- mutate.py - Damaged models must not crash the importer ------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Runs the importer on copies of a model with changed bytes.

usage: mutate.py MODEL PROGRAM

The exit code must be 0 or 1, and a failure must end in a line `error: ...`.
"""

import os
import random
import subprocess
import sys

model, program = sys.argv[1:]
with open(model, "rb") as file:
    original = file.read()
copy = os.path.join(os.path.dirname(model), "mutant.onnx")
generator = random.Random(20)
accepted = 0
for attempt in range(100):
    data = bytearray(original)
    for _ in range(generator.choice((1, 1, 1, 4))):
        data[generator.randrange(len(data))] = generator.randrange(256)
    with open(copy, "wb") as file:
        file.write(data)
    run = subprocess.run(
        [program, copy, "-o", copy + ".mlir"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        timeout=60,
    )
    lines = run.stderr.decode(errors="replace").rstrip("\n").split("\n")
    if run.returncode == 0:
        accepted += 1
    elif run.returncode != 1 or not lines[-1:] or not lines[-1].startswith("error: "):
        kept = f"{copy}.{attempt}"
        os.replace(copy, kept)
        sys.exit(f"{kept}: exit code {run.returncode}, {lines[-1:]}")
# A run that refuses everything would test nothing past the parser.
assert 0 < accepted < 100, accepted
