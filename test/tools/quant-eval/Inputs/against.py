"""usage: against.py BUNDLE REFERENCE REPORT

Computes perplexity, mean KL divergence and top-1 agreement over the first two
rows of eval.npy in numpy, from the logits that quant-run writes, and compares
them with quant-eval's REPORT."""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

root = pathlib.Path(__file__).resolve().parents[4]
ids = np.load(root / "examples" / "stories260K" / "eval.npy")[:2]
ids = ids.astype(np.int64)


def log_probabilities(bundle):
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/ids.npy", ids)
        subprocess.run(
            ["quant-run", bundle, "--input", f"input_ids={folder}/ids.npy",
             "-o", f"{folder}/out.npz"],
            check=True,
        )
        with np.load(f"{folder}/out.npz") as outputs:
            logits = outputs["logits"][:, :-1].astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


ours, reference = log_probabilities(sys.argv[1]), log_probabilities(sys.argv[2])
nats = -np.take_along_axis(ours, ids[:, 1:, None], -1).sum()
expected = {
    "perplexity": np.exp(nats / ids[:, 1:].size),
    "tokens": ids[:, 1:].size,
    "nats": nats,
    "kl": (np.exp(reference) * (reference - ours)).sum(-1).mean(),
    "agreement": (ours.argmax(-1) == reference.argmax(-1)).mean(),
}
with open(sys.argv[3]) as file:
    found = json.load(file)
if list(found) != list(expected):
    sys.exit(f"expected {list(expected)}, got {list(found)}")
for name, value in expected.items():
    print(name, found[name], value)
    if not abs(found[name] - value) <= 1e-9 * max(1, abs(value)):
        sys.exit(f"{name}: expected {value}, got {found[name]}")
if not expected["kl"] > 0.01:
    sys.exit("expected models that differ")
