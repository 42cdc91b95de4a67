# ===- deployed.py - The deployment form of decoders ----------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   deployed.py FOLDER [MODEL or FAMILY...]
#
# Sequences of different lengths go through @prefill and @decode together, and
# each must get the logits that ONNX Runtime computes for it alone, without a
# cache, from its first token on. The steps: prompts, one token each, more prompts
# behind what is there, one token each. Programs run in the interpreter, from step
# to step; of a bundle, both entry points run once, with nothing in the cache.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import sys

import numpy as np
import onnx
from checks import Failed, command
from decoder import Decoder
from families import models
from run import execute_onnx
from widened import widened

# New tokens per sequence in each call of @prefill; None is a call of @decode.
STEPS = [(5, 9, 1), None, (3, 1, 4), None, None]
# Mistakes of a half cache are those of its 11 bits.
HALF_TOLERANCE = 5e-3


def inputs_of_one(model, config, tokens):
    """The whole sequence at once, with an empty past."""
    known = {
        "input_ids": tokens[None],
        "attention_mask": np.ones((1, len(tokens)), np.int64),
        "position_ids": np.arange(len(tokens))[None],
    }
    inputs = {}
    for value in model.graph.input:
        if value.name in known:
            inputs[value.name] = known[value.name]
            continue
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        bfloat = value.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16
        kind = np.float32 if bfloat or kind == np.float16 else kind
        inputs[value.name] = np.zeros((1, dims[1], 0, dims[3]), kind)
    return inputs


class Sequences:
    """Three sequences that grow, in the interpreter."""

    def __init__(self, path, lowered, config):
        self.path, self.lowered = path, lowered
        self.random = np.random.default_rng(config.seed)
        self.vocabulary = config.vocabulary
        self.tokens = [np.zeros(0, np.int64) for _ in STEPS[0]]
        self.states = {}

    def step(self, counts):
        past = np.array([len(t) for t in self.tokens])
        new = [self.random.integers(0, self.vocabulary, n) for n in counts or (1, 1, 1)]
        # What lies behind a sequence is padding, of any tokens.
        ids = self.random.integers(0, self.vocabulary, (len(new), max(map(len, new))))
        for row, tokens in zip(ids, new):
            row[: len(tokens)] = tokens
        inputs = {"input_ids": ids, "past_lengths": past, **self.states}
        if counts:
            inputs["last"] = np.array(counts) - 1
        np.savez(f"{self.path}.in.npz", **inputs)
        entry = "prefill" if counts else "decode"
        files = f"inputs={self.path}.in.npz outputs={self.path}.out.npz"
        command(
            "quant-opt",
            self.lowered,
            f"--pass-pipeline=builtin.module(nibble-interpret{{entry={entry} {files}}})",
            "-o",
            "/dev/null",
        )
        with np.load(f"{self.path}.out.npz") as outputs:
            arrays = dict(outputs)
        logits = arrays.pop("logits")
        self.states = arrays
        self.tokens = [np.concatenate(pair) for pair in zip(self.tokens, new)]
        return logits


def logits_alone(reference, model, config, sequences):
    """What each sequence has behind its last token."""
    alone = [inputs_of_one(model, config, tokens) for tokens in sequences]
    return [out["logits"][0, -1] for out in execute_onnx(reference, alone)]


def compare(what, logits, expected, tolerance):
    largest = 0.0
    for row, wanted in enumerate(expected):
        wanted = wanted.astype(np.float64)
        error = np.abs(logits[row] - wanted).max() / np.abs(wanted).max()
        if not error <= tolerance:
            raise Failed(f"{what}, sequence {row}: logits differ by {error:.1e}")
        largest = max(largest, error)
    return largest


def check_bundle(config, path, dims, cache, model, reference, tolerance):
    command(
        "quant-compile",
        "-q",
        f"{path}.onnx",
        *dims,
        f"--cache-type={cache}",
        "-o",
        f"{path}.nbl",
    )
    random = np.random.default_rng(config.seed)
    counts = np.array(STEPS[0])
    prompts = random.integers(0, config.vocabulary, (len(counts), counts.max()))
    none = np.zeros(len(counts), np.int64)
    runs = {
        "prefill": {"input_ids": prompts, "past_lengths": none, "last": counts - 1},
        "decode": {"input_ids": prompts[:, :1], "past_lengths": none},
    }
    for entry, inputs in runs.items():
        np.savez(f"{path}.in.npz", **inputs)
        command(
            "quant-run",
            f"{path}.nbl",
            f"--entry={entry}",
            "--input",
            f"{path}.in.npz",
            "-o",
            f"{path}.out.npz",
        )
        lengths = counts if entry == "prefill" else none + 1
        sequences = [row[:n] for row, n in zip(prompts, lengths)]
        expected = logits_alone(reference, model, config, sequences)
        with np.load(f"{path}.out.npz") as outputs:
            compare(f"bundle, {entry}", outputs["logits"], expected, tolerance)


def check(config, folder, cache):
    path = f"{folder / config.name}.{cache}"
    model = Decoder(config).build()
    onnx.save(model, f"{path}.onnx")
    half = config.style.compute != "float32"
    reference = f"{path}.onnx"
    if half:
        reference = f"{path}.widened.onnx"
        onnx.save(widened(model), reference)
    dims = ["--dim", "batch=1..4", "--dim", "sequence=1..32"]
    dims += ["--dim", "past_sequence=0..32"]
    command("quant-import", f"{path}.onnx", *dims, "-o", f"{path}.mlir")
    command(
        "quant-opt",
        f"{path}.mlir",
        "--pass-pipeline=builtin.module(nibble-frontend,"
        f"nibble-lower{{cache-type={cache}}})",
        "-o",
        f"{path}.lowered.mlir",
    )
    if "@prefill" not in pathlib.Path(f"{path}.lowered.mlir").read_text():
        raise Failed("has no entry point @prefill")
    sequences = Sequences(path, f"{path}.lowered.mlir", config)
    rounding = {"float16": 1e-3, "bfloat16": 8e-3}.get(config.style.compute, 0)
    tolerance = max(config.tolerance, rounding)
    if cache == "float16":
        tolerance = max(tolerance, HALF_TOLERANCE)
    largest = 0.0
    for number, counts in enumerate(STEPS):
        logits = sequences.step(counts)
        expected = logits_alone(reference, model, config, sequences.tokens)
        error = compare(f"step {number}", logits, expected, tolerance)
        largest = max(largest, error)
    # One bundle of each model is enough. A rounded cache may choose another
    # expert.
    if bool(config.experts or config.seed % 2 == 0) == (cache == "float32"):
        check_bundle(config, path, dims, cache, model, reference, tolerance)
    return largest


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wanted = set(sys.argv[2:])
    failures = 0
    for config in models():
        if not config.past:
            continue
        if wanted and not {config.name, config.name.split("-")[0]} & wanted:
            continue
        row = f"{config.name:24}"
        for cache in ("float32", "float16"):
            try:
                row += f"  {cache} {check(config, folder, cache):.1e}"
            except Failed as failure:
                row += f"  {cache} FAIL: {failure}"
                failures += 1
        print(row, flush=True)
    sys.exit(f"{failures} checks failed" if failures else 0)


if __name__ == "__main__":
    main()
