# ===- ptx_emulated.py - PTX of the emulator's kernels --------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compiles the kernels that tests of the emulator leave in a folder: all must have
PTX for Hopper, and for others unless they say what they need instead. With ptxas,
it must take the PTX, and spill nothing.

    ptx_emulated.py FOLDER [ptxas]"""

import pathlib
import re
import subprocess
import sys

# The last is the only one with all that kernels may use.
TARGETS = ("sm_80", "sm_120a", "compute_80", "sm_90a")


def compile_kernel(source, target):
    """The PTX, or the message that the target lacks something."""
    command = ["quant-compile", source, "--emit=ptx", f"--target={target}", "-o", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    lacks = re.search(r"expects (at least )?sm_\w+ for '[\w.]+', got ", done.stderr)
    if done.returncode != 0 and (target == TARGETS[-1] or not lacks):
        sys.exit(f"{done.stderr}error: no PTX of {source.name} for {target}")
    return None if done.returncode else done.stdout


def assemble(ptxas, folder, source, target, text):
    path = folder / f"{source.stem}.ptx"
    path.write_text(text)
    command = [ptxas, "-v", f"-arch={target.replace('compute', 'sm')}", path, "-o",
               folder / "kernel.cubin"]
    done = subprocess.run(command, capture_output=True, text=True)
    spills = re.findall(r"(\d+) bytes spill stores", done.stderr)
    if done.returncode != 0 or not spills or set(spills) != {"0"}:
        sys.exit(f"{done.stderr}error: ptxas on {path} for {target}")


def main():
    folder = pathlib.Path(sys.argv[1])
    ptxas = sys.argv[2] if len(sys.argv) > 2 else None
    made = {target: 0 for target in TARGETS}
    for source in sorted(folder.glob("*.mlir")):
        for target in TARGETS:
            text = compile_kernel(source, target)
            if text is None:
                continue
            made[target] += 1
            if ptxas:
                assemble(ptxas, folder, source, target, text)
    for target in TARGETS:
        print(f"{target}: {made[target]} kernels")


main()
