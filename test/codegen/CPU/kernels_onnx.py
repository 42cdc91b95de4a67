# ===- kernels_onnx.py - ONNX operators for kernels_numpy.py -------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #

import numpy as np


def f32(array):
    return np.asarray(array).astype(np.float32)


def ints(*values):
    """A constant list of integers as text."""
    return f"dense<[{', '.join(map(str, values))}]> : tensor<{len(values)}xi64>"


def constants_node(s, op, arguments, constants, expected, attributes="",
                   version=21, **more):
    """A node whose operands after `arguments` are integer lists (None: absent).
    """
    text, names, types = "", [], []
    for i in range(len(arguments)):
        names.append("%" + "abcdefgh"[i])
        types.append("{%d}" % i)
    for i, value in enumerate(constants):
        names.append(f"%k{i}")
        if value is None:
            text += f"%k{i} = onnx.none\n  "
            types.append("none")
        else:
            text += f"%k{i} = onnx.constant {ints(*value)}\n  "
            types.append(f"tensor<{len(value)}xi64>")
    results = len(expected) if isinstance(expected, (list, tuple)) else 1
    outs = ", ".join("%%r%d" % i for i in range(results))
    out_types = ", ".join("{r%d}" % i for i in range(results))
    attributes = f" attributes {{{attributes}}}" if attributes else ""
    s.add(op, arguments,
          f'{text}{outs} = onnx.node "{op}"({", ".join(names)}){attributes} '
          f'{{version = {version} : i64}} : ({", ".join(types)}) -> '
          f'({out_types})', expected, **more)


