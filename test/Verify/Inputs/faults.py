# ===- faults.py - Mistakes, and what they are blamed on ------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   faults.py PLUGIN SOURCE FOLDER SEED...
#
# The plugin's pass test-fault makes one mistake between two real passes, at a
# place that the seed picks, and says where. --verify-stages must blame that pass
# and that value first: in the error, in both tables and in the JSON. SOURCE is
# the root of the repository, whose models are used.

import json
import pathlib
import re
import subprocess
import sys

import numpy as np

plugin, source, folder = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
seeds = [int(seed) for seed in sys.argv[4:]]

RAISED = "nibble-frontend,{fault},nibble-lower"
CODES = "nibble-frontend,qmodel-plan{{bits={bits} group={group}}},qmodel-quantize-rtn,{fault},nibble-lower"
INPUTS = (
    "nibble-frontend,qmodel-plan{{bits=8 group=0 symmetric=true grid=narrow "
    "input-bits=8}},qmodel-quantize-rtn,qmodel-quantize-inputs,{fault},nibble-lower"
)
PACKED = (
    "nibble-frontend,qmodel-plan{{bits={bits} group={group}}},qmodel-quantize-rtn,"
    "qkernel-pack,{fault},qkernel-inline-layers,cse,qkernel-lower"
)

STORIES, LLAMA, QWEN, GPT2, OPT = "stories", "llama-ts14", "qwen2-ts16", "gpt2-ts16", "opt-ts14"
# Fault, pipeline, models that have a place for it.
FAULTS = [
    ("heads", RAISED, [STORIES, LLAMA, GPT2]),
    ("act-order", RAISED, [STORIES, QWEN]),
    ("column-sign", RAISED, [LLAMA, OPT]),
    ("clip", RAISED, [STORIES, QWEN]),
    ("transposed", RAISED, [STORIES, OPT]),
    ("weight-of-other", RAISED, [STORIES, LLAMA, OPT]),
    ("dropped-bias", RAISED, [QWEN, GPT2, OPT]),
    ("zero-point", CODES, [STORIES, LLAMA]),
    ("scale", CODES, [STORIES, GPT2]),
    ("groups", CODES, [STORIES, LLAMA]),
    ("scale-of-other", CODES, [STORIES, OPT]),
    ("codes", CODES, [QWEN, STORIES]),
    ("saturated", CODES, [STORIES, LLAMA]),
    ("input-grid", INPUTS, [STORIES]),
    ("tiles", PACKED, [STORIES, LLAMA]),
    ("missing-fold", RAISED, [STORIES, QWEN]),
    ("missing-fold", CODES, [STORIES]),
    ("epsilon", RAISED, [STORIES, GPT2]),
    ("norm-bias", RAISED, [GPT2, OPT]),
    ("rope", RAISED, [STORIES, LLAMA]),
    ("rope-pairs", CODES, [STORIES, QWEN]),
    ("rope-position", RAISED, [STORIES]),
    ("rope-base", RAISED, [STORIES]),
    ("attention-scale", RAISED, [STORIES, GPT2]),
    ("mask", CODES, [STORIES, OPT]),
    ("window", RAISED, [STORIES, LLAMA]),
    ("swapped-kv", RAISED, [GPT2, OPT]),
    ("residual", RAISED, [STORIES, LLAMA]),
    ("activation", RAISED, [STORIES, GPT2]),
    ("gate-and-up", CODES, [STORIES, QWEN]),
    ("transpose", RAISED, [STORIES]),
]


def prepare(name):
    """Imports a model and writes its probes."""
    if name == STORIES:
        base = source / "examples/stories260K"
        onnx, tokens = base / "model.onnx", np.load(base / "eval.npy")[:2, :24]
    else:
        onnx = source / f"test/models/pytorch/{name}.onnx"
        with np.load(onnx.with_suffix(".npz")) as arrays:
            tokens = max(
                (arrays[key] for key in arrays if key.endswith(".input_ids")),
                key=lambda ids: ids.size,
            )
    module, probes = f"{folder}/{name}.mlir", f"{folder}/{name}.npy"
    np.save(probes, tokens)
    dims = ["--dim", "batch=1..4", "--dim", "sequence=1..512"]
    subprocess.run(["quant-import", onnx, *dims, "-o", module], check=True)
    return module, probes


