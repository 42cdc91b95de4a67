"""usage: interpreted.py BUNDLE MODULE PIPELINE

Fails unless the logits of BUNDLE, which was compiled from MODULE with PIPELINE,
are within 1e-4 of those of the interpreter for MODULE after PIPELINE."""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

TOLERANCE = 1e-4

bundle, module, pipeline = sys.argv[1:]
root = pathlib.Path(__file__).resolve().parents[3]
ids = np.load(root / "examples" / "stories260K" / "eval.npy")[:3, :37]
inputs = {
    "input_ids": ids.astype(np.int64),
    "attention_mask": np.ones(ids.shape, np.int64),
    "position_ids": np.tile(np.arange(ids.shape[1]), (len(ids), 1)),
}
with tempfile.TemporaryDirectory() as folder:
    np.savez(f"{folder}/in.npz", **inputs)
    command = ["quant-run", bundle, "-o", f"{folder}/compiled.npz"]
    for name, array in inputs.items():
        np.save(f"{folder}/{name}.npy", array)
        command += ["--input", f"{name}={folder}/{name}.npy"]
    subprocess.run(command, check=True)
    subprocess.run(
        ["quant-opt", module, f"--interpret={folder}/in.npz",
         f"--pass-pipeline=builtin.module({pipeline})",
         "-o", f"{folder}/interpreted.npz"],
        check=True,
    )
    with np.load(f"{folder}/compiled.npz") as compiled, np.load(
        f"{folder}/interpreted.npz"
    ) as interpreted:
        a, b = compiled["logits"], interpreted["logits"]

if a.shape != b.shape or not np.isfinite(b).all() or np.ptp(b) == 0:
    sys.exit(f"expected logits of one shape, got {a.shape} and {b.shape}")
error = np.abs(a - b).max()
print(f"largest difference {error:.2e}")
if not error <= TOLERANCE:
    sys.exit(f"expected at most {TOLERANCE}")
