#!/usr/bin/env python3
# ===- roofline.py - Kernels and decoders under their limits --------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""A picture from measured numbers: operations per second over operations per
byte of weights. The two limits, of reading and of the int8 multiply-add chain,
are those of the same runs. Needs matplotlib.

    nibble-kernel-bench --rows=1,2,4,8,16,64 --json > kernels.json
    roofline.py kernels.json results.json -o roofline.svg"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

MARKS = "osD^v<>pPX*hd"


def kernel_lines(kernels):
    """Points (operations per byte, operations per second) by case."""
    lines = {}
    for run in kernels:
        operations = 2 * run["rows"] * run["out"] * run["in"]
        size = run["bytes_per_second"] * run["seconds"]
        point = (operations / size, run["operations_per_second"])
        lines.setdefault(run["case"], []).append(point)
    return {name: sorted(points) for name, points in lines.items()}


def decoder_points(results, parameters):
    """A token of one thread: two operations for each weight that it reads."""
    for row in results.get("summary", {}).get("speed", []):
        if row["threads"] != 1 or not row["decode"]:
            continue
        intensity = 2 * parameters / row["bytes"]
        yield f"{row['pair']} decode", intensity, 2 * parameters * row["decode"]
        if row["peer_decode"]:
            name = f"{row['peer']} decode, llama.cpp"
            yield name, intensity, 2 * parameters * row["peer_decode"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kernels", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path, nargs="?", help="of compare.py")
    parser.add_argument("-o", "--output", type=pathlib.Path, default="roofline.svg")
    given = parser.parse_args()
    kernels = json.loads(given.kernels.read_text())
    kernels = [run for run in kernels if run.get("threads", 1) == 1]
    read = max(run["read_bytes_per_second"] for run in kernels)
    chain = max(run["chain_operations_per_second"] for run in kernels)

    figure, axes = pyplot.subplots(figsize=(8, 5.5))
    intensities = [2**exponent for exponent in range(0, 13)]
    axes.plot(intensities, [min(x * read, chain) / 1e9 for x in intensities], "k-")
    axes.text(1.1, 1.25 * read / 1e9, f"read {read / 1e9:.1f} GB/s", rotation=38)
    axes.text(600, 1.06 * chain / 1e9, f"int8 chain {chain / 1e9:.0f} GOP/s")
    for mark, (name, points) in zip(MARKS * 3, kernel_lines(kernels).items()):
        x, y = zip(*points)
        axes.plot(x, [value / 1e9 for value in y], f"{mark}-", label=name, lw=0.8)
    if given.results:
        results = json.loads(given.results.read_text())
        # Without the embedding, of which a token reads one row.
        model = results["runs"]["model"]
        parameters = model["parameters"] - model["table_elements"]
        for name, x, y in decoder_points(results, parameters):
            axes.plot([x], [y / 1e9], "*", ms=11, label=name)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("operations per byte of weights")
    axes.set_ylabel("GOP/s, one thread")
    axes.grid(True, which="both", lw=0.2)
    axes.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(given.output)


if __name__ == "__main__":
    main()