def run(name, passes, *options):
    module, probes = models[name]
    report = f"{folder}/report.json"
    done = subprocess.run(
        [
            "quant-opt",
            f"--load-pass-plugin={plugin}",
            module,
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
    told = re.search(r"^fault \S+ in @(\S+) at (.*)$", done.stderr, re.M)
    assert told, (passes, done.stderr[-2000:])
    with open(report) as file:
        return done, json.load(file), told[1], told[2]


def moved(row, kind):
    # JSON has no NaN or infinity: null is both.
    value = row.get(kind + "rel_l2", 0)
    return value is None or value > 1e-4


def is_at(value, place):
    """A packed op has no id; its place is the origin of the layer."""
    return value == place or place.strip("/").startswith(value + "/")


def check(name, passes, within=None):
    done, rows, function, place = run(name, passes, "--verify-preserving=test-fault")
    what = (name, passes, function, place)
    # A pass that promises to preserve values fails, by name and place.
    error = done.stderr.rstrip().splitlines()[-1]
    assert done.returncode == 1, what
    blamed = re.fullmatch(
        "error: 'test-fault' promises to preserve values, but moved "
        r"(?:the (\S+) )?'(.*)' in @(\S+) by a relative L2 of .*, more than the "
        "tolerance of 1.00e-04; (the layer itself|nothing in front of it) has changed",
        error,
    )
    assert blamed and is_at(blamed[2], place) and blamed[3] == function, (what, error)
    value = blamed[2]
    # In the JSON it is marked, it is the worst by itself, and no other pass did it.
    stage = [row for row in rows if row["pass"] == "test-fault"]
    assert [row["value"] for row in stage if row.get("first_moved")] == [value], what
    own = [row["value"] for row in stage if moved(row, "own_added_")]
    assert own == [value], (what, own)
    assert all(row.get("within") == within for row in stage), what
    for row in rows:
        if row["preserving"] and row["pass"] != "test-fault":
            assert not moved(row, "added_") and not moved(row, "own_added_"), (what, row)
    # In the table of passes it stands behind the pass; that of layers it leads.
    lines = [line.split() for line in done.stderr.splitlines()]
    assert any(line[:3] == ["test-fault", "moved", value] for line in lines), what
    worst = next(i for i, line in enumerate(lines) if line[:2] == ["pass", "layer"])
    assert lines[worst + 1][:2] == ["test-fault", value], what


def fault(kind, seed, only=""):
    return f"test-fault{{kind={kind} seed={seed}{only}}}"


models = {name: prepare(name) for name in (STORIES, LLAMA, QWEN, GPT2, OPT)}
found = 0
for seed in seeds:
    for kind, pipeline, places in FAULTS:
        name = places[seed % len(places)]
        # The narrow models have other groups.
        group, bits = [32, 16][seed % 2], [4, 3, 8][seed % 3]
        passes = pipeline.format(fault=fault(kind, seed), group=group, bits=bits)
        check(name, passes)
        found += 1

# In a pipeline that runs on every layer: one pass of it, in one layer.
for layer, kind in (2, "scale"), (4, "codes"):
    only = f" only=m/layers.{layer}/mlp/down_proj"
    data = models[STORIES][1]
    nested = f"qmodel-awq,qmodel-fold-channel-scales,qmodel-gptq,{fault(kind, 1, only)}"
    passes = (
        "nibble-frontend,qmodel-plan{bits=4 group=32},nibble-for-each-layer{data="
        f"{data} spill={folder} pipeline={nested}}},nibble-lower"
    )
    check(STORIES, passes, within="nibble-for-each-layer")
    found += 1

# One that promises nothing is measured and not failed on; those behind it are
# not blamed.
for kind, pipeline in ("scale", CODES), ("rope", RAISED):
    passes = pipeline.format(fault=fault(kind, 5), group=32, bits=4)
    done, rows, function, place = run(STORIES, passes)
    assert done.returncode == 0, done.stderr
    for row in rows:
        if row["pass"] not in ("test-fault", "qmodel-quantize-rtn"):
            assert not moved(row, "added_"), row
    first = [row for row in rows if row["pass"] == "test-fault" and row.get("first_moved")]
    assert [row["value"] for row in first] == [place], first
print(found, "faults found")
