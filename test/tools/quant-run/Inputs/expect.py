# Runs a program and expects an exit code and a last line on stderr.
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#   expect.py CODE REGEX PROGRAM [ARGUMENT ...]

import re
import subprocess
import sys

code, pattern, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
result = subprocess.run(command, capture_output=True, text=True, check=False)
lines = result.stderr.strip().split("\n")
if result.returncode != code or not re.match(pattern, lines[-1]):
    sys.exit(f"{command}: expected exit code {code} and /{pattern}/, got "
             f"{result.returncode} and {lines[-1]!r}")
if result.stdout:
    sys.exit(f"{command}: expected nothing on stdout, got {result.stdout!r}")
