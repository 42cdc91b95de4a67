# ===- driver.py - NVIDIA's driver from Python ---------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""What `run` needs of libcuda.so.1 and of cuBLAS, by ctypes: no package but NumPy."""

import ctypes
import ctypes.util
import glob
import os
import sys

import numpy as np

P, I, U, Z = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_size_t
A = ctypes.c_uint64  # an address of the device
VERSION = 12000

FUNCTIONS = {
    "cuInit": (U,), "cuDeviceGetCount": (P,), "cuDeviceGet": (P, I),
    "cuDeviceGetName": (P, I, I), "cuDeviceGetAttribute": (P, I, I),
    "cuDevicePrimaryCtxRetain": (P, I), "cuDevicePrimaryCtxRelease": (I,),
    "cuCtxPushCurrent": (P,), "cuCtxPopCurrent": (P,),
    "cuMemGetInfo": (P, P), "cuMemAlloc": (P, Z), "cuMemFree": (A,),
    "cuMemHostAlloc": (P, Z, U), "cuMemFreeHost": (P,),
    "cuMemcpyHtoDAsync": (A, P, Z, P), "cuMemcpyDtoHAsync": (P, A, Z, P),
    "cuMemsetD8Async": (A, ctypes.c_ubyte, Z, P),
    "cuModuleLoadDataEx": (P, P, U, P, P), "cuModuleUnload": (P,),
    "cuModuleGetFunction": (P, P, ctypes.c_char_p),
    "cuFuncSetAttribute": (P, I, I),
    "cuStreamCreate": (P, U), "cuStreamDestroy": (P,), "cuStreamSynchronize": (P,),
    "cuStreamBeginCapture": (P, I), "cuStreamEndCapture": (P, P),
    "cuEventCreate": (P, U), "cuEventDestroy": (P,), "cuEventRecord": (P, P),
    "cuEventElapsedTime": (P, P, P),
    "cuLaunchKernel": (P, U, U, U, U, U, U, U, P, P, P),
    "cuGraphInstantiateWithFlags": (P, P, ctypes.c_ulonglong),
    "cuGraphLaunch": (P, P), "cuGraphExecDestroy": (P,), "cuGraphDestroy": (P,),
    "cuGetErrorName": (I, P),
}


class CudaError(RuntimeError):
    pass


