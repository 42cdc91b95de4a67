"""usage: same_results.py MODULE PIPELINE|--compiled [NAME=SIZE...]

Interprets @main of MODULE on random inputs, as it is and after PIPELINE (or
compiles and runs it), and fails unless all outputs agree within 1e-5 (relative to
the largest element).
NAME=SIZE gives the sizes of dimensions (default 3). Integer inputs are token ids
in 0..3."""

import os
import re
import subprocess
import sys
import tempfile

import numpy as np

TYPES = {"f32": np.float32, "i64": np.int64, "i32": np.int32, "i1": np.bool_}


def arguments(text):
    """Name, dimensions and element type of every argument of @main."""
    signature = re.search(r"func\.func @main\((.*?)\)\s*->", text, re.S)[1]
    for found in re.finditer(
        r"tensor<([^>]*)>\s*\{(.*?)\}(?=,\s*%|\s*$)", signature, re.S
    ):
        *shape, element = found[1].split("x")
        name = re.search(r'onnx\.name = "([^"]*)"', found[2])[1]
        dims = re.search(r"qmodel\.dims = \[([^\]]*)\]", found[2])
        if dims:
            shape = re.findall(r'"([^"]*)"', dims[1])
        yield name, shape, TYPES[element]


def interpret(module, inputs, outputs, *options):
    subprocess.run(
        ["quant-opt", module, *options, f"--interpret={inputs}", "-o", outputs],
        check=True,
    )
    with np.load(outputs) as arrays:
        return dict(arrays)


def compile_and_run(module, inputs, folder):
    bundle, outputs = f"{folder}/m.nbl", f"{folder}/c.npz"
    command = ["quant-run", bundle, "-o", outputs]
    for name, array in inputs.items():
        np.save(f"{folder}/{name}.npy", array)
        command += ["--input", f"{name}={folder}/{name}.npy"]
    subprocess.run(["quant-compile", "-q", module, "-o", bundle], check=True)
    subprocess.run(command, check=True)
    with np.load(outputs) as arrays:
        return dict(arrays)


def main():
    module, pipeline = sys.argv[1:3]
    sizes = {n: int(v) for n, v in (a.split("=") for a in sys.argv[3:])}
    random = np.random.default_rng(5)
    with open(module) as file:
        text = file.read()
    inputs = {}
    for name, shape, element in arguments(text):
        shape = [int(d) if d.isdigit() else sizes.get(d, 3) for d in shape]
        if element == np.float32:
            inputs[name] = random.standard_normal(shape).astype(element)
        else:
            inputs[name] = random.integers(0, 4, shape).astype(element)
    with tempfile.TemporaryDirectory() as folder:
        given, results = (os.path.join(folder, n) for n in ("i.npz", "o.npz"))
        np.savez(given, **inputs)
        before = interpret(module, given, results)
        if pipeline == "--compiled":
            after = compile_and_run(module, inputs, folder)
        else:
            after = interpret(
                module, given, results,
                f"--pass-pipeline=builtin.module({pipeline})",
            )
    if list(before) != list(after) or not before:
        sys.exit(f"expected outputs {list(before)}, got {list(after)}")
    worst = 0.0
    for name, expected in before.items():
        if after[name].shape != expected.shape:
            sys.exit(f"{name}: {expected.shape} became {after[name].shape}")
        if expected.size == 0:
            continue
        expected = expected.astype(np.float64)
        scale = max(1.0, np.abs(expected).max())
        error = np.abs(after[name] - expected).max() / scale
        worst = max(worst, error)
        if not error <= 1e-5:
            sys.exit(f"{name}: differs by {error:.2e}")
    print(f"{len(before)} outputs agree, largest difference {worst:.1e}")


main()
