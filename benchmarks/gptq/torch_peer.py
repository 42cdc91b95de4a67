# ===- torch_peer.py - The same work in PyTorch --------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""GPTQ in PyTorch on the CPU, as it is published (2210.17323): float32, 4 bits
asymmetric, groups of 128, damping 0.01, lazy blocks of 128. The peer of
nibble-gptq-bench, which has the same arguments and prints the same.

usage: torch_peer.py THREADS act|plain weight.npy inputs.npy codes.npy
"""
import json
import sys
import time

import numpy as np
import torch


def parameters(block):
    """Scale and zero point [rows] of the gptq grid."""
    low = block.min(1).values.clamp(max=0)
    high = block.max(1).values.clamp(min=0)
    scale = (high - low) / 15
    return scale, torch.round(-low / scale)


def solve(weight, hessian, act_order, group=128, block=128, damping=0.01):
    """The codes. With act order, the grids of all groups are those of the
    original weights; else of the weights when their turn comes."""
    weight, hessian = weight.clone(), hessian.clone()
    width = weight.shape[1]
    order = torch.arange(width)
    if act_order:
        grids = [parameters(part) for part in weight.split(group, 1)]
        order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
        weight, hessian = weight[:, order], hessian[order][:, order]
    diagonal = torch.arange(width)
    hessian[diagonal, diagonal] += damping * hessian.diagonal().mean()
    lower = torch.linalg.cholesky(hessian)
    inverse = torch.cholesky_inverse(lower)
    upper = torch.linalg.cholesky(inverse, upper=True)
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    for begin in range(0, width, block):
        end = min(begin + block, width)
        # Rows side by side, so that a column is contiguous.
        columns = weight[:, begin:end].t().contiguous()
        errors = torch.zeros_like(columns)
        rounded = torch.empty(columns.shape, dtype=torch.uint8)
        corner = upper[begin:end, begin:end]
        for i in range(end - begin):
            if act_order:
                scale, zero = grids[int(order[begin + i]) // group]
            elif (begin + i) % group == 0:
                scale, zero = parameters(
                    weight[:, begin + i:begin + i + group])
            column = columns[i:i + 1]
            code = torch.clamp(torch.round(column / scale) + zero, 0, 15)
            error = (column - scale * (code - zero)) / corner[i, i]
            columns[i:] -= corner[i, i:, None] * error
            errors[i] = error
            rounded[i] = code
        codes[:, begin:end] = rounded.t()
        weight[:, end:] -= errors.t() @ upper[begin:end, end:]
    return codes[:, torch.argsort(order)]


def main():
    threads, order, *files = sys.argv[1:]
    if int(threads) > 0:
        torch.set_num_threads(int(threads))
    weight, inputs = (torch.from_numpy(np.load(f)) for f in files[:2])
    square = torch.rand(1024, 1024)
    square @ square  # starts the threads
    start = time.perf_counter()
    scaled = inputs * (2 / len(inputs)) ** 0.5
    hessian = scaled.T @ scaled
    middle = time.perf_counter()
    codes = solve(weight, hessian, order == "act")
    end = time.perf_counter()
    print(json.dumps({"hessian": middle - start, "solve": end - middle,
                      "version": torch.__version__}))
    np.save(files[2], codes.numpy())


if __name__ == "__main__":
    with torch.inference_mode():
        main()
