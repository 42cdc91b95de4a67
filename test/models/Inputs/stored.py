# ===- stored.py - Checks models against stored logits --------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   stored.py MODELS FOLDER FAMILY...
#
# MODELS has FAMILY-*.onnx and beside each an .npz with inputs and PyTorch's
# logits, made by pytorch/generate.py. The interpreter before and after the
# frontend and the compiled program must give these logits, the frontend must
# find what the family is built of, and with quantized weights the program must
# give what the interpreter computes.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import sys

import numpy as np
from checks import RECIPES, Failed, check_finite, check_found, command, compare, quantize

# Two layers each. Linears are those of the layers and the head.
LLAMA = dict(linear=15, embedding=1, rms_norm=5, rope=4, attention=2, gated_activation=2)
FOUND = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "qwen3": {**LLAMA, "rms_norm": 9},
    "gemma2": {**LLAMA, "rms_norm": 9},
    "phi3": {**LLAMA, "linear": 9},
    "gpt2": dict(linear=9, embedding=2, layer_norm=5, attention=2, activation=2),
    "opt": dict(linear=13, embedding=2, layer_norm=5, attention=2, activation=2),
    "falcon": dict(
        linear=9, embedding=1, layer_norm=3, rope=4, attention=2, activation=2
    ),
    "bert": dict(linear=14, embedding=3, layer_norm=6, attention=2, activation=3),
    # 4 + router + gate_up and down of 3 experts.
    "mixtral": {**LLAMA, "linear": 23, "gated_activation": 6},
    # 4 + router + gate_up and down of 4 experts, which share an activation.
    "qwen3moe": {**LLAMA, "linear": 27, "rms_norm": 9},
}
# Gemma's layers take turns with two masks, and two of them repeat nothing.
LAYERS = {"gemma2": 0}
DIMS = ["--dim", "batch=1..4", "--dim", "sequence=1..32"]


def runs_of(path):
    """Inputs and logits of every run."""
    with np.load(path) as arrays:
        for number in sorted({name.split(".")[0] for name in arrays}):
            yield {
                name.split(".")[1]: arrays[name]
                for name in arrays
                if name.startswith(f"{number}.")
            }


class Model:
    def __init__(self, path, folder):
        self.onnx = path
        self.name = path.stem
        self.path = folder / self.name
        self.runs = list(runs_of(path.with_suffix(".npz")))
        for number, run in enumerate(self.runs):
            np.savez(
                f"{self.path}.{number}.npz",
                input_ids=run["input_ids"],
                attention_mask=run["attention_mask"],
            )
        half = {"fp16": 2e-3, "bf16": 1e-2}
        part = self.name.split("-")[1]
        # Logits in 16 bits are rounded to them.
        self.tolerance = half.get(part, 1e-3)
        # On the way every operation rounds, as the model says.
        self.rounding = 20 * half[part] if part in half else 1e-3

    def compare(self, what, number, tolerance, logits=None):
        wanted = {"logits": self.runs[number]["logits"] if logits is None else logits}
        with np.load(f"{self.path}.out.npz") as outputs:
            return compare(what, tolerance, number, outputs, wanted)

    def interpret(self, module, number):
        command(
            "quant-opt",
            f"{self.path}.{module}",
            f"--interpret={self.path}.{number}.npz",
            "-o",
            f"{self.path}.out.npz",
        )

    def run(self, recipe, number):
        command(
            "quant-run",
            f"{self.path}.{recipe}.nbl",
            "--threads=1",
            "--input",
            f"{self.path}.{number}.npz",
            "-o",
            f"{self.path}.out.npz",
        )

    def imported(self):
        command("quant-import", self.onnx, *DIMS, "-o", f"{self.path}.mlir")
        self.interpret("mlir", 0)
        return self.compare("imported", 0, self.rounding)

    def raised(self):
        raised = f"{self.path}.raised.mlir"
        command("quant-opt", f"{self.path}.mlir", "--nibble-frontend", "-o", raised)
        text = pathlib.Path(raised).read_text()
        family = self.name.split("-")[0]
        if wrong := check_found(text, FOUND[family], LAYERS.get(family, 2)):
            raise Failed("found " + ", ".join(wrong))
        errors = []
        for number in range(len(self.runs)):
            self.interpret("raised.mlir", number)
            errors.append(self.compare("raised", number, self.tolerance))
        return max(errors)

    def compile(self, recipe):
        bundle = f"{self.path}.{recipe}.nbl"
        command(
            "quant-compile", "-q", self.onnx, *DIMS, f"--recipe={recipe}", "-o", bundle
        )

    def compiled(self):
        self.compile("float32")
        errors = []
        for number in range(len(self.runs)):
            self.run("float32", number)
            errors.append(self.compare("compiled", number, self.tolerance))
        return max(errors)

    def quantized(self, recipe):
        quantize(self.onnx, recipe, f"{self.path}.mlir", f"{self.path}.{recipe}.mlir")
        self.compile(recipe)
        self.run(recipe, 0)
        with np.load(f"{self.path}.out.npz") as outputs:
            logits = outputs["logits"].astype(np.float64)
        check_finite(recipe, logits)
        self.interpret(f"{recipe}.mlir", 0)
        rounding = self.tolerance if self.tolerance > 1e-3 else 0
        return self.compare(recipe, 0, max(RECIPES[recipe], rounding), logits)


def main():
    models, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    steps = ["imported", "raised", "compiled", *RECIPES]
    print(f"{'model':24}" + "".join(f"{step:>11}" for step in steps))
    failures, count = [], 0
    for family in sys.argv[3:]:
        for path in sorted(models.glob(f"{family}-*.onnx")):
            count += 1
            model, row = Model(path, folder), f"{path.stem:24}"
            for step in steps:
                try:
                    check = getattr(model, step, None)
                    error = check() if check else model.quantized(step)
                    row += f"{error:11.1e}"
                except Failed as failure:
                    row += f"{'FAIL':>11}"
                    failures.append(f"{path.stem}: {failure}")
            print(row, flush=True)
    for failure in failures:
        print(failure)
    if not count:
        sys.exit("no models")
    sys.exit(f"{len(failures)} checks failed" if failures else 0)


main()
