# ===- run.py - Small models of many families against ONNX Runtime --------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   run.py FOLDER [MODEL or FAMILY...]
#
# For every model: the interpreter on what was imported, the interpreter after
# the frontend, and the compiled program must give ONNX Runtime's numbers; the
# frontend must find what the model was built of; and with quantized weights the
# program must give what the interpreter computes. Models and files are written
# to FOLDER.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import re
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
from checks import RECIPES, Failed, check_finite, check_found, command, compare, quantize
from decoder import Decoder
from families import models
from widened import widened

# batch, new tokens, earlier tokens, padded tokens at the end of the last row
RUNS = [(1, 7, 0, 0), (2, 13, 0, 4), (1, 1, 9, 0), (2, 3, 6, 2), (2, 1, 0, 0)]
# GroupQueryAttention takes lengths: no batch of several tokens after a past.
LENGTH_RUNS = [(1, 7, 0, 0), (2, 13, 0, 4), (1, 1, 9, 0), (2, 1, 8, 3)]
# Masks that do not look at attention_mask.
UNPADDED = ["none", "triu_infinite", "buffer_weak", "buffer_float", "buffer_added"]


def inputs_of(model, config, run, random):
    batch, new, past, padded = run
    total = past + new
    mask = np.ones((batch, total), np.int64)
    if padded:
        mask[-1, total - padded :] = 0
    known = {
        "input_ids": random.integers(0, config.vocabulary, (batch, new)),
        "attention_mask": mask,
        "position_ids": np.tile(np.arange(past, total), (batch, 1)),
        "token_type_ids": random.integers(0, 2, (batch, new)),
    }
    inputs = {}
    for value in model.graph.input:
        if value.name in known:
            inputs[value.name] = known[value.name]
            continue
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        shape = (batch, dims[1], past, dims[3])
        kind = onnx.helper.tensor_dtype_to_np_dtype(
            value.type.tensor_type.elem_type
        )
        array = random.normal(size=shape).astype(kind)
        # NumPy has no bfloat16: float32 stands for it.
        bfloat = value.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16
        inputs[value.name] = array.astype(np.float32) if bfloat else array
    return inputs


def execute_onnx(path, inputs):
    """What ONNX Runtime computes, by name of output."""
    # Its optimizer would replace products of dequantized weights by integer
    # ones, which round.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, arrays))) for arrays in inputs]


