# ===- exemptions.py - What --bisect-accuracy says, done by hand ---------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   exemptions.py MODEL.mlir PROBES FOLDER
#
# Every variant that it reports is written as a pipeline of its own, and must have
# the KL divergence that --verify-stages measures for that.

import json
import re
import subprocess
import sys

model, probes, folder = sys.argv[1:]


def pipeline(exclude=(), without=""):
    names = "|".join(re.escape(id) + "$" for id in exclude) or "nothing"
    passes = [
        # Some layers are much worse than the others.
        f'qmodel-plan{{bits=2 include="layers.3/" exclude="{names}"}}',
        "qmodel-quantize-rtn",
        f'qmodel-plan{{bits=4 input-bits=8 include="layers" exclude="{names}"}}',
        f"nibble-for-each-layer{{data={probes} spill={folder} "
        "pipeline=qmodel-awq,qmodel-fold-channel-scales,qmodel-gptq}",
        "qmodel-quantize-inputs",
    ]
    if without:
        passes = [re.sub(f"{without},|,{without}", "", one) for one in passes]
    kept = [one for one in passes if one != without]
    return f"builtin.module(nibble-frontend,{','.join(kept)},nibble-lower)"


def command(*arguments):
    done = subprocess.run(
        ["quant-opt", model, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def kl_of(passes):
    command(
        f"--pass-pipeline={passes}",
        f"--verify-stages={probes}",
        f"--verify-report={folder}/stages.json",
        *("-o", f"{folder}/out.mlir"),
    )
    with open(f"{folder}/stages.json") as file:
        return [row["kl"] for row in json.load(file) if "kl" in row][-1]


def same(found, expected):
    return abs(found - expected) <= 1e-4 * expected


table = command(
    f"--pass-pipeline={pipeline()}",
    f"--bisect-accuracy={probes}",
    f"--bisect-report={folder}/bisect.json",
    "--bisect-layers=4",
)
print(table)
with open(f"{folder}/bisect.json") as file:
    rows = json.load(file)
base, variants = rows[0], rows[1:]
by_kind = {kind: [row for row in variants if row["exempt"] == kind] for kind in
           ("pass", "layer", "together")}
assert base["exempt"] == "nothing" and same(base["kl"], kl_of(pipeline()))
assert len(by_kind["layer"]) == 4 and len(by_kind["together"]) == 2
assert {row["pass"] for row in by_kind["pass"]} == {
    "qmodel-quantize-rtn", "qmodel-awq", "qmodel-gptq", "qmodel-quantize-inputs"
}
assert f"({len(variants) + 2} runs of the pipeline" in table

# What buys most is first.
for kind in ("pass", "layer"):
    found = [row["kl"] for row in by_kind[kind]]
    assert found == sorted(found), (kind, found)
(worst,) = by_kind["layer"][0]["layers"]
assert worst.startswith("m/layers.3/")

# By hand.
for row in by_kind["layer"][:2] + by_kind["together"]:
    assert same(row["kl"], kl_of(pipeline(exclude=row["layers"]))), row
for name in ("qmodel-quantize-inputs", "qmodel-gptq"):
    row = next(row for row in by_kind["pass"] if row["pass"] == name)
    assert same(row["kl"], kl_of(pipeline(without=name))), row
for row in variants:
    assert abs(row["regained"] - (base["kl"] - row["kl"])) < 1e-12
# Weights in 2 bits, and a scale and a zero point for each 32 inputs.
SIZES = {"gate": (172, 64), "up": (172, 64), "down": (64, 172), "q": (64, 64),
         "k": (32, 64), "v": (32, 64), "o": (64, 64)}
rows, columns = SIZES[worst.split("/")[-1].removesuffix("_proj")]
groups = rows * -(-columns // 32)
kept = by_kind["layer"][0]["bytes"] - base["bytes"]
packed = rows * columns * 2 / 8 + groups * (4 + 2 / 8)
assert abs(kept - (rows * columns * 4 - packed)) < 1, (kept, packed)
print("by hand the same")