class Driver:
    """The driver, one device and one stream."""

    def __init__(self, device=0):
        name = os.environ.get("NIBBLE_CUDA_DRIVER") or "libcuda.so.1"
        try:
            library = ctypes.CDLL(name)
            find = library.cuGetProcAddress_v2
        except (OSError, AttributeError) as problem:
            raise CudaError(f"no NVIDIA driver for CUDA 12 or newer: {problem}")
        for function, types in FUNCTIONS.items():
            pointer = P()
            if find(function.encode(), ctypes.byref(pointer), VERSION,
                    ctypes.c_uint64(0), None) != 0 or not pointer:
                raise CudaError(f"the driver lacks {function}")
            setattr(self, function, self.checked(
                function, ctypes.CFUNCTYPE(I, *types)(pointer.value)))
        self.cuInit(0)
        self.device = I()
        self.cuDeviceGet(ctypes.byref(self.device), device)
        text = ctypes.create_string_buffer(256)
        self.cuDeviceGetName(text, 256, self.device)
        self.name = text.value.decode()
        major, minor = I(), I()
        self.cuDeviceGetAttribute(ctypes.byref(major), 75, self.device)
        self.cuDeviceGetAttribute(ctypes.byref(minor), 76, self.device)
        self.capability = 10 * major.value + minor.value
        context = P()
        self.cuDevicePrimaryCtxRetain(ctypes.byref(context), self.device)
        self.cuCtxPushCurrent(context)
        self.stream = self.made("cuStreamCreate", 1)
        self.events = [self.made("cuEventCreate", 0) for _ in range(2)]
        self.staging_bytes = 32 << 20
        self.staging = P()
        self.cuMemHostAlloc(ctypes.byref(self.staging), self.staging_bytes, 0)

    def checked(self, name, function):
        def call(*arguments):
            result = function(*arguments)
            if result != 0:
                text = ctypes.c_char_p()
                if name != "cuGetErrorName":
                    self.cuGetErrorName(result, ctypes.byref(text))
                raise CudaError(f"{name} failed: {(text.value or b'').decode()} "
                                f"({result})")
        return call

    def made(self, function, *arguments):
        handle = P()
        getattr(self, function)(ctypes.byref(handle), *arguments)
        return handle

    def wait(self):
        self.cuStreamSynchronize(self.stream)

    def allocate(self, size):
        address = A()
        self.cuMemAlloc(ctypes.byref(address), size)
        return address.value

    def upload(self, address, array):
        raw = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        for at in range(0, raw.size, self.staging_bytes):
            part = raw[at:at + self.staging_bytes]
            ctypes.memmove(self.staging, part.ctypes.data, part.size)
            self.cuMemcpyHtoDAsync(address + at, self.staging, part.size, self.stream)
            self.wait()

    def download(self, address, size):
        raw = np.empty(size, np.uint8)
        for at in range(0, size, self.staging_bytes):
            count = min(self.staging_bytes, size - at)
            self.cuMemcpyDtoHAsync(self.staging, address + at, count, self.stream)
            self.wait()
            ctypes.memmove(raw.ctypes.data + at, self.staging, count)
        return raw

    def load(self, code):
        return self.made("cuModuleLoadDataEx", code + b"\0", 0, None, None)

    def function(self, module, name, shared=0):
        function = self.made("cuModuleGetFunction", module, name.encode())
        if shared > 48 << 10:
            self.cuFuncSetAttribute(function, 8, shared)
        return function

    def launch(self, function, grid, block, shared, values):
        """`values`: 8 bytes each."""
        if 0 in grid:
            return
        cells = (ctypes.c_uint64 * len(values))(*values)
        pointers = (P * len(values))(*(ctypes.addressof(cells) + 8 * i
                                       for i in range(len(values))))
        self.cuLaunchKernel(function, *grid, *block, shared, self.stream, pointers,
                            None)

    def graph(self, work):
        """What `work()` puts on the stream, to be run again and again."""
        self.cuStreamBeginCapture(self.stream, 1)
        try:
            work()
        finally:
            captured = self.made_by_capture()
        try:
            return self.made("cuGraphInstantiateWithFlags", captured, 0)
        finally:
            self.cuGraphDestroy(captured)

    def made_by_capture(self):
        captured = P()
        self.cuStreamEndCapture(self.stream, ctypes.byref(captured))
        return captured

    def seconds(self, graph, times):
        """Of each of `times` runs of a graph, after one that warms up."""
        self.cuGraphLaunch(graph, self.stream)
        self.wait()
        found = []
        for _ in range(times):
            self.cuEventRecord(self.events[0], self.stream)
            self.cuGraphLaunch(graph, self.stream)
            self.cuEventRecord(self.events[1], self.stream)
            self.wait()
            elapsed = ctypes.c_float()
            self.cuEventElapsedTime(ctypes.byref(elapsed), *self.events)
            found.append(elapsed.value / 1e3)
        return found


class Blas:
    """Products of f16 matrices with sums in float32 by cuBLAS."""

    WORKSPACE = 32 << 20

    def __init__(self, driver):
        self.library = self.find()
        if not self.library:
            raise CudaError("cuBLAS was not found")
        self.handle = P()
        self.check(self.library.cublasCreate_v2(ctypes.byref(self.handle)))
        self.check(self.library.cublasSetStream_v2(self.handle, driver.stream))
        self.workspace = driver.allocate(self.WORKSPACE)
        self.check(self.library.cublasSetWorkspace_v2(
            self.handle, P(self.workspace), Z(self.WORKSPACE)))
        self.one, self.zero = ctypes.c_float(1), ctypes.c_float(0)

    @staticmethod
    def find():
        places = [ctypes.util.find_library("cublas") or ""]
        for folder in sys.path + ["/usr/local/cuda/lib64", "/usr/local/cuda*/lib64"]:
            for part in ("nvidia/cublas/lib/", "nvidia/cu1*/lib/", ""):
                places += sorted(glob.glob(f"{folder}/{part}libcublas.so*"))
        for place in places:
            if place:
                try:
                    return ctypes.CDLL(place, mode=ctypes.RTLD_GLOBAL)
                except OSError:
                    continue
        return None

    @staticmethod
    def check(status):
        if status != 0:
            raise CudaError(f"cuBLAS failed with status {status}")

    def linear(self, x, weight, y, tokens, inputs, outputs):
        """y [tokens, outputs] = x [tokens, inputs] weight [outputs, inputs]^T."""
        f16, f32 = 2, 68  # CUDA_R_16F, CUBLAS_COMPUTE_32F
        self.check(self.library.cublasGemmEx(
            self.handle, 1, 0, outputs, tokens, inputs, ctypes.byref(self.one),
            P(weight), f16, inputs, P(x), f16, inputs, ctypes.byref(self.zero), P(y),
            f16, outputs, f32, -1))
