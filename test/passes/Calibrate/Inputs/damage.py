# ===- damage.py - Files that are not what they should be ----------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   damage.py FILE      writes variants of a file of statistics beside it

import json
import pathlib
import sys

import numpy as np

import safetensors

original = pathlib.Path(sys.argv[1])
data = original.read_bytes()
tensors, metadata = safetensors.read(original)


def write(name, tensors=tensors, metadata=metadata):
    safetensors.write(original.parent / f"{name}.safetensors", tensors, metadata)


def with_fields(change):
    changed = {}
    for key, text in metadata.items():
        if key.startswith("value:"):
            fields = json.loads(text)
            change(fields)
            text = json.dumps(fields)
        changed[key] = text
    return changed


(original.parent / "cut.safetensors").write_bytes(data[:-8])
(original.parent / "flipped.safetensors").write_bytes(
    data[:-1] + bytes([data[-1] ^ 1])
)
write("field", metadata=with_fields(lambda fields: fields.pop("tokens")))
write("json", metadata=metadata | {"value:q0": "{"})
write("kind", tensors={n: t for n, t in tensors.items() if n != "q0#mean_square"})
write("shape", tensors=tensors | {"q0#hessian": np.zeros((2, 8))})
write("stray", tensors=tensors | {"w": np.zeros(3, np.float32)})
write("format", metadata={})
write("version", metadata=with_fields(lambda f: f.update(nibble="0.0.0")))
write("blas", metadata=with_fields(lambda f: f.update(blas="Abacus")))
