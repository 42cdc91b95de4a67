# ===- run.py - Small models of many families against ONNX Runtime --------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   run.py FOLDER [MODEL or FAMILY...]
#
# For every model: the interpreter on what was imported, the interpreter after
# the frontend, and the compiled program must give ONNX Runtime's numbers; the
# frontend must find what the model was built of; and with 4-bit weights it must
# still compile and run. Models and files are written to FOLDER.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from decoder import Decoder
from families import models

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
# Masks that do not look at attention_mask.
UNPADDED = ["none", "triu_infinite", "buffer_weak", "buffer_float", "buffer_added"]


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
        half = value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        inputs[value.name] = random.normal(size=shape).astype(
            np.float16 if half else np.float32
        )
    return inputs


def compare(what, tolerance, run, outputs, expected):
    for name, wanted in expected.items():
        got = outputs[name].astype(np.float64)
        if got.shape != wanted.shape:
            raise Failed(f"{what}: {name} expects {wanted.shape}, got {got.shape}")
        error = np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-6)
        if not error <= tolerance:
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
    outlined = len(re.findall(r"func\.func private @layer_", text))
    if outlined != decoder.c.layers:
        wrong.append(f"{outlined} of {decoder.c.layers} layers")
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
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        onnx.save(self.model, f"{self.path}.onnx")
        self.dims = ["--dim", "batch=1..4", "--dim", "sequence=1..32"]
        if config.past:
            self.dims += ["--dim", "past_sequence=0..32"]
        # Its optimizer would replace products of dequantized weights by integer
        # ones, which round.
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = (
            onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        )
        session = onnxruntime.InferenceSession(
            f"{self.path}.onnx", options, providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in self.model.graph.output]
        random = np.random.default_rng(config.seed)
        self.runs = []
        for run in RUNS:
            if run[2] and not config.past:
                continue
            if run[3] and config.mask in UNPADDED:
                continue
            inputs = inputs_of(self.model, config, run, random)
            expected = dict(zip(names, session.run(names, inputs)))
            np.savez(f"{self.path}.{len(self.runs)}.npz", **inputs)
            self.runs.append((run, expected))

    def interpret(self, what, module):
        for number, (run, expected) in enumerate(self.runs):
            command(
                "quant-opt",
                module,
                f"--interpret={self.path}.{number}.npz",
                "-o",
                f"{self.path}.out.npz",
            )
            with np.load(f"{self.path}.out.npz") as outputs:
                compare(what, self.config.tolerance, run, outputs, expected)

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
        for number, (run, expected) in enumerate(self.runs):
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
        tolerance = self.config.tolerance
        self.execute("float32", lambda *args: compare("compiled", tolerance, *args))

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
    families = {config.name.split("-")[0] for config in models()}
    if unknown := set(wanted) - families - {config.name for config in models()}:
        sys.exit(f"no model is called {', '.join(unknown)}")
    steps = ["imported", "raised", "found", "compiled", "four_bits"]
    print(f"{'model':24}" + "".join(f"{step:>10}" for step in steps))
    failures = []
    for config in models():
        if wanted and not {config.name, config.name.split("-")[0]} & set(wanted):
            continue
        case = Case(config, folder)
        row = f"{config.name:24}"
        for step in steps:
            if step in ("compiled", "four_bits") and config.style.half:
                row += f"{'-':>10}"  # activations are float32 on CPUs
                continue
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
