# ===- sentencepiece_equal.py - Against the real one ---------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compares encoding and decoding with the sentencepiece package.

usage: sentencepiece_equal.py PATH_OF_nibble-tokenize MODEL

MODEL is compared on 10,000 texts and 10,000 sequences of ids; models trained
here, with other normalization rules and options, on 3,000 each. Texts are bytes:
ASCII, random Unicode, control characters, runs of spaces, long texts and broken
UTF-8. The stream of pieces of text must be valid UTF-8 at every step and add up
to the whole.
"""
import io
import os
import random
import struct
import subprocess
import sys
import tempfile

import sentencepiece

WORDS = ("Once upon a time there was little girl named Lily who loved play "
         "outside park her mom said no yes The one day, it's 123 4567 ok! "
         "été naïve Größe ﬁne ½ ① ２０２６ ｶﾞ が 日本語 中文 한국어 привет мир "
         "שלום مرحبا हिन्दी 😀 👨‍👩‍👧 ▁ <s> </s> <unk> <0x41> <sep> "
         "e\u0301 \u1e9b\u0323").split()
SPACES = (" ", "  ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u200b",
          "\u2028", "\ufeff", "▁", "▁▁")
BROKEN = (b"\x80", b"\xff", b"\xc0\x80", b"\xe2\x96", b"\xed\xa0\x80",
          b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", b"\xc3", b"\xfe",
          b"\xf8\x88\x80\x80\x80", b"\xe0\x80\x80", b"\xef\xbf\xbd")


def random_text(rng):
    kind = rng.randrange(8)
    if kind == 0:
        text = "".join(chr(rng.randrange(32, 127))
                       for _ in range(rng.randrange(60)))
    elif kind == 1:
        text = "".join(random_character(rng) for _ in range(rng.randrange(30)))
    elif kind == 2:
        text = "".join(chr(rng.choice((rng.randrange(32), 127, 32,
                                       rng.randrange(128, 160))))
                       for _ in range(rng.randrange(20)))
    elif kind == 3:
        text = "".join(rng.choice(SPACES + tuple(WORDS[:20]))
                       for _ in range(rng.randrange(20)))
    elif kind == 4:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(30)))
    elif kind == 5:
        parts = [rng.choice(BROKEN) if rng.random() < 0.4 else
                 rng.choice(WORDS).encode() for _ in range(rng.randrange(9))]
        return rng.choice((b"", b" ")).join(parts)
    else:
        count = rng.randrange(1, 400) if rng.random() < 0.05 \
            else rng.randrange(15)
        text = rng.choice((" ", " ", "", "  ")).join(
            rng.choice(WORDS) for _ in range(count))
    return text.encode()


def random_character(rng):
    while True:
        code = rng.choice((rng.randrange(0x80, 0x800), rng.randrange(0x10000),
                           rng.randrange(0x110000), rng.randrange(0x1F000,
                                                                  0x1FB00),
                           rng.randrange(0xAC00, 0xD7A4),
                           rng.randrange(0x1100, 0x1200)))
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def random_ids(rng, reference):
    if rng.random() < 0.5:
        ids = reference.encode(random_text(rng))
        if rng.random() < 0.3:
            rng.shuffle(ids)
        return ids
    top = reference.get_piece_size()
    if rng.random() < 0.5:  # mostly special and byte pieces
        top = min(top, 262)
    return [rng.randrange(top) for _ in range(rng.randrange(25))]


def pack(records, item):
    return b"".join(struct.pack(f"<I{len(r)}{item}", len(r), *r)
                    for r in records)


def unpack(data, item):
    records, at, size = [], 0, struct.calcsize(item)
    while at < len(data):
        (count,) = struct.unpack_from("<I", data, at)
        records.append(struct.unpack_from(f"<{count}{item}", data, at + 4))
        at += 4 + count * size
    return records


class Tool:
    def __init__(self, tool, folder, model):
        self.tool, self.folder = tool, folder
        self.model = os.path.join(folder, "m.model")
        with open(self.model, "wb") as file:
            file.write(model)

    def run(self, mode, data=b""):
        source, target = (os.path.join(self.folder, n) for n in ("in", "out"))
        with open(source, "wb") as file:
            file.write(data)
        subprocess.run([self.tool, self.model, mode, source, target],
                       check=True)
        with open(target, "rb") as file:
            return file.read()


def expect(name, what, source, found, expected):
    if found != expected:
        sys.exit(f"FAIL {name}, {what} of {source!r}:\n"
                 f"  found    {found!r}\n  expected {expected!r}")


def compare(name, tool, reference, count, rng):
    found = unpack(tool.run("describe"), "i")[0]
    expect(name, "size and special ids", "model", found,
           (reference.get_piece_size(), reference.bos_id(), reference.eos_id(),
            reference.unk_id()))

    texts = [random_text(rng) for _ in range(count)]
    texts[-3:] = [b"", b" ", b"Once upon a time " * 2000]
    for text, ids in zip(texts, unpack(tool.run("encode", pack(texts, "B")),
                                       "i")):
        expect(name, "ids", text, list(ids), reference.encode(text))

    sequences = [random_ids(rng, reference) for _ in range(count)]
    data = pack(sequences, "i")
    decoded = [bytes(r) for r in unpack(tool.run("decode", data), "B")]
    pieces = iter(unpack(tool.run("stream", data), "B"))
    for ids, text in zip(sequences, decoded, strict=True):
        expect(name, "text", ids, text, reference.decode(ids).encode())
        steps = [bytes(next(pieces)).decode() for _ in range(len(ids) + 1)]
        expect(name, "stream", ids, "".join(steps).encode(), text)
    print(f"{name}: {count} texts and {count} id sequences equal")


def train(**options):
    rng = random.Random(1)
    corpus = [" ".join(rng.choice(WORDS) for _ in range(12))
              for _ in range(2000)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, model_type="bpe",
        hard_vocab_limit=False, num_threads=1, minloglevel=2, **options)
    return model.getvalue()


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def encode_varint(value):
    output = b""
    while value >= 0x80:
        output += bytes([value & 0x7F | 0x80])
        value >>= 7
    return output + bytes([value])


def with_unused(model, rng):
    """The same model with a third of its normal pieces marked unused."""
    output, at, changed = b"", 0, 0
    while at < len(model):  # all fields of a ModelProto are messages
        tag = model[at]
        size, at = varint(model, at + 1)
        body = model[at:at + size]
        at += size
        if tag == 0x0A and b"\x18" not in body[-2:] and rng.random() < 0.33:
            body += b"\x18\x05"  # type: UNUSED; no type means NORMAL
            changed += 1
        output += bytes([tag]) + encode_varint(len(body)) + body
    assert changed > 50
    return output


def main():
    tool, example = sys.argv[1:]
    rng = random.Random(20261121)
    with open(example, "rb") as file:
        models = {"example": file.read()}
    models["nmt_nfkc, bytes, symbols"] = train(
        vocab_size=600, byte_fallback=True, normalization_rule_name="nmt_nfkc",
        user_defined_symbols=["<sep>", "été", "日本", "日", "na", "ï", "  "],
        character_coverage=0.98)
    models["nmt_nfkc_cf, no bytes, suffix"] = train(
        vocab_size=260, normalization_rule_name="nmt_nfkc_cf",
        treat_whitespace_as_suffix=True, character_coverage=0.98,
        unk_surface=" ?? ", bos_id=-1)
    models["identity, spaces kept, no prefix"] = train(
        vocab_size=500, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=False,
        allow_whitespace_only_pieces=True, character_coverage=0.98)
    models["nfkc, spaces kept"] = train(
        vocab_size=300, normalization_rule_name="nfkc", unk_id=2, bos_id=0,
        eos_id=1, remove_extra_whitespaces=False, control_symbols=["<c>"],
        split_digits=True)
    for name in list(models)[1:3]:
        models[name + ", unused pieces"] = with_unused(models[name], rng)
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models.items():
            reference = sentencepiece.SentencePieceProcessor(model_proto=model)
            compare(name, Tool(tool, folder, model), reference,
                    10000 if name == "example" else 3000, rng)


if __name__ == "__main__":
    main()
