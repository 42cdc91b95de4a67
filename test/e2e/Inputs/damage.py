"""usage: damage.py BUNDLE DAMAGED TOKENS

Writes copies of BUNDLE with one bit changed, or cut short, to DAMAGED, and
fails unless `quant-run --verify` refuses each with exit code 1 and `error:`.
Changed weights are also run: whatever they give, it is no crash. TOKENS, an
.npy array, is the input."""

import json
import random
import subprocess
import sys

data = open(sys.argv[1], "rb").read()
choose = random.Random(1)
# Everywhere, and above all in the index, which comes first.
places = [choose.randrange(len(data)) for _ in range(20)]
places += [choose.randrange(min(4096, len(data))) for _ in range(20)]
cases = [(f"bit {8 * i} changed", i, None) for i in places]
cases += [
    (f"cut to {size} bytes", None, size)
    for size in (0, 1, 63, 4095, len(data) // 2, len(data) - 1)
]

accepted = 0
for what, changed, size in cases:
    copy = bytearray(data[:size])
    if changed is not None:
        copy[changed] ^= 1
    with open(sys.argv[2], "wb") as file:
        file.write(copy)
    result = subprocess.run(
        ["quant-run", sys.argv[2], "--verify"], capture_output=True, text=True
    )
    if result.returncode == 0 and changed is not None:
        # Padding between segments means nothing, and is not hashed.
        accepted += 1
    elif result.returncode != 1 or "error: " not in result.stderr:
        sys.exit(f"{what}: exit code {result.returncode}\n{result.stderr}")
print(f"{accepted} of {len(cases)} changes were of bytes that mean nothing")
if accepted > len(cases) // 2:
    sys.exit("expected most changes to be found")

# Weights, up to all of them: only --verify looks at their hashes.
inspect = ["quant-run", sys.argv[1], "--inspect", "--json"]
weights = json.loads(subprocess.check_output(inspect))["segments"]["weights"]
start = len(data) - weights
for count in [1] * 20 + [100] * 10 + [weights // 8] * 10:
    copy = bytearray(data)
    for _ in range(count):
        copy[choose.randrange(start, len(data))] = choose.randrange(256)
    with open(sys.argv[2], "wb") as file:
        file.write(copy)
    if copy == data:
        continue
    run = ["quant-run", sys.argv[2], "--input", f"input_ids={sys.argv[3]}"]
    for command, codes in ((run[:2] + ["--verify"], (1,)), (run, (0, 1))):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode not in codes or (
            result.returncode and "error: " not in result.stderr
        ):
            sys.exit(f"{count} bytes of weights: {' '.join(command)}: exit code "
                     f"{result.returncode}\n{result.stderr}")