def elementwise(s):
    x, y = s.normal(3, 1, 17), s.normal(5, 17)
    d, e = x.astype(np.float64), y.astype(np.float64)
    for op, function in {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply,
                         "Div": np.divide, "Min": np.minimum,
                         "Max": np.maximum}.items():
        s.node(op, [x, y], f32(function(d, e)))
    for op, function in {"Less": np.less, "LessOrEqual": np.less_equal,
                         "Greater": np.greater, "Equal": np.equal,
                         "GreaterOrEqual": np.greater_equal}.items():
        s.node(op, [x, y], function(x, y))
    z = s.normal(1)
    s.node("Max", [x, y, z], np.maximum(np.maximum(x, y), z))
    ramp = f32(np.linspace(-20, 20, 403)).reshape(13, 31)
    wide = f32(np.concatenate([np.linspace(-1e6, 1e6, 300),
                               np.linspace(-10, 10, 100)]))
    special = f32([np.inf, -np.inf, np.nan, 0.0, -0.0, 100, -100, 1e-30, 88.5,
                   -87])
    r, w, c = (t.astype(np.float64) for t in (ramp, wide, special))
    with np.errstate(all="ignore"):
        s.node("Exp", [ramp], f32(np.exp(r)), tolerance=3e-7)
        s.node("Exp", [f32(ramp / 20)], f32(np.exp(f32(ramp / 20))),
               tolerance=2e-7)
        s.node("Exp", [special], f32(np.where(c < -86.7, 0, np.exp(c))))
        s.node("Log", [f32(np.exp(r))], f32(np.log(f32(np.exp(r)))),
               tolerance=2e-7)
        s.node("Log", [special], f32(np.log(c)), tolerance=2e-7)
        for op, function in {"Sin": np.sin, "Cos": np.cos}.items():
            s.node(op, [wide], f32(function(w)), tolerance=1e-6)
            s.node(op, [special], f32(function(c)), tolerance=1e-6)
        s.node("Tanh", [ramp], f32(np.tanh(r)), tolerance=2e-7)
        s.node("Tanh", [special], f32(np.tanh(c)), tolerance=2e-7)
        from math import erf
        s.node("Erf", [ramp], f32(np.vectorize(erf)(r)), tolerance=3e-7)
        s.node("Sigmoid", [ramp], f32(1 / (1 + np.exp(-r))), tolerance=2e-7)
        s.node("Sigmoid", [special], f32(1 / (1 + np.exp(-c))), tolerance=2e-7)
        s.node("Sqrt", [special], f32(np.sqrt(c)))
        s.node("Reciprocal", [special], f32(1 / c))
        base = f32([2, 0.5, 10, -2, -3, 0, 0, 1, 4, 1.5, -1.5, 7])
        exponent = f32([10, -3, 2.5, 3, 2, 2, -1, np.inf, 0, -7.25, 0.5, 0.3])
        s.node("Pow", [base, exponent], f32(np.power(base.astype(np.float64),
                                                     exponent)), tolerance=1e-6)
    for number in (2, 3, 0.5, -0.5, -1, 1, 1.7):
        a = np.abs(s.normal(40)) + f32(0.1)
        s.add("Pow", [a],
              f"%k = onnx.constant dense<{float(number)}> : tensor<f32>\n"
              '  %r0 = onnx.node "Pow"(%a, %k) {version = 15 : i64} : '
              "({0}, tensor<f32>) -> {r0}",
              f32(a.astype(np.float64) ** number), tolerance=1e-6)
    s.node("IsNaN", [special], np.isnan(special))
    s.node("IsInf", [special], np.isinf(special))
    s.node("Sign", [special[:2]], np.sign(special[:2]))
    s.node("Neg", [x], -x)
    s.node("Abs", [x], np.abs(x))
    s.node("Floor", [ramp], np.floor(ramp))
    s.node("Ceil", [ramp], np.ceil(ramp))
    s.node("Round", [f32([0.5, 1.5, 2.5, -0.5, -1.5, 2.4])],
           f32([0, 2, 2, -0.0, -2, 2]))
    s.node("Relu", [x], np.maximum(x, 0))
    s.node("LeakyRelu", [x], np.where(x < 0, f32(0.1) * x, x),
           "alpha = 1.000000e-01 : f32")
    s.node("Softplus", [ramp], f32(np.log1p(np.exp(r))))
    s.node("Gelu", [ramp], f32(r * (1 + np.vectorize(erf)(r / 2 ** .5)) / 2))
    condition = s.random.random((5, 17)) < 0.5
    s.node("Where", [condition, x, y], np.where(condition, x, y))
    s.node("Not", [condition], ~condition)
    s.node("And", [condition, condition[::-1].copy()],
           condition & condition[::-1])
    low, high = f32(-0.5), f32(0.7)
    s.node("Clip", [x, low, high], np.clip(x, low, high))
    i, j = s.random.integers(-50, 50, (2, 30)), s.random.integers(-9, 9, (2, 30))
    j[j == 0] = 4
    s.node("Add", [i, j], i + j)
    s.node("Div", [i, j], (np.abs(i) // np.abs(j)) * np.sign(i) * np.sign(j))
    s.node("Mod", [i, j], np.mod(i, j))
    s.node("Mod", [i, j], np.fmod(i, j), "fmod = 1 : i64")


def float64(s):
    """Functions of float64, to a few units in the last place."""
    from math import erf
    ramp = np.concatenate([np.linspace(-30, 30, 901), np.linspace(-2, 2, 401),
                           [0.0, -0.0, 1e-9, -1e-300]])
    wide = np.concatenate([np.linspace(-1e9, 1e9, 500), ramp,
                           np.arange(-40, 40) * np.pi / 2])
    near = dict(tolerance=1e-15)
    for op, function in {"Sin": np.sin, "Cos": np.cos}.items():
        s.node(op, [wide], function(wide), **near)
    s.node("Tanh", [ramp], np.tanh(ramp), **near)
    s.node("Erf", [ramp], np.vectorize(erf)(ramp), **near)
    s.node("Sigmoid", [ramp], 1 / (1 + np.exp(-ramp)), **near)
    s.node("Exp", [ramp], np.exp(ramp), **near)
    special = np.array([-np.inf, np.inf, np.nan, 709.7, 710, -744, -746])
    with np.errstate(all="ignore"):
        s.node("Exp", [special], np.exp(special), **near)
    s.node("Log", [np.exp(ramp)], np.log(np.exp(ramp)), tolerance=4e-15)
    x = s.normal(3, 9).astype(np.float64)
    s.node("Elu", [x], np.where(x < 0, np.expm1(x), x), **near)
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    s.node("Softmax", [x], p, "axis = -1 : i64", **near)
    s.node("LogSoftmax", [x], np.log(p), "axis = -1 : i64", **near)
    for a, b in (((2, 3, 9), (2, 9, 11)), ((9,), (9, 11)), ((3, 9), (9,))):
        x, y = (s.normal(*shape).astype(np.float64) for shape in (a, b))
        s.node("MatMul", [x, y], np.matmul(x, y), version=13, **near)


def casts(s):
    x = 30 * s.normal(4, 9)
    for target in (np.int64, np.int32, np.int8, np.float64, np.float16):
        s.node("Cast", [x], x.astype(target), "to = 0 : i64")
    s.node("Cast", [x.astype(np.float16)], x.astype(np.float16).astype(np.float32))
    i = s.random.integers(-3, 3, (4, 9))
    s.node("Cast", [i], i.astype(np.float32))
    s.node("Cast", [i], i != 0)
    s.node("Cast", [i != 0], (i != 0).astype(np.float32))
    s.node("Cast", [i != 0], (i != 0).astype(np.int64))
    u = s.random.integers(0, 255, (4, 9)).astype(np.uint8)
    s.node("Cast", [u], u.astype(np.float32))
    s.node("Cast", [u], u.astype(np.int64))
    h = x.astype(np.float16)
    s.node("Mul", [h, h], (h.astype(np.float32) ** 2).astype(np.float16))
    for source, target in ((np.float32, np.int32), (np.int64, np.float64),
                           (np.int8, np.uint8), (np.bool_, np.uint8)):
        bits = x.astype(source)
        s.node("BitCast", [bits], bits.view(target), "to = 0 : i64", version=26)
    s.node("BitCast", [u[:2] % 2], (u[:2] % 2).astype(np.bool_), "to = 9 : i64",
           version=26)


def movement(s):
    x = s.normal(2, 3, 4, 5)
    for perm in ((0, 2, 1, 3), (3, 2, 1, 0), (1, 0, 3, 2)):
        s.node("Transpose", [x], x.transpose(perm).copy(),
               f"perm = [{', '.join(f'{p} : i64' for p in perm)}]")
    s.node("Transpose", [x], x.transpose(0, 2, 1, 3).copy(),
           "perm = [0, 2, 1, 3]", dims={0: ["2", "3", "n", "5"],
                                        "r0": ["2", "n", "3", "5"]},
           scalars={"n": 4})
    y = s.normal(2, 1, 4, 5)
    s.node("Concat", [x, y], np.concatenate([x, y], 1), "axis = 1 : i64")
    a, b = s.normal(2, 3, 4, 5), s.normal(2, 3, 1, 5)
    s.node("Concat", [a, b], np.concatenate([a, b], 2), "axis = -2 : i64",
           dims={0: ["2", "3", "past", "5"], 1: ["2", "3", "seq", "5"],
                 "r0": ["2", "3", "past + seq", "5"]},
           scalars={"past": 4, "seq": 1})
    s.node("Concat", [a[:, :, :0], b], b, "axis = -2 : i64",
           dims={0: ["2", "3", "past", "5"], 1: ["2", "3", "seq", "5"],
                 "r0": ["2", "3", "past + seq", "5"]},
           scalars={"past": 0, "seq": 1})
    s.node("Concat", [x, x, y[..., :1].repeat(3, 1)],
           np.concatenate([x, x, y[..., :1].repeat(3, 1)], -1),
           "axis = 3 : i64")
    for axis, sizes in ((1, (1, 2)), (3, (2, 3)), (0, (1, 1))):
        bounds = np.cumsum(sizes)[:-1]
        constants_node(s, "Split", [x], [sizes],
                       [p.copy() for p in np.split(x, bounds, axis)],
                       f"axis = {axis} : i64")
    for starts, ends, axes, steps, want in (
            ((1,), (3,), (2,), (1,), x[:, :, 1:3]),
            ((-2,), (1000,), (3,), (1,), x[..., -2:]),
            ((0, 1), (2, 5), (1, 3), (1, 2), x[:, 0:2, :, 1:5:2]),
            ((-1,), (-1000,), (2,), (-1,), x[:, :, ::-1])):
        constants_node(s, "Slice", [x], [starts, ends, axes, steps],
                       want.copy())
    ids = np.array([[0, 2], [-1, 1]])
    for axis in (0, 1, 2):
        table = s.normal(3, 4, 5) if axis == 0 else s.normal(2, 3, 5)
        if axis == 2:
            table = s.normal(2, 5, 3)
        s.node("Gather", [table, ids], np.take(table, ids, axis),
               f"axis = {axis} : i64")
    index = s.random.integers(0, 4, (2, 3, 2, 5))
    s.node("GatherElements", [x, index], np.take_along_axis(x, index, 2),
           "axis = 2 : i64")
    s.node("GatherND", [x, np.array([[0, 1], [1, 2]])],
           np.stack([x[0, 1], x[1, 2]]))
    constants_node(s, "Expand", [y], [(2, 3, 4, 5)],
                   np.broadcast_to(y, (2, 3, 4, 5)).copy())
    constants_node(s, "Reshape", [x], [(6, 20)], x.reshape(6, 20))
    constants_node(s, "Unsqueeze", [x], [(1,)], x[:, None])
    constants_node(s, "Squeeze", [y], [(1,)], y[:, 0])
    s.node("Flatten", [x], x.reshape(2, 60), "axis = 1 : i64")
    constants_node(s, "Tile", [x], [(1, 2, 1, 3)], np.tile(x, (1, 2, 1, 3)))
    constants_node(s, "Pad", [x], [(0, 0, 1, 2, 0, 0, 0, 1)],
                   np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 1))))
    square = s.normal(2, 5, 6)
    s.node("Trilu", [square], np.triu(square))
    s.node("Trilu", [square, np.array(-1)], np.tril(square, -1),
           "upper = 0 : i64")
    s.node("Where", [square > 0, square, f32(0)], np.where(square > 0, square, 0))
    s.add("ConstantOfShape", [],
          f"%k = onnx.constant {ints(2, 3)}\n"
          '  %r0 = onnx.node "ConstantOfShape"(%k) attributes '
          "{value = dense<2.5> : tensor<1xf32>} {version = 21 : i64} : "
          "(tensor<2xi64>) -> {r0}", f32(np.full((2, 3), 2.5)))
    s.add("Range", [],
          '%k0 = onnx.constant dense<3> : tensor<i64>\n'
          '  %k1 = qmodel.dim_tensor ["n + 3"] : tensor<i64>\n'
          '  %k2 = onnx.constant dense<1> : tensor<i64>\n'
          '  %r0 = onnx.node "Range"(%k0, %k1, %k2) {version = 11 : i64} : '
          "(tensor<i64>, tensor<i64>, tensor<i64>) -> {r0}",
          np.arange(3, 10), dims={"r0": ["n"]}, scalars={"n": 7})
    # A view inside a fused body.
    s.add("fused", [x, y],
          f"%k = onnx.constant {ints(1, 0, 3, 2)}\n"
          '  %t = onnx.node "Transpose"(%a) attributes {perm = [1, 0, 3, 2]} '
          "{version = 21 : i64} : ({0}) -> tensor<3x2x5x4xf32>\n"
          '  %r0 = onnx.node "Neg"(%t) {version = 13 : i64} : '
          "(tensor<3x2x5x4xf32>) -> {r0}", -x.transpose(1, 0, 3, 2))
    mask = f32([[1, 2], [3, 4]])
    z = s.normal(3, 2, 2)
    s.add("constant", [z],
          "%k = onnx.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : "
          "tensor<2x2xf32>\n"
          '  %r0 = onnx.node "Add"(%a, %k) {version = 14 : i64} : '
          "({0}, tensor<2x2xf32>) -> {r0}", z + mask)


