#!/usr/bin/env python3
# ===- make_decoder.py - A decoder of any size, with random weights -------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Writes FOLDER/model.onnx, a decoder of the LLaMA family as test/models makes
them, with its weights in FOLDER/weights.bin, and FOLDER/calibration.npy, random
token ids. Needs memory for one weight only.

    make_decoder.py out --layers 24 --width 1024 --hidden 2816"""

import argparse
import pathlib
import sys

import numpy as np
from onnx import TensorProto, external_data_helper, helper, save

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "models" / "Inputs"))

import decoder  # noqa: E402
import graph  # noqa: E402

LEAST_BYTES = 1024  # of a tensor that goes into the file of weights


class StreamedGraph(graph.Graph):
    """Writes matrices to a file when they are made."""

    weights = None  # the open file

    def initializer(self, array, kind="constant"):
        if array.nbytes < LEAST_BYTES:
            return super().initializer(array, kind)
        name = self.name(kind)
        offset = self.weights.seek(-self.weights.tell() % 4096, 1)
        self.weights.write(array.tobytes())
        tensor = TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
        )
        tensor.raw_data = b"\0"  # what set_external_data wants to see
        external_data_helper.set_external_data(
            tensor, self.weights.name, offset, array.nbytes
        )
        tensor.ClearField("raw_data")
        self.initializers.append(tensor)
        return name

    def model(self):
        self.weights.flush()
        model = helper.make_model(
            helper.make_graph(
                self.nodes, "main", self.inputs, self.outputs, self.initializers
            ),
            opset_imports=[helper.make_opsetid("", self.opset)],
            producer_name="nibble-benchmark",
            ir_version=8,
        )
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = pathlib.Path(entry.value).name
        return model


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=2816)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=16, help="of token ids")
    parser.add_argument("--tokens", type=int, default=128, help="of a row")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)

    config = decoder.Config(
        name="decoder",
        seed=1,
        vocabulary=arguments.vocabulary,
        width=arguments.width,
        layers=arguments.layers,
        heads=max(arguments.width // 64, 1),
        hidden=arguments.hidden,
    )
    decoder.Graph = StreamedGraph
    with open(arguments.folder / "weights.bin", "wb") as weights:
        StreamedGraph.weights = weights
        save(decoder.Decoder(config).build(), arguments.folder / "model.onnx")
    ids = np.random.default_rng(2).integers(
        0, arguments.vocabulary, size=(arguments.rows, arguments.tokens)
    )
    np.save(arguments.folder / "calibration.npy", ids)


if __name__ == "__main__":
    main()
