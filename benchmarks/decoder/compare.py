#!/usr/bin/env python3
# ===- compare.py - A decoder by Nibble and by llama.cpp ------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Speed and memory of one synthetic decoder (make_model.py), compiled by Nibble
and quantized for llama.cpp (build_peer), in turn. Everything lies in FOLDER:
models, bundles, and results.json, which holds each run as it ends. A run that
is there is not repeated, so that a stopped comparison goes on; --budget stops
it after so many seconds, with exit code 3 if something is left.

    compare.py FOLDER                     # all, and the table
    compare.py FOLDER --only speed-w4 --threads 2 --rounds 5
    compare.py FOLDER --table             # of what is there"""

import argparse
import json
import mmap
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PROMPT, DECODE = 512, 128
LEAST_BANDWIDTH = 15e9  # of one thread; less, and the machine is not ours
TRIES = 3

# What is compared: our recipe and the format of the peer, at no more bits.
HEAD = ["--quantize-head=4", "--quantize-embedding=4", "--scales=f16"]
WIDE_HEAD = ["--quantize-head=8", "--quantize-embedding=4", "--scales=f16"]
PAIRS = {
    "w4g32": (["--recipe=w4a8-sym"] + HEAD, "Q4_0"),
    "w4g64": (["--recipe=w4a8", "--group-size=64"] + WIDE_HEAD, "Q4_K_M"),
    "w4g128": (["--recipe=w4a8", "--group-size=128"] + WIDE_HEAD, "Q4_K_M"),
    "w8": (["--recipe=w8a8", "--quantize-head=8", "--quantize-embedding=8"], "Q8_0"),
}
BATCHES = [1, 2, 4, 8]


class Failed(Exception):
    pass


def measured(command, **options):
    """Output, seconds and peak resident bytes of a program."""
    start = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status:
        raise Failed(f"{command[0]}: {process.stderr.read().strip()[-2000:]}")
    return output, seconds, usage.ru_maxrss * 1024


