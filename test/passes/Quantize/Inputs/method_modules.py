# ===- method_modules.py - The method passes against the oracles ---------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Runs qmodel-plan and the method passes on random text modules, with options as
a user gives them, and compares what quant-opt prints with the float64 oracles.

usage: method_modules.py [SEED [TIMES]] [--verbose]

Statistics are attributes of the layers or come from data through
nibble-for-each-layer. With precision=float64, codes, masks, scales and zero
points must be equal. A code may differ where the oracle's quotient lies within
1e-9 of the middle between two codes; what follows in its row is then another
problem. Candidates of a search may differ where their losses do by less than
1e-9. Such ties are counted. In the default float32 the loss must be within 0.1 %
of that in float64, over all problems of a method, but for rows that leave those
of float64 where the quotient is within 1e-4 of the middle; a symmetric grid puts
the largest weight of a group just there. TIMES as many modules are made as in
the test; --verbose prints the loss of every layer.
"""
import os
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(__file__)
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "..", "Numerics")]
import methods_oracle as methods  # noqa: E402
from methods_oracle import GRIDS, FRESH, STATIC, expect, inputs  # noqa: E402
from methods_oracle import awq, common, gptq, smoothquant, sparsegpt  # noqa: E402
from text_modules import (Layer, constants, gathered, interpret,  # noqa: E402
                          module, quant_opt, rules)

GROUPS = ("static", "fresh", "stale")
PAIR = common.grid_gptq  # methods.gptq_oracle replaces that of its module


class Counts:
    """What was compared, of one method."""

    def __init__(self, method, verbose):
        self.method, self.verbose = method, verbose
        self.layers = self.values = self.ties = self.failures = 0
        self.ties32 = 0
        self.losses = []

    def loss(self, name, exact, default):
        self.losses.append((exact, default))
        if self.verbose:
            ratio = default / exact - 1 if exact > 0 else 0
            print(f"  {self.method} {name}: loss {exact:.6g}, {ratio:+.1e}")

    def summary(self):
        text = f"{self.method}: {self.layers} layers, {self.values} results " \
               f"equal, {self.ties} ties"
        exact, default = np.sum(self.losses or [(0, 0)], 0)
        if exact > 0:
            text += f", float32 loss {default / exact - 1:+.1e} but for " \
                    f"{self.ties32} rows with ties"
            if abs(default / exact - 1) > 1e-3:
                text += " FAIL: more than 0.1 %"
                self.failures += 1
        return text


def flag(value):
    return "true" if value else "false"


def scheme_of(o):
    return {"bits": o["bits"], "group": o["group"], "grid": GRIDS[o["grid"]],
            "symmetric": bool(o["symmetric"])}


def shapes(rng, multiple=1):
    """Rows and columns: one of each, and what no block or group divides."""
    rows = int(rng.choice([1, 2, 5, 16, 33, 130]))
    columns = int(rng.choice([1, 3, 8, 20, 40, 96, 129, 172, 300]))
    return rows, -(-columns // multiple) * multiple


def problem(rng, rows, columns):
    """A weight and inputs, some of them always 0."""
    tokens = int(rng.choice([columns // 2 + 1, 3 * columns + 1]))
    dead = int(rng.choice([0, 0, min(3, columns - 1)]))
    return methods.weight(rng, rows, columns), inputs(rng, tokens, columns, dead)


def run_pass(folder, layers, schemes, name, options, data=None, stream=""):
    """The printed module and messages of a pass behind qmodel-plan."""
    text = ",".join([f"qmodel-plan{{rules={rules(folder, schemes)}}}"]
                    if schemes else [])
    step = f"{name}{{{options}}}"
    if data:
        path = os.path.join(folder, "data.npz")
        np.savez(path, **data)
        step = f"nibble-for-each-layer{{data={path}{stream} pipeline={step}}}"
    text = ",".join(filter(None, [text, step]))
    return quant_opt(module(layers), f"--pass-pipeline=builtin.module({text})")


def check_warnings(layers, said):
    """Layers with fewer tokens than inputs are named, and no others."""
    for layer in layers:
        few = layer.statistics.get("tokens", layer.width) < layer.width
        expect(few == (f'"{layer.name}" saw ' in said),
               f"warning about the tokens of {layer.name}")


# -------------------------------------------------------------------- GPTQ ----

def gptq_found(text, layer, group):
    """Codes in the order of the channels, scales, zero points, groups."""
    values, name = constants(text), layer.name
    expect(name not in values, "the float weight is left")
    found = {part: values[f"{name}.{part}"] for part in
             ("codes", "scales", "zeros") if f"{name}.{part}" in values}
    order = gathered(text, name)
    index = np.arange(layer.width) // (group or layer.width)
    if order is not None:
        codes, index = found["codes"], index[np.argsort(order)]
        found["codes"] = np.empty_like(codes)
        found["codes"][:, order] = codes
    return found, index


def gptq_compare(counts, o, layer, texts, h, cross=None):
    """The printed module of both precisions against the oracle."""
    w = layer.weight
    r = methods.gptq_oracle(o, w, h, cross)
    found, index = gptq_found(texts[0], layer, o["group"])
    expect(np.array_equal(r["g_idx"], index), "order of the channels")
    ties = methods.check_codes(found["codes"], r["codes"], r["quotients"],
                               r["perm"])
    rows = np.setdiff1d(np.arange(len(w)), ties)
    expect(np.allclose(found["scales"][rows], r["scale"][rows], rtol=1e-7,
                       atol=0), "scales differ")
    if "zeros" in found:
        expect(np.array_equal(found["zeros"][rows], r["zero"][rows]),
               "zero points differ")
    default, _ = gptq_found(texts[1], layer, o["group"])
    differ = (default["codes"] != found["codes"])[:, r["perm"]]
    first = np.argmax(differ, 1)
    tied = differ.any(1) & methods.near_tie(
        np.take_along_axis(r["quotients"], first[:, None], 1)[:, 0], 1e-4)
    live = np.where(np.diag(h) == 0, 0, np.float64(w))
    counts.loss(layer.name, *(gptq.proxy_loss(
        live[~tied], methods.dequantized(part, index)[~tied], h)
        for part in (found, default)))
    counts.ties += len(ties)
    counts.ties32 += tied.sum()
    counts.values += len(rows) * w.shape[1]


def gptq_options(rng, o):
    return (f"act-order={flag(o['act_order'])} groups={GROUPS[o['grids']]} "
            f"block={o['block']} damping={o['damping']} "
            f"ranges={o.get('ranges', 'full')} "
            + (f"gptaq=true gptaq-factor={o['cross_factor']} "
               if "cross_factor" in o else ""))


def gptq_scheme(rng, o, columns):
    """A scheme that the oracle can follow in the mode of `o`."""
    s = dict(bits=int(rng.choice([2, 3, 4, 8])), symmetric=int(rng.integers(2)),
             grid=int(rng.choice(5, p=[.5, .15, .15, .1, .1])),
             group=int(rng.choice([0, 8, 32, 48, 128])))
    if "ranges" in o:
        s["grid"] = GRIDS.index("gptq")  # the oracle knows no others
    if GRIDS[s["grid"]] == "narrow":
        s["symmetric"] = 1
    short = 0 < s["group"] < columns and columns % s["group"]
    if short and o["act_order"] and o["grids"] != STATIC:
        s["group"] = 0  # padding would have a place in the order
    if o["grids"] == FRESH and "cross_factor" in o:
        s["group"] = 8
    return s


def gptq_module(rng, folder, counts, cross=False):
    o = dict(grids=int(rng.integers(3)), act_order=int(rng.integers(2)),
             block=int(rng.choice([16, 128])),
             damping=float(rng.choice([.01, .05])), lazy_pull_replaced=0)
    if cross:
        o["cross_factor"] = float(rng.choice([.25, .5]))
    elif rng.random() < .25:
        o["ranges"] = "searched"
    layers, cases = [], {}
    for i in range(4):
        # Of groups that start in a block and end behind it, the oracle leaves
        # P out: then all groups are of 8.
        w, x = problem(rng, *shapes(rng, 8 if cross and o["grids"] == FRESH
                                    else 1))
        name, h, c = f"l{i}", common.hessian(x), None
        statistics = dict(hessian=h, tokens=len(x))
        if cross:
            exact = x + 0.05 * rng.standard_normal(x.shape)
            exact[:, ~x.any(0)] = 0
            c = statistics["cross"] = 2 / len(x) * (exact - x).T @ np.float64(x)
        layers.append(Layer(name, w, **statistics))
        cases[name] = o | gptq_scheme(rng, o, w.shape[1]), h, c
    schemes = {name: scheme_of(case[0]) for name, case in cases.items()}
    runs = [run_pass(folder, layers, schemes, "qmodel-gptq",
                     gptq_options(rng, o) + precision)
            for precision in ("precision=float64", "")]
    check_warnings(layers, runs[0][1])
    for layer in layers:
        case, h, c = cases[layer.name]
        yield layer, case, lambda: gptq_compare(
            counts, case, layer, [text for text, _ in runs], h, c)


def gptq_data(rng, folder, counts):
    """Two layers in a row, on data; with GPTAQ against the float model. The
    inputs of the second one are what the interpreter makes of the first."""
    o = dict(grids=int(rng.choice([0, 2])), act_order=int(rng.integers(2)),
             block=128, damping=.01, lazy_pull_replaced=0)
    stream = ""
    if rng.integers(2):
        o["cross_factor"], stream = .25, " float-stream=true"
    _, columns = shapes(rng)
    middle = int(rng.choice([8, 24, 64]))
    first, x = problem(rng, middle, columns)
    layers = [Layer("a", first), Layer("b", methods.weight(
        rng, 17, middle), ("layer", "a"))]
    cases = {layer.name: o | dict(bits=4, symmetric=int(rng.integers(2)), grid=0,
                                  group=int(rng.choice([0, 8])))
             for layer in layers}
    if columns % 8:
        cases["a"]["group"] = 0
    schemes = {name: scheme_of(case) for name, case in cases.items()}
    runs = [run_pass(folder, layers, schemes, "qmodel-gptq",
                     gptq_options(rng, o) + precision, {"x.a": x}, stream)[0]
            for precision in ("precision=float64", "")]
    read = interpret(runs[0], folder, {"x.a": x})["a"]
    exact = interpret(module(layers), folder, {"x.a": x})["a"]
    for layer, now, then in zip(layers, (x, read), (x, exact)):
        difference = np.float64(then) - now
        c = 2 / len(x) * difference.T @ now if stream else None
        yield layer, cases[layer.name], lambda: gptq_compare(
            counts, cases[layer.name], layer, runs, common.hessian(now), c)


# ----------------------------------------------------------- qmodel-sparsify ----

class ByColumn:
    """A scale or zero point of the oracle, which asks twice for each column;
    here columns have their own: those of their group."""

    def __init__(self, values, group):
        self.values, self.group, self.asked = values, group, 0

    def __getitem__(self, key):
        column = self.asked // 2
        self.asked += 1
        return self.values[:, column // self.group]


def sparse_found(text, layer, width, scheme):
    """Values and the mask of what was removed (None without a pattern)."""
    values, name = constants(text), layer.name
    expect(name not in values, "the float weight is left")
    kept = width // 2 if f"{name}.positions" in values else width
    if scheme:
        codes, scales = values[f"{name}.codes"], values[f"{name}.scales"]
        group = scheme["group"] if 0 < scheme["group"] < width else width
        index = np.arange(kept) // (group * kept // width)
        zeros = values.get(f"{name}.zeros", 0 * scales)
        numbers = methods.dequantized(
            dict(codes=codes, scales=scales, zeros=zeros), index)
    else:
        numbers = values.get(f"{name}.values", values.get(f"{name}.pruned"))
    if kept == width:
        return np.float64(numbers), None
    places = np.arange(kept) // 2 * 4 + values[f"{name}.positions"]
    full, mask = np.zeros(layer.weight.shape), np.ones(layer.weight.shape, bool)
    np.put_along_axis(full, places, np.float64(numbers), 1)
    np.put_along_axis(mask, places, False, 1)
    return full, mask


def sparse_oracle(o, layer, x):
    w, h = layer.weight, common.hessian(x)
    remove, of = (2, 4) if o["pattern"] == "2:4" else (0, 0)
    if o["method"] == "magnitude":
        return sparsegpt.magnitude(w, o["fraction"], remove, of)
    if o["method"] == "wanda":
        return sparsegpt.wanda(w, x, o["fraction"], remove, of)
    scheme = o.get("scheme")
    if scheme:
        size = scheme["group"] if 0 < scheme["group"] < w.shape[1] \
            else w.shape[1]
        # One group is measured before dead columns are zeroed, as in GPTQ.
        live = w if size == w.shape[1] else np.where(np.diag(h) == 0, 0, w)
        parts = [PAIR(np.pad(live[:, g:g + size], ((0, 0), (0, max(
            0, g + size - w.shape[1])))), scheme["bits"], scheme["symmetric"])
            for g in range(0, w.shape[1], size)]
        scales, zeros = (np.hstack([p[i] for p in parts]) for i in (0, 1))
        sparsegpt.grid_gptq = lambda *_: (ByColumn(scales, size),
                                          ByColumn(zeros, size), parts[0][2])
    r = sparsegpt.sparsegpt(w, h, o["fraction"], remove, of, o["block"],
                            o["damping"], scheme and scheme["bits"])
    if scheme:
        r["scale"] = np.repeat(scales, size, 1)[:, :w.shape[1]]
    return r["W"], r["mask"], r.get("scale")


def sparse_compare(counts, o, layer, x, texts):
    w = layer.weight
    found, mask = sparse_found(texts[0], layer, w.shape[1], o.get("scheme"))
    exact, removed, *rest = sparse_oracle(o, layer, x)
    if mask is not None:
        expect(np.array_equal(mask, removed), "masks differ")
    close = np.isclose(found, exact, rtol=1e-6, atol=1e-9)
    for row in np.flatnonzero(~close.all(1)):
        # Another code at a tie changes what follows in its row.
        expect(o.get("scheme"), f"weights of row {row} differ")
        first = np.argmin(close[row])
        step = (found - exact)[row, first] / rest[0][row, first]
        expect(abs(abs(step) - 1) < 1e-6, f"row {row} differs by {step}")
        counts.ties += 1
    counts.values += int(close.all(1).sum()) * w.shape[1]
    if o["method"] == "sparsegpt":
        h = common.hessian(x)
        live = np.where(np.diag(h) == 0, 0, np.float64(w))
        counts.loss(layer.name, *(gptq.proxy_loss(live, sparse_found(
            text, layer, w.shape[1], o.get("scheme"))[0], h)
            for text in texts))


def sparse_module(rng, folder, counts, method):
    o = dict(method=method, pattern=str(rng.choice(["2:4", "none"])),
             fraction=float(rng.choice([.3, .5, .8])),
             block=int(rng.choice([16, 128])), damping=.01)
    quantize = method == "sparsegpt" and rng.random() < .5
    from_data = method != "magnitude" and rng.random() < .3
    layers, cases, data, schemes = [], {}, {}, {}
    for i in range(4):
        w, x = problem(rng, *shapes(rng, 4 if o["pattern"] == "2:4" else 1))
        name = f"l{i}"
        statistics = dict(hessian=common.hessian(x), tokens=len(x),
                          mean_square=(np.float64(x) ** 2).mean(0))
        data[f"x.{name}"] = x
        layers.append(Layer(name, w, **({} if from_data else statistics)))
        own = dict(o)
        if quantize:
            own["scheme"] = schemes[name] = dict(
                bits=int(rng.choice([3, 4, 8])), grid="gptq",
                symmetric=bool(rng.integers(2)),
                group=int(rng.choice([0, 8, 32])))
        cases[name] = own, x
    options = f"method={method} pattern={o['pattern']} " \
              f"fraction={o['fraction']} block={o['block']} " \
              f"damping={o['damping']} quantize={flag(quantize)} "
    runs = [run_pass(folder, layers, schemes, "qmodel-sparsify",
                     options + precision, data if from_data else None)
            for precision in ("precision=float64", "")]
    if method == "sparsegpt" and not from_data:
        check_warnings(layers, runs[0][1])
    for layer in layers:
        own, x = cases[layer.name]
        yield layer, own, lambda: sparse_compare(
            counts, own, layer, x, [text for text, _ in runs])


# --------------------------------------------------- AWQ and SmoothQuant ----

def padded(function):
    """Of the oracle, for widths that groups do not divide."""
    def call(w, bits, group, *rest):
        w = np.asarray(w, float)
        missing = -w.shape[-1] % group if group > 0 else 0
        wide = np.pad(w, [(0, 0)] * (w.ndim - 1) + [(0, missing)])
        return [part[..., :w.shape[-1]] if i < 2 else part
                for i, part in enumerate(function(wide, bits, group, *rest))]
    return call


def padded_mean(weights, group, eps=0.0):
    w = np.concatenate([np.asarray(w, float) for w in weights])
    missing = -w.shape[1] % group if group > 0 else 0
    return W_MEAN([np.pad(w, ((0, 0), (0, missing)))], group,
                  eps)[:w.shape[1]]


W_MEAN = awq.w_mean_scale
awq.pseudo_quant = padded(awq.pseudo_quant)
awq.w_mean_scale = padded_mean


def readers(rng, name, columns, statistics=None):
    """One to three layers that read a norm."""
    layers = []
    for i in range(int(rng.integers(1, 4))):
        w = methods.weight(rng, int(rng.choice([1, 16, 70])), columns)
        source = ("norm", f"{name}0") if i else "norm"
        layers.append(Layer(f"{name}{i}", w, source,
                            **({} if i else statistics or {})))
    return layers


def scaling_inputs(rng, folder, cases, from_data):
    """Inputs of norms by case, given as statistics or as data."""
    layers, data = [], {}
    for name, case in cases.items():
        _, x = problem(rng, 1, case["columns"])
        case["layers"] = readers(rng, name, case["columns"])
        layers += case["layers"]
        data[f"x.{name}0"] = x
    read = interpret(module([c["layers"][0] for c in cases.values()], True),
                     folder, data)
    for name, case in cases.items():
        x = case["x"] = read[f"{name}0"]
        magnitude = np.abs(np.float64(x))
        if not from_data:
            case["layers"][0].statistics = dict(
                tokens=len(x), rows=x, mean_absolute=magnitude.mean(0),
                absolute_max=magnitude.max(0))
    return layers, data if from_data else None


def check_scales(counts, values, case, name, suffix, scales):
    """Factors and scaled weights; False if the scales are others."""
    factors = values[f"{name}0.{suffix}.factors"]
    if not np.allclose(factors, 1 / scales, rtol=1e-6, atol=0):
        return False
    for layer in case["layers"]:
        found = values.get(f"{layer.name}.{suffix}")
        if found is not None:  # it may have been clamped since
            expect(np.allclose(found, np.float64(layer.weight) * scales,
                               rtol=1e-6, atol=0), f"weight {layer.name}")
    counts.values += factors.size
    return True


def awq_scales(counts, values, case, name):
    """The scales that were found; they must be the oracle's, or a tie."""
    o, weights = case["o"], [layer.weight for layer in case["layers"]]
    group = o["group"] if 0 < o["group"] < case["columns"] else -1
    mean = np.abs(np.float64(case["x"])).mean(0)
    awq.grid_awq = awq_grid(o)
    arguments = (weights, case["x"][::o["row_stride"]], o["bits"], group,
                 not o["symmetric"], o["ratios"])
    plain = awq.candidate_scales
    awq.candidate_scales = lambda _, r, w: plain(mean, r, w)
    r = awq.search_scale(*arguments, duo=o["form"] == "inputs-and-weights")
    wm = awq.w_mean_scale(weights, group, 1e-6) \
        if o["form"] == "inputs-and-weights" else None
    awq.candidate_scales = plain
    losses = r["history"]
    for k in np.argsort(losses, kind="stable"):
        if losses[k] > (1 + 1e-9) * losses.min() + 1e-20:
            break
        scales = plain(mean, k / o["ratios"], wm)
        if check_scales(counts, values, case, name, "awq", scales):
            counts.ties += k != np.argmin(losses)
            return scales
    expect(False, f"scales differ: {values[name + '0.awq.factors'][:4]}, not "
                  f"{1 / r['scale'][:4]}; losses {np.sort(losses)[:3]}")


