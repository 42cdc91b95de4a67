"""Random quantized layers before packing, packed, and lowered, all interpreted,
and some of them compiled, compared with numpy:
y = x ((codes - zeros) * scales)^T + bias, and the rows of a quantized table."""

import os
import subprocess
import sys
import tempfile

import numpy as np

STAGES = {
    "before": "",
    "packed": "qkernel-pack",
    "for tensor cores": "qkernel-pack{family=cuda}",
    "lowered": "qkernel-pack,qkernel-inline-layers,qkernel-lower",
}


def weight(name, kind, array):
    shape = "x".join(map(str, array.shape))
    values = str(array.tolist())
    return (
        f"qmodel.weight @{name} : tensor<{shape}x{kind}> = "
        f"dense<{values}> : tensor<{shape}x{kind}>\n"
    )


def module(out, width, group, kind, codes, scales, zeros, bias):
    matrix = f"tensor<{out}x{width}xf32>"
    groups = scales.shape[1]
    types = [f"tensor<{out}x{width}x{kind}>", f"tensor<{out}x{groups}xf32>"]
    text = weight("c", kind, codes) + weight("s", "f32", scales)
    loads = f"%c = qmodel.load @c : {types[0]}\n"
    loads += f"%s = qmodel.load @s : {types[1]}\n"
    operand = ""
    if zeros is not None:
        text += weight("z", kind, zeros)
        types.append(f"tensor<{out}x{groups}x{kind}>")
        loads += f"%z = qmodel.load @z : {types[2]}\n"
        operand = " zeros %z"
    biased = ""
    bias_type = ""
    if bias is not None:
        text += weight("b", "f32", bias)
        loads += f"%b = qmodel.load @b : tensor<{out}xf32>\n"
        biased, bias_type = " bias %b", f", tensor<{out}xf32>"
    return (
        "module attributes {qmodel.bounds = {n = [1, 8]}} {\n" + text + f"""
func.func @main(%x: tensor<?x{width}xf32> {{onnx.name = "x", qmodel.dims = ["n", "{width}"]}},
    %i: tensor<?xi64> {{onnx.name = "i", qmodel.dims = ["n"]}})
    -> (tensor<?x{out}xf32> {{onnx.name = "y"}}, tensor<?x{width}xf32> {{onnx.name = "e"}}) {{
  {loads}
  %w = qmodel.dequantize %c, %s{operand} group {group} : ({", ".join(types)}) -> {matrix}
  %y = qmodel.linear "l" %x, %w{biased} : (tensor<?x{width}xf32>, {matrix}{bias_type}) -> tensor<?x{out}xf32>
  %e = qmodel.embedding "t" %w, %i : ({matrix}, tensor<?xi64>) -> tensor<?x{width}xf32>
  return %y, %e : tensor<?x{out}xf32>, tensor<?x{width}xf32>
}}
}}
""")


def compiled(folder, module, inputs, outputs):
    """What the generated code makes of the module."""
    command = ["quant-run", f"{folder}/m.nbl", "-o", outputs]
    for name, array in inputs.items():
        np.save(f"{folder}/{name}.npy", array)
        command += ["--input", f"{name}={folder}/{name}.npy"]
    subprocess.run(
        ["quant-compile", "-q", module, "-o", f"{folder}/m.nbl"], check=True
    )
    subprocess.run(command, check=True)


def check(folder, random, bits, signed, has_zeros, out, width, group, has_bias):
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    groups = 1 if group == 0 else -(-width // group)
    codes = random.integers(low, high, (out, width))
    scales = random.uniform(0.01, 2, (out, groups)).astype(np.float32)
    zeros = random.integers(low, high, (out, groups)) if has_zeros else None
    bias = random.standard_normal(out).astype(np.float32) if has_bias else None
    # Tensor cores multiply 16 bits of it.
    x = random.standard_normal((3, width)).astype(np.float16).astype(np.float32)
    indices = random.integers(-out, out, 3)

    kind = f"{'' if signed else 'u'}i{bits}"
    paths = [os.path.join(folder, n) for n in ("m.mlir", "i.npz", "o.npz")]
    with open(paths[0], "w") as file:
        file.write(module(out, width, group, kind, codes, scales, zeros, bias))
    np.savez(paths[1], x=x, i=indices)

    spread = lambda a: np.repeat(a, group or width, axis=1)[:, :width]
    values = codes - (spread(zeros) if has_zeros else 0)
    table = values.astype(np.float32) * spread(scales)
    expected = x.astype(np.float64) @ table.astype(np.float64).T
    if has_bias:
        expected = expected + bias
    stages = dict(STAGES)
    if width == 172:
        stages["compiled"] = None
    for stage, pipeline in stages.items():
        if pipeline is None:
            compiled(folder, paths[0], {"x": x, "i": indices}, paths[2])
        else:
            subprocess.run(
                ["quant-opt", paths[0], f"--interpret={paths[1]}", "-o",
                 paths[2], f"--pass-pipeline=builtin.module({pipeline})"],
                check=True,
            )
        with np.load(paths[2]) as found:
            error = np.abs(found["y"] - expected).max()
            limit = 1e-5 * max(1.0, np.abs(expected).max())
            assert error <= limit, f"{stage}: linear differs by {error:.2e}"
            # One product of two float32 numbers per element: nothing to round.
            same = np.array_equal(found["e"], table[indices])
            assert same, f"{stage}: embedding differs"


random = np.random.default_rng(20261121)
count = 0
with tempfile.TemporaryDirectory() as folder:
    for bits in range(2, 9):
        for signed, has_zeros in ((True, False), (False, True), (False, False)):
            for out, width, group in (
                (8, 172, 32),
                (5, 33, 0),
                (int(random.integers(1, 20)), int(random.integers(1, 70)),
                 int(random.integers(1, 40))),
            ):
                has_bias = bool(random.integers(2))
                case = (f"bits={bits} signed={signed} zeros={has_zeros} "
                        f"{out}x{width} group={group} bias={has_bias}")
                try:
                    check(folder, random, bits, signed, has_zeros, out, width,
                          group, has_bias)
                except (AssertionError, subprocess.CalledProcessError) as error:
                    sys.exit(f"FAIL {case}: {error}")
                count += 1
print(f"{count} layers agree")
