"""usage: roots.py A B

Fails unless A holds the sums of rows of [[0..3], [4..7]], and B of sevens."""

import sys

import numpy as np

for path, expected in zip(sys.argv[1:], ([6, 22], [28, 28])):
    with np.load(path) as outputs:
        if outputs["y"].tolist() != [expected]:
            sys.exit(f"expected {expected} in {path}, got {outputs['y']}")
