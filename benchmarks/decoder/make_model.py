#!/usr/bin/env python3
# ===- make_model.py - A decoder of any size, with random weights ---------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Writes FOLDER/model.onnx, a decoder of the LLaMA family as test/models makes
them, with its weights in FOLDER/model.onnx.data, and FOLDER/calibration.npy,
random token ids. With --gguf also FOLDER/model-f16.gguf, the same weights for
llama.cpp. Needs memory for one weight only. The default sizes are 1.1 billion
parameters.

    make_model.py out --gguf
    make_model.py out --layers 24 --width 1024 --hidden 2816 --vocabulary 4096"""

import argparse
import pathlib
import sys

import numpy as np
from onnx import TensorProto, external_data_helper, helper, save

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "models" / "Inputs"))

import decoder  # noqa: E402
import graph  # noqa: E402

ROPE_BASE = 10000.0
CONTEXT = 2048


class FloatRandom:
    """A numpy generator whose normal numbers are float32: half the memory."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)
        self.integers = self.generator.integers

    def normal(self, size):
        return self.generator.standard_normal(size, dtype=np.float32)


class StreamedGraph(graph.Graph):
    """Writes parameters to a file when they are made. `parameters` has, in the
    order in which the model uses them, (offset, shape, dtype)."""

    def __init__(self, config, weights):
        super().__init__(config.seed, config.opset, config.style)
        self.random = FloatRandom(config.seed)
        self.weights = weights
        self.parameters = []

    def initializer(self, array, kind="constant"):
        if kind not in ("weight", "vector"):
            return super().initializer(array, kind)
        name = self.name(kind)
        offset = self.weights.seek(-self.weights.tell() % 64, 1)
        self.weights.write(np.ascontiguousarray(array))
        self.parameters.append((offset, array.shape, array.dtype))
        tensor = TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            raw_data=b"\0",  # what set_external_data wants to see
        )
        location = pathlib.Path(self.weights.name).name
        external_data_helper.set_external_data(
            tensor, location, offset, array.nbytes
        )
        tensor.ClearField("raw_data")
        self.initializers.append(tensor)
        return name

    def model(self):
        self.weights.flush()
        return helper.make_model(
            helper.make_graph(
                self.nodes, "main", self.inputs, self.outputs, self.initializers
            ),
            opset_imports=[helper.make_opsetid("", self.opset)],
            producer_name="nibble-benchmark",
            ir_version=8,
        )


def write_onnx(folder, config):
    """The parameters as StreamedGraph lists them."""
    model = decoder.Decoder(config)
    with open(folder / "model.onnx.data", "wb") as weights:
        model.g = StreamedGraph(config, weights)
        save(model.build(), folder / "model.onnx")
    return model.g.parameters


def gguf_names(layers):
    """What llama.cpp calls the parameters, in the order of Decoder."""
    yield "token_embd"
    for layer in range(layers):
        for part in ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{part}"
        for part in ("ffn_norm", "ffn_gate", "ffn_up", "ffn_down"):
            yield f"blk.{layer}.{part}"
    yield "output_norm"
    yield "output"


def gguf_array(name, array, config):
    """The parameter as llama.cpp stores it: matrices are [out, in], and the
    rows of queries and keys in the order of a rotary embedding that turns
    neighbours, not halves of a head."""
    if array.ndim == 1:
        return array.astype(np.float32)
    if name != "token_embd":
        array = array.T
    if name.endswith(("attn_q", "attn_k")):
        heads = config.heads if name.endswith("attn_q") else config.kv_heads
        halves = array.reshape(heads, 2, -1, config.width)
        array = halves.swapaxes(1, 2).reshape(array.shape)
    return np.ascontiguousarray(array, dtype=np.float16)


def write_gguf(folder, config, parameters):
    import gguf

    names = list(gguf_names(config.layers))
    assert len(names) == len(parameters)
    out = gguf.GGUFWriter(folder / "model-f16.gguf", "llama")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(config.width)
    out.add_block_count(config.layers)
    out.add_feed_forward_length(config.hidden)
    out.add_head_count(config.heads)
    out.add_head_count_kv(config.kv_heads)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(config.width // config.heads)
    out.add_rope_freq_base(ROPE_BASE)
    out.add_vocab_size(config.vocabulary)
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    out.add_tokenizer_model("none")
    for name, (_, shape, _) in zip(names, parameters):
        is_matrix = len(shape) == 2
        stored = np.dtype(np.float16 if is_matrix else np.float32)
        if is_matrix and name != "token_embd":
            shape = shape[::-1]
        size = int(np.prod(shape)) * stored.itemsize
        out.add_tensor_info(f"{name}.weight", shape, stored, size)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_ti_data_to_file()
    for name, (offset, shape, dtype) in zip(names, parameters):
        array = np.fromfile(
            folder / "model.onnx.data", dtype, int(np.prod(shape)), offset=offset
        )
        out.write_tensor_data(gguf_array(name, array.reshape(shape), config))
    out.close()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=5632)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--head", type=int, default=64, help="width of a head")
    parser.add_argument("--kv-heads", type=int, default=4, help="0: as many as heads")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--weights",
        choices=["float16", "float32"],
        default="float16",
        help="as stored; arithmetic is in float32",
    )
    parser.add_argument("--no-cache", action="store_true", help="no past inputs")
    parser.add_argument("--gguf", action="store_true", help="needs package gguf")
    parser.add_argument("--rows", type=int, default=16, help="of token ids")
    parser.add_argument("--tokens", type=int, default=128, help="of a row")
    given = parser.parse_args()
    if given.gguf and given.weights != "float16":
        parser.error("--gguf is float16; give --weights=float16")
    heads = given.width // given.head
    kv_heads = given.kv_heads or heads
    if given.width % given.head or heads % kv_heads:
        parser.error("expects --head to divide --width, --kv-heads to divide heads")
    given.folder.mkdir(parents=True, exist_ok=True)

    config = decoder.Config(
        name="decoder",
        seed=given.seed,
        style=graph.Style(weights=given.weights),
        vocabulary=given.vocabulary,
        width=given.width,
        layers=given.layers,
        heads=heads,
        kv_heads=kv_heads,
        hidden=given.hidden,
        past=not given.no_cache,
        rope_base=ROPE_BASE,
    )
    parameters = write_onnx(given.folder, config)
    if given.gguf:
        write_gguf(given.folder, config, parameters)
    ids = np.random.default_rng(given.seed + 1).integers(
        0, given.vocabulary, size=(given.rows, given.tokens)
    )
    np.save(given.folder / "calibration.npy", ids)


if __name__ == "__main__":
    main()