def warm(path):
    """Brings a file into the page cache, with which loading is measured: anew,
    because parts that are read again lie in smaller pages. For both sides alike."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            view.madvise(mmap.MADV_HUGEPAGE)
            _ = view[:: mmap.PAGESIZE]


def lines_of_json(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class Comparison:
    def __init__(self, given):
        self.given = given
        self.folder = given.folder
        self.peer = given.peer
        self.path = self.folder / "results.json"
        self.results = {"runs": {}}
        if self.path.exists():
            self.results = json.loads(self.path.read_text())
        self.runs = self.results["runs"]

    def save(self):
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.results, indent=1))
        part.replace(self.path)

    # Models.

    def bundle(self, pair):
        return self.folder / f"{pair}.nbl"

    def gguf(self, kind):
        return (self.folder / f"model-{kind}.gguf").resolve()

    def make_model(self):
        model = self.folder / "model.onnx"
        if not model.exists() or not self.gguf("f16").exists():
            make = [sys.executable, HERE / "make_model.py", self.folder, "--gguf"]
            measured(make + self.given.model_options.split())
        return {
            "parameters": self.parameters(),
            "table_elements": self.table_elements(),
        }

    def parameters(self):
        """Two bytes each; norms, which have four, are too few to count."""
        return (self.folder / "model.onnx.data").stat().st_size // 2

    def table_elements(self):
        """Of the embedding, the first weight of the model."""
        import onnx

        model = onnx.load(self.folder / "model.onnx", load_external_data=False)
        rows, columns = model.graph.initializer[0].dims
        return rows * columns

    def make_gguf(self, kind):
        if not self.gguf(kind).exists():
            quantize = self.peer / "llama-quantize"
            measured([quantize, self.gguf("f16"), self.gguf(kind), kind, "2"])
        return {"bytes": self.gguf(kind).stat().st_size}

    def compile(self, pair):
        command = [self.given.compiler, "-q", self.folder / "model.onnx"]
        for dim in ("batch=1..8", "sequence=1..512", "past_sequence=0..1023"):
            command += ["--dim", dim]
        command += PAIRS[pair][0] + ["--stats", "-o", self.bundle(pair)]
        command += self.given.compile_options.split()
        _, seconds, peak = measured(command)
        size = self.bundle(pair).stat().st_size
        return {"seconds": seconds, "peak_bytes": peak, "bytes": size}

    # One run.

    def ours(self, pair, threads, prompt, decode, sequences=1, **options):
        command = [self.given.bench, self.bundle(pair), "--threads", threads]
        command += ["--prompt", prompt, "--decode", decode, "--sequences", sequences]
        warm(self.bundle(pair))
        output, _, peak = measured(command, **options)
        return json.loads(output) | {"peak_bytes": peak}

    def theirs(self, kind, threads, prompt, decode):
        warm(self.gguf(kind))
        command = [self.peer / "llama-bench", "-m", self.gguf(kind), "-t", threads]
        command += ["-p", prompt, "-n", decode, "-r", 1, "-o", "jsonl"]
        output, _, peak = measured(command)
        run = {"peak_bytes": peak}
        for test in lines_of_json(output):
            kind = "decode" if test["n_gen"] else "prompt"
            run[f"{kind}_tokens_per_second"] = test["avg_ts"]
            run["model_bytes"] = test["model_size"]
            run["backends"] = test.get("backends")
        return run

    def their_batches(self, kind, threads):
        command = [self.peer / "llama-batched-bench", "-m", self.gguf(kind)]
        command += ["-t", threads, "-c", 2048, "-npp", 16, "-ntg", 64]
        command += ["-npl", ",".join(map(str, BATCHES)), "--output-format", "jsonl"]
        output, _, _ = measured(command)
        return {str(line["pl"]): line["speed_tg"] for line in lines_of_json(output)}

    def busy(self, run):
        """While another process keeps the first core busy."""
        core = min(os.sched_getaffinity(0))
        loop = "import os\nos.sched_setaffinity(0, {%d})\nwhile True: pass" % core
        other = subprocess.Popen([sys.executable, "-c", loop])
        try:
            time.sleep(0.5)
            return run()
        finally:
            other.kill()
            other.wait()

    # All of them.

    def jobs(self):
        """(key, work), in order: the two sides in turn."""
        yield "model", self.make_model
        kinds = dict.fromkeys(kind for _, kind in PAIRS.values())
        for kind in kinds:
            yield f"gguf-{kind}", lambda kind=kind: self.make_gguf(kind)
        for pair in PAIRS:
            yield f"compile-{pair}", lambda pair=pair: self.compile(pair)
        for turn in range(self.given.rounds):
            for threads in self.given.threads:
                for pair, (_, kind) in PAIRS.items():
                    yield f"speed-{pair}-{threads}-{turn}-ours", (
                        lambda p=pair, t=threads: self.ours(p, t, PROMPT, DECODE)
                    )
                    # One peer for two of ours, in each turn.
                    if pair != "w4g128":
                        yield f"speed-{pair}-{threads}-{turn}-peer", (
                            lambda k=kind, t=threads: self.theirs(k, t, PROMPT, DECODE)
                        )
        most = max(self.given.threads)
        for turn in range(self.given.rounds):
            for batch in BATCHES:
                yield f"batch-w4g32-{batch}-{turn}-ours", (
                    lambda b=batch: self.ours("w4g32", most, 0, 64, b)
                )
            yield f"batch-Q4_0-{turn}-peer", lambda: self.their_batches("Q4_0", most)
        for turn in range(self.given.rounds):
            yield f"busy-w4g32-{turn}-ours", lambda: self.busy(
                lambda: self.ours("w4g32", most, 0, 48)
            )
            yield f"busy-Q4_0-{turn}-peer", lambda: self.busy(
                lambda: self.theirs("Q4_0", most, 0, 48)
            )

    def is_done(self, key):
        """Void runs, and those that failed, are tried again."""
        run = self.runs.get(key)
        return run is not None and (not run.get("void") or run["tries"] >= TRIES)

    def run(self):
        """Whether all is done."""
        start = time.monotonic()
        self.results["machine"] = machine()
        version = self.peer / "version.txt"
        if version.exists():
            self.results["peer"] = version.read_text().split("\n")
        for key, work in self.jobs():
            needed = key.split("-")[0] in ("model", "gguf")
            if not needed and not re.search(self.given.only, key):
                continue
            if self.is_done(key) and not (self.given.repeat and not needed):
                continue
            if time.monotonic() - start > self.given.budget:
                return False
            print(key, end=" ", file=sys.stderr, flush=True)
            began = time.monotonic()
            tries = self.runs.get(key, {}).get("tries", 0) + 1
            try:
                run = work()
            except Failed as failure:
                if needed:
                    sys.exit(f"\nerror: {key}: {failure}")
                run = {"void": True, "error": str(failure)}
                print(f"failed: {failure}", file=sys.stderr)
            if run.get("threads") == 1:
                run["void"] = run["read_bytes_per_second"] < LEAST_BANDWIDTH
            self.runs[key] = run | {"tries": tries}
            self.save()
            note = " void" if run.get("void") else ""
            print(f"{time.monotonic() - began:.1f} s{note}", file=sys.stderr)
        return True

    # The table.

    def valid(self, key):
        """The run, or nothing if it is void or not there."""
        run = self.runs.get(key, {"void": True})
        return None if run.get("void") else run

    def median(self, pattern, field):
        values = [
            run[field]
            for key, run in self.runs.items()
            if re.fullmatch(pattern, key) and field in run and not run.get("void")
        ]
        return statistics.median(values) if values else None

    def table_bytes(self, kind):
        """Of the embedding, of which a step reads a row."""
        bits = {"Q4_0": 4.5, "Q4_K_M": 4.5, "Q8_0": 8.5}[kind]
        return self.runs["model"]["table_elements"] * bits / 8

    def speed_row(self, pair, threads):
        kind = PAIRS[pair][1]
        ours = f"speed-{pair}-{threads}-\\d+-ours"
        theirs = f"speed-{'w4g64' if pair == 'w4g128' else pair}-{threads}-\\d+-peer"
        parameters = self.runs["model"]["parameters"]
        row = {"pair": pair, "peer": kind, "threads": threads}
        compiled, gguf = self.valid(f"compile-{pair}"), self.valid(f"gguf-{kind}")
        row["bits"] = compiled and compiled["bytes"] * 8 / parameters
        row["peer_bits"] = gguf and gguf["bytes"] * 8 / parameters
        row["read"] = self.median(ours, "read_bytes_per_second")
        row["bytes"] = self.median(ours, "weight_bytes_per_step")
        cache = self.median(ours, "cache_bytes_at_end")
        for phase in ("decode", "prompt"):
            field = f"{phase}_tokens_per_second"
            mine, other = self.median(ours, field), self.median(theirs, field)
            row[phase], row[f"peer_{phase}"] = mine, other
            row[f"{phase}_ratio"] = mine / other if mine and other else None
        if row["decode"]:
            step = row["bytes"] + cache / 2  # from an empty cache
            row["bound"] = row["decode"] * step / row["read"]
        if row["peer_decode"] and row["read"]:
            step = self.median(theirs, "model_bytes") - self.table_bytes(kind)
            row["peer_bound"] = row["peer_decode"] * step / row["read"]
        row["peak"] = self.median(ours, "mapped_bytes")
        if row["peak"]:
            row["peak"] += self.median(ours, "anonymous_bytes")
        row["peer_peak"] = self.median(theirs, "peak_bytes")
        first = self.median(ours, "first_token_seconds")
        if first:
            # Beyond the second time that one token runs.
            first += self.median(ours, "load_seconds")
            row["load"] = first - self.median(ours, "token_seconds")
        return row

    def table(self):
        """The summary, printed and kept in results.json."""
        summary = {"speed": []}
        print(
            "                    bits/weight   decode tok/s        of bound"
            "      prompt tok/s        load  memory MB    read"
        )
        print(
            "                    ours  peer    ours  peer  ratio   ours peer"
            "     ours  peer  ratio     ms  ours  peer    GB/s"
        )
        for threads in self.given.threads:
            for pair in PAIRS:
                row = self.speed_row(pair, threads)
                summary["speed"].append(row)
                cells = [
                    (row["bits"], 5, 2, 1),
                    (row["peer_bits"], 5, 2, 1),
                    (row["decode"], 7, 1, 1),
                    (row["peer_decode"], 5, 1, 1),
                    (row["decode_ratio"], 6, 2, 1),
                    (row.get("bound"), 6, 2, 1),
                    (row.get("peer_bound"), 4, 2, 1),
                    (row["prompt"], 8, 1, 1),
                    (row["peer_prompt"], 5, 1, 1),
                    (row["prompt_ratio"], 6, 2, 1),
                    (row.get("load"), 6, 0, 1e3),
                    (row["peak"], 5, 0, 1e-6),
                    (row["peer_peak"], 5, 0, 1e-6),
                    (row["read"], 7, 1, 1e-9),
                ]
                print(f"{pair + '/' + row['peer']:14} {threads} ", end="")
                print(" ".join(number(*cell) for cell in cells))
        summary["batches"] = self.batch_table()
        summary["busy"] = self.busy_table()
        for pair in PAIRS:
            run = self.valid(f"compile-{pair}")
            if run:
                print(
                    f"compile {pair}: {run['seconds']:.0f} s,"
                    f" peak {run['peak_bytes'] / 1e9:.2f} GB,"
                    f" bundle {run['bytes'] / 1e6:.0f} MB"
                )
        void = sum(bool(run.get("void")) for run in self.runs.values())
        if void:
            print(f"{void} runs failed or are void, and left out")
        self.results["summary"] = summary
        self.save()

    def batch_table(self):
        rows = []
        for batch in BATCHES:
            field = "decode_tokens_per_second"
            ours = self.median(f"batch-w4g32-{batch}-\\d+-ours", field)
            theirs = self.median(r"batch-Q4_0-\d+-peer", str(batch))
            rows.append({"batch": batch, "ours": ours, "peer": theirs})
        if rows[0]["ours"]:
            print("batch   ours tok/s  of batch 1   peer tok/s")
            for row in rows:
                gain = row["ours"] and row["ours"] / rows[0]["ours"]
                print(
                    f"{row['batch']:5}  {number(row['ours'], 11, 1, 1)}"
                    f"  {number(gain, 10, 2, 1)}  {number(row['peer'], 11, 1, 1)}"
                )
        return rows

    def busy_table(self):
        most, field = max(self.given.threads), "decode_tokens_per_second"
        ours = self.median(r"busy-w4g32-\d+-ours", field)
        theirs = self.median(r"busy-Q4_0-\d+-peer", field)
        alone = self.median(f"speed-w4g32-{most}-\\d+-ours", field)
        peer_alone = self.median(f"speed-w4g32-{most}-\\d+-peer", field)
        row = {
            "ours": ours,
            "peer": theirs,
            "ours_kept": ours / alone if ours and alone else None,
            "peer_kept": theirs / peer_alone if theirs and peer_alone else None,
        }
        if ours or theirs:
            print(
                f"a busy core, {most} threads: ours {number(ours, 0, 1, 1)} tok/s"
                f" ({number(row['ours_kept'], 0, 2, 1)} of alone),"
                f" peer {number(theirs, 0, 1, 1)}"
                f" ({number(row['peer_kept'], 0, 2, 1)})"
            )
        return row


def number(value, width, digits, factor):
    text = "-" if value is None else f"{value * factor:.{digits}f}"
    return text.rjust(width)


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    return {
        "processor": model[1] if model else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "flags": sorted(
            set(re.search(r"flags\s*: (.*)", text)[1].split())
            & {"avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"}
        ),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default="", help="runs whose key matches")
    parser.add_argument("--repeat", action="store_true", help="also what is there")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2]
    )
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument(
        "--peer", type=pathlib.Path, default=pathlib.Path.home() / ".cache/nibble/peer"
    )
    parser.add_argument("--compiler", default="quant-compile")
    parser.add_argument("--bench", default="nibble-decoder-bench")
    parser.add_argument("--model-options", default="", help="of make_model.py")
    parser.add_argument("--compile-options", default="", help="of quant-compile")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(given)
    done = given.table or comparison.run()
    if "model" in comparison.runs:
        comparison.table()
    if not done:
        print("more is left: run it again", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
