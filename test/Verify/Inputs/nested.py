"""Passes that ran on one layer after the other have rows of every layer.

usage: nested.py REPORT.json
"""

import json
import sys

with open(sys.argv[1]) as file:
    rows = json.load(file)
nested = [row for row in rows if row.get("within") == "nibble-for-each-layer"]
assert {row["pass"] for row in nested} == {
    "qmodel-awq",
    "qmodel-fold-channel-scales",
    "qmodel-gptq",
}
for name in {row["pass"] for row in nested}:
    linears = [
        row
        for row in nested
        if row["pass"] == name and "own_rel_l2" in row or "rescaled" in row
    ]
    assert len({row["layer"] for row in linears}) == 5, name
# Smoothing and folding change no layer; rounding changes all, by what rounding is.
for row in nested:
    own = row.get("own_added_rel_l2", 0)
    if row["pass"] == "qmodel-gptq" and row.get("op") == "qmodel.linear":
        assert 1e-3 < own < 0.2, row
    elif row["pass"] != "qmodel-gptq":
        assert own < 1e-4, row
