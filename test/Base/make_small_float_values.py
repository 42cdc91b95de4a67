# ===- make_small_float_values.py - Values of all codes ------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Writes SmallFloatValues.inc: what ml_dtypes, the types that ONNX uses, has
for each code of each float of 8 and 4 bits, as the bits of a float32. All NaN
are written as the same one."""

import ml_dtypes
import numpy as np

TYPES = {
    "f8E4M3FN": ml_dtypes.float8_e4m3fn,
    "f8E5M2": ml_dtypes.float8_e5m2,
    "f8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "f8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "f8E8M0FNU": ml_dtypes.float8_e8m0fnu,
    "f4E2M1FN": ml_dtypes.float4_e2m1fn,
}

print("// Made by make_small_float_values.py; do not edit.")
for name, dtype in TYPES.items():
    count = 16 if name == "f4E2M1FN" else 256
    values = np.arange(count, dtype=np.uint8).view(dtype).astype(np.float32)
    values[np.isnan(values)] = np.nan
    bits = [f"0x{b:08x}" for b in values.view(np.uint32)]
    print(f'{{"{name}",\n {{')
    for row in range(0, count, 6):
        print("     " + ", ".join(bits[row:row + 6]) + ",")
    print(" }},")
