# ===- block_modules.py - Schemes of all kinds through text modules ------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""test/Numerics/block_oracle.py through qmodel-plan and qmodel-quantize-rtn on
text modules: codes and zero points are those of the printed module, values are
what the interpreter computes from it on an identity matrix.

usage: block_modules.py
"""
import os
import re
import sys

import numpy as np

HERE = os.path.dirname(__file__)
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "..", "Numerics")]
import block_oracle  # noqa: E402
from rtn_modules import MODULE, parse, run, spell  # noqa: E402


def options(scheme):
    text = (f"bits={scheme.bits} group={scheme.group} rows={scheme.rows} "
            f"symmetric={str(scheme.sym).lower()} grid={scheme.grid} "
            f"rounding={scheme.rounding} scales={scheme.scales}")
    if scheme.second:
        s = scheme.second
        text += (f" scale-bits={s.bits} scale-group={s.group} "
                 f"scale-rows={s.rows} scale-grid={s.grid} "
                 f"scale-symmetric={str(s.sym).lower()}")
    return text


def quantize(folder, weight, scheme):
    source, target, inputs, outputs = (
        os.path.join(folder, name)
        for name in ("in.mlir", "out.mlir", "in.npz", "out.npz")
    )
    out, width = weight.shape
    with open(source, "w") as file:
        file.write(MODULE.format(out=out, inputs=width, values=spell(weight)))
    run(["quant-opt", source, "-o", target, "--pass-pipeline=builtin.module("
         f"qmodel-plan{{{options(scheme)}}},qmodel-quantize-rtn)"])
    with open(target) as file:
        text = file.read()
    found = {"codes": parse(text, "codes"), "zeros": parse(text, "zeros")}
    for part in ("codes", "zeros", "scales"):
        found["scale_" + part] = parse(text, r"scales\." + part)
    found = {name: array for name, array in found.items() if array is not None}
    assert bool(scheme.second) == ("scale_codes" in found)
    kinds = re.findall(r"weight @w\.scales : tensor<\d+x\d+x(\w+)>", text)
    assert kinds == ([] if scheme.second else [scheme.scales])
    np.savez(inputs, x=np.eye(width, dtype=np.float32))
    run(["quant-opt", target, f"--interpret={inputs}", "-o", outputs])
    with np.load(outputs) as arrays:
        found["values"] = arrays["y"].T
    return found


if __name__ == "__main__":
    block_oracle.compare(quantize, 1)
