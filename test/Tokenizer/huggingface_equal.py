# ===- huggingface_equal.py - Against vectors of `tokenizers` -------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""usage: huggingface_equal.py PATH_OF_nibble-tokenize TOKENIZER.json...

Compares encoding, decoding and the stream of pieces with what
make_huggingface.py has written beside each tokenizer. The pieces must be valid
UTF-8 at every step and add up to the whole."""

import json
import pathlib
import sys
import tempfile

from sentencepiece_equal import Tool, expect, pack, unpack


def compare(tool, path):
    vectors = json.loads(path.with_suffix(".vectors.json").read_text())
    split = next(i for i, each in enumerate(vectors) if next(iter(each)) == "ids")
    texts, sequences = vectors[:split], vectors[split:]
    sources = [bytes.fromhex(each["hex"]) if "hex" in each else
               each["text"].encode() for each in texts]
    encoded = unpack(tool.run("encode", pack(sources, "B")), "i")
    for source, each, ids in zip(sources, texts, encoded, strict=True):
        expect(path.stem, "ids", source, list(ids), each["ids"])
    data = pack([each["ids"] for each in sequences], "i")
    decoded = [bytes(r) for r in unpack(tool.run("decode", data), "B")]
    pieces = iter(unpack(tool.run("stream", data), "B"))
    for each, text in zip(sequences, decoded, strict=True):
        expect(path.stem, "text", each["ids"], text, each["text"].encode())
        steps = [bytes(next(pieces)).decode() for _ in range(len(each["ids"]) + 1)]
        expect(path.stem, "stream", each["ids"], "".join(steps).encode(), text)
    print(f"{path.stem}: {len(texts)} texts and {len(sequences)} id sequences equal")


def main():
    program, *files = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for file in map(pathlib.Path, files):
            tool = Tool(program, folder, b"")
            tool.model = str(file)
            compare(tool, file)


if __name__ == "__main__":
    main()
