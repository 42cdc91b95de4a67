# ===- methods_oracle.py - The methods against the oracles ---------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Compares GPTQ, SparseGPT, Wanda, magnitude, AWQ, SmoothQuant and the Hessian
with the float64 oracles of test/oracles, on random problems.

usage: methods_oracle.py PATH_OF_nibble-numerics-methods [SEED]

In float64, codes, masks and scales must be those of the oracle. A code may
differ where the oracle's quotient lies within 1e-9 of the middle between two
codes; what follows in its row is then another problem, and is not compared.
Such ties are counted. In float32 the loss must be within 0.1 % of the oracle's,
over all problems of a kind. All results must be the same bytes for 1, 2 and 3
threads.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "oracles"))
import awq  # noqa: E402
import common  # noqa: E402
import gptq  # noqa: E402
import smoothquant  # noqa: E402
import sparsegpt  # noqa: E402

GRIDS = ("gptq", "awq", "minmax", "full_range", "narrow")
STATIC, FRESH, STALE = 0, 1, 2


class Mismatch(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Mismatch(text)


# ---------------------------------------------------------------- problems ----

def weight(rng, rows, columns):
    w = rng.standard_normal((rows, columns))
    kind = rng.choice(["normal", "tails", "constant", "positive", "zeros"],
                      p=[.5, .2, .1, .1, .1])
    if kind == "tails":
        w *= np.exp(rng.standard_normal(w.shape))
    elif kind == "constant":
        w[0] = w[0, 0]
    elif kind == "positive":
        w[: (rows + 1) // 2] = np.abs(w[: (rows + 1) // 2])
    elif kind == "zeros":
        w[:, : columns // 3] = 0
    return np.float32(w * 0.1)


def inputs(rng, tokens, columns, dead=0):
    mix = rng.standard_normal((columns, columns)) / np.sqrt(columns)
    x = rng.standard_normal((tokens, columns)) @ (mix + np.eye(columns))
    x *= np.exp(0.7 * rng.standard_normal(columns))
    x[:, rng.permutation(columns)[:dead]] = 0
    return np.float32(x)


def problem(rng, columns=None):
    rows = int(rng.choice([1, 3, 16, 33, 130]))
    # The last ones are more than a tile, and than a span of blocks.
    columns = columns or int(rng.choice([1, 8, 40, 96, 172, 256, 300, 520],
                                        p=[.16] * 5 + [.14, .04, .02]))
    dead = int(rng.choice([0, 0, min(3, columns - 1)]))
    tokens = int(rng.choice([columns // 2 + 1, 3 * columns]))
    return weight(rng, rows, columns), inputs(rng, tokens, columns, dead)


# -------------------------------------------------------------------- GPTQ ----

def grid_of(name, sym):
    """A grid in the form of common.grid_gptq; the last part is a code range."""
    def grid(x, bits, symmetric, mse=False):
        if name == "gptq":
            s, z, top = common.grid_gptq(x, bits, sym, mse)
            return s, np.clip(z, 0, top), (0, top)
        if name == "awq":
            s, z, low, top = common.grid_awq(x, bits, zero_point=not sym)
        elif name == "full_range" and sym:
            first = np.argmax(np.abs(x), axis=1)
            extreme = x[np.arange(len(x)), first][:, None]
            top = 2 ** (bits - 1) - 1
            s = np.where(extreme == 0, 1.0, -extreme / (top + 1))
            z, low = np.zeros_like(s), -top - 1
        else:
            s, z, low, top = common.grid_minmax(x, bits, sym,
                                                narrow=name == "narrow")
        return s, z, (low, top)
    return grid


def padded_to_groups(w, h, group):
    missing = -w.shape[1] % group if 0 < group < w.shape[1] else 0
    return np.pad(w, ((0, 0), (0, missing))), np.pad(h, (0, missing))


def gptq_oracle(o, w, h, cross):
    """The oracle's result, with the quotients before rounding [rows, positions]
    and only the columns that are not padding."""
    columns = w.shape[1]
    group = o["group"] if 0 < o["group"] < columns else -1
    quotients = []

    def quantize(col, s, z, bounds):
        quotients.append(col / s[:, 0])
        code = np.clip(common.rne(quotients[-1]) + z[:, 0], *bounds)
        return s[:, 0] * (code - z[:, 0]), code

    gptq.grid_gptq = grid_of(GRIDS[o["grid"]], o["symmetric"])
    gptq._q = quantize
    pw, ph = padded_to_groups(np.float64(w), h, group)
    pc = padded_to_groups(np.float64(w), cross, group)[1] \
        if cross is not None else None
    r = gptq.gptq(pw, ph, o["bits"], o["symmetric"], group, o["block"],
                  o["damping"], bool(o["act_order"]), o["grids"] == STATIC,
                  mse=o.get("ranges") == "searched",
                  stale_groups=o["grids"] == STALE, dXXT=pc,
                  alpha=o.get("cross_factor", .25),
                  gptaq_quirk=bool(o["lazy_pull_replaced"]))
    real = r["perm"] < columns
    for key in ("codes", "Q"):
        r[key] = r[key][:, :columns]
    r["g_idx"] = r["g_idx"][:columns]
    r["quotients"] = np.stack(quotients, 1)[:, real]
    r["perm"] = r["perm"][real]
    return r


def gptq_case(rng):
    o = dict(bits=int(rng.choice([2, 3, 4, 5, 6, 8])), symmetric=int(
        rng.integers(2)), grid=int(rng.choice(5, p=[.5, .15, .15, .1, .1])),
        group=int(rng.choice([0, 8, 32, 48, 128])),
        grids=int(rng.integers(3)), block=int(rng.choice([16, 128])),
        act_order=int(rng.integers(2)), damping=float(rng.choice([.01, .05])),
        lazy_pull_replaced=0)
    if GRIDS[o["grid"]] == "narrow":
        o["symmetric"] = 1
    w, x = problem(rng)
    short = 0 < o["group"] < w.shape[1] and w.shape[1] % o["group"]
    if short and o["act_order"]:
        # Padding would have a place in the order, and so move other groups.
        o["grids"] = STATIC
    cross = None
    # The oracle leaves P out of the columns of a fresh group behind the block.
    crosses = o["grids"] == FRESH and (not o["group"]
                                       or o["block"] % o["group"])
    if rng.random() < .3 and not crosses:
        exact = x + 0.05 * rng.standard_normal(x.shape)
        exact[:, ~x.any(0)] = 0
        cross = 2 / len(x) * (exact - x).T @ np.float64(x)
        # Padding that is sorted in would also move the borders of blocks.
        o["lazy_pull_replaced"] = int(
            o["grids"] != FRESH and not (short and o["act_order"])
            and rng.integers(2))
    h = common.hessian(x)
    arrays = dict(weight=w, hessian=h)
    if cross is not None:
        arrays["cross"] = cross
    return o, arrays


def near_tie(quotient, limit=1e-9):
    distance = np.abs(np.abs(quotient - np.trunc(quotient)) - 0.5)
    return distance <= limit * np.maximum(1.0, np.abs(quotient))


def check_codes(found, codes, quotients, perm):
    """Rows with a tie, which are equal up to it."""
    differ = (found != codes)[:, perm]
    ties = np.flatnonzero(differ.any(1))
    for row in ties:
        first = np.argmax(differ[row])
        expect(near_tie(quotients[row, first]),
               f"codes of row {row} differ at position {first}, quotient "
               f"{quotients[row, first]!r}")
    return ties


def dequantized(found, group_index):
    zeros = np.float64(found["zeros"]) if "zeros" in found else 0 * np.float64(
        found["scales"])
    return (found["codes"] - zeros[:, group_index]) \
        * np.float64(found["scales"])[:, group_index]


def gptq_check(o, arrays, found, found32, counts):
    w, h = arrays["weight"], arrays["hessian"]
    r = gptq_oracle(o, w, h, arrays.get("cross"))
    ties = check_codes(found["codes"], r["codes"], r["quotients"], r["perm"])
    rows = np.setdiff1d(np.arange(len(w)), ties)
    stored = np.float64(found["scales"])
    expect(stored.shape == r["scale"].shape, "number of groups")
    expect(np.allclose(stored[rows], r["scale"][rows], rtol=1e-7, atol=0),
           "scales differ")
    if "zeros" in found:
        expect(np.array_equal(found["zeros"][rows], r["zero"][rows]),
               "zero points differ")
    if "group_index" in found:
        expect(np.array_equal(found["group_index"], r["g_idx"]), "group index")
    else:
        group = o["group"] or w.shape[1]
        expect(np.array_equal(r["g_idx"], np.arange(w.shape[1]) // group),
               "group index missing")
    live = np.where(np.diag(h) == 0, 0, np.float64(w))
    loss = gptq.proxy_loss(live, r["Q"], h)
    if not len(ties):
        scale = max(loss, 1e-9 * gptq.proxy_loss(live, 0 * live, h))
        expect(abs(found["loss"][0] - loss) <= 1e-6 * scale + 1e-30,
               f"loss is {found['loss'][0]}, not {loss}")
    expect(found["report"][0] == o["damping"] and found["report"][1] == 1
           and found["report"][2] == (np.diag(h) == 0).sum(), "report")
    index = found32.get("group_index", np.arange(w.shape[1])
                        // (o["group"] or w.shape[1]))
    counts["ties"] += len(ties)
    counts["codes"] += len(rows) * w.shape[1]
    counts["loss"] += loss
    counts["loss32"] += gptq.proxy_loss(live, dequantized(found32, index), h)
    counts["reported32"] += found32["loss"][0]


# --------------------------------------------------------------- SparseGPT ----

PATTERNS = [(0, 0), (2, 4), (1, 4), (4, 8)]


def sparsity_case(rng):
    remove, of = PATTERNS[rng.integers(4)]
    o = dict(fraction=float(rng.choice([0, .3, .5, .8])), remove=remove, of=of)
    return o, int(rng.choice([8, 40, 96, 256])) if of else None


def sparsegpt_case(rng):
    o, columns = sparsity_case(rng)
    o |= dict(block=int(rng.choice([16, 128])), damping=.01)
    w, x = problem(rng, columns)
    if rng.integers(2):
        o |= dict(bits=int(rng.choice([3, 4, 8])), grid=0, group=0,
                  symmetric=int(rng.integers(2)))
        # A grid whose range is not at both sides of 0 has no exact 0.
        w[:, :1] = -np.abs(w[:, :1]) - np.float32(.01)
    return o, dict(weight=w, hessian=common.hessian(x))


def sparsegpt_check(o, arrays, found, found32, counts):
    w, h = arrays["weight"], arrays["hessian"]
    r = sparsegpt.sparsegpt(w, h, o["fraction"], o["remove"], o["of"],
                            o["block"], o["damping"], o.get("bits"),
                            bool(o.get("symmetric")))
    expect(np.array_equal(found["mask"], r["mask"]), "masks differ")
    close = np.isclose(found["weight"], r["W"], rtol=1e-7, atol=1e-9)
    if o.get("bits") and not close.all():
        # Another code at a tie changes what follows in its row.
        scale = common.grid_gptq(w, o["bits"], bool(o["symmetric"]))[0]
        for row in np.flatnonzero(~close.all(1)):
            first = np.argmin(close[row])
            step = (found["weight"] - r["W"])[row, first] / scale[row, 0]
            expect(abs(abs(step) - 1) < 1e-6, f"row {row} differs by {step}")
        counts["ties"] += int((~close.all(1)).sum())
    else:
        expect(close.all(), "weights differ")
    live = np.where(np.diag(h) == 0, 0, np.float64(w))
    loss = gptq.proxy_loss(live, r["W"], h)
    counts["codes"] += w.size
    counts["loss"] += loss
    counts["loss32"] += gptq.proxy_loss(live, np.float64(found32["weight"]), h)
    counts["reported32"] += found32["loss"][0]


# ----------------------------------------------------- Wanda and magnitude ----

def prune_case(rng):
    o, columns = sparsity_case(rng)
    w, x = problem(rng, columns)
    if rng.integers(2):
        return o, dict(weight=w)
    return o, dict(weight=w, mean_square=(np.float64(x) ** 2).mean(0))


def prune_check(o, arrays, found, found32, counts):
    w = arrays["weight"]
    if "mean_square" in arrays:
        sparse, mask = sparsegpt.wanda(w, None, o["fraction"], o["remove"],
                                       o["of"], arrays["mean_square"])
    else:
        sparse, mask = sparsegpt.magnitude(w, o["fraction"], o["remove"],
                                           o["of"])
    expect(np.array_equal(found["mask"], mask), "masks differ")
    expect(np.array_equal(found["weight"], np.float32(sparse)),
           "weights differ")
    if (o["remove"], o["of"]) == (2, 4):
        places = np.flatnonzero(~mask.reshape(-1)).reshape(len(w), -1)
        expect(np.array_equal(found["positions"], places % 4), "positions")
        expect(np.array_equal(found["values"], w.reshape(-1)[places]), "values")
        expect(np.array_equal(found["decompressed"], found["weight"]),
               "decompressed")
    counts["codes"] += w.size


# --------------------------------------------------------------------- AWQ ----

def awq_case(rng):
    columns = int(rng.choice([8, 64, 128]))
    o = dict(bits=int(rng.choice([2, 3, 4, 8])), grid=1, symmetric=int(
        rng.random() < .3), group=int(rng.choice([0, 8, columns])),
        form=int(rng.integers(2)))
    _, x = problem(rng, columns)
    arrays = {f"weight{i}": weight(rng, int(rng.choice([1, 16, 70])), columns)
              for i in range(rng.integers(1, 4))}
    return o, arrays | dict(samples=x, mean_absolute=np.abs(
        np.float64(x)).mean(0))


def awq_check(o, arrays, found, found32, counts):
    weights = [a for k, a in arrays.items() if k.startswith("weight")]
    group = o["group"] or -1
    zero_point = not o["symmetric"]
    r = awq.search_scale(weights, arrays["samples"], o["bits"],
                         group, zero_point, duo=bool(o["form"]))
    losses = r["history"]
    expect(np.allclose(found["losses"], losses, rtol=1e-6, atol=1e-18),
           "losses differ")
    tied = np.sort(losses)[1] - losses.min() <= 1e-9 * losses.min()
    if found["ratio"][0] != r["ratio"]:
        expect(tied, f"ratio {found['ratio'][0]}, not {r['ratio']}")
        counts["ties"] += 1
    else:
        expect(np.allclose(found["scales"], r["scale"], rtol=1e-12, atol=0),
               "scales differ")
    counts["codes"] += len(losses)
    counts["loss"] += losses.min()
    counts["loss32"] += found32["losses"].min()


def clip_case(rng):
    columns = int(rng.choice([8, 64, 128]))
    o = dict(bits=int(rng.choice([2, 3, 4])), grid=1, group=int(
        rng.choice([0, 8])), symmetric=int(rng.random() < .3),
        sampled=int(rng.choice([16, 512])))
    w, x = problem(rng, columns)
    return o, dict(weight=w, samples=x)


def clip_check(o, arrays, found, found32, counts):
    w, x = arrays["weight"], arrays["samples"]
    group = o["group"] or w.shape[1]
    clips = awq.search_clip(w, x, o["bits"], group, not o["symmetric"],
                            n_sample_token=o["sampled"])[:, :, 0]
    differ = ~np.isclose(found["clips"], clips, rtol=1e-12, atol=0)
    # Two candidates may be as good as each other, but for rounding.
    for row, g in np.argwhere(differ):
        part = w[row, g * group:(g + 1) * group].astype(float)
        tokens = x[::max(1, len(x) // o["sampled"]),
                   g * group:(g + 1) * group].astype(float)

        def error(bound):
            cut = np.clip(part, -bound, bound)[None]
            q = awq.pseudo_quant(cut, o["bits"], group, not o["symmetric"])[0]
            return ((tokens @ (q[0] - part)) ** 2).mean()
        a, b = error(found["clips"][row, g]), error(clips[row, g])
        expect(abs(a - b) <= 1e-9 * max(a, b) + 1e-24,
               f"clips of row {row}, group {g} differ: {a} and {b}")
    counts["ties"] += int(differ.sum())
    counts["codes"] += differ.size
    bounds = np.repeat(found["clips"], group, 1)
    expect(np.array_equal(found["weight"], np.float32(np.clip(
        w.astype(float), -bounds, bounds))), "clipped weights differ")


# ------------------------------------------------------------- SmoothQuant ----

def smooth_case(rng):
    columns = int(rng.choice([1, 40, 96]))
    _, x = problem(rng, columns)
    arrays = {f"weight{i}": weight(rng, int(rng.choice([1, 16, 70])), columns)
              for i in range(rng.integers(1, 4))}
    return dict(alpha=float(rng.choice([0, .25, .5, .85, 1]))), arrays | dict(
        samples=x, input_max=np.abs(x).max(0))


def smooth_check(o, arrays, found, found32, counts):
    weights = [a for k, a in arrays.items() if k.startswith("weight")]
    s = smoothquant.smooth_scales(arrays["input_max"], weights, o["alpha"])
    expect(np.allclose(found["scales"], s, rtol=1e-13, atol=0), "scales differ")
    x = np.float64(arrays["samples"])

    def loss(s):
        errors = [x @ np.float64(w).T - smoothquant.w8a8_linear(x / s, w * s)
                  for w in weights]
        return (np.concatenate(errors, 1) ** 2).mean()
    expect(np.isclose(found["unsmoothed"], loss(np.ones(x.shape[1])),
                      rtol=1e-9, atol=1e-18), "loss without smoothing")
    alphas = np.arange(11) / 10
    losses = [loss(smoothquant.smooth_scales(arrays["input_max"], weights, a))
              for a in alphas]
    expect(np.allclose(found["losses"], losses, rtol=1e-9, atol=1e-18),
           f"losses are {found['losses']}, not {losses}")
    if found["alpha"][0] != alphas[np.argmin(losses)]:
        expect(np.sort(losses)[1] <= (1 + 1e-9) * min(losses) + 1e-18,
               "alpha differs")
        counts["ties"] += 1
    counts["codes"] += s.size
    counts["loss"] += min(losses)
    counts["loss32"] += found32["losses"].min()


# ----------------------------------------------------------------- Hessian ----

def hessian_case(rng):
    tokens = int(rng.choice([1, 100, 600, 1300]))
    columns = int(rng.choice([1, 40, 300, 600]))
    x = inputs(rng, tokens, columns, columns // 10)
    arrays = dict(inputs=x)
    if rng.integers(2):
        arrays["float_inputs"] = x + np.float32(
            .1 * rng.standard_normal(x.shape))
    o = dict(batch=int(rng.choice([1, 37, 512, 5000])))
    if rng.integers(2):
        o["cut"] = tokens // 2
    return o, arrays


def hessian_check(o, arrays, found, found32, counts):
    x = np.float64(arrays["inputs"])
    h = common.hessian(x)
    expect(np.allclose(found["hessian"], h, rtol=1e-10, atol=1e-12), "Hessian")
    expect(np.array_equal(found["hessian"], found["hessian"].T), "symmetry")
    size = np.sqrt(np.outer(np.diag(h), np.diag(h))) + 1e-30
    expect(np.all(np.abs(found32["hessian"] - h) <= 1e-5 * size), "float32")
    expect(np.allclose(found["mean_absolute"], np.abs(x).mean(0)), "mean")
    expect(np.allclose(found["mean_square"], (x ** 2).mean(0)), "mean square")
    expect(np.array_equal(found["absolute_max"], np.abs(arrays["inputs"]).max(
        0)), "maximum")
    expect(found["tokens"][0] == len(x), "tokens")
    if "cross" in found:
        difference = np.float64(arrays["float_inputs"]) - x
        expect(np.allclose(found["cross"], 2 / len(x) * difference.T @ x,
                           rtol=1e-9, atol=1e-9), "cross moment")
    counts["codes"] += h.size


# -------------------------------------------------------------------- main ----

METHODS = {
    "gptq": (gptq_case, gptq_check, 160),
    "sparsegpt": (sparsegpt_case, sparsegpt_check, 60),
    "prune": (prune_case, prune_check, 60),
    "awq": (awq_case, awq_check, 30),
    "clip": (clip_case, clip_check, 30),
    "smooth": (smooth_case, smooth_check, 20),
    "hessian": (hessian_case, hessian_check, 20),
}


def run(tool, folder, cases, threads):
    source, target = (os.path.join(folder, n) for n in ("in.npz", "out.npz"))
    np.savez(source, **{f"{name}/{key}": np.asarray(value)
                        for name, (o, arrays) in cases.items()
                        for key, value in (o | arrays).items()})
    subprocess.run([tool, source, target, str(threads)], check=True)
    results = {name: {} for name in cases}
    with np.load(target) as file:
        for key in file.files:
            name, part = key.split("/")
            results[name][part] = file[key]
    with open(target, "rb") as file:
        return results, file.read()


def main():
    tool = sys.argv[1]
    rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 7)
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for method, (make, check, number) in METHODS.items():
            cases = {f"{method}:{i}": make(rng) for i in range(number)}
            halves = {n: (o | dict(float32=1), a) for n, (o, a) in
                      cases.items()}
            found, image = run(tool, folder, cases, 1)
            for threads in (2, 3):
                if run(tool, folder, cases, threads)[1] != image:
                    sys.exit(f"FAIL {method}: {threads} threads give other "
                             "bytes than one")
            found32, image32 = run(tool, folder, halves, 1)
            if run(tool, folder, halves, 3)[1] != image32:
                sys.exit(f"FAIL {method}: float32, 3 threads, other bytes")
            counts = dict(codes=0, ties=0, loss=0., loss32=0., reported32=0.)
            for name, (o, arrays) in cases.items():
                try:
                    expect("failed" not in found[name], "the method failed")
                    check(o, arrays, found[name], found32[name], counts)
                except Mismatch as error:
                    shape = next(iter(arrays.values())).shape
                    print(f"FAIL {name} {shape} {o}: {error}")
                    failures += 1
            text = f"{method}: {number} problems, {counts['codes']} results " \
                   f"equal, {counts['ties']} ties"
            for key in ("loss32", "reported32"):
                if counts[key]:
                    ratio = counts[key] / counts["loss"] - 1
                    text += f", {key} {ratio:+.1e}"
                    if abs(ratio) > 1e-3:
                        print(f"FAIL {method}: {key} is off by {ratio:.1e}")
                        failures += 1
            print(text)
    print(f"{sum(m[2] for m in METHODS.values())} problems, "
          f"{failures} failures")
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
