# ===- check_weights.py - Stored weights against numbers -----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compares stored weights of a module with numbers, and checks their hashes.

usage: check_weights.py MODULE (NAME DTYPE:EXPRESSION)...
"""

import hashlib
import os
import re
import sys

import numpy as np

module = sys.argv[1]
with open(module) as file:
    text = file.read()
for name, wanted in zip(sys.argv[2::2], sys.argv[3::2]):
    match = re.search(
        r"qmodel\.weight @%s : .* = #qmodel\.stored<\"(.*?)\", (\d+), (\d+), "
        r"\"([0-9a-f]*)\">" % re.escape(name),
        text,
    )
    path, offset, size, digest = match.groups()
    with open(os.path.join(os.path.dirname(module), path), "rb") as file:
        file.seek(int(offset))
        data = file.read(int(size))
    assert hashlib.sha256(data).hexdigest() == digest, name
    dtype, expression = wanted.split(":", 1)
    numbers = np.array(list(eval(expression)), dtype=dtype)
    assert data == numbers.tobytes(), name
