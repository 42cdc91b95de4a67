# Runs instances of benchmarks/gpu in the emulator and checks them as `run` does.
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#   gpu_instances.py FOLDER FORM:INxOUT ...

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, sys.argv[1])
import instances

TOKENS = 3
random = np.random.default_rng(7)
failures = 0
for text in sys.argv[2:]:
    instance = instances.parse_instance(text)
    x = random.standard_normal((TOKENS, instance.inputs)).astype(np.float16)
    arrays = {"x": x}
    data = random.integers(0, 256, instance.weight_bytes, np.uint8)
    if instance.kind.bits == 16:
        data = (data.view(np.uint16) & 0xBFFF).view(np.uint8)
    arrays["w"] = data
    scales = (random.uniform(0.5, 1.5, instance.scale_count) / 64).astype(np.float16)
    zeros = random.integers(0, 256, instance.zero_bytes, np.uint8)
    if scales.size:
        arrays["s"] = scales
    if zeros.size:
        arrays["z"] = zeros
    ports, buffers = [], []
    for i, (name, array) in enumerate(arrays.items()):
        ports.append(f'#qkernel.port<"{name}", ui8, ["{array.nbytes}"]>')
        buffers.append(f'#qkernel.buffer<input, index = {i}, bytes = "{array.nbytes}">')
    size = 2 * TOKENS * instance.outputs
    buffers.append(f'#qkernel.buffer<output, index = 0, bytes = "{size}">')
    program = (f"qkernel.program @main inputs [{', '.join(ports)}] outputs "
               f'[#qkernel.port<"y", ui8, ["{size}"]>] arena 0 checks [] {{\n'
               f"qkernel.step @{instance.name} [{', '.join(buffers)}] "
               f'scalars ["{TOKENS}"] after -1\n}}\n')
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "k.mlir").write_text(instance.mlir() + program)
        np.savez(folder / "in.npz", **{name: np.frombuffer(array.tobytes(), np.uint8)
                                       for name, array in arrays.items()})
        subprocess.run(["quant-opt", "--qkernel-to-gpu", folder / "k.mlir",
                        f"--emulate-gpu={folder}/in.npz", "-o", folder / "out.npz"],
                       check=True)
        y = np.frombuffer(np.load(folder / "out.npz")["y"].tobytes(),
                          np.float16).reshape(TOKENS, instance.outputs)
    part = lambda array, tile: np.split(array, instance.row_tiles)[tile]
    for tile in range(instance.row_tiles):
        weight = instance.weight(part(data, tile), part(scales, tile),
                                 part(zeros, tile))
        first = tile * instances.ROWS
        found = y[:, first:first + instances.ROWS].astype(np.float64)
        product, bound = instance.expected(x, weight[:found.shape[1]])
        worst = np.max(np.abs(found - product) / bound)
        if not worst <= 1:
            failures += 1
            print(f"{text}, tile {tile}: {worst:.3g} times the bound")
sys.exit(1 if failures else 0)
