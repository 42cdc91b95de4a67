# ===- folded.py - Scales of channels move, and change no logits ----------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   folded.py FOLDER PYTORCH [FAMILY...]
#
# SmoothQuant and AWQ, with their scales folded and nothing quantized, must leave
# all outputs as they were but for rounding: for the random models of families.py
# and for those in the folder PYTORCH. A row gives the largest difference, as a
# part of the largest element, and how many constants took factors of how many
# scaled weights. Every model has some, but UNSCALABLE ones, where a remark says
# why.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import re
import subprocess
import sys

import numpy as np
import onnx
from checks import Failed, command
from decoder import Decoder
from families import models
from run import UNPADDED, inputs_of

METHODS = {
    "smooth": "qmodel-smooth-outliers{producers=all}",
    "awq": "qmodel-awq{ratios=4 row-stride=1}",
}
# Outputs are rounded to their type; in float32, all that changed is rounded.
ROUNDING = {"float16": 2e-3, "fp16": 2e-3, "bfloat16": 1.6e-2, "bf16": 1.6e-2}
FLOAT32 = 2e-5
UNSCALABLE = {"llama-integer-weights": "its plan is to stay in floating point"}
DIMS = ["--dim", "batch=1..4", "--dim", "sequence=1..32"]


def passes(text, inputs, module, *pipeline):
    """Runs a pipeline, then `@main`. Returns its outputs and the remarks."""
    outputs = f"{module}.npz"
    pipeline = ",".join([*pipeline, f"nibble-interpret{{inputs={inputs} "
                                    f"outputs={outputs}}}"])
    words = ["quant-opt", text, f"--pass-pipeline=builtin.module({pipeline})",
             "--remarks-filter=.*", "--remark-format=emitRemark", "-o", module]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error:" in line]
        raise Failed(f"{pipeline}: {(errors or [done.stderr[-200:]])[0]}")
    with np.load(outputs) as arrays:
        return {n: a.astype(np.float64) for n, a in arrays.items()}, done.stderr


def difference(outputs, expected):
    worst = 0.0
    for name, wanted in expected.items():
        if not np.isfinite(outputs[name]).all():
            raise Failed(f"{name} is not finite")
        size = max(np.abs(wanted).max(initial=0), 1e-6)
        worst = max(worst, np.abs(outputs[name] - wanted).max(initial=0) / size)
    return worst


def check(name, path, dims, inputs, tolerance):
    """The cells of a row; raises Failed."""
    command("quant-import", path, *dims, "-o", f"{path}.mlir")
    raised = f"{path}.raised.mlir"
    expected, _ = passes(f"{path}.mlir", inputs, raised, "nibble-frontend")
    cells = []
    for method, step in METHODS.items():
        module = f"{path}.{method}.mlir"
        stages = f"{step},qmodel-fold-channel-scales"
        outputs, said = passes(
            raised, inputs, module, "qmodel-plan{bits=4 group=8}",
            f"nibble-for-each-layer{{data={inputs} pipeline='{stages}'}}")
        text = pathlib.Path(module).read_text()
        left = text.count("= qmodel.channel_scale")
        folded = len(re.findall(
            r'qmodel\.weight @\S*\.scaled(?:\.\d+)?"? ', text))
        scaled = len(re.findall(
            r'qmodel\.weight @\S*\.(?:smoothed|awq)(?:\.\d+)?"? ', text))
        error = difference(outputs, expected)
        cells += [f"{error:.1e}", f"{folded}/{scaled}"]
        if not error <= tolerance:
            raise Failed(f"{method} changes outputs by {error:.1e}")
        if left:
            raise Failed(f"{method} left {left} scales that were not folded")
        if bool(folded) != bool(scaled) or bool(folded) == (name in UNSCALABLE):
            raise Failed(f"{method} scaled {scaled} weights, folded {folded}")
        if not folded and UNSCALABLE[name] not in said:
            raise Failed(f"{method} folded nothing, and no remark says why")
    return cells


def generated(folder, wanted):
    for config in models():
        if wanted and not {config.name, config.name.split("-")[0]} & wanted:
            continue
        model, path = Decoder(config).build(), folder / f"{config.name}.onnx"
        onnx.save(model, path)
        past = config.past and config.attention != "group_query"
        padded = config.mask not in UNPADDED or config.attention == "group_query"
        arrays = inputs_of(model, config, (2, 13, 3 if past else 0,
                                           2 if padded else 0),
                           np.random.default_rng(config.seed))
        np.savez(f"{path}.npz", **arrays)
        dims = DIMS + (["--dim", "past_sequence=0..32"] if config.past else [])
        yield config.name, path, dims, config.style.compute


def stored(folder, source, wanted):
    for path in sorted(source.glob("*.onnx")):
        if wanted and path.stem.split("-")[0] not in wanted:
            continue
        target = folder / path.name
        target.write_bytes(path.read_bytes())
        with np.load(path.with_suffix(".npz")) as arrays:
            np.savez(f"{target}.npz", **{
                name: arrays[f"1.{name}"]
                for name in ("input_ids", "attention_mask")})
        yield f"{path.stem} (PyTorch)", target, DIMS, path.stem.split("-")[1]


def main():
    folder, source = map(pathlib.Path, sys.argv[1:3])
    wanted = set(sys.argv[3:])
    folder.mkdir(parents=True, exist_ok=True)
    failures, count = [], 0
    print(f"{'model':28}" + "".join(
        f"{method:>10}{'folded':>9}" for method in METHODS))
    for make in (generated(folder, wanted), stored(folder, source, wanted)):
        for name, path, dims, kind in make:
            count += 1
            try:
                cells = check(name, path, dims, f"{path}.npz",
                              ROUNDING.get(kind, FLOAT32))
            except Failed as failure:
                cells = ["FAIL"]
                failures.append(f"{name}: {failure}")
            print(f"{name:28}" + "".join(
                f"{cell:>{(10, 9)[i % 2]}}" for i, cell in enumerate(cells)),
                flush=True)
    for failure in failures:
        print(failure)
    if not count:
        sys.exit("no models")
    sys.exit(f"{len(failures)} checks failed" if failures else 0)


main()
