"""usage: layers.py REPORT INSPECT quantized=N linear=N embedding=N [bits=B]

Checks quant-compile's report: how many layers are quantized, by kind, and that
the bits of each are those of codes, scales and zero points; and that the bundle
(`quant-run --inspect --json`) lists the same layers and bits."""

import json
import sys

with open(sys.argv[1]) as file:
    layers = json.load(file)["layers"]
with open(sys.argv[2]) as file:
    inspected = json.load(file)["layers"]
expected = {k: int(v) for k, v in (a.split("=") for a in sys.argv[3:])}
bits = expected.pop("bits", None)

quantized = [layer for layer in layers if layer["quantized"]]
found = {"quantized": len(quantized)}
for kind in ("linear", "embedding"):
    found[kind] = sum(layer["kind"] == kind for layer in quantized)
if found != expected:
    sys.exit(f"expected {expected}, got {found}")
if len(layers) != 37 or len({layer["id"] for layer in layers}) != 37:
    sys.exit(f"expected 37 layers with ids of their own, got {len(layers)}")

for layer in layers:
    if not layer["quantized"] and not layer["reason"]:
        sys.exit(f"{layer['id']}: expected a reason for float weights")
    if layer["quantized"] and bits:
        # Groups of 32 inputs: a float32 scale and a zero point for each.
        groups = -(-layer["in"] // 32)
        per_row = bits * layer["in"] + groups * (32 + bits)
        if abs(layer["bits_per_weight"] - per_row / layer["in"]) > 1e-9:
            sys.exit(f"{layer['id']}: {layer['bits_per_weight']} bits, expected "
                     f"{per_row / layer['in']}")

if [layer["id"] for layer in inspected] != [layer["id"] for layer in layers]:
    sys.exit("expected the bundle to list the layers of the report")
