# ===- run.py - Small models of many families against ONNX Runtime --------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   run.py FOLDER [MODEL...]
#
# For every model: the interpreter on what was imported, the interpreter after
# the frontend, and the compiled program must give ONNX Runtime's numbers; the
# frontend must find what the model was built of; and with 4-bit weights it must
# still compile and run. Models and files are written to FOLDER.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from decoder import Decoder
from families import models

# Relative to the largest logit; sums in float32 in different orders.
TOLERANCE = 1e-3
KINDS = [
    "linear",
    "embedding",
    "rms_norm",
    "layer_norm",
    "rope",
    "attention",
    "activation",
    "gated_activation",
]
# batch, new tokens, earlier tokens, padded tokens at the end of the last row
RUNS = [(1, 7, 0, 0), (2, 13, 0, 4), (1, 1, 9, 0), (2, 3, 6, 2), (2, 1, 0, 0)]


class Failed(Exception):
    pass


def command(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        errors = [line for line in lines if "error:" in line]
        raise Failed(f"{words[0]}: {(errors or lines)[0]}")
    return done.stdout


def inputs_of(model, config, run, random):
    batch, new, past, padded = run
    total = past + new
    mask = np.ones((batch, total), np.int64)
    if padded:
        mask[-1, total - padded :] = 0
    known = {
        "input_ids": random.integers(0, config.vocabulary, (batch, new)),
        "attention_mask": mask,
        "position_ids": np.tile(np.arange(past, total), (batch, 1)),
        "token_type_ids": random.integers(0, 2, (batch, new)),
    }
    inputs = {}
    for value in model.graph.input:
        if value.name in known:
            inputs[value.name] = known[value.name]
            continue
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        shape = (batch, dims[1], past, dims[3])
        inputs[value.name] = random.normal(size=shape).astype(np.float32)
    return inputs


def compare(what, run, outputs, expected):
    for name, wanted in expected.items():
        got = outputs[name]
        if got.shape != wanted.shape:
            raise Failed(f"{what}: {name} expects {wanted.shape}, got {got.shape}")
        error = np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-6)
        if not error <= TOLERANCE:
            raise Failed(f"{what}: {name} differs by {error:.1e} in run {run}")


def check_found(text, decoder):
    """Ops of the model after the frontend, against what it was built of."""
    found = {
        kind: len(re.findall(rf"\bqmodel\.{kind}\b", text)) for kind in KINDS
    }
    wrong = [
        f"{found[kind]} of {decoder.found[kind]} {kind}"
        for kind in KINDS
        if found[kind] != decoder.found[kind]
    ]
    biased = len(re.findall(r"qmodel\.attention .*? bias ", text))
    if biased != decoder.c.biases:
        wrong.append(f"{biased} instead of {decoder.c.biases} masks as a bias")
    if wrong:
        raise Failed("found " + ", ".join(wrong))


class Case:
    def __init__(self, config, folder):
        self.config = config
        self.path = folder / config.name
        self.decoder = Decoder(config)
        self.model = self.decoder.build()
        for old in folder.glob(f"{config.name}.*"):
            old.unlink()
        onnx.save(self.model, f"{self.path}.onnx")
        self.dims = ["--dim", "batch=1..4", "--dim", "sequence=1..32"]
        if config.past:
            self.dims += ["--dim", "past_sequence=0..32"]
        session = onnxruntime.InferenceSession(
            f"{self.path}.onnx", providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in self.model.graph.output]
        random = np.random.default_rng(config.seed)
        self.runs = []
        for run in RUNS:
            if run[2] and not config.past:
                continue
            if run[3] and config.mask == "triu_infinite":
                continue
            inputs = inputs_of(self.model, config, run, random)
            expected = dict(zip(names, session.run(names, inputs)))
            self.runs.append((run, inputs, expected))

    def interpret(self, what, module):
        for number, (run, inputs, expected) in enumerate(self.runs):
            np.savez(f"{self.path}.{number}.npz", **inputs)
            command(
                "quant-opt",
                module,
                f"--interpret={self.path}.{number}.npz",
                "-o",
                f"{self.path}.out.npz",
            )
            with np.load(f"{self.path}.out.npz") as outputs:
                compare(what, run, outputs, expected)

    def imported(self):
        command(
            "quant-import", f"{self.path}.onnx", *self.dims, "-o", f"{self.path}.mlir"
        )
        self.interpret("imported", f"{self.path}.mlir")

    def raised(self):
        command(
            "quant-opt",
            f"{self.path}.mlir",
            "--pass-pipeline=builtin.module(nibble-frontend)",
            "-o",
            f"{self.path}.raised.mlir",
        )
        self.interpret("raised", f"{self.path}.raised.mlir")

    def found(self):
        raised = pathlib.Path(f"{self.path}.raised.mlir")
        if not raised.exists():
            raise Failed("found: nothing, without a raised module")
        check_found(raised.read_text(), self.decoder)

    def execute(self, recipe, check):
        bundle = f"{self.path}.{recipe}.nbl"
        command(
            "quant-compile",
            "-q",
            f"{self.path}.onnx",
            *self.dims,
            f"--recipe={recipe}",
            "-o",
            bundle,
        )
        for number, (run, _, expected) in enumerate(self.runs):
            command(
                "quant-run",
                bundle,
                "--threads=1",
                "--input",
                f"{self.path}.{number}.npz",
                "-o",
                f"{self.path}.out.npz",
            )
            with np.load(f"{self.path}.out.npz") as outputs:
                check(run, outputs, expected)

    def compiled(self):
        self.execute("float32", lambda *args: compare("compiled", *args))

    def four_bits(self):
        def finite(run, outputs, expected):
            logits = outputs["logits"]
            if logits.shape != expected["logits"].shape:
                raise Failed(f"w4a16-rtn: logits of shape {logits.shape}")
            if not np.isfinite(logits).all() or np.ptp(logits) == 0:
                raise Failed(f"w4a16-rtn: logits are not finite in run {run}")

        self.execute("w4a16-rtn", finite)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[2:]
    steps = ["imported", "raised", "found", "compiled", "four_bits"]
    print(f"{'model':24}" + "".join(f"{step:>10}" for step in steps))
    failures = []
    for config in models():
        if wanted and config.name not in wanted:
            continue
        case = Case(config, folder)
        row = f"{config.name:24}"
        for step in steps:
            try:
                getattr(case, step)()
                row += f"{'ok':>10}"
            except Failed as failure:
                row += f"{'FAIL':>10}"
                failures.append(f"{config.name}: {failure}")
        print(row, flush=True)
    for failure in failures:
        print(failure)
    sys.exit(f"{len(failures)} checks failed" if failures else 0)


main()
