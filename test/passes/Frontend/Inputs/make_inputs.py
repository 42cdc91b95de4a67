# ===- make_inputs.py - Inputs for stories260K.test ----------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
# make_inputs.py reference.npz folder: the reference's tokens plain, padded on
# the left (rows with nothing to see), and after a random past.

import sys

import numpy as np

reference, folder = sys.argv[1:]
ids = np.load(reference)["input_ids"]
batch, length = ids.shape
positions = np.tile(np.arange(length), (batch, 1))
mask = np.ones_like(ids)
np.savez(f"{folder}/plain.npz", input_ids=ids, attention_mask=mask, position_ids=positions)

padded = mask.copy()
padded[0, :5] = 0
np.savez(f"{folder}/padded.npz", input_ids=ids, attention_mask=padded, position_ids=positions)

past_length = 7
random = np.random.default_rng(0)
past = {
    f"past_key_values.{layer}.{part}": random.normal(size=(batch, 4, past_length, 8)).astype(np.float32)
    for layer in range(5)
    for part in ("key", "value")
}
seen = np.ones((batch, past_length + length), np.int64)
seen[1, :3] = 0
np.savez(
    f"{folder}/past.npz",
    input_ids=ids,
    attention_mask=seen,
    position_ids=positions + past_length,
    **past,
)
