#!/usr/bin/env python3
# ===- busy_core.py - Decoding beside a busy process ---------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Measures how fast a bundle decodes while another process keeps one core busy.

    benchmarks/threads/busy_core.py model.nbl --threads 2 --rounds 5

Rounds alternate between an idle machine and one with a busy loop that is pinned
to a core; what counts is the ratio of the medians. With two threads on two cores
it should stay above one half: the busy process takes half of one of them. One
JSON value on stdout."""

import argparse
import json
import os
import statistics
import subprocess
import sys


def decode_speed(arguments, threads):
    command = [arguments.quant_run, arguments.model, "--bench", "--json",
               f"--threads={threads}", f"--gen-tokens={arguments.gen_tokens}",
               "--prompt-tokens=16"]
    return json.loads(subprocess.check_output(command))["decode_tok_s"]


def beside_busy_core(arguments):
    busy = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"],
        preexec_fn=lambda: os.sched_setaffinity(0, {arguments.core}))
    try:
        return decode_speed(arguments, arguments.threads)
    finally:
        busy.kill()
        busy.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="a bundle with a language model")
    parser.add_argument("--quant-run", default="quant-run", metavar="PROGRAM")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)),
                        metavar="CORE", help="the busy one (default: the last)")
    parser.add_argument("--gen-tokens", type=int, default=64, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    arguments = parser.parse_args()
    speeds = {"one_thread": [], "idle": [], "busy": []}
    for _ in range(arguments.rounds):
        speeds["one_thread"].append(decode_speed(arguments, 1))
        speeds["idle"].append(decode_speed(arguments, arguments.threads))
        speeds["busy"].append(beside_busy_core(arguments))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(json.dumps({"threads": arguments.threads, "core": arguments.core,
                      "tok_s": medians,
                      "kept": medians["busy"] / medians["idle"],
                      "rounds": speeds}, indent=2))


if __name__ == "__main__":
    main()
