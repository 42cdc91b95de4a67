"""Compares a model's logits with PyTorch's.

usage: logits.py BUNDLE [--past] [-- OPTION...]     OPTIONs go to quant-run
       logits.py MODULE.mlir [--past] [-- OPTION...]    ... or to quant-opt

Without --past, all 24 tokens at once. With --past, 16 tokens and then 8 single
steps, each of which gets the `present` tensors of the one before: what a cache
must not change."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

# Both sides compute in float32, in different orders of summation.
TOLERANCE = 2e-4
LAYERS, KV_HEADS, HEAD_DIM = 5, 4, 8

root = pathlib.Path(__file__).resolve().parents[3]
reference = np.load(root / "examples" / "stories260K" / "reference.npz")


def run(model, inputs, options):
    """One run of quant-run, or of the interpreter: the outputs by name."""
    interprets = model.endswith(".mlir")
    with tempfile.TemporaryDirectory() as folder:
        program = "quant-opt" if interprets else "quant-run"
        command = [program, model, "-o", f"{folder}/out.npz", *options]
        if interprets:
            np.savez(f"{folder}/in.npz", **inputs)
            command += [f"--interpret={folder}/in.npz"]
            inputs = {}
        for number, (name, array) in enumerate(inputs.items()):
            np.save(f"{folder}/{number}.npy", array)
            command += ["--input", f"{name}={folder}/{number}.npy"]
        subprocess.run(command, check=True)
        with np.load(f"{folder}/out.npz") as outputs:
            return dict(outputs)


def tokens(ids, past):
    """The inputs for tokens that follow `past` earlier ones."""
    batch, count = ids.shape
    positions = np.arange(past, past + count, dtype=np.int64)
    return {
        "input_ids": ids,
        "attention_mask": np.ones((batch, past + count), np.int64),
        "position_ids": np.tile(positions, (batch, 1)),
    }


def compare(what, logits, expected):
    if logits.shape != expected.shape:
        sys.exit(f"{what}: expected shape {expected.shape}, got {logits.shape}")
    error = np.abs(logits - expected).max()
    print(f"{what}: largest difference from PyTorch {error:.2e}")
    if not error <= TOLERANCE:
        sys.exit(f"{what}: expected at most {TOLERANCE}")


def main():
    options = sys.argv[2:]
    with_past = options[:1] == ["--past"]
    if "--" in options:
        options = options[options.index("--") + 1 :]
    else:
        options = []
    ids = reference["input_ids"]
    if not with_past:
        logits = run(sys.argv[1], tokens(ids, 0), options)["logits"]
        compare("logits", logits, reference["logits"])
        return

    empty = np.zeros((len(ids), KV_HEADS, 0, HEAD_DIM), np.float32)
    names = [f"{i}.{kind}" for i in range(LAYERS) for kind in ("key", "value")]
    cache = {f"past_key_values.{name}": empty for name in names}
    steps = []
    for begin, end in [(0, 16)] + [(i, i + 1) for i in range(16, 24)]:
        inputs = {**tokens(ids[:, begin:end], begin), **cache}
        outputs = run(sys.argv[1], inputs, options)
        cache = {f"past_key_values.{n}": outputs[f"present.{n}"] for n in names}
        steps.append(outputs["logits"])
    compare("prefill", steps[0], reference["logits"][:, :16])
    compare("decode", np.concatenate(steps[1:], 1), reference["decode_logits"])


main()
