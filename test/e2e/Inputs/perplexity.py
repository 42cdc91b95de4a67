"""usage: perplexity.py EXPECTED TOLERANCE COMMAND...

Fails unless the command, a quant-eval, prints one line `perplexity: X` with X
within TOLERANCE of EXPECTED."""

import re
import subprocess
import sys

expected, tolerance = map(float, sys.argv[1:3])
output = subprocess.run(
    sys.argv[3:], check=True, stdout=subprocess.PIPE, text=True
).stdout
print(output)
found = re.findall(r"^perplexity: ([0-9.]+)$", output, re.MULTILINE)
if len(found) != 1:
    sys.exit("expected one line 'perplexity: X'")
if not abs(float(found[0]) - expected) <= tolerance:
    sys.exit(f"expected {expected} +- {tolerance}, got {found[0]}")
