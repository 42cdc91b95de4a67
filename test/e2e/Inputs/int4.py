# ===- int4.py - Models whose weights arrive in 4 bits -------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   int4.py logits MODEL.onnx BUNDLE    logits at once and with a cache
#   int4.py batch MODEL.onnx BUNDLE     sequences of different lengths
#   int4.py codes MODEL.onnx BUNDLE     codes and scales, bit for bit
#   int4.py floats IR                   no weight of a layer as floats
#
# Logits are compared with ONNX Runtime's, which lie beside the models. Codes
# are taken from the ONNX file here and put in order as Target/PackedLayout.h
# says; the bundle must contain these bytes.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

TOLERANCE = 1e-3
LAYERS, KV_HEADS, HEAD_DIM = 5, 4, 8

root = pathlib.Path(__file__).resolve().parents[3]


def run(bundle, inputs):
    with tempfile.TemporaryDirectory() as folder:
        command = ["quant-run", bundle, "-o", f"{folder}/out.npz"]
        for number, (name, array) in enumerate(inputs.items()):
            np.save(f"{folder}/{number}.npy", array)
            command += ["--input", f"{name}={folder}/{number}.npy"]
        subprocess.run(command, check=True)
        with np.load(f"{folder}/out.npz") as outputs:
            return dict(outputs)


class Model:
    """Runs tokens behind a cache; knows which inputs the model has."""

    def __init__(self, path, bundle):
        graph = onnx.load(path, load_external_data=False).graph
        self.names = {value.name for value in graph.input}
        self.bundle = bundle

    def run(self, ids, mask, positions, cache):
        inputs = {"input_ids": ids, "attention_mask": mask,
                  "position_ids": positions, **cache}
        outputs = run(self.bundle, {name: array
                                    for name, array in inputs.items()
                                    if name in self.names})
        cache = {name.replace("present", "past_key_values"): array
                 for name, array in outputs.items() if name != "logits"}
        return outputs["logits"], cache


def empty_cache(batch):
    return {f"past_key_values.{layer}.{kind}":
            np.zeros((batch, KV_HEADS, 0, HEAD_DIM), np.float32)
            for layer in range(LAYERS) for kind in ("key", "value")}


def compare(what, logits, expected):
    error = np.abs(logits - expected).max()
    print(f"{what}: largest difference from ONNX Runtime {error:.2e}")
    if logits.shape != expected.shape or not error <= TOLERANCE:
        sys.exit(f"{what}: expected at most {TOLERANCE}")


def logits(path, bundle):
    ids = np.load(root / "examples" / "stories260K" / "tokens128.npy")
    ids = ids.reshape(1, -1).astype(np.int64)
    expected = np.load(path.replace(".onnx", ".logits.npy"))
    expected = expected.reshape(1, *expected.shape[-2:])
    model = Model(path, bundle)
    for name, cuts in (("at once", [0, 128]), ("in steps", [0, 120, 121, 128])):
        cache, found = empty_cache(1), []
        for begin, end in zip(cuts, cuts[1:]):
            part, cache = model.run(
                ids[:, begin:end], np.ones((1, end), np.int64),
                np.arange(begin, end, dtype=np.int64)[None], cache)
            found.append(part)
        compare(name, np.concatenate(found, 1), expected)


def batch(path, bundle):
    """A prompt that is padded at the end, then two single steps."""
    ids = np.load(root / "examples" / "stories260K" / "tokens128.npy")
    ids = ids.reshape(-1).astype(np.int64)
    expected = np.load(path.replace(".onnx", ".logits.npy"))
    expected = expected.reshape(expected.shape[-2:])
    model, lengths, longest = Model(path, bundle), [9, 4, 6], 9
    prompt = np.zeros((3, longest), np.int64)
    mask = np.zeros((3, longest), np.int64)
    for row, length in enumerate(lengths):
        prompt[row, :length] = ids[:length]
        mask[row, :length] = 1
    found, cache = model.run(prompt, mask, None, empty_cache(3))
    for row, length in enumerate(lengths):
        compare(f"prompt of {length}", found[row, :length], expected[:length])
    for step in (1, 2):
        # What counts is how many ones a row has.
        mask = np.zeros((3, longest + step), np.int64)
        for row, length in enumerate(lengths):
            mask[row, :length + step] = 1
        tokens = np.array([[ids[length + step - 1]] for length in lengths])
        found, cache = model.run(tokens, mask, None, cache)
        for row, length in enumerate(lengths):
            compare(f"step {step} after {length}", found[row, 0],
                    expected[length + step - 1])