def awq_grid(o):
    grid = methods.grid_of(GRIDS[o["grid"]], o["symmetric"])

    def of(x, bits, zero_point=True, eps=1e-5):
        s, z, (low, top) = grid(x, bits, o["symmetric"])
        return s.reshape(-1, 1), z.reshape(-1, 1), low, top
    return of


def clip_compare(counts, o, w, x, found):
    """Clamped weights. Two bounds may be as good as each other."""
    width = w.shape[1]
    group = o["group"] if 0 < o["group"] < width else width
    missing = -width % group
    wide, tokens = (np.pad(a, ((0, 0), (0, missing))) for a in (w, x))
    awq.grid_awq = awq_grid(o)
    clips = awq.search_clip(wide, tokens, o["bits"], group, not o["symmetric"])
    bounds = np.repeat(clips[:, :, 0], group, 1)[:, :width]
    wanted = np.clip(np.float64(w), -bounds, bounds)
    differ = ~np.isclose(found, wanted, rtol=1e-6, atol=0)
    for row, g in {(r, c // group) for r, c in np.argwhere(differ)}:
        part = slice(g * group, min((g + 1) * group, width))
        own = tokens[::max(1, len(tokens) // 512), part].astype(float)

        def error(values):
            quantized = awq.pseudo_quant(values[None, part], o["bits"], group,
                                         not o["symmetric"])[0]
            return ((own @ (quantized[0] - w[row, part])) ** 2).mean()
        a, b = error(np.float64(found[row])), error(wanted[row])
        expect(abs(a - b) <= 1e-6 * max(a, b) + 1e-20,
               f"clamped row {row}, group {g}: {a}, not {b}")
        counts.ties += 1
    counts.values += w.size


def awq_compare(counts, case, name, texts):
    values, o = constants(texts[0]), case["o"]
    scales = awq_scales(counts, values, case, name)
    if not o["clip"]:
        return
    rows = np.float32(case["x"][::o["row_stride"]] / scales)
    for layer in case["layers"]:
        scaled = np.float32(np.float64(layer.weight) * scales)
        clip_compare(counts, o, scaled, rows, values[f"{layer.name}.awq.clamped"])


def awq_module(rng, folder, counts):
    o = dict(form=str(rng.choice(["inputs", "inputs-and-weights"])),
             ratios=int(rng.choice([4, 20])), clip=bool(rng.integers(2)),
             row_stride=1)
    from_data = rng.random() < .4
    if from_data:
        o["row_stride"] = int(rng.choice([1, 3]))
    cases = {}
    for name in ("p", "q", "r"):
        columns = int(rng.choice([1, 8, 44, 64, 128]))
        scheme = dict(bits=int(rng.choice([2, 3, 4, 8])),
                      grid=int(rng.choice([0, 1, 2])),
                      symmetric=int(rng.random() < .3),
                      group=int(rng.choice([0, 8, 32])))
        cases[name] = dict(o=o | scheme, columns=columns)
    layers, data = scaling_inputs(rng, folder, cases, from_data)
    schemes = {layer.name: scheme_of(case["o"]) for case in cases.values()
               for layer in case["layers"]}
    options = f"form={o['form']} ratios={o['ratios']} clip={flag(o['clip'])} " \
              f"row-stride={o['row_stride']} precision=float64"
    text, _ = run_pass(folder, layers, schemes, "qmodel-awq", options, data)
    for name, case in cases.items():
        yield case["layers"][0], case["o"], lambda: awq_compare(
            counts, case, name, [text])


def smooth_compare(counts, case, name, text):
    o, values, x = case["o"], constants(text), np.float64(case["x"])
    weights = [layer.weight for layer in case["layers"]]
    largest = np.abs(case["x"]).max(0)
    if o["alpha"] != "auto":
        scales = smoothquant.smooth_scales(largest, weights, float(o["alpha"]))
        expect(check_scales(counts, values, case, name, "smoothed", scales),
               "scales differ")
        return
    rows = x[::o["row_stride"]]
    # Not smoothing comes first: an alpha must be better.
    candidates = [np.ones(x.shape[1])] + [smoothquant.smooth_scales(
        largest, weights, k / 10) for k in range(11)]
    losses = np.array([np.mean(np.concatenate([
        rows @ np.float64(w).T - smoothquant.w8a8_linear(rows / s, w * s)
        for w in weights], 1) ** 2) for s in candidates])
    smoothed = f"{name}0.smoothed.factors" in values
    for k in np.argsort(losses, kind="stable"):
        expect(losses[k] <= (1 + 1e-9) * losses.min() + 1e-20,
               f"alpha is not that of candidate {np.argmin(losses)}")
        if check_scales(counts, values, case, name, "smoothed",
                        candidates[k]) if smoothed and k else not smoothed:
            counts.ties += k != np.argmin(losses)
            return
    expect(False, "scales differ")


def smooth_module(rng, folder, counts):
    o = dict(alpha=str(rng.choice(["0", "0.25", "0.5", "0.85", "1", "auto",
                                   "auto"])), row_stride=1)
    from_data = rng.random() < .4
    if from_data:
        o["row_stride"] = int(rng.choice([1, 3]))
    cases = {name: dict(o=o, columns=int(rng.choice([1, 8, 44, 96])))
             for name in ("p", "q", "r")}
    layers, data = scaling_inputs(rng, folder, cases, from_data)
    eight = dict(bits=8, group=0, symmetric=True, grid="narrow")
    schemes = {layer.name: eight | {"input": eight} for layer in layers}
    options = f"alpha={o['alpha']} row-stride={o['row_stride']} " \
              "precision=float64"
    text, _ = run_pass(folder, layers, schemes, "qmodel-smooth-outliers",
                       options, data)
    for name, case in cases.items():
        yield case["layers"][0], o, lambda: smooth_compare(counts, case, name,
                                                           text)


# -------------------------------------------------------------------- main ----

METHODS = {
    "gptq": (gptq_module, 12),
    "gptaq": (lambda *a: gptq_module(*a, cross=True), 4),
    "gptq on data": (gptq_data, 4),
    "sparsegpt": (lambda *a: sparse_module(*a, "sparsegpt"), 8),
    "wanda": (lambda *a: sparse_module(*a, "wanda"), 3),
    "magnitude": (lambda *a: sparse_module(*a, "magnitude"), 2),
    "awq": (awq_module, 6),
    "smoothquant": (smooth_module, 5),
}


def main():
    verbose = "--verbose" in sys.argv
    numbers = [int(a) for a in sys.argv[1:] if a != "--verbose"]
    seed, times = (numbers + [11, 1])[:2] if len(numbers) < 2 else numbers
    total = failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for at, (method, (make, number)) in enumerate(METHODS.items()):
            rng = np.random.default_rng([seed, at])
            counts = Counts(method, verbose)
            for _ in range(number * times):
                for layer, o, compare in make(rng, folder, counts):
                    counts.layers += 1
                    try:
                        compare()
                    except methods.Mismatch as error:
                        print(f"FAIL {method} {layer.name} "
                              f"{layer.weight.shape} {o}: {error}")
                        counts.failures += 1
            print(counts.summary(), flush=True)
            total += counts.layers
            failures += counts.failures
    print(f"{total} layers, {failures} failures")
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
