# ===- fused.py - Fused operators against ONNX Runtime -------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   fused.py FOLDER [NAME]...
#
# Every case is one operator with random operands; all are one model. Its
# outputs, by ONNX Runtime, are compared with those of the interpreter on the
# nodes as they are, on what the frontend makes of them, and of compiled code.
#
# ===--------------------------------------------------------------------=== #

import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

rng = np.random.default_rng(20261121)
TOLERANCE = 2e-5
MS = "com.microsoft"
nodes, weights, inputs, outputs, feeds, valid = [], [], [], [], {}, {}
oracle_nodes = []
wanted = sys.argv[2:]


def normal(*shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype(np.float32)


class Weight:
    """An operand that is stored in the model."""

    def __init__(self, array):
        self.array = np.asarray(array)


def name_operands(prefix, operands):
    names = []
    for i, operand in enumerate(operands):
        if operand is None:
            names.append("")
            continue
        names.append(f"{prefix}{i}")
        if isinstance(operand, Weight):
            weights.append(numpy_helper.from_array(operand.array, names[-1]))
            continue
        array = np.asarray(operand)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        inputs.append(helper.make_tensor_value_info(names[-1], kind,
                                                    array.shape))
        feeds[names[-1]] = array
    return names


def case(name, op, *operands, results=1, domain=MS, rows=None, skip=(),
         oracle=None, **attributes):
    """One node; None is an absent operand. `rows` tells which rows (batch, seq)
    of the first result mean anything; `skip` lists results that do not. ONNX
    Runtime gets the operands `oracle` if it lacks this form."""
    if wanted and not any(name.startswith(w) for w in wanted):
        return
    made = [f"{name}.out{i}" if i not in skip else "" for i in range(results)]

    def node(names):
        return helper.make_node(op, names, made, name=name, domain=domain,
                                **attributes)

    nodes.append(node(name_operands(f"{name}.in", operands)))
    oracle_nodes.append(node(name_operands(f"{name}.oracle", oracle))
                        if oracle else nodes[-1])
    outputs.extend(made[i] for i in range(results) if i not in skip)
    if rows is not None:
        valid[made[0]] = rows


def tables(positions, width):
    angles = np.outer(np.arange(positions), 0.5 ** np.arange(width))
    return [Weight(f(angles).astype(np.float32)) for f in (np.cos, np.sin)]


def group_query_attention():
    def gqa(name, batch, seq, past, lengths, heads=4, kv=2, d=16, rotary=True,
            packed=False, bias=False, capacity=None, positions=None,
            **attributes):
        """`lengths` [batch]: tokens of each sequence afterwards."""
        capacity = past if capacity is None else capacity
        total = past + seq
        q, k, v = (normal(batch, seq, h * d) for h in (heads, kv, kv))
        if packed:
            q, k, v = np.concatenate([q, k, v], 2), None, None
        cache = [normal(batch, kv, capacity, d) for _ in range(2)]
        operands = [q, k, v, *cache, np.int32(lengths) - 1,
                    Weight(np.int32([total]))]
        operands += tables(64, d // 2) if rotary else [None, None]
        operands += [positions]
        if bias:
            operands += [normal(batch, 1, seq, max(total, capacity))]
        # Rows behind the end of a prompt that is padded mean nothing.
        rows = np.ones((batch, seq), bool)
        if past == 0:
            rows = np.arange(seq) < np.array(lengths)[:, None]
        case(name, "GroupQueryAttention", *operands, results=3, rows=rows,
             num_heads=heads, kv_num_heads=kv, do_rotary=int(rotary),
             **attributes)

    gqa("gqa_prompt", 2, 5, 0, [5, 5])
    gqa("gqa_padded_prompt", 3, 6, 0, [6, 2, 4])
    gqa("gqa_decode", 3, 1, 7, [8, 3, 5])
    gqa("gqa_shared_cache", 2, 1, 4, [5, 5], capacity=16)
    gqa("gqa_continued", 1, 4, 5, [9])
    gqa("gqa_packed", 2, 3, 0, [3, 3], packed=True)
    gqa("gqa_interleaved", 2, 1, 6, [7, 4], rotary_interleaved=1)
    gqa("gqa_plain", 2, 1, 6, [7, 4], rotary=False, scale=0.3)
    gqa("gqa_softcap", 2, 4, 0, [4, 4], softcap=1.5)
    gqa("gqa_window", 2, 9, 0, [9, 9], local_window_size=3)
    gqa("gqa_window_decode", 2, 1, 12, [13, 6], local_window_size=4)
    gqa("gqa_window_wide", 1, 20, 0, [20], local_window_size=13, softcap=2.0)
    gqa("gqa_bias", 2, 4, 0, [4, 4], bias=True, rotary=False)
    gqa("gqa_positions", 1, 3, 2, [5],
        positions=np.int64([[7, 3, 9]]))


def multi_head_attention():
    b, s, t, n, d = 2, 3, 5, 4, 8
    q, k, v = normal(b, s, n * d), normal(b, t, n * d), normal(b, t, n * 6)
    same = [normal(b, s, n * d) for _ in range(3)]
    past = [normal(b, n, 4, d) for _ in range(2)]

    def mha(name, *operands, **more):
        case(name, "MultiHeadAttention", *operands, num_heads=n, **more)

    mha("mha_plain", q, k, v)
    mha("mha_bias", *same, Weight(normal(3 * n * d)))
    mha("mha_count", q, k, v, None, np.int32([3, 5]))
    mha("mha_flags", q, k, v, None,
        np.int32([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]]))
    mha("mha_added", q, k, v, None, None, normal(1, n, s, t), scale=0.2)
    mha("mha_past", *same, None, None, None, *past, results=3)
    mha("mha_causal", *same, None, None, None, *past, results=3,
        unidirectional=1)
    packed = normal(b, t, n, 2, d)
    mha("mha_packed_kv", q, packed,
        oracle=[q, *(packed[:, :, :, i].reshape(b, t, n * d)
                     for i in range(2))])
    packed = normal(b, s, n, 3, d)
    mha("mha_packed_qkv", packed,
        oracle=[packed[:, :, :, i].reshape(b, s, n * d) for i in range(3)])
    mha("mha_cross", q, normal(b, n, t, d), normal(b, n, t, d))


def packed_attention():
    b, s, n, d, w = 2, 4, 4, 4, 12
    x, weight = normal(b, s, w), Weight(normal(w, 3 * n * d, scale=0.3))
    bias = Weight(normal(3 * n * d))
    past = normal(2, b, n, 3, d)

    def attention(name, *operands, **more):
        case(name, "Attention", *operands, num_heads=n, **more)

    attention("packed_plain", x, weight, bias)
    attention("packed_causal", x, weight, bias, unidirectional=1)
    attention("packed_count", x, weight, bias, np.int32([4, 2]))
    attention("packed_flags", x, weight, bias,
              np.int32([[1, 1, 1, 0], [1, 0, 1, 1]]))
    attention("packed_rows", x, weight, bias,
              np.int32(rng.random((b, s, s)) < 0.7) | np.eye(s, dtype=np.int32))
    attention("packed_past", x, weight, bias,
              np.int32(np.ones((b, s + 3))), past, results=2,
              unidirectional=1, mask_filter_value=-3.4028234663852886e38)
    attention("packed_added", x, weight, bias, None, None, normal(b, n, s, s),
              scale=0.4)
    attention("packed_sizes", x, Weight(normal(w, 2 * n * d + n * 6)),
              Weight(normal(2 * n * d + n * 6)),
              qkv_hidden_sizes=[n * d, n * d, n * 6])


def rotary_embedding():
    b, s, n, d = 2, 3, 2, 8
    ids = np.int64([[4, 5, 6], [0, 1, 2]])
    case("rotary_joined", "RotaryEmbedding", normal(b, s, n * d), ids,
         *tables(16, d // 2))
    case("rotary_heads", "RotaryEmbedding", normal(b, n, s, d), ids,
         *tables(16, d // 2), interleaved=1)
    case("rotary_first", "RotaryEmbedding", normal(b, n, s, d), np.int64([5]),
         *tables(16, d // 2))
    case("rotary_part", "RotaryEmbedding", normal(b, s, n * d), ids,
         *tables(16, d // 4), num_heads=n, rotary_embedding_dim=d // 2)


def norms():
    x, skip, w = normal(2, 3, 8), normal(2, 3, 8), 8
    gain, bias = Weight(normal(w)), Weight(normal(w))
    case("skip_layer", "SkipLayerNormalization", x, skip, gain, bias,
         epsilon=1e-5)
    case("skip_layer_sum", "SkipLayerNormalization", x, skip, gain, bias,
         Weight(normal(w)), results=4, skip=(1, 2), epsilon=1e-5)
    case("skip_rms", "SkipSimplifiedLayerNormalization", x, skip, gain,
         results=4, skip=(1, 2), epsilon=1e-5)
    case("rms", "SimplifiedLayerNormalization", x, gain, domain="", axis=-1,
         epsilon=1e-5)
    ids = np.int32(rng.integers(0, 20, (2, 3)))
    words, places = Weight(normal(20, w)), Weight(normal(9, w))
    case("embed", "EmbedLayerNormalization", ids, np.int32([[0, 1, 1]] * 2),
         words, places, Weight(normal(2, w)), gain, bias, results=3, skip=(1,))
    case("embed_positions", "EmbedLayerNormalization", ids, None, words, places,
         None, gain, bias, None, np.int32([[3, 4, 5], [0, 1, 2]]), results=3,
         skip=(1,))


def elementwise():
    x, bias = normal(2, 3, 8), Weight(normal(8))
    case("gelu", "Gelu", x)
    case("quick_gelu", "QuickGelu", x)
    case("fast_gelu", "FastGelu", x)
    case("fast_gelu_bias", "FastGelu", x, bias)
    case("bias_gelu", "BiasGelu", x, bias)
    a, b = normal(2, 3, 4), Weight(normal(5, 4))
    case("fused_matmul", "FusedMatMul", a, b, transB=1, alpha=0.25)
    case("fused_matmul_a", "FusedMatMul", normal(2, 4, 3), normal(2, 4, 5),
         transA=1)


def quantized_products():
    def nbits(name, bits, k, block, zeros=False, bias=False):
        n, blocks = 5, -(-k // block)
        codes = rng.integers(0, 256, (n, blocks, block * bits // 8), np.uint8)
        scales = normal(n, blocks, scale=2.0 ** -bits)
        operands = [normal(2, 3, k), Weight(codes), Weight(scales)]
        packed = -(-blocks * bits // 8)
        operands += [Weight(rng.integers(0, 256, (n, packed), np.uint8))
                     if zeros else None]
        operands += [None, Weight(normal(n))] if bias else []
        case(name, "MatMulNBits", *operands, N=n, K=k, bits=bits,
             block_size=block)

    nbits("nbits_4", 4, 64, 32)
    nbits("nbits_4_zeros", 4, 64, 16, zeros=True, bias=True)
    nbits("nbits_4_padded", 4, 40, 16, zeros=True)
    nbits("nbits_4_one_block", 4, 24, 32)
    nbits("nbits_8", 8, 48, 16)
    nbits("nbits_8_zeros", 8, 48, 32, zeros=True)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def compare(way, expected, found):
    bad = []
    for name, array in expected.items():
        other = found[name]
        if array.shape != other.shape:
            bad.append(f"{way}: {name}: expected {array.shape}, "
                       f"got {other.shape}")
            continue
        if name in valid:
            array, other = array[valid[name]], other[valid[name]]
        error = np.abs(array - other).max(initial=0)
        if not error <= TOLERANCE * max(1, np.abs(array).max(initial=0)):
            bad.append(f"{way}: {name}: largest difference {error:.2e}")
    return bad


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for make in (group_query_attention, multi_head_attention, packed_attention,
                 rotary_embedding, norms, elementwise, quantized_products):
        make()
    def model_of(own_nodes):
        graph = helper.make_graph(
            own_nodes, "fused", inputs,
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            weights)
        return helper.make_model(
            graph, ir_version=10, opset_imports=[
                helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)])

    oracle = model_of(oracle_nodes)
    session = onnxruntime.InferenceSession(oracle.SerializeToString())
    expected = dict(zip(outputs, session.run(outputs, feeds)))
    model = model_of(nodes)
    for value in model.graph.output:
        array = expected[value.name]
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind,
                                                     array.shape))
    onnx.save(model, folder / "fused.onnx")
    np.savez(folder / "in.npz", **feeds)

    bad = []
    run(["quant-import", folder / "fused.onnx", "-o", folder / "fused.mlir"])
    for way, passes in (("nodes", []), ("frontend", ["--nibble-frontend"])):
        run(["quant-opt", folder / "fused.mlir", *passes,
             f"--interpret={folder}/in.npz", "-o", folder / "out.npz"])
        bad += compare(way, expected, np.load(folder / "out.npz"))
    run(["quant-compile", "-q", folder / "fused.onnx", "--recipe=float32",
         "-o", folder / "fused.nbl"])
    command = ["quant-run", folder / "fused.nbl", "-o", folder / "out.npz"]
    for i, (name, array) in enumerate(feeds.items()):
        np.save(folder / f"{i}.npy", array)
        command += ["--input", f"{name}={folder}/{i}.npy"]
    run(command)
    bad += compare("compiled", expected, np.load(folder / "out.npz"))
    if bad:
        sys.exit("\n".join(bad))
    print(f"{len(nodes)} operators, interpreted and compiled")


main()
