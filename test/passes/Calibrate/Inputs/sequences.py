# ===- sequences.py - Token ids in files, and what was read ---------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   sequences.py make                    files of ids, good and bad ones
#   sequences.py check FILE LENGTH...    FILE has the embeddings of the first
#                                        sequences, which have these lengths
#
# The embedding of id i is (2 i, 2 i + 1), so that rows tell the ids.

import sys

import numpy as np

import safetensors

SEQUENCES = [[0, 1, 2], [3, 2, 1], [3], [1, 0]]


def make():
    arrays = [np.array(ids) for ids in SEQUENCES]
    np.savez("ragged.npz", **{f"s{i}": a for i, a in enumerate(arrays)})
    safetensors.write("ragged.safetensors", {f"s{i}": a for i, a in enumerate(arrays)})
    matrix = np.array(SEQUENCES[:2])
    np.save("matrix.npy", matrix.astype(np.uint8))
    np.savez("rows.npz", a=matrix[0].astype(np.int32), b=matrix[1:])
    np.savez("named.npz", input_ids=matrix)
    np.save("floats.npy", matrix.astype(np.float32))
    np.save("large.npy", np.array([[0, 1, 2], [1, 2, 4]]))
    np.savez("negative.npz", a=matrix[0], b=np.array([-100, 0]))
    np.savez("long.npz", a=np.zeros(6, np.int64))
    np.save("empty.npy", np.zeros((0, 3), np.int64))
    np.savez("hollow.npz", a=matrix[0], b=np.zeros(0, np.int64))
    np.savez("cube.npz", a=np.zeros((1, 2, 3), np.int64))
    np.save("vector.npy", matrix[0])


def check(path, lengths):
    tensors, _ = safetensors.read(path)
    ids = [i for s, n in zip(SEQUENCES, lengths) for i in s[:n]]
    assert sum(lengths) == len(ids)
    expected = np.array([[2 * i, 2 * i + 1] for i in ids], np.float32)
    np.testing.assert_array_equal(tensors["head#rows"], expected)
    np.testing.assert_allclose(tensors["head#mean_absolute"], expected.mean(0))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make()
    else:
        check(sys.argv[2], [int(n) for n in sys.argv[3:]])
