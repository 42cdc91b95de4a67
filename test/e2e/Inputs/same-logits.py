"""usage: same-logits.py BUNDLE

Fails unless quant-run gives the same bytes with 1, 2 and 3 threads."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

root = pathlib.Path(__file__).resolve().parents[3]
ids = np.load(root / "examples" / "stories260K" / "eval.npy")[:3, :37]
arrays = {
    "input_ids": ids,
    "attention_mask": np.ones_like(ids),
    "position_ids": np.tile(np.arange(ids.shape[1]), (len(ids), 1)),
}

with tempfile.TemporaryDirectory() as folder:
    inputs = []
    for name, array in arrays.items():
        np.save(f"{folder}/{name}.npy", array.astype(np.int64))
        inputs += ["--input", f"{name}={folder}/{name}.npy"]
    logits = []
    for threads in (1, 2, 3):
        command = ["quant-run", sys.argv[1], f"--threads={threads}", *inputs]
        subprocess.run([*command, "-o", f"{folder}/out.npz"], check=True)
        with np.load(f"{folder}/out.npz") as outputs:
            logits.append(outputs["logits"])

if not np.isfinite(logits[0]).all() or np.ptp(logits[0]) == 0:
    sys.exit("expected logits, got constants, infinities or NaN")
for other in logits[1:]:
    if logits[0].tobytes() != other.tobytes():
        sys.exit("expected the same bytes whatever the number of threads")
