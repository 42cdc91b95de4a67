# ===- compare-estimate.py - --dry-run against what was used --------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Runs quant-compile twice with the arguments; fails if the peak of memory or
the size of the output is off by more than a fifth."""

import os
import re
import subprocess
import sys

command = ["quant-compile", *sys.argv[1:]]


def run(*more):
    return subprocess.run(
        command + list(more), check=True, capture_output=True, text=True
    )


def megabytes(text, what):
    return float(re.search(what + r" +([\d.]+) MB", text)[1])


said = run("--dry-run").stdout
used = run("-q", "--stats").stderr
output = os.path.getsize(sys.argv[sys.argv.index("-o") + 1]) / 1e6
wrong = False
for what, estimate, actual in (
    ("memory", megabytes(said, "memory"), megabytes(used, "peak anonymous memory")),
    ("output", megabytes(said, "  output"), output),
):
    print(f"{what}: {estimate:.1f} MB said, {actual:.1f} MB used")
    wrong |= not 0.8 * actual <= estimate <= 1.25 * actual
sys.exit(wrong)