def indexing(s):
    x = s.normal(3, 7, 4)
    for axis in range(3):
        for largest in (1, 0):
            order = np.argsort(-x if largest else x, axis, kind="stable")
            order = np.take(order, range(3), axis)
            constants_node(s, "TopK", [x], [(3,)],
                           [np.take_along_axis(x, order, axis), order],
                           f"axis = {axis} : i64, largest = {largest} : i64")
    # Equal elements in the order of their indices; NaN is the largest.
    odd = f32([1, np.nan, 2, 2, -np.inf, np.nan, 1, np.inf, -0.0, 0.0])
    constants_node(s, "TopK", [odd], [(10,)],
                   [odd[[1, 5, 7, 2, 3, 0, 6, 8, 9, 4]],
                    np.array([1, 5, 7, 2, 3, 0, 6, 8, 9, 4])])
    constants_node(s, "TopK", [odd], [(4,)],
                   [odd[[4, 8, 9, 0]], np.array([4, 8, 9, 0])],
                   "largest = 0 : i64")
    for values in (s.random.permutation(256)[:9].astype(np.uint8),
                   s.random.integers(-2 ** 63, 2 ** 63 - 1, 9),
                   s.random.integers(-99, 99, 9, np.int32),
                   s.normal(9).astype(np.float16)):
        # Stable, and no negative of an unsigned number.
        order = np.array(sorted(range(9), key=lambda i: -values[i].item())[:4])
        constants_node(s, "TopK", [values], [(4,)], [values[order], order])
    # Many ties: the lower index comes first, whichever end is asked for.
    tied = s.random.integers(0, 3, (5, 16))
    for dtype in (np.float32, np.int64, np.uint8):
        for largest in (1, 0):
            order = np.argsort(-tied if largest else tied, 1, "stable")[:, :9]
            constants_node(s, "TopK", [tied.astype(dtype)], [(9,)],
                           [np.take_along_axis(tied, order, 1).astype(dtype),
                            order], f"largest = {largest} : i64")
    # A router: the number of tokens is dynamic.
    scores = s.normal(5, 8)
    order = np.argsort(-scores, 1, kind="stable")[:, :2]
    constants_node(s, "TopK", [scores], [(2,)],
                   [np.take_along_axis(scores, order, 1), order],
                   dims={0: ["n", "8"], "r0": ["n", "2"], "r1": ["n", "2"]},
                   scalars={"n": 5})

    data, updates = s.normal(3, 5, 4), s.normal(2, 3, 4)
    index = s.random.integers(-5, 5, (2, 3, 4))
    functions = {"none": lambda a, b: b, "add": np.add, "mul": np.multiply,
                 "max": np.maximum, "min": np.minimum}
    for reduction, function in functions.items():
        want = data.copy()
        for at in np.ndindex(index.shape):
            to = (at[0], index[at], at[2])
            want[to] = function(want[to], updates[at])
        s.node("ScatterElements", [data, index, updates], want,
               f'axis = 1 : i64, reduction = "{reduction}"', version=18)
        want = data.copy()
        rows, blocks = np.array([[0, 1], [2, -1], [0, 1]]), s.normal(3, 4)
        for row, block in zip(rows, blocks):
            want[tuple(row)] = function(want[tuple(row)], block)
        s.node("ScatterND", [data, rows, blocks], want,
               f'reduction = "{reduction}"', version=18)
    counts = s.random.integers(-9, 9, (6, 2), np.int32)
    for dtype in (np.int32, np.int64, np.uint8, np.float16):
        values = counts.astype(dtype)
        want = values.copy()
        want[:2] += values[:2, ::-1]
        s.node("ScatterElements", [values, np.array([[1, 0], [1, 0]]),
                                   values[:2].copy()], want,
               'axis = 1 : i64, reduction = "add"', version=18)
    flags = np.array([True, False, False, True])
    for reduction, want in (("add", [True, False, True, True]),
                            ("mul", [True, False, False, True])):
        s.node("ScatterND", [flags, np.array([[2], [3]]),
                             np.array([True, True])], np.array(want),
               f'reduction = "{reduction}"', version=18)
    # Whole tensors, in order: the last one wins.
    s.node("ScatterND", [x, np.zeros((2, 0), np.int64), np.stack([x, -x])], -x)
    s.node("ScatterND", [np.array(3), np.zeros((1, 0), np.int64),
                         np.array([4])], np.array(4))
    # More rows than parts, of a dynamic number.
    table, ids = s.normal(40, 3), s.random.permutation(40)[:9][:, None]
    want = table.copy()
    rows = s.normal(9, 3)
    want[ids[:, 0]] = rows
    s.node("ScatterND", [table, ids, rows], want,
           dims={0: ["n", "3"], 1: ["m", "1"], 2: ["m", "3"], "r0": ["n", "3"]},
           scalars={"n": 40, "m": 9})
    # What is out of range: gathers clamp it, scatters drop it.
    far = np.array([7, -9, 1])
    s.node("Gather", [table[:3].copy(), far], table[[2, 0, 1]])
    s.node("GatherElements", [table[:3].copy(), far[:, None]],
           table[[2, 0, 1], 0][:, None].copy())
    s.node("ScatterElements", [f32([1, 2, 3]), far, f32([7, 8, 9])],
           f32([1, 9, 3]))
    s.node("ScatterND", [f32([1, 2, 3]), far[:, None], f32([7, 8, 9])],
           f32([1, 9, 3]))
    s.node("Gather", [np.zeros((0, 3), np.float32), far],
           np.zeros((3, 3), np.float32))
    hot = np.array([[1, 9], [-1, 0]])
    for axis, want in ((-1, np.eye(4)[[[1, 0], [3, 0]]]),
                       (0, np.eye(4)[[[1, 0], [3, 0]]].transpose(2, 0, 1))):
        want = want.astype(np.int64)
        want[(0, 1, slice(None)) if axis else (slice(None), 0, 1)] = 0
        for indices in (hot, f32(hot)):
            s.add("OneHot", [indices, np.array([0, 1])],
                  "%k = onnx.constant dense<4> : tensor<i64>\n"
                  f'  %r0 = onnx.node "OneHot"(%a, %k, %b) attributes {{axis = '
                  f"{axis} : i64}} {{version = 11 : i64}} : "
                  "({0}, tensor<i64>, {1}) -> {r0}", want.copy())
    for mode in ("edge", "reflect", "wrap"):
        constants_node(s, "Pad", [x], [(0, 3, 1, 1, 2, 0)],
                       np.pad(x, ((0, 1), (3, 2), (1, 0)), mode),
                       f'mode = "{mode}"')
    deep = s.normal(2, 12, 3, 2)
    for mode, split, order in (("DCR", (2, 2, 2, 3, 3, 2), (0, 3, 4, 1, 5, 2)),
                               ("CRD", (2, 3, 2, 2, 3, 2), (0, 1, 4, 2, 5, 3))):
        s.node("DepthToSpace", [deep],
               deep.reshape(split).transpose(order).reshape(2, 3, 6, 4),
               f'blocksize = 2 : i64, mode = "{mode}"')
    wide = s.normal(2, 3, 6, 4)
    s.node("SpaceToDepth", [wide],
           wide.reshape(2, 3, 3, 2, 2, 2).transpose(0, 3, 5, 1, 2, 4)
           .reshape(2, 12, 3, 2), "blocksize = 2 : i64")
    lengths = np.array([2, 3, 0, 1])
    want = table[:12].reshape(3, 4, 3).copy()
    for b, n in enumerate(lengths):
        want[:n, b] = want[:n, b][::-1]
    s.node("ReverseSequence", [table[:12].reshape(3, 4, 3), lengths], want)
    s.node("EyeLike", [table[:5].copy()], np.eye(5, 3, -2).astype(np.float32),
           "k = -2 : i64")


