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
file). Real weights of a small model. Rows without an oracle are what composed
passes reach."""

import argparse
import json
import pathlib
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


def rows():
    """(name, oracle's row or None, stages for a precision)."""
    rtn = "qmodel-quantize-rtn"
    yield "round to nearest, 8 bits per channel", "rtn8 channel sym", lambda p: [
        plan(8, "minmax", 0, True), rtn]
    yield "w8a8 per token", "w8a8 per-token", lambda p: [
        plan(8, "narrow", 0, True, " input-bits=8"), rtn, "qmodel-quantize-inputs"]
    for bits in (4, 3, 2):
        yield f"round to nearest, {bits} bits", f"rtn{bits} asym", lambda p, b=bits: [
            plan(b, "minmax"), rtn]
        yield f"GPTQ, {bits} bits", f"gptq{bits} asym", lambda p, b=bits: [
            plan(b, "gptq"), layers(f"qmodel-gptq{{precision={p}}}")]
        yield f"GPTAQ, {bits} bits", None, lambda p, b=bits: [
            plan(b, "gptq"),
            layers(f"qmodel-gptq{{gptaq=true precision={p}}}", " float-stream=true")]
        awq = "qmodel-awq{{precision={p}{extra}}},qmodel-fold-channel-scales,{then}"
        yield f"AWQ, {bits} bits", f"awq{bits} asym", lambda p, b=bits: [
            plan(b, "minmax"), layers(awq.format(p=p, extra="", then=rtn))]
        yield f"AWQ with clips, {bits} bits", None, lambda p, b=bits: [
            plan(b, "minmax"), layers(awq.format(p=p, extra=" clip=true", then=rtn))]
        yield f"AWQ, then GPTQ, {bits} bits", f"awq{bits}+gptq{bits} asym", lambda p, b=bits: [
            plan(b, "gptq"),
            layers(awq.format(p=p, extra="", then=f"qmodel-gptq{{precision={p}}}"))]
        yield f"AWQ, then GPTAQ, {bits} bits", None, lambda p, b=bits: [
            plan(b, "gptq"),
            layers(awq.format(p=p, extra="",
                              then=f"qmodel-gptq{{gptaq=true precision={p}}}"),
                   " float-stream=true")]
    yield "w8a8 smoothed, alpha 0.5", "w8a8 smooth 0.5", lambda p: [
        plan(8, "narrow", 0, True, " input-bits=8"),
        layers("qmodel-smooth-outliers,qmodel-fold-channel-scales"), rtn,
        "qmodel-quantize-inputs"]
    for method, of in (("magnitude", "magnitude 2:4"), ("wanda", "wanda 2:4"),
                       ("sparsegpt", "sparsegpt 2:4")):
        yield f"{method} 2:4", of, lambda p, m=method: [
            layers(f"qmodel-sparsify{{method={m} precision={p}}}")]
    yield "sparsegpt 2:4, 4 bits per channel", "sparsegpt 2:4 + 4bit channel", lambda p: [
        plan(4, "gptq", 0),
        layers(f"qmodel-sparsify{{method=sparsegpt quantize=true precision={p}}}")]
    yield "round to nearest, 4 bits symmetric", "rtn4 sym", lambda p: [
        plan(4, "minmax", 32, True), rtn]
    yield "GPTQ, 4 bits symmetric", "gptq4 sym", lambda p: [
        plan(4, "gptq", 32, True), layers(f"qmodel-gptq{{precision={p}}}")]


def run(tools, arguments, folder):
    result = subprocess.run(
        [str(tools / arguments[0]), *map(str, arguments[1:])],
        cwd=folder, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{result.stderr}error: {arguments[0]} failed, see above")
    return result.stdout


def measure(tools, folder, stages):
    """Perplexity of the model behind `stages`."""
    pipeline = ",".join(["nibble-frontend", *stages])
    run(tools, ["quant-opt", "model.mlir", f"--pass-pipeline=builtin.module({pipeline})",
                "-o", "quantized.mlir"], folder)
    printed = run(tools, ["quant-eval", "quantized.mlir", "--tokens",
                          MODEL / "eval.npy", "--json"], folder)
    return json.loads(printed)["perplexity"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tools", type=pathlib.Path,
                        default=ROOT / "build" / "release" / "bin")
    parser.add_argument("--only", default="", help="rows whose name contains this")
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
        if not arguments.json:
            print(f"{'':38}{'oracle':>10}{'float64':>10}{'float32':>10}")
        for name, of, stages in rows():
            if arguments.only not in name:
                continue
            row = {"name": name, "oracle": oracle[of] if of else None}
            texts = {p: stages(p) for p in ("float64", "float32")}
            row["float64"] = measure(arguments.tools, folder, texts["float64"])
            same = texts["float64"] == texts["float32"]
            row["float32"] = (row["float64"] if same else
                              measure(arguments.tools, folder, texts["float32"]))
            table.append(row)
            if not arguments.json:
                shown = f"{row['oracle']:.4f}" if of else "-"
                print(f"{name:38}{shown:>10}{row['float64']:>10.4f}"
                      f"{row['float32']:>10.4f}", flush=True)
    if arguments.json:
        print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
