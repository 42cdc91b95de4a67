# ===- torch_peer.py - The same work in PyTorch --------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""GPTQ in PyTorch on the CPU, as it is published (2210.17323): float32, 4 bits
asymmetric, groups of 128, damping 0.01, lazy blocks of 128. The peer of
nibble-gptq-bench.

usage: torch_peer.py [THREADS [TOKENS [OUT IN]...]]
"""
import sys
import time

import torch


def parameters(block):
    """Scale and zero point [rows] of the gptq grid."""
    low = block.min(1).values.clamp(max=0)
    high = block.max(1).values.clamp(min=0)
    scale = (high - low) / 15
    return scale, torch.round(-low / scale)


def solve(weight, hessian, group=128, block=128, damping=0.01):
    """The quantized weight."""
    weight, hessian = weight.clone(), hessian.clone()
    width = weight.shape[1]
    diagonal = torch.arange(width)
    hessian[diagonal, diagonal] += damping * hessian.diagonal().mean()
    lower = torch.linalg.cholesky(hessian)
    inverse = torch.cholesky_inverse(lower)
    upper = torch.linalg.cholesky(inverse, upper=True)
    result = torch.zeros_like(weight)
    for begin in range(0, width, block):
        end = min(begin + block, width)
        # Rows side by side, so that a column is contiguous.
        columns = weight[:, begin:end].t().contiguous()
        errors = torch.zeros_like(columns)
        corner = upper[begin:end, begin:end]
        for i in range(end - begin):
            if (begin + i) % group == 0:
                scale, zero = parameters(
                    weight[:, begin + i:begin + i + group])
            column = columns[i:i + 1]
            code = torch.clamp(torch.round(column / scale) + zero, 0, 15)
            value = scale * (code - zero)
            error = (column - value) / corner[i, i]
            columns[i:] -= corner[i, i:, None] * error
            errors[i] = error
            columns[i] = value
        result[:, begin:end] = columns.t()
        weight[:, end:] -= errors.t() @ upper[begin:end, end:]
    return result


def measure(rows, width, tokens):
    torch.manual_seed(1)
    weight = torch.rand(rows, width) * 2 - 1
    inputs = torch.rand(tokens, width) * 2 - 1
    print(f"{rows} x {width}, {tokens} tokens, {torch.get_num_threads()} "
          f"threads, torch {torch.__version__}")
    start = time.perf_counter()
    scaled = inputs * (2 / tokens) ** 0.5
    hessian = scaled.T @ scaled
    print(f"  Hessian        {time.perf_counter() - start:8.3f} s")
    start = time.perf_counter()
    solve(weight, hessian)
    print(f"  solve          {time.perf_counter() - start:8.3f} s")


def main():
    numbers = [int(argument) for argument in sys.argv[1:]]
    if numbers and numbers[0] > 0:
        torch.set_num_threads(numbers[0])
    tokens = numbers[1] if len(numbers) > 1 else 4096
    sizes = numbers[2:] or [4096, 4096, 4096, 14336]
    with torch.inference_mode():
        for rows, width in zip(sizes[::2], sizes[1::2]):
            measure(rows, width, tokens)


if __name__ == "__main__":
    main()
