# ===- contributions.py - What each pass costs, together and alone --------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   contributions.py MODEL.mlir PROBES FOLDER
#
# Several lossy passes in one pipeline, on layers of their own: what
# --verify-stages says each adds to the KL divergence and to the drift of the
# logits has the order that the passes have when each is run alone. So in every
# order of the pipeline, but that inputs are quantized last: behind them, each
# change moves codes, too.

import itertools
import json
import subprocess
import sys

model, probes, folder = sys.argv[1:]

# What a pass needs in front of it is part of it; the last one is measured.
PARTS = {
    "3 bits": ["qmodel-plan{bits=3 include=layers.1.}", "qmodel-quantize-rtn"],
    "8 bits": [
        "qmodel-plan{bits=8 group=0 symmetric=true include=layers.0.}",
        "qmodel-quantize-rtn",
    ],
    "4 bits": ["qmodel-plan{bits=4 include=layers.2.*attn}", "qmodel-quantize-rtn"],
    "2:4": [
        "qmodel-plan{bits=4 include=layers.3.mlp}",
        "qmodel-sparsify{method=magnitude include=layers.3.mlp}",
    ],
    "5-bit inputs": [
        "qmodel-plan{bits=8 group=0 input-bits=5 include=layers.4.mlp}",
        "qmodel-quantize-rtn",
        "qmodel-quantize-inputs",
    ],
}


def contributions(names):
    """What each of the parts adds: (KL divergence, relative L2)."""
    passes = [one for name in names for one in PARTS[name]]
    report = f"{folder}/report.json"
    subprocess.run(
        [
            "quant-opt",
            model,
            f"--pass-pipeline=builtin.module(nibble-frontend,{','.join(passes)})",
            f"--verify-stages={probes}",
            f"--verify-report={report}",
            "-o",
            f"{folder}/out.mlir",
        ],
        check=True,
        capture_output=True,
    )
    with open(report) as file:
        logits = [row for row in json.load(file) if row["value"] == "logits"]
    # In the order of the pipeline; those of one part are next to each other.
    lossy = {"qmodel-quantize-rtn", "qmodel-quantize-inputs", "qmodel-sparsify"}
    stages = iter([row for row in logits if row["pass"] in lossy])
    found = {}
    for name in names:
        rows = [next(stages) for one in PARTS[name] if one.split("{")[0] in lossy]
        found[name] = (rows[-1]["added_kl"], rows[-1]["added_rel_l2"])
    return found


def order(values, kind):
    return sorted(values, key=lambda name: values[name][kind], reverse=True)


alone = {name: contributions([name])[name] for name in PARTS}
*weights, last = PARTS
orders = list(itertools.permutations(weights))[::5]
for names in orders:
    together = contributions([*names, last])
    for kind in (0, 1):
        assert order(together, kind) == order(alone, kind), (names, together, alone)
print("order", " > ".join(order(alone, 0)))
print(len(orders), "pipelines agree")
