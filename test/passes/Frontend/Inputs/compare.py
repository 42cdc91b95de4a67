# ===- compare.py - Whether two sets of arrays agree ---------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
# compare.py expected.npz actual.npz [name...]: all arrays unless names are
# given; fails beyond 1e-5 of the largest value.

import sys

import numpy as np

expected, actual = np.load(sys.argv[1]), np.load(sys.argv[2])
for name in sys.argv[3:] or expected.files:
    a, b = expected[name], actual[name]
    assert a.shape == b.shape, f"{name}: {a.shape} and {b.shape}"
    error = np.abs(a - b).max() / np.abs(a).max()
    assert error < 1e-5, f"{name} differs by {error:.1e}"
