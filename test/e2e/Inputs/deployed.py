"""usage: deployed.py MODULE TOLERANCE

Fails unless the logits of the lowered MODULE's @prefill and @decode, run by the
interpreter, are within TOLERANCE of PyTorch's for the example."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

module, tolerance = sys.argv[1], float(sys.argv[2])
root = pathlib.Path(__file__).resolve().parents[3]
reference = np.load(root / "examples" / "stories260K" / "reference.npz")
tokens, expected = reference["input_ids"], reference["logits"]
prompts = np.array([16, 9])
steps = 8


def run(folder, entry, inputs):
    np.savez(f"{folder}/in.npz", **inputs)
    files = f"inputs={folder}/in.npz outputs={folder}/out.npz"
    command = f"builtin.module(nibble-interpret{{entry={entry} {files}}})"
    subprocess.run(
        ["quant-opt", module, f"--pass-pipeline={command}", "-o", "/dev/null"],
        check=True,
    )
    with np.load(f"{folder}/out.npz") as outputs:
        states = dict(outputs)
    return states.pop("logits"), states


largest = 0.0
rows = np.arange(len(prompts))
with tempfile.TemporaryDirectory() as folder:
    past = np.zeros_like(prompts)
    inputs = {
        "input_ids": tokens[:, : prompts.max()],
        "past_lengths": past,
        "last": prompts - 1,
    }
    logits, states = run(folder, "prefill", inputs)
    past = prompts
    for step in range(steps + 1):
        error = np.abs(logits - expected[rows, past - 1]).max()
        largest = max(largest, error)
        if step == steps:
            break
        inputs = {"input_ids": tokens[rows, past][:, None], "past_lengths": past}
        logits, states = run(folder, "decode", {**inputs, **states})
        past = past + 1
print(f"largest difference {largest:.2e}")
if not largest <= tolerance:
    sys.exit(f"expected at most {tolerance}")
