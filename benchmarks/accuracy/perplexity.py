#!/usr/bin/env python3
# ===- perplexity.py - Every method beside an independent oracle ----------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Quantizes examples/stories260K by every method, in float64 and in the default
float32, and prints the perplexity beside that of numpy float64 implementations
that share no code with Nibble (oracle_perplexity.json, whose settings are in the
file), and the bits per quantized weight with scales and zero points, beside
those of the oracle's scheme. Real weights of a small model. Rows without an
oracle are what composed passes reach; "recipe" is what quant-compile does by
that name. With --held-out the perplexity is that of calibration rows that no
method has seen: choices are made by it, and not by the evaluation data."""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples" / "stories260K"
DIMS = ["batch=1..16", "sequence=1..512", "past_sequence=0..511"]


def plan(bits, grid, group=32, symmetric=False, extra=""):
    return (
        f"qmodel-plan{{bits={bits} group={group} "
        f"symmetric={str(symmetric).lower()} grid={grid}{extra}}}"
    )


def layers(pipeline, extra=""):
    data = MODEL / "calibration.npy"
    return (
        f"nibble-for-each-layer{{data={data} samples=64{extra} "
        f"pipeline='{pipeline}'}}"
    )


def per_input(*stages):
    return f'nibble-for-each-input{{pipeline="{",".join(stages)}"}}'


RTN, FOLD = "qmodel-quantize-rtn", "qmodel-fold-channel-scales"
STREAM = " float-stream=true"


def widths(bits):
    """The methods with scales for groups of 32, asymmetric, at one width."""
    yield f"round to nearest, {bits} bits", f"rtn{bits} asym", lambda p: [
        plan(bits, "minmax"), RTN]
    yield f"GPTQ, {bits} bits", f"gptq{bits} asym", lambda p: [
        plan(bits, "gptq"), layers(f"qmodel-gptq{{precision={p}}}")]
    yield f"GPTQ, {bits} bits, recipe", None, lambda p: [
        plan(bits, "gptq"),
        layers(f"qmodel-gptq{{ranges=searched precision={p}}}")]
    yield f"GPTAQ, {bits} bits", None, lambda p: [
        plan(bits, "gptq"),
        layers(f"qmodel-gptq{{gptaq=true precision={p}}}", STREAM)]
    yield f"GPTAQ, {bits} bits, recipe", None, lambda p: [
        plan(bits, "gptq"),
        layers(f"qmodel-gptq{{ranges=searched gptaq=true gptaq-factor=0.5 "
               f"precision={p}}}", STREAM)]
    yield f"AWQ, {bits} bits", f"awq{bits} asym", lambda p: [
        plan(bits, "minmax"),
        layers(per_input(f"qmodel-awq{{precision={p}}}", FOLD, RTN))]
    yield f"AWQ, {bits} bits, recipe", None, lambda p: [
        plan(bits, "minmax"),
        layers(per_input(f"qmodel-awq{{clip=true precision={p}}}", FOLD, RTN))]
    yield f"AWQ, then GPTQ, {bits} bits", f"awq{bits}+gptq{bits} asym", lambda p: [
        plan(bits, "gptq"),
        layers(per_input(f"qmodel-awq{{precision={p}}}", FOLD,
                         f"qmodel-gptq{{precision={p}}}"))]
    yield f"AWQ, then GPTQ, {bits} bits, recipe", None, lambda p: [
        plan(bits, "gptq"),
        layers(per_input(f"qmodel-awq{{precision={p}}}", FOLD,
                         f"qmodel-gptq{{ranges=searched precision={p}}}"))]
    yield f"AWQ, then GPTAQ, {bits} bits", None, lambda p: [
        plan(bits, "gptq"),
        layers(per_input(f"qmodel-awq{{precision={p}}}", FOLD,
                         f"qmodel-gptq{{ranges=searched gptaq=true "
                         f"gptaq-factor=0.5 precision={p}}}"), STREAM)]


def inputs8(extra=""):
    return plan(8, "narrow", 0, True, " input-bits=8" + extra)


def rows():
    """(name, oracle's row or None, stages for a precision)."""
    inputs = "qmodel-quantize-inputs"
    yield "round to nearest, 8 bits per channel", "rtn8 channel sym", lambda p: [
        plan(8, "minmax", 0, True), RTN]
    for bits in (4, 3, 2):
        yield from widths(bits)
    yield "w8a8 per token", "w8a8 per-token", lambda p: [inputs8(), RTN, inputs]
    yield "w8a8 smoothed, alpha 0.5", "w8a8 smooth 0.5", lambda p: [
        inputs8(), layers(f"qmodel-smooth-outliers,{FOLD}"), RTN, inputs]
    yield "w8a8 smoothed, alpha searched", None, lambda p: [
        inputs8(),
        layers(f"qmodel-smooth-outliers{{alpha=auto precision={p}}},{FOLD}"),
        RTN, inputs]
    static = inputs8(" input-static=true")
    yield "w8a8 static", None, lambda p: [static, layers(f"{RTN},{inputs}")]
    yield "w8a8 static smoothed, alpha 0.5", None, lambda p: [
        static, layers(f"qmodel-smooth-outliers,{FOLD},{RTN},{inputs}")]
    yield "w8a8 static, recipe", None, lambda p: [
        static,
        layers(f"qmodel-smooth-outliers{{alpha=auto precision={p}}},"
               f"{FOLD},{RTN},{inputs}")]
    for method, of in (("magnitude", "magnitude 2:4"), ("wanda", "wanda 2:4"),
                       ("sparsegpt", "sparsegpt 2:4")):
        yield f"{method} 2:4", of, lambda p, m=method: [
            layers(f"qmodel-sparsify{{method={m} precision={p}}}")]
    yield "sparsegpt 2:4, 4 bits per channel", "sparsegpt 2:4 + 4bit channel", lambda p: [
        plan(4, "gptq", 0),
        layers(f"qmodel-sparsify{{method=sparsegpt quantize=true precision={p}}}")]
    yield "round to nearest, 4 bits symmetric", "rtn4 sym", lambda p: [
        plan(4, "minmax", 32, True), RTN]
    # The grid minmax is that of GPTQ where there are weights of both signs, and
    # stores no constant zero points.
    yield "GPTQ, 4 bits symmetric", "gptq4 sym", lambda p: [
        plan(4, "minmax", 32, True), layers(f"qmodel-gptq{{precision={p}}}")]


def run(tools, arguments, folder):
    result = subprocess.run(
        [str(tools / arguments[0]), *map(str, arguments[1:])],
        cwd=folder, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{result.stderr}error: {arguments[0]} failed, see above")
    return result.stdout


def matrices(path):
    """(elements, bits of an element) of every weight of rank 2, by name."""
    found = re.findall(r"qmodel\.weight @\"?([^\s\"]+)\"? : "
                       r"tensor<(\d+)x(\d+)x[a-z]+(\d+)>", path.read_text())
    return {name: (int(rows), int(columns), int(bits))
            for name, rows, columns, bits in found}


def bits_per_weight(folder):
    """Of what replaced matrices of the float model; how many it replaced; and
    (out, in) of each, which ONNX has the other way round."""
    before = matrices(folder / "float.mlir")
    after = matrices(folder / "quantized.mlir")
    replaced = [before[name] for name in before.keys() - after.keys()]
    bits = sum(r * c * b for name, (r, c, b) in after.items()
               if name not in before)
    shapes = [(columns, rows) for rows, columns, _ in replaced]
    return bits / sum(r * c for r, c in shapes), len(shapes), shapes


def oracle_bits(of, replaced):
    """Codes, float32 scales and zero points of the oracle's scheme; None for
    rows that are not about bits."""
    if of is None or "2:4" in of or not re.search(r"\d", of):
        return None
    per_channel = "channel" in of or of.startswith("w8a8")
    bits = 8 if per_channel else int(re.search(r"\d", of)[0])
    zero = 0 if per_channel or "sym" in of and "asym" not in of else bits
    total = sum(r * c * bits + r * (1 if per_channel else -(-c // 32))
                * (32 + zero) for r, c in replaced)
    return total / sum(r * c for r, c in replaced)


def measure(tools, folder, stages, tokens):
    """Perplexity of the model behind `stages`, which stays as quantized.mlir."""
    pipeline = ",".join(["nibble-frontend", *stages])
    for old in pathlib.Path(folder).glob("quantized.mlir.weights/*"):
        old.unlink()
    run(tools, ["quant-opt", "model.mlir", f"--pass-pipeline=builtin.module({pipeline})",
                "-o", "quantized.mlir"], folder)
    printed = run(tools, ["quant-eval", "quantized.mlir", "--tokens",
                          tokens, "--json"], folder)
    return json.loads(printed)["perplexity"]


def held_out(path):
    """The rows of the calibration data behind the first 64, as a file."""
    with open(MODEL / "calibration.npy", "rb") as file:
        data = file.read()
    header = int.from_bytes(data[8:10], "little") + 10
    shape = re.search(rb"'shape': \((\d+), (\d+)\)", data[:header])
    rows = int(shape[1])
    kept = data[header + (len(data) - header) // rows * 64:]
    text = data[10:header].replace(shape[0], b"'shape': (%d, %s)"
                                   % (rows - 64, shape[2]))
    text = text.rstrip().ljust(header - 11) + b"\n"
    path.write_bytes(data[:10] + text + kept)
    return path


def shown(number, digits, width):
    return f"{number:>{width}.{digits}f}" if number is not None else f"{'-':>{width}}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tools", type=pathlib.Path,
                        default=ROOT / "build" / "release" / "bin")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--held-out", action="store_true",
                        help="evaluate calibration rows that were not used")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.tools = arguments.tools.resolve()
    with open(pathlib.Path(__file__).with_name("oracle_perplexity.json")) as file:
        oracle = json.load(file)["perplexity"]

    table = []
    with tempfile.TemporaryDirectory() as folder:
        run(arguments.tools, ["quant-import", MODEL / "model_with_past.onnx",
                              *(f"--dim={dim}" for dim in DIMS), "-o", "model.mlir"],
            folder)
        folder = pathlib.Path(folder)
        run(arguments.tools, ["quant-opt", "model.mlir", "--nibble-frontend",
                              "-o", "float.mlir"], folder)
        tokens = MODEL / "eval.npy"
        if arguments.held_out:
            tokens = held_out(folder / "held-out.npy")
        if not arguments.json:
            print(f"{'':40}{'oracle':>10}{'float64':>10}{'float32':>10}"
                  f"{'bits':>8}{'oracle':>8}{'layers':>8}")
        for name, of, stages in rows():
            if arguments.only not in name:
                continue
            row = {"name": name,
                   "oracle": oracle[of] if of and not arguments.held_out else None}
            texts = {p: stages(p) for p in ("float64", "float32")}
            row["float64"] = measure(arguments.tools, folder, texts["float64"], tokens)
            same = texts["float64"] == texts["float32"]
            row["float32"] = (row["float64"] if same else
                              measure(arguments.tools, folder, texts["float32"], tokens))
            row["bits"], row["layers"], replaced = bits_per_weight(folder)
            row["oracle_bits"] = oracle_bits(of, replaced)
            table.append(row)
            if not arguments.json:
                print(f"{name:40}{shown(row['oracle'], 4, 10)}"
                      f"{row['float64']:>10.4f}{row['float32']:>10.4f}"
                      f"{row['bits']:>8.3f}{shown(row['oracle_bits'], 3, 8)}"
                      f"{row['layers']:>8}", flush=True)
    if arguments.json:
        print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
