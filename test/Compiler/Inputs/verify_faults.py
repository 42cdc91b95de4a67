"""Damages a model between two stages and checks what --verify-stages blames.

usage: verify_faults.py PLUGIN MODEL.mlir PROBES FOLDER
"""

import json
import re
import subprocess
import sys

plugin, model, probes, folder = sys.argv[1:]

Q, K, V, O = (f"m/layers.%d/self_attn/{c}_proj" for c in "qkvo")
GATE, UP, DOWN = (f"m/layers.%d/mlp/{c}_proj" for c in ("gate", "up", "down"))

BEFORE = "nibble-frontend,"
QUANTIZED = "nibble-frontend,qmodel-plan{bits=4 group=32},qmodel-quantize-rtn,"

# Fault, the layer that it is put at, what comes before, the value that must be
# the first to move, and whether by itself or by its input.
FAULTS = [
    ("heads", Q % 1, BEFORE, Q % 1, True),
    ("codes", V % 0, QUANTIZED, V % 0, True),
    ("scale", DOWN % 3, QUANTIZED, DOWN % 3, True),
    ("groups", O % 2, QUANTIZED, O % 2, True),
    ("zero-point", GATE % 4, QUANTIZED, GATE % 4, True),
    (f"weight-of-other other={UP % 2}", GATE % 2, BEFORE, GATE % 2, True),
    ("missing-fold", GATE % 1, BEFORE, GATE % 1, False),
    ("rope", K % 2, BEFORE, O % 2, False),
    ("attention-scale", Q % 3, BEFORE, O % 3, False),
    ("residual", Q % 0, BEFORE, GATE % 0, False),
    # After the last layer of the model only the head is left.
    ("scale", DOWN % 4, QUANTIZED, DOWN % 4, True),
]


def run(fault, layer, before, *options):
    report = f"{folder}/report.json"
    passes = f"{before}test-fault{{kind={fault} layer={layer}}},nibble-lower"
    done = subprocess.run(
        [
            "quant-opt",
            f"--load-pass-plugin={plugin}",
            model,
            f"--pass-pipeline=builtin.module({passes})",
            f"--verify-stages={probes}",
            f"--verify-report={report}",
            *options,
            "-o",
            f"{folder}/out.mlir",
        ],
        capture_output=True,
        text=True,
    )
    with open(report) as file:
        return done, json.load(file)


def moved(row, kind):
    # JSON has no NaN or infinity: null is both.
    value = row.get(kind + "rel_l2", 0)
    return value is None or value > 1e-4


for fault, layer, before, blamed, by_itself in FAULTS:
    # A pass that promises to preserve values fails, by name.
    done, rows = run(fault, layer, before, "--verify-preserving=test-fault")
    last = done.stderr.rstrip().splitlines()[-1]
    where = "the layer itself has changed" if by_itself else "before its input"
    assert done.returncode == 1, fault
    assert re.fullmatch(
        f"error: 'test-fault' promises to preserve values, but moved '{blamed}' "
        f"in @layer_. by a relative L2 of .*, more than the tolerance of "
        f"1.00e-04; .*{where}",
        last,
    ), last
    stage = [row for row in rows if row["pass"] == "test-fault"]
    first = next(row for row in stage if moved(row, "added_"))
    assert first["value"] == blamed, (fault, first)
    assert first["layer"] == f"layer_{blamed.split('.')[1][0]}", first
    own = [row["value"] for row in stage if moved(row, "own_added_")]
    assert own == ([blamed] if by_itself else []), (fault, own)

# One that promises nothing is measured and not failed on; those behind it are
# not blamed.
for fault, layer, before, _, _ in FAULTS[2], FAULTS[7]:
    done, rows = run(fault, layer, before)
    assert done.returncode == 0, done.stderr
    for row in rows:
        if row["pass"] not in ("test-fault", "qmodel-quantize-rtn"):
            assert not moved(row, "added_"), row
print(len(FAULTS), "faults found")