def unpack(data, count):
    """Codes of 4 bits, the low half of a byte first."""
    data = np.frombuffer(data, np.uint8)
    codes = np.stack([data & 15, data >> 4], -1)
    return codes.reshape(*count[:-1], -1)[..., :count[-1]]


def layers(path):
    """(name, unsigned codes [out, in], scales [out, blocks], block, padding):
    what the file says; `padding` is how the code 0 is stored."""
    model = onnx.load(path)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}

    def array(name):
        return numpy_helper.to_array(stored[name])

    for node in model.graph.node:
        attributes = {a.name: helper_value(a) for a in node.attribute}
        if node.op_type == "MatMulNBits":
            n, k = attributes["N"], attributes["K"]
            block = attributes["block_size"]
            blocks = -(-k // block)
            codes = unpack(array(node.input[1]).tobytes(), (n, blocks * block))
            scales = array(node.input[2]).reshape(n, blocks)
            yield node.name, codes[:, :k], scales, block, 0
        elif node.op_type == "DequantizeLinear":
            tensor = stored[node.input[0]]
            assert tensor.data_type == onnx.TensorProto.INT4
            data = tensor.raw_data or bytes(tensor.int32_data)
            codes = unpack(data, (1, int(np.prod(tensor.dims))))
            codes = codes.reshape(tensor.dims) ^ 8
            assert attributes["axis"] == 1
            yield (node.name, codes, array(node.input[1]),
                   attributes["block_size"], 8)


def helper_value(attribute):
    return onnx.helper.get_attribute_value(attribute)


def interleave(codes, block, padding):
    """Bytes of a packed weight: 8 rows side by side, 8 inputs per word."""
    rows, columns = codes.shape
    packed = bytearray()
    for first in range(0, rows, 8):
        eight = np.full((8, columns), padding, np.uint32)
        part = codes[first:first + 8]
        eight[:len(part)] = part
        for begin in range(0, columns, block):
            group = eight[:, begin:begin + block]
            missing = -group.shape[1] % 8
            group = np.pad(group, ((0, 0), (0, missing)),
                           constant_values=padding)
            for chunk in range(0, group.shape[1], 8):
                c = group[:, chunk:chunk + 8]
                word = np.zeros(8, np.uint32)
                for i in range(8):
                    shift = 8 * (i % 4) + (0 if i < 4 else 4)
                    word |= c[:, i] << np.uint32(shift)
                packed += word.tobytes()
    return bytes(packed)


def interleave_scales(scales):
    rows, groups = scales.shape
    padded = np.zeros((-(-rows // 8) * 8, groups), scales.dtype)
    padded[:rows] = scales
    return padded.reshape(-1, 8, groups).transpose(0, 2, 1).tobytes()


def codes(path, bundle):
    data = pathlib.Path(bundle).read_bytes()
    count = 0
    for name, layer, scales, block, padding in layers(path):
        if interleave(layer, block, padding) not in data:
            sys.exit(f"{name}: the bundle has other codes")
        if interleave_scales(scales) not in data:
            sys.exit(f"{name}: the bundle has other scales")
        count += 1
    print(f"codes and scales of {count} layers are those of the model")


def floats(path):
    """In none of the modules in the output of --mlir-print-ir-after-all is a
    stored or computed float matrix of a layer's size but the embedding."""
    sizes = {(64, 64), (32, 64), (64, 32), (172, 64), (64, 172)}
    text = pathlib.Path(path).read_text()
    sections = re.split(r"// -----// IR Dump After ", text)[1:]
    names = [section.split(None, 1)[0] for section in sections]
    for name, section in zip(names, sections):
        for kind, a, b in re.findall(
                r"qmodel\.weight @(\S+) : tensor<(\d+)x(\d+)xf32>", section):
            if (int(a), int(b)) in sizes:
                sys.exit(f"after {name}: {kind} is a float weight {a} x {b}")
    print(f"{len(names)} passes, no float weights: {' '.join(names)}")


if sys.argv[1] == "floats":
    floats(sys.argv[2])
else:
    {"logits": logits, "batch": batch, "codes": codes}[sys.argv[1]](
        sys.argv[2], sys.argv[3])
