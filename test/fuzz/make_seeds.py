# ===- make_seeds.py - What the fuzz targets start from ------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""usage: make_seeds.py FOLDER

Writes FOLDER/<target>/*: valid and slightly wrong files of every kind, made
from the repository's own. test/fuzz/seeds has what cannot be made: inputs that
once failed, and those that tests of other folders do not have."""

import hashlib
import io
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

here = pathlib.Path(__file__).resolve().parent
root = here.parents[1]


def npy_bytes(array, **options):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, **options)
    return out.getvalue()


def npy():
    types = "?bBhHiIqQefd"
    for i, code in enumerate(types):
        yield code, npy_bytes(np.arange(6).astype(code).reshape(2, 3))
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    yield "fortran", npy_bytes(np.asfortranarray(grid))
    yield "scalar", npy_bytes(np.array(3, np.int64))
    yield "row", npy_bytes(np.arange(3, dtype=np.int8))
    yield "none", npy_bytes(np.zeros((0, 4), np.float32))
    for version in ((2, 0), (3, 0)):
        yield f"v{version[0]}", npy_bytes(grid, version=version)
    yield "big-endian", npy_bytes(grid.astype(">f4"))
    yield "complex", npy_bytes(grid.astype(np.complex64))
    yield "fields", npy_bytes(np.zeros(2, [("a", "<f4"), ("b", "<i4")]))
    yield "objects", npy_bytes(np.array([None, 1], object))
    good = npy_bytes(grid)
    yield "short", good[:-1]
    yield "version", good[:6] + b"\x04" + good[7:]
    for name, old, new in (
        ("one", b"(2, 3, 4)", b"(24)     "),
        ("huge", b"(2, 3, 4)", b"(9223372036854775807, 4)"),
        ("too-huge", b"(2, 3, 4)", b"(99999999999999999999,)"),
        ("order", b"False", b"Maybe"),
        ("twice", b"'fortran_order'", b"'descr'"),
        ("quotes", b"'descr'", b'"descr"'),
        ("escape", b"<f4", b"\\f4"),
        ("behind", b"}", b"} 7"),
        ("colon", b":", b";"),
        ("brace", b"{", b"["),
        ("comma", b", 's", b"; 's"),
        ("text", b"'<f4'", b"7     "),
        ("long", b"'<f4'", b"'" + 70 * b"f" + b"'"),
        ("open", b"'<f4', ", b"'<f4, "),
    ):
        yield name, good.replace(old, new)
    yield "unaligned", good[:8] + b"\x47\0" + b"{" + good[11:].replace(b" ", b"", 1)
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"
    yield "odd", good[:8] + struct.pack("<H", len(text)) + text + bytes(4)
    yield "large-header", good[:6] + b"\2\0" + struct.pack("<I", 70000) + bytes(70000)


def npz():
    arrays = {"a": np.arange(6.0), "b": np.ones((2, 3), np.int64)}
    for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
        out = io.BytesIO()
        save(out, **arrays)
        yield name, out.getvalue()
        yield name + "-comment", with_comment(out.getvalue())
        yield name + "-short", out.getvalue()[:-7]
    yield "empty", archive([])
    a, b = npy_bytes(arrays["a"]), npy_bytes(arrays["b"])
    yield "text", archive([("readme.txt", b"text")])
    yield "bad-array", archive([("a.npy", b"no array")])
    yield "utf8", archive([("\u00e4.npy", a)])
    yield "twice", archive([("a.npy", a), ("b.npy", b)]).replace(b"b.npy", b"a.npy")
    yield "method", archive([("a.npy", a)], zipfile.ZIP_BZIP2)
    stored = archive([("a.npy", a)])
    yield "encrypted", stored.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")
    yield "other-name", stored.replace(b"a.npy", b"x.npy", 1)
    yield "crc", stored.replace(a[-8:], b"12345678", 1)
    yield "zip64", zip64(a)
    yield "zip64-extra", zip64(a, extra=struct.pack("<2H4x", 7, 4))
    yield "zip64-short", zip64(a, cut=8)
    for name, at, value in (
        ("entries", 8, b"\3\0\3\0"), ("directory", 12, b"\xff\xff\0\0"),
        ("offset", 16, b"\xff\xff\xff\0"), ("disk", 4, b"\1\0"),
    ):
        end = len(stored) - 22 + at
        yield name, stored[:end] + value + stored[end + len(value) :]
    two = archive([("a.npy", a), ("b.npy", a)])
    second = two.rindex(b"PK\3\4")
    yield "overlap", two.replace(struct.pack("<I", second) + b"b.npy", bytes(4) + b"b.npy")


def archive(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, data in members:
            file.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def with_comment(data, text=b"a comment"):
    return data[:-2] + struct.pack("<H", len(text)) + text


def zip64(data, extra=b"", cut=0):
    """One member whose sizes and offset stand in ZIP64 records."""
    import zlib

    crc, size = zlib.crc32(data), len(data)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 33, crc,
                        0xFFFFFFFF, 0xFFFFFFFF, 5, 20)
    local += b"a.npy" + struct.pack("<2H2Q", 1, 16, size, size)
    more = extra + struct.pack("<2H3Q", 1, 24 - cut, size, size, 0)[: 28 - cut]
    central = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 33, crc,
                          0xFFFFFFFF, 0xFFFFFFFF, 5, len(more), 0, 0, 0, 0,
                          0xFFFFFFFF) + b"a.npy" + more
    start = len(local) + size
    end = start + len(central)
    tail = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1,
                       len(central), start)
    tail += struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    tail += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF,
                        0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + data + central + tail


def safetensors():
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2,
             "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
    at, header = 0, {"__metadata__": {"format": "pt", "note": "\u00e4"}}
    for name, size in sizes.items():
        header[name.lower()] = entry(name, [3], at, at + 3 * size)
        at += 3 * size
    yield "types", pack(header, at)
    yield "empty", pack({}, 0)
    yield "scalar", pack({"x": entry("F32", [], 0, 4)}, 4)
    yield "nothing", pack({"x": entry("F32", [0, 3], 0, 0)}, 0)
    for name, value in {
        "dtype": entry("F8", [1], 0, 1), "hole": entry("U8", [1], 1, 2),
        "negative": entry("U8", [-1], 0, 1), "order": entry("U8", [1], 1, 0),
        "past": entry("U8", [9], 0, 9), "size": entry("U8", [2], 0, 1),
        "huge": entry("F64", [1 << 62, 8], 0, 1), "shape": entry("U8", "1", 0, 1),
        "float": entry("U8", [1.5], 0, 1), "list": [1], "none": None,
        "no-shape": {"dtype": "U8", "data_offsets": [0, 1]},
        "no-dtype": {"shape": [1], "data_offsets": [0, 1]},
        "no-offsets": {"dtype": "U8", "shape": [1]},
        "offsets": {"dtype": "U8", "shape": [1], "data_offsets": [0]},
        "extra": dict(entry("U8", [1], 0, 1), more=1),
        "type": dict(entry("U8", [1], 0, 1), dtype=7),
    }.items():
        yield name, pack({"x": value}, 1)
    both = {"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}
    yield "overlap", pack(both, 3)
    yield "metadata", pack({"__metadata__": {"a": 1}}, 0)
    yield "metadata-list", pack({"__metadata__": []}, 0)
    yield "array", struct.pack("<Q", 2) + b"[]"
    yield "no-json", struct.pack("<Q", 2) + b"{]"
    yield "deep", struct.pack("<Q", 4000) + 4000 * b"["
    yield "twice", struct.pack("<Q", 93) + (
        b'{"x":{"dtype":"U8","shape":[],"data_offsets":[0,1]},'
        b'"x":{"dtype":"U8","shape":[]}}').ljust(93) + b"1"
    yield "long", struct.pack("<Q", 1 << 40) + b"{}"
    yield "tiny", b"\1"


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def pack(header, size):
    text = json.dumps(header, ensure_ascii=False).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def statistics():
    """One value of width 2, with a hash that is not checked and one that is."""
    kinds = {"absolute_max": ("F32", [2]), "mean_absolute": ("F64", [2]),
             "mean_square": ("F64", [2]), "hessian": ("F32", [2, 2]),
             "cross": ("F64", [2, 2]), "rows": ("F32", [3, 2]), "range": ("F32", [2])}
    texts = dict.fromkeys(("ops", "weights", "float_ops", "float_weights", "data",
                           "nibble", "blas", "sha256"), "")
    fields = dict(texts, sequences=1, tokens=4, row_stride=2, width=2,
                  readers=["q", "k"])

    def make(fields=fields, kinds=kinds, form="nibble-statistics-1", ids=("q",)):
        at, header = 0, {"__metadata__": {"format": form}}
        for id in ids:
            text = fields if isinstance(fields, str) else json.dumps(fields)
            header["__metadata__"]["value:" + id] = text
            for kind, (type, shape) in kinds.items():
                size = int(type[1:]) // 8 * int(np.prod(shape))
                header[f"{id}#{kind}"] = entry(type, shape, at, at + size)
                at += size
        return pack(header, at)

    def without(kind):
        return {name: kinds[name] for name in kinds if name != kind}

    yield "whole", make()
    yield "two", make(ids=("q", "mlp.down#1"))
    yield "none", make(ids=())
    yield "format", make(form="pt")
    yield "no-format", pack({}, 0)
    yield "hash", make(dict(fields, sha256="00"))
    digest = lambda data: hashlib.sha256(data).hexdigest()
    hashes = "".join(digest(bytes(size)) for size in (8, 8, 16, 16, 16, 32, 24))
    yield "right-hash", make(dict(fields, sha256=digest(hashes.encode())))
    for kind in kinds:
        yield "without-" + kind, make(kinds=without(kind))
        yield "shape-" + kind, make(kinds=dict(kinds, **{kind: ("F32", [3, 3, 1])}))
        yield "type-" + kind, make(kinds=dict(kinds, **{kind: ("I32", kinds[kind][1])}))
    yield "no-rows", make(dict(fields, row_stride=0), without("rows"))
    yield "stranger", make(kinds=dict(kinds, median=("F32", [2])))
    for name in fields:
        yield "no-" + name, make({k: v for k, v in fields.items() if k != name})
    yield "negative", make(dict(fields, tokens=-1))
    yield "wide", make(dict(fields, width=2**62))
    yield "readers", make(dict(fields, readers=[1, None, "v"]))
    yield "list", make("[]")
    yield "no-json", make("{")


def field(number, value):
    """A field of a protocol buffer: a number, a float or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def piece(text, score=0.0, kind=1):
    return field(1, field(1, text) + field(2, score) + field(3, kind))


def tokenizer():
    """SentencePiece models; field numbers of sentencepiece_model.proto. And the
    compiled form of others."""
    yield from compiled_tokenizers()
    basis = piece(b"<unk>", kind=2) + piece(b"<s>", kind=3) + piece(b"</s>", kind=3)
    letters = b"".join(piece(bytes([c]), -1.0) for c in b"Onceupatim")
    merged = piece(b"On", -2.0) + piece(b"ce", -3.0) + piece(b"Once", -4.0, 5)
    merged += piece("\u2581t".encode(), -5.0) + piece(b"user", kind=4)
    fallback = b"".join(piece(b"<0x%02X>" % i, kind=6) for i in range(256))
    bpe = field(3, 2)
    yield "small", basis + letters + merged + field(2, bpe)
    yield "bytes", basis + fallback + letters + merged + field(2, bpe + field(35, 1))
    # A trie of one unit, then one with a rule: the root's child 'O' has a value.
    for name, units, strings in (
        ("no-rules", [0], b""), ("rules", rule(b"O", 0), b"o\0"),
        ("rules-far", rule(b"O", 900), b"o\0"), ("rules-delete", rule(b" ", 1), b"o\0"),
    ):
        trie = struct.pack(f"<{len(units)}I", *units)
        rules = struct.pack("<I", len(trie)) + trie + strings
        normalizer = field(3, field(1, b"x") + field(2, rules) + field(3, 1) +
                           field(4, 1) + field(5, 1))
        yield name, basis + letters + merged + field(2, bpe) + normalizer
    for suffix in (0, 1):
        for spaces in (0, 1):
            spec = field(2, bpe + field(24, suffix) + field(40, 0) + field(41, 1) +
                         field(42, 2) + field(44, b" ?? \0x"))
            flags = field(3, field(3, spaces) + field(4, 1 - spaces) + field(5, spaces))
            yield f"spaces{suffix}{spaces}", basis + letters + spec + flags
    yield "tiny-trie", basis + field(2, bpe) + field(3, field(2, b"\3\0\0\0" + bytes(4)))
    yield "bad-rules", basis + field(2, bpe) + field(3, field(2, b"\xff\xff\xff\xff1"))
    yield "denormalizer", basis + letters + field(2, bpe) + field(5, field(2, b"x"))
    for algorithm in (1, 3, 4, 9):
        yield f"algorithm{algorithm}", basis + letters + field(2, field(3, algorithm))
    yield "twice", basis + letters + letters + field(2, bpe)
    yield "unknown-twice", basis + piece(b"?", kind=2) + field(2, bpe)
    yield "no-unknown", letters + field(2, bpe)
    yield "empty-piece", basis + piece(b"") + field(2, bpe)
    yield "bad-byte", basis + piece(b"<0xZZ>", kind=6) + field(2, bpe)
    yield "few-bytes", basis + piece(b"<0x00>", kind=6) + field(2, bpe + field(35, 1))
    yield "not-finite", basis + piece(b"a", float("nan")) + field(2, bpe)
    yield "no-pieces", field(2, bpe)
    # Other wire types: groups, fixed fields, unknown numbers, broken ends.
    odd = b"\x4b\x08\x01\x4c" + b"\x79" + bytes(8) + b"\x7d" + bytes(4)
    yield "odd-fields", basis + letters + odd + field(2, bpe)
    for i, end in enumerate((b"\x4b", b"\x4b\x08", b"\x4c", b"\x0a\x7f", b"\x79\0",
                             b"\x0f", 11 * b"\xff", b"\x4b" * 200, b"\0\0",
                             b"\x4b\x54")):
        yield f"broken{i}", basis + letters + field(2, bpe) + end
    yield "example", (root / "examples/stories260K/tokenizer.model").read_bytes()


def compiled_tokenizers():
    """What docs/BundleFormat.md says under Tokenizer."""
    def text(value):
        value = value if isinstance(value, bytes) else value.encode()
        return struct.pack("<I", len(value)) + value

    def rows(values):
        return struct.pack("<I", len(values)) + b"".join(values)

    def numbers(*values):
        return struct.pack(f"<{len(values)}I", *(v & 0xFFFFFFFF for v in values))

    def step(kind, what="", by="", pattern=0):
        return bytes([kind]) + text(what) + text(by) + numbers(pattern)

    digits = rows([numbers(48, 57), numbers(0x660, 0x669)])
    loop = rows([struct.pack("<BII", *each) for each in (
        (4, 1, 6), (0, 0, 0), (4, 3, 5), (0, 0, 0), (3, 2, 0), (5, 0, 0), (2, 0, 2),
        (1, 0, 0), (5, 0, 0))])
    words = ["<unk>", "a", "b", " ", "\u2581", "ab", "<0xE4>", "1"]

    def make(flags=0, unknown=0, start=1, ends=(1,), tokens=None, merges=((1, 2, 5),),
             added=((1, 0, "<s>"), (3, 7, "<pad>"), (0, 1, "b")), sets=(digits,),
             patterns=(loop,), normalizer=(), cut=(), replacements=(), strip="", count=0,
             version=1):
        rest = [rows([numbers(kind) + text(word) for kind, word in
                      tokens or [(3, word) for word in words]]),
                rows([numbers(*merge) for merge in merges]),
                rows([numbers(*each[:2]) + text(each[2]) for each in added]),
                rows(list(sets)), rows(list(patterns)), rows(list(normalizer)),
                rows(list(cut)),
                rows([text(a) + text(b) for a, b in replacements])]
        return (b"\x89NBT\r\n\x1a\n" + numbers(version, flags, unknown, start) +
                rows([numbers(e) for e in ends]) + b"".join(rest) + text(strip) +
                numbers(count))

    raw = [(3, bytes([i])) for i in range(256)] + [(5, "<s>"), (0, ""), (3, b"\xe4\xb8")]
    yield "compiled-plain", make()
    yield "compiled-bytes", make(1, tokens=raw, merges=[(228, 184, 258)],
                                 added=[(256, 0, "<s>")], cut=[step(1, " "), step(4)])
    yield "compiled-words", make(8, -1, -1, (), cut=[step(5)])
    yield "compiled-marks", make(
        0b101110, cut=[step(3, " ", "\u2581"), step(2, "\u2581"), step(6, "\u2581")],
        normalizer=[step(0, "\u2581"), step(3, " ", "\u2581")],
        replacements=[("\u2581", " ")], strip=" ", count=2)
    yield "compiled-first", make(0b010000, replacements=[("\u2581", " ")])
    for name, options in {
            "version": {"version": 2}, "flags": {"flags": 64}, "unknown": {"unknown": 99},
            "ends": {"ends": [99]}, "merge": {"merges": [(1, 2, 99)]},
            "added": {"added": [(99, 0, "x")]}, "empty-added": {"added": [(1, 0, "")]},
            "word": {"tokens": [(3, "")]}, "latin": {"tokens": [(3, b"\xff")] * 8},
            "set": {"sets": [rows([numbers(9, 5)])]}, "jump": {"patterns": [
                rows([struct.pack("<BII", 3, 9, 0)])]}, "op": {"patterns": [
                    rows([struct.pack("<BII", 9, 0, 0)])]}, "steps": {"patterns": [rows([])]},
            "kind": {"cut": [step(9)]}, "cuts": {"normalizer": [step(6, "a")]},
            "pattern": {"cut": [step(4, pattern=7)]}, "text": {"cut": [step(6)]},
            "bad-text": {"cut": [step(6, b"\xff")]}, "grows": {
                "normalizer": [step(3, "a", "a" * 2000)]},
            "replace": {"replacements": [("", "a")]}, "longer": {
                "replacements": [("a", "a" * 2000)]}, "strip": {"strip": b"\xff"}}.items():
        yield "compiled-bad-" + name, make(**options)
    yield "compiled-short", make()[:-1]


def rule(key, value):
    """A Darts double array that maps the byte `key` to `value`."""
    units = [0] * 1024
    offset = 256
    units[0] = offset << 10
    node = offset ^ key[0]
    units[node] = (1 << 10) | 1 << 8 | key[0]
    units[node ^ 1] = 1 << 31 | value
    return units


def bundle_definitions():
    """A bundle in which a step defines a dimension, and the rules for that."""
    data = (root / "test/Bundle/golden-v1-sizes.nbl").read_bytes()
    (index_size,) = struct.unpack_from("<Q", data, 48)
    index, code = data[128 : 128 + index_size], data[65536 : 65536 + 65]
    index = index.replace(hashlib.sha256(code).digest(),
                          hashlib.sha256(65 * b"\xc3").digest())
    # How many, entry point, step, how many, dimension.
    index, record = index[:-20], struct.unpack("<5I", index[-20:])

    def parts(fields=record, changed=index, announced=True):
        changed += struct.pack(f"<{len(fields)}I", *fields)
        sizes = struct.pack("<3I2B", len(changed), 65,
                            announced << 31, 0, 0)
        return sizes + changed + data[131072:]

    def edit(old, new):
        assert old in index, old
        return parts(changed=index.replace(old, new, 1))

    yield "sizes", parts()
    yield "sizes-unannounced", parts(announced=False)
    for name, fields in (("none", (0,)), ("entry", (1, 1, 0, 1, 1)),
                         ("step", (1, 0, 2, 1, 1)), ("empty", (1, 0, 0, 0)),
                         ("dimension", (1, 0, 0, 1, 4)), ("again", (1, 0, 0, 2, 1, 1)),
                         ("input", (1, 0, 0, 1, 0)), ("two", (1, 0, 0, 2, 1, 0)),
                         ("both", (2, 0, 0, 1, 1, 0, 1, 1, 1)),
                         ("last", (1, 0, 1, 1, 1)), ("order", (2, 0, 1, 1, 1, 0, 0, 1, 1))):
        yield "sizes-" + name, parts(fields)
    hits = b"hits" + struct.pack("<qq", 0, 64)
    yield "sizes-least", edit(hits, b"hits" + struct.pack("<qq", 1, 64))
    # The second step's `after`, and an expression over a size in the first.
    yield "sizes-late", edit(struct.pack("<Ii", 0, 0) + struct.pack("<I", 1) + b"\x09",
                             struct.pack("<Ii", 0, -1) + struct.pack("<I", 1) + b"\x09")
    yield "sizes-early", edit(struct.pack("<I", 2) + b"96", struct.pack("<I", 4) + b"hits")


def bundle_states():
    """A bundle with a decoder, and the rules for that."""
    data = (root / "test/Bundle/golden-v1-states.nbl").read_bytes()
    (index_size,) = struct.unpack_from("<Q", data, 48)
    index, code = data[128 : 128 + index_size], data[65536 : 65536 + 65]
    index = index.replace(hashlib.sha256(code).digest(),
                          hashlib.sha256(65 * b"\xc3").digest())

    def parts(changed=index, announced=True):
        sizes = struct.pack("<3I2B", len(changed), 65, announced << 30, 0, 0)
        return sizes + changed + data[131072:]

    def edit(old, new):
        """The index with the last `old` replaced."""
        place = index.rindex(old)
        return parts(index[:place] + new + index[place + len(old) :])

    yield "states", parts()
    yield "states-unannounced", parts(announced=False)
    key = index.index(b"key_0") - 8  # the count in front of the name
    yield "states-none", parts(index[:key] + struct.pack("<I", 0) + index[-1 - 4 - 7 - 4 - 6 - 8 :])
    yield "states-type", edit(b"key_0\0\x20", b"key_0\2\x03")
    yield "states-entry", edit(b"decode", b"encode")
    yield "states-swapped", edit(b"prefill" + struct.pack("<I", 6) + b"decode",
                                 b"decode\0" + struct.pack("<I", 6) + b"decode")
    yield "states-same", edit(struct.pack("<I", 6) + b"decode",
                              struct.pack("<I", 7) + b"prefill")
    yield "states-capacity", edit(struct.pack("<q", 32), struct.pack("<q", 0))
    yield "states-length", edit(b"8*batch", b"9*batch")
    yield "states-bytes", edit(b"128*batch", b"129*batch")
    yield "states-alone", parts(index[: -1 - 4 - 7 - 4 - 6 - 8] + b"\0")


def bundle_cuda():
    """A bundle with a program for GPUs, and the rules for that."""
    data = (root / "test/Bundle/golden-v1-cuda.nbl").read_bytes()
    (index_size,) = struct.unpack_from("<Q", data, 48)
    index = data[128 : 128 + index_size]
    inert = struct.pack("<Q", 65) + hashlib.sha256(65 * b"\xc3").digest()
    for place, size in ((65536, 65), (131072, 5), (196608, 13)):
        code = data[place : place + size]
        index = index.replace(struct.pack("<Q", size) + hashlib.sha256(code).digest(), inert)

    def parts(changed=index, announced=True):
        sizes = struct.pack("<3I2B", len(changed), 65, announced << 29, 0, 0)
        return sizes + changed + data[262144:]

    def edit(old, new):
        """The index with the last `old` replaced."""
        place = index.rindex(old)
        return parts(index[:place] + new + index[place + len(old) :])

    yield "cuda", parts()
    yield "cuda-unannounced", parts(announced=False)
    yield "cuda-target", edit(b"sm_90a", b"sm_90b")
    yield "cuda-same", edit(struct.pack("<I", 5) + b"sm_80\1", struct.pack("<I", 5) + b"sm_80\2")
    yield "cuda-launch", parts(index.replace(b"sm_90a", b"sm_89a", 1))
    yield "cuda-scalar", edit(b"512*d0", b"512*d9")
    yield "cuda-grid", edit(b"floordiv(d0 + 31, 32)", b"999999999*d0*d0*d0*d0")
    yield "cuda-workspace", edit(b"512*d0", b"-50*d0")
    blocks = struct.pack("<4I", 32, 4, 1, 65536)
    for name, fields in (("block", (0, 4, 1, 0)), ("threads", (1024, 4, 1, 0)),
                         ("deep", (1, 1, 65, 0)), ("shared", (32, 4, 1, 1 << 20))):
        yield "cuda-" + name, edit(blocks, struct.pack("<4I", *fields))
    yield "cuda-limit", edit(struct.pack("<q", 8) + b"\0", struct.pack("<q", -8) + b"\0")
    yield "cuda-kernels", edit(struct.pack("<I", 8) + b"finish_6", struct.pack("<I", 8) + b"gather_5")
    yield "cuda-arena", edit(struct.pack("<Q", 4096), struct.pack("<Q", 256))
    yield "cuda-weight", edit(struct.pack("<2Q", 256, 12), struct.pack("<2Q", 256, 8))


def bundle():
    """See Bundle.cpp for what stands in front."""
    yield from bundle_definitions()
    yield from bundle_states()
    yield from bundle_cuda()
    data = (root / "test/Bundle/golden-v1.nbl").read_bytes()
    (index_size,) = struct.unpack_from("<Q", data, 48)
    index, code = data[128 : 128 + index_size], data[65536 : 65536 + 65]
    index = index.replace(hashlib.sha256(code).digest(),
                          hashlib.sha256(65 * b"\xc3").digest())
    weights = data[131072:]

    def parts(changed=index, field=0, padding=0, zeros=0):
        sizes = struct.pack("<3I2B", len(changed), 65, zeros, field, padding)
        return sizes + changed + weights

    def edit(old, new, at=-1):
        """The index with the last (or first) `old` replaced."""
        place = index.rindex(old) if at < 0 else index.index(old)
        return parts(index[:place] + new + index[place + len(old) :])

    yield "golden", parts()
    # Version, sizes and so on: see docs/BundleFormat.md.
    for name, offset in (("size", 12), ("required", 16), ("total", 32),
                         ("index", 48), ("reserved", 88)):
        yield "header-" + name, parts(field=(offset - 12) or 84)
    yield "padding-code", parts(padding=2)
    yield "padding-weights", parts(padding=1)
    yield "longer", parts(zeros=256)
    yield "no-producer", parts(struct.pack("<I", 0) + index[4 + 13 :])
    yield "long-name", parts(struct.pack("<I", 5000) + 5000 * b"x" + index[4 + 13 :])
    yield "control", edit(b"golden", b"gold\x01n")
    ids = b"input_ids\2\x40"  # signed integers of 64 bits
    for kind, bits in ((2, 8), (2, 16), (2, 32), (3, 8), (3, 16), (3, 32), (3, 64),
                       (1, 16), (4, 8), (0, 8), (5, 8), (10, 4), (0, 16)):
        yield f"port{kind}-{bits}", edit(ids, b"input_ids" + bytes([kind, bits]))
        yield f"cache{kind}-{bits}", edit(b"past_0\0\x20", b"past_0" + bytes([kind, bits]))
    rank = ids + struct.pack("<I", 2)
    yield "rank", edit(rank, ids + struct.pack("<I", 10) + 8 * struct.pack("<I", 0))
    order = b"order" + struct.pack("<4QI", 256, 12, 6, 0, 0)[:24]
    for bits in (8, 16, 32, 64, 24):
        for size in (12, 16):
            yield f"indices{bits}-{size}", edit(
                order + struct.pack("<I", 32),
                b"order" + struct.pack("<3QI", 256, size, 6, bits))
    check = struct.pack("<Iqq", 0, 0, 6)
    for name, values in (("input", (2, 0, 6)), ("float", (1, 0, 6)), ("empty", (0, 7, 6)),
                         ("low", (0, -5, 6)), ("high", (0, 2, 1 << 40))):
        yield "check-" + name, edit(check, struct.pack("<Iqq", *values))
    for name, text in (("negative", b"-96"), ("product", b"2*b"), ("far", b"batch*16*seq"),
                       ("mod", b"batch mod 2 + seq floordiv 3"), ("minmax", b"min(seq, past)"),
                       ("huge", b"9223372036854775807*batch")):
        yield "expression-" + name, edit(
            struct.pack("<I", 2) + b"96", struct.pack("<I", len(text)) + text)
    yield "linear-dim", edit(struct.pack("<I", 5) + b"batch" + struct.pack("<I", 3) + b"seq",
                             struct.pack("<I", 9) + b"2*batch+3" + struct.pack("<I", 3) + b"seq")
    yield "one-dim", edit(struct.pack("<I", 3) + b"seq" + struct.pack("<qq", 1, 32),
                          struct.pack("<I", 3) + b"seq" + struct.pack("<qq", 4, 4))
    target = b"x86-64-v3"
    yield "target", edit(target, b"x86-64-v9")
    for bits in (float("nan"), -1.0, 1e9):
        yield f"bits{bits}", edit(struct.pack("<d", 4.625), struct.pack("<d", bits))
    generation = index.rindex(b"\1" + struct.pack("<I", 4) + b"main")
    yield "no-generation", parts(index[:generation] + b"\0" + index[-7:])
    cache = struct.pack("<3I", 1, 1, 1)
    yield "cache-twice", edit(cache, struct.pack("<5I", 2, 1, 1, 1, 1))
    yield "cache-other", edit(cache, struct.pack("<3I", 1, 0, 1))
    yield "no-cache", edit(cache, struct.pack("<I", 0))
    model = next(data for name, data in tokenizer() if name == "bytes")
    yield "tokenizer", parts(index[:-7] + struct.pack("<I", len(model)) + model)


def onnx():
    models = root / "test/Import/models.py"
    names = re.findall(r"^def (\w+)\(folder(?:\)|, \w+=)", models.read_text(), re.M)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            subprocess.run([sys.executable, models, name, f"{folder}/{name}"],
                           check=True)
            path = pathlib.Path(folder, name, "model.onnx")
            if path.exists() and path.stat().st_size < 1 << 15:
                data = path.read_bytes()
                # The file that the fuzz target puts beside the model.
                yield name, data.replace(b"\x0bweights.bin", b"\x0b./././w.bin")
    yield from onnx_graphs()


def onnx_graphs():
    """What the importer tells apart and its own tests do not need all of."""
    from onnx import AttributeProto, TensorProto, helper

    def value(name, shape, dtype=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, dtype, shape)

    def model(nodes, inputs, outputs, tensors=(), **options):
        graph = helper.make_graph(nodes, "g", inputs, outputs, list(tensors))
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9,
                                 **options).SerializeToString(deterministic=True)

    node, x, y = helper.make_node, value("x", ["batch", 4]), value("y", None)
    for kind in TensorProto.DataType.values():
        tensor = TensorProto(name="w", data_type=kind, dims=[40], raw_data=bytes(160))
        yield f"type{kind}", model([node("Identity", ["w"], ["y"])], [],
                                   [value("y", [40], kind)], [tensor])
        tensor = TensorProto(name="w", data_type=kind, dims=[1100])
        tensor.int32_data.extend([1] * 1100)
        yield f"integers{kind}", model([node("Identity", ["w"], ["y"])], [],
                                       [value("y", None, kind)], [tensor])
    # Data in pieces, or none.
    floats = TensorProto(name="w", data_type=1, dims=[34], float_data=[1.0] * 34)
    text = floats.SerializeToString()
    packed = text.index(b"\x22")
    halves = 2 * (b"\x22\x44" + struct.pack("<17f", *range(17)))
    pieces = text[:packed] + halves + text[packed + 2 + 136 :]
    whole = model([node("Identity", ["w"], ["y"])], [], [y], [floats])
    yield "pieces", whole.replace(text, pieces)
    yield "empty-tensor", model([node("Identity", ["w"], ["y"])], [], [y],
                                [TensorProto(name="w", data_type=1, dims=[0, 3])])
    few = TensorProto(name="w", data_type=7, dims=[1 << 40])
    few.int64_data.extend([1, 2])
    yield "few", model([node("Identity", ["w"], ["y"])], [], [y], [few])
    broken = TensorProto(name="w", data_type=7, dims=[2], int64_data=[1, 2])
    yield "broken-integers", model([node("Identity", ["w"], ["y"])], [], [y], [broken]
                                   ).replace(b"\x3a\x02\x01\x02", b"\x3a\x02\x01\xff")
    # External data, as Import/external.test has it and worse.
    for i, (key, text) in enumerate((
            ("length", "128"), ("length", "127"), ("length", "x"), ("offset", "x"),
            ("offset", "5000"), ("offset", "18446744073709551615"), ("checksum", "0"),
            ("location", "./w.bin"), ("location", ""), ("location", "w.bin\0"),
            ("location", "no/../w.bin"), ("location", "."), ("location", 300 * "a/"))):
        tensor = TensorProto(name="w", data_type=1, dims=[32], data_location=1)
        entries = {"location": "w.bin", key: text}
        for name, content in entries.items():
            tensor.external_data.add(key=name, value=content)
        yield f"external{i}", model([node("Identity", ["w"], ["y"])], [], [y], [tensor])
    # Attributes of every kind.
    tensor = helper.make_tensor("t", 1, [2], [1.0, 2.0])
    large = helper.make_tensor("t", 7, [1025], range(1025))
    sparse = helper.make_sparse_tensor(tensor, helper.make_tensor("i", 7, [2], [0, 3]), [4])
    kinds = {"f": 1.0, "i": 1, "s": "text", "fs": [1.0], "is": [1, 2], "ss": ["a", "b"],
             "t": tensor, "ts": [tensor], "large": large, "sparse": sparse,
             "tp": helper.make_tensor_type_proto(1, [2])}
    for name, content in kinds.items():
        yield "attribute-" + name, model(
            [node("Unknown", ["x"], ["y"], name="n", domain="com.microsoft",
                  **{name: content})], [x], [y])
    reference = node("Unknown", ["x"], ["y"], domain="com.microsoft")
    reference.attribute.append(AttributeProto(name="r", ref_attr_name="q", type=1))
    yield "attribute-reference", model([reference], [x], [y])
    for name, content in (("value_string", "a"), ("value_strings", ["a"]),
                          ("value_float", 1.0), ("value_floats", [1.0, 2.0]),
                          ("value_int", 1), ("value_ints", [1]), ("value", tensor),
                          ("sparse_value", sparse), ("value", large)):
        yield "constant-" + name, model([node("Constant", [], ["y"], **{name: content})],
                                        [], [y])
    strings = helper.make_tensor("w", 8, [1], [b"text"])
    yield "strings", model([node("Identity", ["w"], ["y"])], [], [y], [strings])
    # Types that are not tensors, missing types, missing names.
    sequence = helper.make_value_info("x", helper.make_sequence_type_proto(
        helper.make_tensor_type_proto(1, None)))
    yield "sequence", model([node("SequenceLength", ["x"], ["y"])], [sequence], [y])
    yield "undefined", model([node("Neg", ["z"], ["y"])], [x], [y])
    yield "optional", model([node("Clip", ["x", "", "m", ""], ["y", ""])],
                            [x, value("m", [])], [y])
    yield "no-type", model([node("Neg", ["x"], ["y"])], [x],
                           [helper.make_empty_tensor_value_info("y")])
    # Subgraphs.
    yield "loop", model(
        [node("Loop", ["n", "c", "x"], ["y", "s"], body=helper.make_graph(
            [node("Identity", ["ci"], ["co"]), node("Neg", ["v"], ["w"]),
             node("Identity", ["w"], ["e"])], "body",
            [value("i", [], 7), value("ci", [], 9), helper.make_empty_tensor_value_info("v")],
            [value("co", [], 9), value("w", None), value("e", None)]))],
        [value("n", [], 7), value("c", [], 9), x], [y, value("s", None)])
    for name, typed in (("scan", value("v", [4])), ("scan-untyped",
                        helper.make_empty_tensor_value_info("v")), ("scan-sequence", sequence)):
        yield name, model(
            [node("Scan", ["x"], ["y"], num_scan_inputs=1, body=helper.make_graph(
                [node("Neg", ["v"], ["w"])], "body", [typed], [value("w", None)]))],
            [x], [y])
    for name, two in (("if", "b"), ("if-missing", "nowhere")):
        branches = {
            f"{kind}_branch": helper.make_graph([node("Neg", ["x"], [made])], kind, [],
                                                [value(out, None)])
            for kind, made, out in (("then", "a", "a"), ("else", "b", two))}
        yield name, model([node("If", ["c"], ["y"], **branches)], [value("c", [], 9), x], [y])
    function = helper.make_function(
        "com.microsoft", "F", ["a"], ["b"],
        [node("Constant", [], ["k"], value=tensor), node("Mul", ["a", "k"], ["b"])],
        [helper.make_opsetid("", 18)])
    yield "function", model([node("F", ["x"], ["y"], domain="com.microsoft")], [x], [y],
                            functions=[function])
    # Operators whose results ONNX's library knows nothing of.
    scale, ids = helper.make_tensor("s", 1, [1], [0.5]), helper.make_tensor("i", 7, [2], [1, 2])
    byte = helper.make_tensor("b", 2, [4], [1, 2, 3, 4])
    for name, operands, results in (
            ("DequantizeLinear", ["b", "s"], ["y"]), ("QuantizeLinear", ["x", "s"], ["y"]),
            ("QuantizeLinear", ["x", "s", "b"], ["y"]), ("EmbedLayerNormalization",
            ["i", "", "x", "x"], ["y", "m"]), ("GatherBlockQuantized", ["b", "i", "s"], ["y"]),
            ("DynamicQuantizeMatMul", ["x", "b", "s"], ["y"]), ("MatMulIntegerToFloat",
            ["b", "b", "s", "s"], ["y"]), ("Nothing", [], ["y"])):
        yield f"contrib-{name}{len(operands)}", model(
            [node(name, operands, results, domain="com.microsoft")], [x], [y],
            [scale, ids, byte])
    # Ranks that follow, from operands without sizes.
    free = value("f", None)
    for name, operands, options in (
            ("Slice", ["x", "i", "i"], {}), ("Tile", ["x", "i"], {}),
            ("ConstantOfShape", ["i"], {}), ("Range", ["s", "s", "s"], {}),
            ("NonZero", ["x"], {}), ("Reshape", ["x", "i"], {}), ("Expand", ["x", "i"], {}),
            ("Reshape", ["x", "f"], {}), ("ReduceSum", ["x", "i"], {"keepdims": 0}),
            ("ReduceMax", ["x"], {}), ("Squeeze", ["x", "i"], {}), ("Unsqueeze", ["x", "i"], {}),
            ("TopK", ["x", "i"], {}), ("Pad", ["x", "i"], {}), ("MatMul", ["x", "f"], {}),
            ("MatMul", ["x", "b4"], {}), ("Add", ["x", "b4"], {}), ("Concat", ["x", "f"],
            {"axis": 0}), ("Gather", ["f", "i"], {}), ("Gemm", ["x", "b4"], {})):
        yield f"rank-{name}{len(operands)}{operands[-1]}", model(
            [node(name, operands, ["y"], name="n", **options)], [x, free, value("b4", [4, 3])],
            [y], [scale, ids])


def ir():
    for path in sorted(root.glob("test/dialects/**/*.mlir")):
        for i, part in enumerate(re.split(r"^// -----.*$", path.read_text(), flags=re.M)):
            if "qmodel" in part and len(part) < 6000:
                yield f"{path.parent.name}-{path.stem}{i}", part.encode()
    types = ("f32", "f16", "bf16", "f64", "i8", "ui8", "i4", "ui3", "i1", "i64")
    for i, type in enumerate(types):
        bits = int(re.sub(r"\D", "", type))
        size = (64 * bits + 7) // 8
        for name, file, offset, digest in (
            ("", "w.bin", 0, hashlib.sha256(size * b"\1").hexdigest()),
            ("odd", "w.bin", 1, ""), ("hash", "w.bin", 0, 64 * "0"),
            ("end", "w.bin", 4096 - size + 1, ""), ("none", "none.bin", 0, ""),
            ("memory", "memory:00", 0, ""), ("parent", "../../w.bin", 0, ""),
            ("absolute", "/nothing/w.bin", 0, ""), ("folder", ".", 0, ""),
            ("far", "w.bin", 2**63 - 1, ""),
        ):
            yield f"{type}{name}", (
                f'qmodel.weight @w : tensor<64x{type}> = #qmodel.stored<"{file}", '
                f'{offset}, {size}, "{digest}">\n').encode()
    yield "literal", b"qmodel.weight @w : tensor<2x2xf32> = dense<[[1.0, 2.0], [3.0, 4.0]]>"
    yield "splat", b"qmodel.weight @w : tensor<99999999x9999999xi8> = dense<1>"
    yield "load", (
        b'qmodel.weight @w : tensor<4x8xf32> = #qmodel.stored<"w.bin", 3, 128, "">\n'
        b"func.func @main() -> tensor<8x4xf32> {\n"
        b"  %0 = qmodel.load @w permutation [1, 0] : tensor<8x4xf32>\n"
        b"  return %0 : tensor<8x4xf32>\n}\n")


def main():
    target = pathlib.Path(sys.argv[1])
    for make in (npy, npz, safetensors, statistics, tokenizer, bundle, onnx, ir):
        folder = target / make.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in make():
            (folder / name).write_bytes(data)
        for kept in sorted((here / "seeds" / make.__name__).glob("*")):
            shutil.copy(kept, folder / kept.name)


if __name__ == "__main__":
    main()
