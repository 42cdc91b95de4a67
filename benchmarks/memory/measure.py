#!/usr/bin/env python3
# ===- measure.py - Memory of compiling models of many layers -------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compiles random decoders (../decoder/make_model.py) that differ in the number of their
layers with a calibrated recipe, and prints the peak of anonymous memory beside
what --dry-run said, and beside the bound: 3 layers in float32, their Hessians,
and 300 MB. Exits with 1 if a peak is above it, or grows with the layers by more
than --growth."""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", default="6,24", help="numbers of layers")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=2816)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--recipe", default="w4a16-gptq")
    parser.add_argument("--growth", type=float, default=0.1)
    parser.add_argument("--resume", action="store_true", help="with a checkpoint")
    parser.add_argument("--folder", type=pathlib.Path, help="keep the models here")
    parser.add_argument("--compiler", default="quant-compile")
    return parser.parse_args()


def bound(given):
    """Megabytes: 3 layers, a Hessian per input of a layer, and 300."""
    layer = 4 * given.width**2 + 3 * given.width * given.hidden
    hessians = 3 * given.width**2 + given.hidden**2
    return (3 * layer + hessians) * 4 / 1e6 + 300


def megabytes(text, what):
    return float(re.search(what + r"\D*?([\d.]+) MB", text)[1])


def measure(given, layers, folder):
    model = folder / f"decoder-{layers}"
    sizes = ("width", "hidden", "vocabulary", "rows", "tokens")
    make = [sys.executable, HERE.parent / "decoder" / "make_model.py", model]
    make += ["--layers", str(layers), "--kv-heads=0", "--weights=float32", "--no-cache"]
    for size in sizes:
        make += [f"--{size}", str(getattr(given, size))]
    if not (model / "calibration.npy").exists():
        subprocess.run(make, check=True)
    compile = [
        given.compiler,
        model / "model.onnx",
        f"--recipe={given.recipe}",
        f"--data={model / 'calibration.npy'}",
        "--dim=batch=1..4",
        "--dim=sequence=1..512",
        "-o",
        model / "out.nbl",
    ] + ["--resume"] * given.resume
    dry = subprocess.run(compile + ["--dry-run"], capture_output=True, text=True)
    start = time.monotonic()
    done = subprocess.run(compile + ["--stats"], capture_output=True, text=True)
    seconds = time.monotonic() - start
    if dry.returncode or done.returncode:
        sys.exit(dry.stderr + done.stderr)
    estimated = re.search(r"^  time +([\d.]+) (\w+)", dry.stdout, re.M)
    return {
        "peak": megabytes(done.stderr, "peak anonymous memory"),
        "mapped": megabytes(done.stderr, "mapped"),
        "estimate": megabytes(dry.stdout, "peak anonymous memory"),
        "seconds": seconds,
        "said": float(estimated[1]) * {"s": 1, "min": 60, "h": 3600}[estimated[2]],
    }


def main():
    given = arguments()
    limit = bound(given)
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or pathlib.Path(temporary)
        for layers in map(int, given.layers.split(",")):
            rows[layers] = measure(given, layers, folder)
    print("layers  peak MB  estimate  mapped MB  bound MB  seconds  estimate")
    for layers, row in rows.items():
        print(
            f"{layers:6}  {row['peak']:7.0f}  {row['estimate']:8.0f}"
            f"  {row['mapped']:9.0f}  {limit:8.0f}"
            f"  {row['seconds']:7.1f}  {row['said']:8.1f}"
        )
    peaks = [row["peak"] for row in rows.values()]
    if max(peaks) > limit:
        sys.exit("error: a peak is above the bound")
    if max(peaks) > (1 + given.growth) * peaks[0]:
        sys.exit("error: the peak grows with the layers")
    print("within the bounds")


if __name__ == "__main__":
    main()
