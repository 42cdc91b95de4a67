"""usage: codes.py FOLDER

Fails unless one file of FOLDER holds the codes of [[0..3], [4..7]] in 8 bits,
per channel and asymmetric: the grid of a row always has 0 in it, so that the
second row is spread over 0..7."""

import pathlib
import sys

import numpy as np

rows = np.arange(8.0).reshape(2, 4)
codes = np.rint(rows / (rows.max(axis=1, keepdims=True) / 255)).astype(np.uint8)
files = sorted(pathlib.Path(sys.argv[1]).iterdir())
if codes.tobytes() not in [file.read_bytes() for file in files]:
    sys.exit(f"expected the codes {codes.tolist()} in one of {files}")
