"""usage: logits.py inputs REFERENCE IN
       logits.py compare REFERENCE OUT...

Makes the inputs for the token ids of REFERENCE, PyTorch's answers; fails unless
the logits of every OUT are within 1e-4 of them."""

import sys

import numpy as np

what, reference, *paths = sys.argv[1:]
with np.load(reference) as file:
    ids, expected = file["input_ids"].astype(np.int64), file["logits"]
if what == "inputs":
    np.savez(
        paths[0],
        input_ids=ids,
        attention_mask=np.ones_like(ids),
        position_ids=np.tile(np.arange(ids.shape[1]), (len(ids), 1)),
    )
    sys.exit()
for path in paths:
    with np.load(path) as file:
        logits = file["logits"]
    if logits.shape != expected.shape:
        sys.exit(f"{path}: expected {expected.shape}, got {logits.shape}")
    error = np.abs(logits - expected).max()
    if not error <= 1e-4:
        sys.exit(f"{path}: expected a difference of 1e-4 at most, got {error}")
