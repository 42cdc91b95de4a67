"""usage: perplexity.py SETTING TOLERANCE COMMAND...

Fails unless the command, a quant-eval, prints one line `perplexity: X` with X
within TOLERANCE of what oracle_perplexity.json has for SETTING."""

import json
import pathlib
import re
import subprocess
import sys

oracle = pathlib.Path(__file__).with_name("oracle_perplexity.json")
expected = json.loads(oracle.read_text())["perplexity"][sys.argv[1]]
tolerance = float(sys.argv[2])
output = subprocess.run(
    sys.argv[3:], check=True, stdout=subprocess.PIPE, text=True
).stdout
print(output)
found = re.findall(r"^perplexity: ([0-9.]+)$", output, re.MULTILINE)
if len(found) != 1:
    sys.exit("expected one line 'perplexity: X'")
if not abs(float(found[0]) - expected) <= tolerance:
    sys.exit(f"expected {expected} +- {tolerance}, got {found[0]}")