def reductions(s):
    x = s.normal(3, 4, 35)
    d = x.astype(np.float64)
    functions = {
        "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.max,
        "ReduceMin": np.min, "ReduceProd": np.prod,
        "ReduceSumSquare": lambda t, **k: np.sum(t * t, **k),
        "ReduceL1": lambda t, **k: np.sum(abs(t), **k),
        "ReduceL2": lambda t, **k: np.sqrt(np.sum(t * t, **k)),
        "ReduceLogSumExp": lambda t, **k: np.log(np.sum(np.exp(t), **k))}
    for op, function in functions.items():
        constants_node(s, op, [x], [(-1,)],
                       f32(function(d, axis=-1, keepdims=True)))
        constants_node(s, op, [x], [(0, 2)], f32(function(d, axis=(0, 2))),
                       "keepdims = 0 : i64")
        s.node(op, [x], f32(function(d, axis=1, keepdims=True)),
               "axes = [1]", version=11)
    s.node("ReduceSum", [x], f32(d.sum(keepdims=True)), "keepdims = 1 : i64")
    for op, function in {"ArgMax": np.argmax, "ArgMin": np.argmin}.items():
        s.node(op, [x], function(x, 1)[:, None], "axis = 1 : i64")
        s.node(op, [x], function(x, 2), "axis = -1 : i64, keepdims = 0 : i64")
    constants_node(s, "CumSum", [x], [(1,)], f32(np.cumsum(d, 1)))
    e = np.exp(d - d.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    more = dict(dims={0: ["3", "4", "n"], "r0": ["3", "4", "n"]},
                scalars={"n": 35})
    s.node("Softmax", [x], f32(p), "axis = -1 : i64", **more)
    s.node("Softmax", [x], f32(p), "axis = 2 : i64")
    s.node("LogSoftmax", [x], f32(np.log(p)), "axis = -1 : i64")
    normal = (d - d.mean(-1, keepdims=True)) / np.sqrt(
        d.var(-1, keepdims=True) + 1e-5)
    gain, bias = s.normal(35), s.normal(35)
    s.node("LayerNormalization", [x, gain, bias], f32(normal * gain + bias),
           version=17)


def products(s):
    for a, b in (((3, 4, 5), (3, 5, 41)), ((2, 1, 4, 16), (3, 16, 8)),
                 ((6, 7), (2, 7, 33)), ((7,), (7, 9)), ((2, 5, 7), (7,)),
                 ((7,), (7,))):
        x, y = s.normal(*a), s.normal(*b)
        s.node("MatMul", [x, y],
               f32(np.matmul(x.astype(np.float64), y.astype(np.float64))),
               version=13)
    x, y = s.normal(2, 3, 6, 5), s.normal(2, 3, 5, 11)
    s.node("MatMul", [x, y],
           f32(np.matmul(x.astype(np.float64), y.astype(np.float64))),
           version=13, dims={0: ["b", "3", "s", "5"], 1: ["b", "3", "5", "t"],
                             "r0": ["b", "3", "s", "t"]},
           scalars={"b": 2, "s": 6, "t": 11})
    a, b, c = s.normal(4, 6), s.normal(9, 6), s.normal(9)
    s.node("Gemm", [a, b, c],
           f32(a.astype(np.float64) @ b.T.astype(np.float64) + c),
           "transB = 1 : i64")
    s.node("Gemm", [a.T.copy(), b, c],
           f32(0.5 * (a.astype(np.float64) @ b.T.astype(np.float64)) + 2 * c),
           "transA = 1 : i64, transB = 1 : i64, alpha = 0.5 : f32, "
           "beta = 2.0 : f32")


def einsums(s):
    for equation, *shapes in (
            ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("ij->ji", (3, 4)),
            ("...ii->...i", (2, 3, 3)), ("ii", (3, 3)), ("->", ()),
            ("bhid,bhjd->bhij", (2, 2, 3, 4), (2, 2, 5, 4)),
            ("...ij,jk->...ik", (2, 3, 4), (4, 5)), ("i,i", (4,), (4,)),
            ("a...b,b...c->...", (2, 3, 4), (4, 3, 5)),
            ("i,j,k->kji", (2,), (3,), (4,)), ("ij->", (2, 0))):
        operands = [s.normal(*shape) for shape in shapes]
        want = np.einsum(equation, *(o.astype(np.float64) for o in operands))
        s.node("Einsum", operands, f32(want), f'equation = "{equation}"',
               version=12)
    i = s.random.integers(-9, 9, (3, 4))
    s.node("Einsum", [i, i], np.einsum("ij,kj->ik", i, i),
           'equation = "ij, kj -> ik"', version=12)
    a, b = s.normal(2, 5, 4), s.normal(6, 4)
    s.node("Einsum", [a, b], f32(a.astype(np.float64) @ b.T.astype(np.float64)),
           'equation = "bsd,nd->bsn"', version=12,
           dims={0: ["b", "s", "4"], 1: ["n", "4"], "r0": ["b", "s", "n"]},
           scalars={"b": 2, "s": 5, "n": 6})


def norms(s):
    """Softmax and norms that are not over the last dimension alone."""
    x = s.normal(3, 4, 35)
    d = x.astype(np.float64)
    for axis in (0, 1):
        e = np.exp(d - d.max(axis, keepdims=True))
        s.node("Softmax", [x], f32(e / e.sum(axis, keepdims=True)),
               f"axis = {axis} : i64")
        axes, width = tuple(range(axis, 3)), x.shape[axis:]
        gain, bias = s.normal(*width), s.normal(*width)
        normal = (d - d.mean(axes, keepdims=True)) / np.sqrt(
            d.var(axes, keepdims=True) + 1e-5)
        s.node("LayerNormalization", [x, gain, bias], f32(normal * gain + bias),
               f"axis = {axis} : i64", version=17)
        root = np.sqrt((d * d).mean(axes, keepdims=True) + 1e-5)
        s.node("RMSNormalization", [x, gain], f32(d / root * gain),
               f"axis = {axis} : i64", version=23)


def linear_attention(q, k, v, state, decay, beta, heads, scale):
    """The recurrence by its definition, in float64; heads = (queries, keys)."""
    q, k, v = (t.astype(np.float64) for t in (q, k, v))
    batch, tokens = q.shape[:2]
    group = heads[0] // heads[1]
    q, k, v = (t.reshape(batch, tokens, n, -1)
               for t, n in ((q, heads[0]), (k, heads[1]), (v, heads[1])))
    state = np.zeros((batch, heads[1], k.shape[3], v.shape[3])) \
        if state is None else state.astype(np.float64)
    y = np.zeros((batch, tokens, heads[0], v.shape[3]))
    for t in range(tokens):
        if decay is not None:
            gate = np.exp(decay[:, t].astype(np.float64))
            state = state * gate.reshape(batch, heads[1], -1, 1)
        added = v[:, t]
        if beta is not None:
            known = np.einsum("bhkv,bhk->bhv", state, k[:, t])
            added = (added - known) * beta[:, t, :, None]
        state = state + k[:, t, :, :, None] * added[:, :, None]
        y[:, t] = scale * np.einsum("bhkv,bhk->bhv",
                                    np.repeat(state, group, 1), q[:, t])
    return [f32(y.reshape(batch, tokens, -1)), f32(state)]


def state_space(s):
    def node(op, inputs, expected, attributes, **more):
        operands, types, present = [], [], []
        for array in inputs:
            absent = array is None
            operands.append("%n" if absent else "%" + "abcdefgh"[len(present)])
            types.append("none" if absent else "{%d}" % len(present))
            present += [] if absent else [array]
        s.add(op, present,
              f'%n = onnx.none\n  %r0, %r1 = onnx.node "{op}"'
              f'({", ".join(operands)}) attributes {{{attributes}}} '
              f'{{version = 27 : i64}} : ({", ".join(types)}) -> '
              "({r0}, {r1})", expected, **more)

    # Widths of values that fill vectors of 8, of 4, and none.
    for rule, width in (("linear", 8), ("gated", 16), ("delta", 12),
                        ("gated_delta", 5), ("gated_delta", 16)):
        gated, delta = "gated" in rule, "delta" in rule
        q, k = s.normal(2, 5, 24), f32(s.normal(2, 5, 12) / 3)
        v = s.normal(2, 5, 2 * width)
        past = s.normal(2, 2, 6, width) if width != 5 else None
        decay = -abs(s.normal(2, 5, 2 if width == 16 else 12)) \
            if gated else None
        beta = f32(1 / (1 + np.exp(s.normal(2, 5, 1 if width == 5 else 2)))) \
            if delta else None
        scale = 0.25 if width == 12 else 1 / np.sqrt(6)
        more = dict(dims={0: ["2", "t", "24"], 1: ["2", "t", "12"],
                          2: ["2", "t", str(2 * width)],
                          "r0": ["2", "t", str(4 * width)],
                          "r1": ["2", "2", "6", str(width)]},
                    scalars={"t": 5}) if rule == "linear" else {}
        node("LinearAttention", [q, k, v, past, decay, beta],
             linear_attention(q, k, v, past, decay, beta, (4, 2), scale),
             f'update_rule = "{rule}", q_num_heads = 4 : i64, '
             "kv_num_heads = 2 : i64"
             + (", scale = 0.25 : f32" if width == 12 else ""), **more)
    weight, bias, past = s.normal(3, 1, 4), s.normal(3), s.normal(2, 3, 3)
    for length, b, before, activation in ((7, None, None, "none"),
                                          (7, bias, past, "silu"),
                                          (2, bias, past, "none"),
                                          (1, None, past, "swish")):
        x = s.normal(2, 3, length)
        padded = np.concatenate(
            [np.zeros((2, 3, 3)) if before is None else before, x], 2)
        y = sum(padded[..., j:j + length] * weight[:, 0, j:j + 1]
                for j in range(4)) + (0 if b is None else b[:, None])
        if activation != "none":
            y = y / (1 + np.exp(-y))
        node("CausalConvWithState", [x, weight, b, before],
             [f32(y), f32(padded[..., length:])],
             f'activation = "{activation}"')


def selection(s):
    def nonzero(x):
        found = np.ascontiguousarray(np.argwhere(x).T)
        count = np.array([np.count_nonzero(x)], np.int64)
        s.add("NonZero", [x],
              '%r0 = onnx.node "NonZero"(%a) {version = 13 : i64, '
              'qmodel.sizes = ["n"]} : ({0}) -> {r0}', found,
              dims={"r0": [str(x.ndim), "n"]}, scalars={"n": int(count[0])})
        s.add("count", [x], "%r0 = qkernel.count_nonzero %a : ({0}) -> {r0}",
              count)

    for dtype in ("bool", "int8", "uint8", "int32", "uint32", "int64", "float16",
                  "float32", "float64"):
        for shape in ((), (1,), (37,), (5, 7), (2, 3, 4), (3, 0)):
            # About two thirds are zero; then all, then none.
            x = s.random.integers(-3, 4, shape) * (s.random.integers(0, 3, shape) == 0)
            nonzero(np.asarray(x).astype(dtype))
        nonzero(np.zeros((4, 5), dtype))
        nonzero(np.ones((4, 5), dtype))
    nonzero(np.array([np.nan, 0.0, -0.0, np.inf, 1e-45], np.float32))
    # A bfloat16 that is not zero, minus zero, and zero.
    x = np.array([0x3f80, 0x8000, 0, 1], np.uint16)
    s.add("NonZero", [x],
          '%r0 = onnx.node "NonZero"(%a) {version = 13 : i64, '
          'qmodel.sizes = ["n"]} : ({0}) -> {r0}', np.array([[0, 3]], np.int64),
          dims={"r0": ["1", "n"]}, scalars={"n": 2}, elements={0: "bf16"})


def add_operators(s):
    elementwise(s)
    selection(s)
    casts(s)
    movement(s)
    indexing(s)
    reductions(s)
    products(s)
    einsums(s)
    float64(s)
    norms(s)
    state_space(s)
