"""usage: exit-code.py CODE COMMAND...

Fails unless the command exits with CODE, writes nothing to stdout, and ends
what it says on stderr with one line `error: ...`."""

import subprocess
import sys

expected, command = int(sys.argv[1]), sys.argv[2:]
result = subprocess.run(command, capture_output=True, text=True)
lines = result.stderr.strip().splitlines() or [""]
problems = []
if result.returncode != expected:
    problems.append(f"expected exit code {expected}, got {result.returncode}")
if not lines[-1].startswith("error: "):
    problems.append("expected a last line 'error: ...'")
if result.stdout:
    problems.append(f"expected nothing on stdout, got: {result.stdout}")
if problems:
    sys.exit("\n".join([result.stderr, " ".join(command)] + problems))