class Case:
    def __init__(self, config, folder):
        self.config = config
        self.path = folder / config.name
        self.decoder = Decoder(config)
        self.model = self.decoder.build()
        for old in folder.glob(f"{config.name}.*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        onnx.save(self.model, f"{self.path}.onnx")
        self.dims = ["--dim", "batch=1..4", "--dim", "sequence=1..32"]
        if config.past:
            self.dims += ["--dim", "past_sequence=0..32"]
        random = np.random.default_rng(config.seed)
        self.runs, arrays = [], []
        lengths = config.attention == "group_query"
        for run in LENGTH_RUNS if lengths else RUNS:
            if run[2] and not config.past:
                continue
            if run[3] and config.mask in UNPADDED and not lengths:
                continue
            arrays.append(inputs_of(self.model, config, run, random))
            np.savez(f"{self.path}.{len(self.runs)}.npz", **arrays[-1])
            self.runs.append(run)
        self.half = config.style.compute != "float32"
        reference = f"{self.path}.onnx"
        if self.half:
            # Nibble computes in float32 what is stored in 16 bits, and is
            # compared with just that.
            reference = f"{self.path}.widened.onnx"
            onnx.save(widened(self.model), reference)
            arrays = [
                {
                    name: x.astype(np.float32) if x.dtype == np.float16 else x
                    for name, x in inputs.items()
                }
                for inputs in arrays
            ]
        self.expected = execute_onnx(reference, arrays)
        for run, outputs in zip(self.runs, self.expected):
            self.forget_padding(run, outputs)
        # Outputs are rounded to their type.
        rounding = {"float16": 1e-3, "bfloat16": 8e-3}.get(config.style.compute, 0)
        self.tolerance = max(config.tolerance, rounding)

    def forget_padding(self, run, outputs):
        """Nobody says what GroupQueryAttention gives behind the last token."""
        batch, new, past, padded = run
        if self.config.attention == "group_query" and padded:
            outputs["logits"] = np.array(outputs["logits"])
            outputs["logits"][-1, max(new - padded, 1) :] = 0
            for name in outputs:
                if name != "logits":
                    outputs[name] = np.array(outputs[name])
                    outputs[name][-1, :, past + new - padded :] = 0
        return outputs

    def interpret(self, what, module, expected, tolerance):
        for number, wanted in expected.items():
            command(
                "quant-opt",
                module,
                f"--interpret={self.path}.{number}.npz",
                "-o",
                f"{self.path}.out.npz",
            )
            with np.load(f"{self.path}.out.npz") as arrays:
                run = self.runs[number]
                outputs = self.forget_padding(run, dict(arrays))
                compare(what, tolerance, run, outputs, wanted)

    def imported(self):
        command(
            "quant-import", f"{self.path}.onnx", *self.dims, "-o", f"{self.path}.mlir"
        )
        # Every operation rounds, as the model says.
        tolerance = {"float16": 3e-2, "bfloat16": 0.2}.get(
            self.config.style.compute, self.tolerance
        )
        expected = dict(enumerate(self.expected))
        self.interpret("imported", f"{self.path}.mlir", expected, tolerance)

    def raised(self):
        command(
            "quant-opt",
            f"{self.path}.mlir",
            "--pass-pipeline=builtin.module(nibble-frontend)",
            "-o",
            f"{self.path}.raised.mlir",
        )
        expected = dict(enumerate(self.expected))
        self.interpret("raised", f"{self.path}.raised.mlir", expected, self.tolerance)

    def found(self):
        raised = pathlib.Path(f"{self.path}.raised.mlir")
        if not raised.exists():
            raise Failed("found: nothing, without a raised module")
        text = raised.read_text()
        wrong = check_found(text, self.decoder.found, self.config.layers)
        biased = len(re.findall(r"qmodel\.attention .*? bias ", text))
        if biased != self.config.biases:
            wrong.append(f"{biased} instead of {self.config.biases} masks as a bias")
        if wrong:
            raise Failed("found " + ", ".join(wrong))

    def execute(self, recipe):
        """The outputs of the compiled model, one run at a time."""
        bundle = f"{self.path}.{recipe}.nbl"
        command(
            "quant-compile",
            "-q",
            f"{self.path}.onnx",
            *self.dims,
            f"--recipe={recipe}",
            "-o",
            bundle,
        )
        for number in range(len(self.runs)):
            command(
                "quant-run",
                bundle,
                "--threads=1",
                "--input",
                f"{self.path}.{number}.npz",
                "-o",
                f"{self.path}.out.npz",
            )
            with np.load(f"{self.path}.out.npz") as outputs:
                yield self.forget_padding(self.runs[number], dict(outputs))

    def compiled(self):
        for number, outputs in enumerate(self.execute("float32")):
            compare(
                "compiled",
                self.tolerance,
                self.runs[number],
                outputs,
                self.expected[number],
            )

    def quantized(self, recipe):
        """The bundle computes what the quantized IR means."""
        module = f"{self.path}.{recipe}.mlir"
        quantize(f"{self.path}.onnx", recipe, f"{self.path}.mlir", module)
        outputs = dict(enumerate(self.execute(recipe)))
        for arrays in outputs.values():
            check_finite(recipe, arrays["logits"])
        # Two runs are enough here, and the interpreter takes its time.
        some = {number: outputs[number] for number in {0, len(outputs) - 1}}
        tolerance = max(self.tolerance, RECIPES[recipe])
        self.interpret(recipe, module, some, tolerance)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[2:]
    families = {config.name.split("-")[0] for config in models()}
    if unknown := set(wanted) - families - {config.name for config in models()}:
        sys.exit(f"no model is called {', '.join(unknown)}")
    steps = ["imported", "raised", "found", "compiled", *RECIPES]
    print(f"{'model':24}" + "".join(f"{step:>11}" for step in steps))
    failures = []
    for config in models():
        if wanted and not {config.name, config.name.split("-")[0]} & set(wanted):
            continue
        case = Case(config, folder)
        row = f"{config.name:24}"
        for step in steps:
            try:
                if step in RECIPES:
                    case.quantized(step)
                else:
                    getattr(case, step)()
                row += f"{'ok':>11}"
            except Failed as failure:
                row += f"{'FAIL':>11}"
                failures.append(f"{config.name}: {failure}")
        print(row, flush=True)
    for failure in failures:
        print(failure)
    sys.exit(f"{len(failures)} checks failed" if failures else 0)


if __name__ == "__main__":
    main()
