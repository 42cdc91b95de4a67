# ===- recipes.py - Every printed pipeline does what its recipe does ------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""usage: recipes.py MODULE DATA.npy FOLDER. For every recipe of quant-compile:
its printed pipeline, pasted into quant-opt, makes the module and the weights
that quant-compile makes, byte for byte."""
import pathlib
import re
import subprocess
import sys


def run(*command):
    result = subprocess.run([str(part) for part in command],
                            capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{command}\n{result.stderr}")
    return result.stdout


def contents(path):
    """The text of a module, and its weights by their hashes."""
    weights = pathlib.Path(f"{path}.weights")
    text = path.read_text().replace(weights.name, "weights")
    files = {file.name: file.read_bytes() for file in weights.glob("*")}
    return text, files


def main():
    module, data, folder = map(pathlib.Path, sys.argv[1:])
    refused = subprocess.run(
        ["quant-compile", module, "--recipe=none", "--print-pipeline"],
        capture_output=True, text=True)
    listed = re.search(r"expects a recipe of (.+); got 'none'", refused.stderr)
    names = listed[1].split(", ")
    failures = []
    for name in names:
        options = [module, f"--recipe={name}"]
        without_data = subprocess.run(
            ["quant-compile", *options, "--print-pipeline"],
            capture_output=True)
        if without_data.returncode != 0:
            options += [f"--data={data}", "--samples=2"]
        pipeline = run("quant-compile", *options, "--print-pipeline").strip()
        compiled, pasted = folder / "compiled.mlir", folder / "pasted.mlir"
        run("quant-compile", "-q", *options, "--emit=mlir", "-o", compiled)
        run("quant-opt", module, f"--pass-pipeline={pipeline}", "-o", pasted)
        same = contents(compiled) == contents(pasted)
        failures += [] if same else [name]
        print(f"{name}: {'same' if same else 'DIFFERENT'}", flush=True)
        for path in (compiled, pasted):
            path.unlink()
            for file in pathlib.Path(f"{path}.weights").glob("*"):
                file.unlink()
    if failures:
        sys.exit(f"{len(failures)} of {len(names)} recipes differ: {failures}")
    print(f"{len(names)} recipes: all the same")


main()
