"""Writes arrays with numpy, copies them with Nibble, reads them with numpy.

usage: arrays.py <empty folder>
"""

import io
import json
import pathlib
import struct
import subprocess
import sys
import zipfile

import numpy as np

folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(5)

DTYPES = [
    "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?",
]
SHAPES = [(), (1,), (0,), (7,), (2, 3), (5, 0, 2), (2, 3, 4), (1, 2, 1, 5, 3)]


def samples():
    """Random bits (NaNs included) of every type and shape."""
    arrays = {}
    for dtype in DTYPES:
        for shape in SHAPES:
            count = int(np.prod(shape, dtype=int))
            size = np.dtype(dtype).itemsize
            bits = random.integers(0, 256, count * size, dtype=np.uint8)
            if dtype == "?":
                bits &= 1
            array = np.frombuffer(bits.tobytes(), dtype).reshape(shape)
            arrays[f"{dtype}/{shape}"] = array
            arrays[f"{dtype}/{shape}/columns"] = np.asfortranarray(array)
    return arrays


def copy(name):
    target = folder / ("copy-" + name)
    subprocess.run(["nibble-array-copy", folder / name, target], check=True)
    return target


def refused(name):
    """The error text of a copy that must fail."""
    target = folder / ("copy-" + name)
    target.unlink(missing_ok=True)
    result = subprocess.run(
        ["nibble-array-copy", folder / name, target],
        capture_output=True, text=True,
    )
    assert result.returncode == 1, name
    assert not target.exists(), name
    return result.stderr


def same(a, b):
    return (
        a.dtype == b.dtype and a.shape == b.shape
        and a.tobytes() == b.tobytes()  # row-major, NaN payloads included
    )


def check_npy(arrays):
    for i, (name, array) in enumerate(arrays.items()):
        for version in [(1, 0), (2, 0), (3, 0)]:
            with open(folder / "a.npy", "wb") as file:
                np.lib.format.write_array(file, array, version=version)
            target = copy("a.npy")
            assert same(np.load(target), array), (name, version)
        expected = io.BytesIO()
        np.save(expected, np.ascontiguousarray(array).reshape(array.shape))
        assert target.read_bytes() == expected.getvalue(), name


def check_npz(arrays):
    def check():
        target = copy("a.npz")
        with zipfile.ZipFile(target) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [name + ".npy" for name in arrays]
        with np.load(target) as loaded:
            assert all(same(loaded[name], arrays[name]) for name in arrays)
        return target.read_bytes()

    np.savez(folder / "a.npz", **arrays)
    first = check()
    np.savez_compressed(folder / "a.npz", **arrays)
    assert check() == first  # equal arrays, equal bytes
    # Small limits make zipfile write every ZIP64 record that there is.
    limits = zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT
    zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT = 100, 1
    np.savez(folder / "a.npz", **arrays)
    assert b"PK\6\6" in (folder / "a.npz").read_bytes()
    assert check() == first
    # A file that is not seekable gets its sizes behind the data.
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = bytearray()
        def writable(self):
            return True
        def write(self, data):
            self.data += data
            return len(data)
    pipe = Pipe()
    zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT = limits
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"a comment, with PK\5\6 in it"
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array)
            archive.writestr(name + ".npy", member.getvalue())
    (folder / "a.npz").write_bytes(pipe.data)
    assert check() == first


def check_names():
    arrays = {"größe/ß": np.arange(3), "x.npy": np.zeros(2)}
    np.savez(folder / "a.npz", **arrays)
    with np.load(copy("a.npz")) as loaded:
        assert sorted(loaded.files) == sorted(arrays)
    np.savez(folder / "a.npz")
    with np.load(copy("a.npz")) as loaded:
        assert loaded.files == []


def check_refused():
    def text(array, **options):
        np.save(folder / "a.npy", array, **options)
        return refused("a.npy")

    assert "Python objects (dtype '|O')" in text(
        np.array([None]), allow_pickle=True)
    assert "expects little-endian elements, got '>f4'" in text(
        np.zeros(2, ">f4"))
    assert "structured array" in text(np.zeros(2, [("a", "f4"), ("b", "i4")]))
    assert "got '<c16'" in text(np.zeros(2, "c16"))
    assert "got '<U3'" in text(np.array(["abc"]))
    with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", b"x" * 100)
    assert "'x.npy' is compressed with ZIP method 14" in refused("a.npz")


SAFE = {
    "f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i2": "I16",
    "i4": "I32", "i8": "I64", "u1": "U8", "u2": "U16", "u4": "U32",
    "u8": "U64", "?": "BOOL",
}


def check_safetensors(arrays):
    """By the description of the format; its library is not needed."""
    header, data = {"__metadata__": {"format": "pt", "note": "ü"}}, b""
    for name, array in arrays.items():
        begin = len(data)
        data += array.tobytes()
        header[name] = {
            "dtype": SAFE[name.split("/")[0]], "shape": list(array.shape),
            "data_offsets": [begin, len(data)],
        }
    head = json.dumps(header).encode()
    (folder / "a.safetensors").write_bytes(
        struct.pack("<Q", len(head)) + head + data)

    raw = copy("a.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    copied = json.loads(raw[8 : 8 + length])
    assert copied.pop("__metadata__") == header["__metadata__"]
    assert sorted(copied) == sorted(arrays)
    end = 0
    for name, entry in copied.items():  # no holes, in the order of the header
        begin, stop = entry["data_offsets"]
        assert begin == end, name
        end = stop
        dtype = np.dtype({v: k for k, v in SAFE.items()}[entry["dtype"]])
        assert (8 + length + begin) % dtype.itemsize == 0, name
        array = np.frombuffer(raw[8 + length + begin : 8 + length + stop], dtype)
        assert same(array.reshape(entry["shape"]), arrays[name]), name
    assert 8 + length + end == len(raw)


arrays = samples()
check_npy(dict(list(arrays.items())[::5]))  # each starts 3 processes
check_npz(arrays)
check_names()
check_refused()
check_safetensors(arrays)
