"""usage: decoder_steps.py MODULES FOLDER

Fails unless @prefill and @decode of each module in the text, split at "// -----",
give the logits that @main has for each sequence by itself, with an empty cache.
Weights become random numbers."""

import os
import re
import subprocess
import sys

import numpy as np

rng = np.random.default_rng(3)
source, folder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
path = lambda name: os.path.join(folder, name)


def randomized(text):
    def weight(match):
        shape = [int(size) for size in match[1].split("x")]
        return f"dense<{rng.normal(size=shape).tolist()}> : tensor<{match[1]}xf32>"

    return re.sub(r"dense<0\.5> : tensor<([0-9x]+)xf32>", weight, text)


def run(entry, inputs):
    np.savez(path("in.npz"), **inputs)
    files = f"inputs={path('in.npz')} outputs={path('out.npz')}"
    passes = f"builtin.module(nibble-interpret{{entry={entry} {files}}})"
    command = ["quant-opt", path("lowered.mlir"), f"--pass-pipeline={passes}"]
    subprocess.run(command + ["-o", os.devnull], check=True)
    with np.load(path("out.npz")) as outputs:
        return dict(outputs)


def alone(text, tokens):
    """The last logits of @main for one sequence; other inputs by their names."""
    length = len(tokens)
    known = {
        "input_ids": tokens[None],
        "write_indices": np.zeros(1, np.int64),
        "nonpad_kv_seqlen": np.full(1, length),
        "seqlens_k": np.full(1, length - 1, np.int32),
        "total_sequence_length": np.full(1, length, np.int32),
    }
    for dims in re.findall(r'onnx.name = "past", qmodel.dims = \[(.*?)\]', text):
        sizes = {"batch": 1, "past": 0}
        shape = [s.strip(' "') for s in dims.split(",")]
        known["past"] = np.zeros(
            [sizes[s] if s in sizes else int(s) for s in shape], np.float32
        )
    return run("main", known)["logits"][0, -1]


for text in open(source).read().split("// -----"):
    with open(path("module.mlir"), "w") as file:
        file.write(randomized(text))
    subprocess.run(
        ["quant-opt", path("module.mlir"), "--nibble-lower", "-o", path("lowered.mlir")],
        check=True,
    )
    tokens = rng.integers(0, 16, (2, 9))
    lengths, states = np.zeros(2, np.int64), {}
    for counts in ([3, 5], None, [2, 1], None):
        new = np.array(counts or [1, 1])
        # Rows behind the last token are padding.
        ids = np.zeros((2, new.max()), np.int64)
        for row, (past, count) in enumerate(zip(lengths, new)):
            ids[row, :count] = tokens[row, past : past + count]
        inputs = {"input_ids": ids, "past_lengths": lengths, **states}
        if counts:
            inputs["last"] = new - 1
        states = run("prefill" if counts else "decode", inputs)
        logits = states.pop("logits")
        lengths = lengths + new
        for row, length in enumerate(lengths):
            expected = alone(text, tokens[row, :length])
            error = np.abs(logits[row] - expected).max() / np.abs(expected).max()
            if not error <= 1e-5:
                sys.exit(f"FAIL: step {counts}, sequence {row}: {error:.1e}")
