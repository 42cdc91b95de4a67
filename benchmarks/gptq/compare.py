#!/usr/bin/env python3
# ===- compare.py - GPTQ beside PyTorch ----------------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Times nibble-gptq-bench and torch_peer.py in turn, on the same files.

usage: compare.py [--torch PYTHON] [--tools FOLDER] [--threads N] [--tokens N]
                  [--repeats N] [--order act|plain] [--under COMMAND]
                  [OUTxIN]...

--torch is a Python that has PyTorch and NumPy; by default the one that runs
this. FOLDER has nibble-gptq-bench (build/release/bin). COMMAND starts each of
the two programs, as in --under 'taskset -c 0-7'. Of each time the best of
the repeats counts. Rates count what the result needs: tokens * in^2 operations
for the Hessian, in^3 / 3 + out * in^2 for the solver. By default there are twice
as many tokens as inputs. The share of equal codes is over the whole matrix; both
compute in float32, in other orders, and a code that rounds the other way changes
what follows in its row. With fewer tokens than inputs the Hessian is singular but
for the damping, and rounding decides much more: either differs from float64 then
as much as they differ from each other.
"""
import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent


def write_problem(folder, rows, width, tokens):
    """Weights and inputs; channels of the inputs differ in size, as those of
    models do."""
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((rows, width), dtype=np.float32) * 0.02
    inputs = rng.standard_normal((tokens, width), dtype=np.float32)
    inputs *= np.exp(0.5 * rng.standard_normal(width, dtype=np.float32))
    files = folder / "weight.npy", folder / "inputs.npy"
    np.save(files[0], weight)
    np.save(files[1], inputs)
    return files


def run(command):
    result = subprocess.run([str(part) for part in command], text=True,
                            stdout=subprocess.PIPE)
    if result.returncode != 0:
        sys.exit(f"error: {command[0]} failed")
    return json.loads(result.stdout)


def compare(options, rows, width, folder):
    tokens = options.tokens or 2 * width
    files = write_problem(folder, rows, width, tokens)
    peers = {
        "nibble": [*options.under, options.tools / "nibble-gptq-bench"],
        "torch": [*options.under, options.torch, HERE / "torch_peer.py"],
    }
    best = {}
    for _ in range(options.repeats):
        for name, command in peers.items():
            times = run([*command, options.threads, options.order, *files,
                         folder / f"{name}.npy"])
            known = best.setdefault(name, times)
            for key, value in times.items():
                if isinstance(value, float):
                    choose = max if key == "products" else min
                    known[key] = choose(known[key], value)
    ours, theirs = best["nibble"], best["torch"]
    products = ours["products"] * 1e-9
    print(f"{rows} x {width}, {tokens} tokens, {options.threads} "
          f"threads, order {options.order}; products of 1024 x 1024 "
          f"({ours['kernel']}): {products:.0f} GFLOP/s")
    operations = {"hessian": tokens * width ** 2,
                  "factorization": width ** 3 / 3,
                  "solve": width ** 3 / 3 + rows * width ** 2}
    for stage, work in operations.items():
        rate = work / ours[stage] * 1e-9
        line = (f"  {stage:14}{ours[stage]:9.3f} s {rate:7.1f} GFLOP/s "
                f"({100 * rate / products:3.0f} %)")
        if stage in theirs:
            line += (f", torch {theirs['version']} {theirs[stage]:9.3f} s: "
                     f"{theirs[stage] / ours[stage]:.2f} times faster")
        print(line)
    equal = np.mean(np.load(folder / "nibble.npy")
                    == np.load(folder / "torch.npy"))
    print(f"  equal codes   {100 * equal:.4f} %", flush=True)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1][7:])
    parser.add_argument("--torch", default=sys.executable)
    parser.add_argument("--tools", type=pathlib.Path,
                        default=HERE.parents[1] / "build/release/bin")
    parser.add_argument("--threads", type=int,
                        default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--order", choices=["act", "plain"], default="plain")
    parser.add_argument("--under", type=shlex.split, default=[])
    parser.add_argument("sizes", nargs="*", default=["4096x4096", "4096x14336"])
    options = parser.parse_args()
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            compare(options, *map(int, size.split("x")), pathlib.Path(folder))


if __name__ == "__main__":
    main()
