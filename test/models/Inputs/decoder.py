# ===- decoder.py - Small random language models --------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
# One transformer with the choices that families of models make, each in the
# spellings that exporters use. What a compiler should find is counted while the
# graph is written, so the expectation does not come from the compiler.
#
# ===--------------------------------------------------------------------=== #

import collections
import dataclasses

import ml_dtypes
import numpy as np
from graph import MICROSOFT, Graph, Style
from onnx import TensorProto


@dataclasses.dataclass
class Config:
    name: str
    seed: int
    opset: int = 17
    style: Style = dataclasses.field(default_factory=Style)

    vocabulary: int = 211
    width: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 0  # 0: as many as heads
    head: int = 0  # 0: width / heads
    hidden: int = 0  # 0: 2 * width
    context: int = 64  # length of stored tables

    past: bool = False  # takes and returns keys and values
    embedding_scale: float = 1.0
    tied: bool = False  # the head is the transposed embedding
    positions: str = "rope"  # rope, learned, cumulative, none
    position_ids: str = "input"  # or range: behind the past, for all rows alike
    segments: bool = False  # token types are embedded too
    embedding_norm: bool = False

    norm: str = "rms"  # rms, layer
    norm_form: str = "sqrt_div"  # or reciprocal, pow, div_one, op
    gain: str = "plain"  # or one_plus
    post_norm: bool = False
    parallel: bool = False  # attention and MLP read one norm

    bias: bool = False  # on every projection
    qkv_bias: bool = False
    qkv: str = "three"  # or split, slice, conv1d
    qk_norm: bool = False
    rope_form: str = "half"  # or split, interleaved, products, before_transpose,
    # operator, inside (of the attention operator)
    rotary: float = 1.0  # part of a head that is rotated
    rope_base: float = 100.0
    rope_tables: str = "computed"  # or gathered
    scale: str = "scores_div"  # or scores_mul, query, key, both
    key_transpose: str = "after"  # or direct, reshaped
    nan_guard: bool = False  # NaN after the softmax becomes 0
    attention: str = "spelled"  # or operator, group_query (com.microsoft)
    softcap: float = 0.0  # of the scores, with group_query
    window: int = -1  # of the keys that are seen, with group_query
    attention_rank: int = 4  # 3: products as torch.bmm has them
    repeat: str = "expand"  # of key and value heads; or tile
    mask: str = "where_lowest"  # see `mask`

    activation: str = "silu"  # gelu, gelu_tanh, gelu_op, gelu_tanh_op, relu
    activation_form: int = 0
    gated: bool = True
    gate_up: str = "two"  # or split
    experts: int = 0  # 0: one MLP for all tokens
    # Or stacked: weights of all in one tensor; or routed: each for its tokens.
    experts_form: str = "linears"
    shares: str = "scatter"  # of the chosen experts, or one_hot

    output: str = "logits"  # or hidden
    # How many of the attentions are expected to have a mask as a bias.
    biases: int = 0
    tolerance: float = 1e-3  # of the largest logit


class Decoder:
    def __init__(self, config):
        c = self.c = config
        self.g = Graph(c.seed, c.opset, c.style)
        self.kv_heads = c.kv_heads or c.heads
        self.head = c.head or c.width // c.heads
        self.rotated = int(self.head * c.rotary)
        self.lowest = float(ml_dtypes.finfo(self.g.float).min)
        self.found = collections.Counter()

    # Pieces that read alike in all families.

    def linear(self, x, inputs, outputs, bias=None):
        self.found["linear"] += 1
        y = self.g.matmul(x, self.g.weight((inputs, outputs)))
        has_bias = self.c.bias if bias is None else bias
        return self.g.add(y, self.g.vector(outputs)) if has_bias else y

    def norm(self, x, size):
        c, g = self.c, self.g
        self.found["rms_norm" if c.norm == "rms" else "layer_norm"] += 1
        epsilon = 1e-5
        gain = g.vector(size, 0.0 if c.gain == "one_plus" else 1.0)
        if c.norm_form == "simplified":
            extra = dict(axis=-1, epsilon=epsilon, stash_type=1)
            return g.node("SimplifiedLayerNormalization", x, gain, **extra)
        if c.norm == "rms" and c.norm_form == "op":
            return g.node("RMSNormalization", x, gain, axis=-1, epsilon=epsilon)
        if c.norm == "layer" and c.norm_form == "op":
            return g.node(
                "LayerNormalization", x, gain, g.vector(size), axis=-1, epsilon=epsilon
            )
        if c.norm == "layer":
            x = g.node("Sub", x, g.mean(x))
        if c.norm_form == "pow":
            square = g.mul(x, x)
        else:
            square = g.node("Pow", x, g.constant(2.0))
        sum_ = g.add(g.mean(square), g.constant(epsilon))
        if c.norm_form == "pow":
            y = g.mul(x, g.node("Pow", sum_, g.constant(-0.5)))
        else:
            root = g.node("Sqrt", sum_)
            if c.norm_form == "reciprocal":
                y = g.mul(x, g.node("Reciprocal", root))
            elif c.norm_form == "div_one":
                y = g.mul(x, g.node("Div", g.constant(1.0), root))
            else:
                y = g.node("Div", x, root)
        if c.gain == "one_plus":
            gain = g.add(gain, g.constant(1.0))
        y = g.mul(y, gain)
        return g.add(y, g.vector(size)) if c.norm == "layer" else y

    def activate(self, x):
        c, g, form = self.c, self.g, self.c.activation_form
        self.found["gated_activation" if c.gated else "activation"] += 1
        if c.activation == "silu":
            return g.mul(x, g.node("Sigmoid", x))
        if c.activation == "relu":
            return g.node("Relu", x)
        if c.activation.endswith("_op"):
            tanh = c.activation.startswith("gelu_tanh")
            return g.node("Gelu", x, approximate="tanh" if tanh else "none")
        if c.activation == "gelu":
            if form == 0:
                inner = g.node("Div", x, g.constant(np.sqrt(2.0)))
            else:
                inner = g.mul(x, g.constant(np.sqrt(0.5)))
            inner = g.node("Erf", inner)
        else:
            cube = (
                g.node("Pow", x, g.constant(3.0))
                if form == 0
                else g.mul(g.mul(x, x), x)
            )
            inner = g.add(x, g.mul(cube, g.constant(0.044715)))
            inner = g.node("Tanh", g.mul(inner, g.constant(np.sqrt(2 / np.pi))))
        one = g.add(inner, g.constant(1.0))
        if form == 0:
            return g.mul(g.mul(x, g.constant(0.5)), one)
        return g.mul(g.mul(x, one), g.constant(0.5))

    # Positions.

    def rope_table(self, positions):
        """cos and sin, [batch, sequence, rotated]."""
        c, g = self.c, self.g
        inverse = c.rope_base ** (-np.arange(0, self.rotated, 2) / self.rotated)
        if c.rope_form == "interleaved":
            join = lambda half: np.repeat(half, 2, axis=-1)
        elif c.rope_form in ("products", "operator", "inside"):
            join = lambda half: half
        else:
            join = lambda half: np.concatenate([half, half], -1)
        if c.rope_tables == "gathered":
            angle = join(np.outer(np.arange(c.context), inverse))
            tables = [g.initializer(f(angle).astype(g.float), "table") for f in (np.cos, np.sin)]
            if c.rope_form in ("operator", "inside"):
                self.positions = positions
                return tables
            return [g.node("Gather", table, positions, axis=0) for table in tables]
        if c.rope_tables == "product":
            # inv_freq [batch, r / 2, 1] times positions [batch, 1, seq], both
            # halves by Concat: what torch exports of transformers' module.
            column = g.constant(inverse[None, :, None])
            shape = [g.unsqueeze(g.size(positions, 0), 0), g.ints(-1), g.ints(1)]
            column = self.expand(column, g.node("Concat", *shape, axis=0), 3)
            row = g.cast(g.unsqueeze(positions, 1), g.float_type)
            angle = g.transpose(g.matmul(column, row), 0, 2, 1)
            angle = g.node("Concat", angle, angle, axis=-1)
            one = g.constant(1.0)
            return [g.mul(g.node("Cos", angle), one), g.mul(g.node("Sin", angle), one)]
        pos = g.unsqueeze(g.cast(positions, g.float_type), 2)
        angle = g.mul(pos, g.constant(join(inverse)[None, None]))
        return [g.node("Cos", angle), g.node("Sin", angle)]

    def expand(self, x, shape, rank):
        """torch's expand, in which -1 keeps a dimension: Expand wants 1."""
        g = self.g
        minus = g.node(
            "ConstantOfShape", g.ints(rank), value=numpy_tensor(np.array([-1], np.int64))
        )
        ones = g.node(
            "ConstantOfShape", g.ints(rank), value=numpy_tensor(np.array([1], np.int64))
        )
        keeps = g.node("Equal", shape, minus)
        return g.node("Expand", x, g.node("Where", keeps, ones, shape))

    def rotate_half(self, x, width):
        c, g = self.c, self.g
        if c.rope_form == "split":
            first, second = g.split(x, [width // 2, width // 2])
        elif c.rope_form == "interleaved":
            whole = x
            first = g.slice(x, 0, width, step=2)
            second = g.slice(x, 1, width, step=2)
            pair = g.node(
                "Concat",
                g.unsqueeze(g.node("Neg", second), -1),
                g.unsqueeze(first, -1),
                axis=-1,
            )
            return g.node("Reshape", pair, g.node("Shape", whole))
        elif c.rope_form == "computed":
            # x.shape[-1] // 2
            half = g.node("Div", g.size(x, 3), g.constant(2, np.int64))
            half = g.unsqueeze(g.cast(g.cast(half, TensorProto.INT64), TensorProto.INT64), 0)
            first = g.slice(x, 0, half, axis=3, step=1)
            second = g.slice(x, half, np.iinfo(np.int64).max, axis=3, step=1)
        else:
            first = g.last(x, 0, width // 2)
            second = g.last(x, width // 2, None)
        return g.node("Concat", g.node("Neg", second), first, axis=-1)

    def rope(self, x):
        c, g = self.c, self.g
        self.found["rope"] += 1
        rest = None
        if self.rotated < self.head:
            rest = g.last(x, self.rotated, None)
            x = g.last(x, 0, self.rotated)
        cos, sin = self.tables
        if c.rope_form == "operator":
            extra = {} if rest is None else {"rotary_embedding_dim": self.rotated}
            return g.node("RotaryEmbedding", x, cos, sin, self.positions, **extra)
        if c.rope_form == "products":
            a = g.last(x, 0, self.rotated // 2)
            b = g.last(x, self.rotated // 2, None)
            first = g.node("Sub", g.mul(a, cos), g.mul(b, sin))
            second = g.add(g.mul(b, cos), g.mul(a, sin))
            y = g.node("Concat", first, second, axis=-1)
        else:
            y = g.add(g.mul(x, cos), g.mul(self.rotate_half(x, self.rotated), sin))
        return g.node("Concat", y, rest, axis=-1) if rest else y

    # Masks. Rows are the new tokens, columns all tokens.

    def causal_condition(self, ids, total):
        """bool [sequence, total]: the column is not in the row's future."""
        g = self.g
        new = g.size(ids, 1)
        zero, one = g.constant(0, np.int64), g.constant(1, np.int64)
        columns = g.node("Range", zero, total, one)
        rows = g.node("Range", g.node("Sub", total, new), total, one)
        rows = g.unsqueeze(rows, 1)
        if self.g.random.integers(2):
            return g.node("LessOrEqual", columns, rows)
        return g.node("Not", g.node("Greater", columns, rows))

    def padding_condition(self, mask):
        """bool [batch, 1, 1, total]: the column is a token."""
        return self.g.unsqueeze(self.g.cast(mask, TensorProto.BOOL), 1, 2)

    def padding_sum(self, mask, hidden):
        """float [batch, 1, 1, total], added to scores: (1 - mask) * hidden."""
        g = self.g
        seen = g.cast(g.unsqueeze(mask, 1, 2), g.float_type)
        return g.mul(g.node("Sub", g.constant(1.0), seen), g.constant(hidden))

    def prepare_mask(self, ids, mask):
        """What all layers share of the mask."""
        c, g = self.c, self.g
        total = g.size(mask, 1)
        self.total, self.added, self.condition = total, [], None
        if c.mask in ("where_lowest", "where_infinite", "where_scores"):
            seen = g.node(
                "And",
                g.unsqueeze(self.causal_condition(ids, total), 0, 1),
                self.padding_condition(mask),
            )
            if c.mask == "where_scores":
                self.condition = (seen, -1e9)
                return
            hidden = self.lowest if c.mask == "where_lowest" else -np.inf
            self.added = [g.node("Where", seen, g.constant(0.0), g.constant(hidden))]
        elif c.mask == "none":
            pass
        elif c.mask == "padding":
            self.added = [self.padding_sum(mask, -10000.0)]
        elif c.mask == "padding_boolean":
            self.condition = (self.padding_condition(mask), -np.inf)
        elif c.mask == "buffer":
            # GPT-2: a stored triangle, cut to size, and padding to add.
            triangle = np.tril(np.ones((c.context, c.context), bool))[None, None]
            buffer = g.initializer(triangle, "buffer")
            start = g.unsqueeze(g.node("Sub", total, g.size(ids, 1)), 0)
            end = g.unsqueeze(total, 0)
            cut = g.slice(g.slice(buffer, start, end, axis=2), 0, end, axis=3)
            self.condition = (cut, self.lowest)
            self.added = [self.padding_sum(mask, -10000.0)]
        elif c.mask in ("buffer_weak", "buffer_float", "buffer_added"):
            # A stored triangle and no padding: replaced by -1e4 as GPT-2 has
            # it, compared with 0 as nanoGPT has it, or a table to add.
            ones = np.tril(np.ones((c.context, c.context)))[None, None]
            start = g.unsqueeze(g.node("Sub", total, g.size(ids, 1)), 0)
            end = g.unsqueeze(total, 0)
            if c.mask == "buffer_weak":
                ones = ones.astype(bool)
            elif c.mask == "buffer_float":
                ones = ones.astype(g.float)
            else:
                ones = np.where(ones, 0, -np.inf).astype(g.float)
            cut = g.initializer(ones, "buffer")
            cut = g.slice(g.slice(cut, 0, end, axis=3), start, end, axis=2)
            if c.mask == "buffer_added":
                self.added = [cut]
            elif c.mask == "buffer_weak":
                self.condition = (cut, -1e4)
            else:
                hidden = g.node("Equal", cut, g.constant(0.0))
                self.condition = (g.node("Not", hidden), -np.inf)
        elif c.mask == "trilu":
            # Lower triangle of ones, shifted by the past.
            new = g.size(ids, 1)
            shape = g.node("Concat", g.unsqueeze(new, 0), g.unsqueeze(total, 0), axis=0)
            one = g.node(
                "ConstantOfShape", shape, value=numpy_tensor(np.array([1], np.int64))
            )
            kept = g.node("Trilu", one, g.node("Sub", total, new), upper=0)
            seen = g.node(
                "And",
                g.unsqueeze(g.cast(kept, TensorProto.BOOL), 0, 1),
                self.padding_condition(mask),
            )
            self.condition = (seen, self.lowest)
        elif c.mask == "triu_infinite":
            # Without a past: -inf above the diagonal; no padding.
            new = g.unsqueeze(g.size(ids, 1), 0)
            shape = g.node("Concat", new, new, axis=0)
            low = g.node(
                "ConstantOfShape",
                shape,
                value=numpy_tensor(np.array([-np.inf], g.float)),
            )
            self.added = [g.node("Trilu", low, g.constant(1, np.int64), upper=1)]
        elif c.mask == "masked_fill":
            # transformers: the lowest number in the future, then wherever that
            # and the padding mask add to 0.
            future = g.node("Not", self.causal_condition(ids, total))
            low, zero = g.constant(self.lowest), g.constant(0.0)
            causal = g.unsqueeze(g.node("Where", future, low, zero), 0, 1)
            batch = g.unsqueeze(g.size(ids, 0), 0)
            shape = g.node("Concat", batch, g.ints(1), g.ints(-1), g.ints(-1), axis=0)
            causal = self.expand(causal, shape, 4)
            padding = g.cast(g.unsqueeze(mask, 1, 2), g.float_type)
            hidden = g.node("Equal", g.add(causal, padding), zero)
            self.added = [g.node("Where", hidden, low, causal)]
        elif c.mask == "expanded":
            # OPT, BLOOM: two float masks [batch, 1, sequence, total], added.
            shape = g.node(
                "Concat",
                g.unsqueeze(g.size(ids, 0), 0),
                g.ints(1),
                g.unsqueeze(g.size(ids, 1), 0),
                g.unsqueeze(total, 0),
                axis=0,
            )
            seen = g.node(
                "And", self.causal_condition(ids, total), self.padding_condition(mask)
            )
            seen = g.node("Expand", seen, shape)
            float_ = g.node("Sub", g.constant(1.0), g.cast(seen, g.float_type))
            self.added = [g.mul(float_, g.constant(self.lowest))]
        else:
            raise ValueError(c.mask)

    # Attention.

    def projections(self, x):
        """q, k, v as [batch, sequence, size]."""
        c, g = self.c, self.g
        sizes = [c.heads * self.head] + 2 * [self.kv_heads * self.head]
        bias = c.bias or c.qkv_bias
        if c.qkv == "three":
            return [self.linear(x, c.width, size, bias) for size in sizes]
        if c.qkv == "conv1d":
            whole = self.conv1d(x, c.width, sum(sizes))
        else:
            whole = self.linear(x, c.width, sum(sizes), bias)
        if c.qkv == "slice":
            ends = np.cumsum(sizes).tolist()
            return [g.last(whole, e - s, e) for s, e in zip(sizes, ends)]
        return g.split(whole, sizes)

    def conv1d(self, x, inputs, outputs):
        """GPT-2's layer: Gemm on rows."""
        g = self.g
        self.found["linear"] += 1
        rows = g.node("Reshape", x, g.ints(-1, inputs))
        y = g.node("Gemm", rows, g.weight((inputs, outputs)), g.vector(outputs))
        return g.reshape(y, [("of", x, 0), ("of", x, 1), outputs], like=x)

    def heads_of(self, x, heads):
        """[batch, sequence, heads, head]."""
        return self.g.reshape(x, [("of", x, 0), ("of", x, 1), heads, self.head])

    def repeated(self, x):
        """Each key or value head once for every query head that reads it."""
        c, g = self.c, self.g
        times = c.heads // self.kv_heads
        if times == 1:
            return x
        five = g.unsqueeze(x, 2)
        if c.repeat == "tile":
            five = g.node("Tile", five, g.ints(1, 1, times, 1, 1))
        else:
            parts = [
                g.unsqueeze(g.size(x, 0), 0),
                g.ints(self.kv_heads),
                g.ints(times),
                g.unsqueeze(g.size(x, 2), 0),
                g.ints(self.head),
            ]
            shape = g.node("Concat", *parts, axis=0)
            if c.repeat == "guarded":
                five = self.expand(five, shape, 5)
            else:
                five = g.node("Expand", five, shape)
        return g.reshape(
            five, [("of", x, 0), c.heads, ("of", x, 2), self.head], like=x
        )

    def transposed_keys(self, k):
        c, g = self.c, self.g
        if c.key_transpose != "reshaped":
            return g.transpose(k, 0, 1, 3, 2)
        flat = g.reshape(k, [-1, ("of", k, 2), self.head])
        flat = g.transpose(flat, 0, 2, 1)
        return g.reshape(flat, [("of", k, 0), c.heads, self.head, ("of", k, 2)], like=k)

    def attention(self, x, layer):
        c, g = self.c, self.g
        self.found["attention"] += 1
        q, k, v = self.projections(x)
        if c.attention == "group_query":
            return self.group_query(q, k, v, layer)
        q = self.heads_of(q, c.heads)
        k, v = (self.heads_of(t, self.kv_heads) for t in (k, v))
        if c.qk_norm:
            q, k = self.norm(q, self.head), self.norm(k, self.head)
        before = c.rope_form == "before_transpose"
        if c.positions == "rope" and before:
            q, k = self.rope(q), self.rope(k)
        if c.attention == "operator":
            return self.attention_operator(q, k, v, layer)
        direct = c.key_transpose == "direct"
        q, v = g.transpose(q, 0, 2, 1, 3), g.transpose(v, 0, 2, 1, 3)
        if not direct:
            k = g.transpose(k, 0, 2, 1, 3)
        if c.positions == "rope" and not before:
            q, k = self.rope(q), self.rope(k)
        if c.past:
            k, v = (self.with_past(t, layer, kind) for t, kind in ((k, "key"), (v, "value")))
        factor = self.head**-0.5
        if c.scale == "query":
            q = g.mul(q, g.constant(factor))
        elif c.scale == "both":
            q = g.mul(q, g.constant(factor**0.5))
        elif c.scale == "computed":
            # torch's scaled_dot_product_attention: from the shape, on both.
            size = g.cast(g.last(g.node("Shape", q), -1, None), g.float_type)
            root = g.node("Sqrt", g.node("Div", g.constant(1.0), g.node("Sqrt", size)))
            q = g.mul(q, root)
        if direct:
            keys = g.transpose(k, 0, 2, 3, 1)
        else:
            k, v = self.repeated(k), self.repeated(v)
            keys = self.transposed_keys(k)
        if c.scale == "key":
            keys = g.mul(keys, g.constant(factor))
        elif c.scale == "both":
            keys = g.mul(keys, g.constant(factor**0.5))
        elif c.scale == "computed":
            keys = g.mul(keys, root)
        if c.attention_rank == 3:
            scores = self.product_of_rank_3(q, keys, c.heads)
        else:
            scores = g.matmul(q, keys)
        if c.scale == "scores_div":
            scores = g.node("Div", scores, g.constant(1 / factor))
        elif c.scale == "scores_mul":
            scores = g.mul(scores, g.constant(factor))
        if self.condition:
            seen, hidden = self.condition
            scores = g.node("Where", seen, scores, g.constant(hidden))
        for term in self.added:
            scores = g.add(scores, term)
        weights = g.node("Softmax", scores, axis=-1)
        if c.nan_guard:
            nan = g.node("IsNaN", weights)
            weights = g.node("Where", nan, g.constant(0.0), weights)
        if c.attention_rank == 3:
            y = self.product_of_rank_3(weights, v, c.heads)
        else:
            y = g.matmul(weights, v)
        y = g.transpose(y, 0, 2, 1, 3)
        return self.output_projection(y)

    def product_of_rank_3(self, a, b, heads):
        """As torch.bmm is exported: batch and heads are one dimension."""
        g = self.g
        rows, columns = g.size(a, 2), g.size(b, 3)
        three = [
            g.node(
                "Reshape",
                x,
                g.node(
                    "Concat",
                    g.ints(-1),
                    g.unsqueeze(g.size(x, 2), 0),
                    g.unsqueeze(g.size(x, 3), 0),
                    axis=0,
                ),
            )
            for x in (a, b)
        ]
        shape = [
            g.unsqueeze(g.size(a, 0), 0),
            g.ints(heads),
            g.unsqueeze(rows, 0),
            g.unsqueeze(columns, 0),
        ]
        return g.node("Reshape", g.matmul(*three), g.node("Concat", *shape, axis=0))

    def attention_operator(self, q, k, v, layer):
        """ONNX's Attention, with queries in rank 4 and the past inside."""
        c, g = self.c, self.g
        q, k, v = (g.transpose(t, 0, 2, 1, 3) for t in (q, k, v))
        q, k = self.rope(q), self.rope(k)
        mask = self.condition[0] if self.condition else ""
        operands = [q, k, v, mask]
        names = [f"{layer}.key", f"{layer}.value"] if c.past else []
        for name in names:
            shape = ["batch", self.kv_heads, "past_sequence", self.head]
            operands.append(g.input(f"past_key_values.{name}", g.float_type, shape))
        results = g.node(
            "Attention",
            *operands,
            results=1 + len(names),
            is_causal=int(c.mask == "none"),
        )
        for name, value in zip(names, results[1:] if names else []):
            shape = ["batch", self.kv_heads, "past_sequence + sequence", self.head]
            g.output(value, f"present.{name}", shape)
        y = g.transpose(results[0] if names else results, 0, 2, 1, 3)
        return self.output_projection(y)

    def group_query(self, q, k, v, layer):
        """ONNX Runtime's operator: ropes, the past and lengths are inside."""
        c, g = self.c, self.g
        self.found["rope"] += 2
        operands = [q, k, v]
        for kind in ("key", "value"):
            shape = ["batch", self.kv_heads, "past_sequence", self.head]
            name = f"past_key_values.{layer}.{kind}"
            operands.append(g.input(name, g.float_type, shape))
        extra = {"softcap": c.softcap} if c.softcap else {}
        y, *present = g.node(
            "GroupQueryAttention",
            *operands,
            *self.lengths,
            *self.tables,
            results=3,
            domain=MICROSOFT,
            num_heads=c.heads,
            kv_num_heads=self.kv_heads,
            do_rotary=1,
            local_window_size=c.window,
            **extra,
        )
        for kind, value in zip(("key", "value"), present):
            shape = ["batch", self.kv_heads, "past_sequence + sequence", self.head]
            g.output(value, f"present.{layer}.{kind}", shape)
        return self.linear(y, c.heads * self.head, c.width)

    def output_projection(self, y):
        c, g = self.c, self.g
        width = c.heads * self.head
        y = g.reshape(y, [("of", y, 0), ("of", y, 1), width])
        if c.qkv == "conv1d":
            return self.conv1d(y, width, c.width)
        return self.linear(y, width, c.width)

    def with_past(self, x, layer, kind):
        name = f"past_key_values.{layer}.{kind}"
        self.g.input(
            name,
            self.g.float_type,
            ["batch", self.kv_heads, "past_sequence", self.head],
        )
        whole = self.g.node("Concat", name, x, axis=2)
        self.g.output(
            whole,
            f"present.{layer}.{kind}",
            ["batch", self.kv_heads, "past_sequence + sequence", self.head],
        )
        return whole

    # The MLP, a layer, the whole.

    def mlp(self, x):
        c, g = self.c, self.g
        hidden = c.hidden or 2 * c.width
        if c.experts:
            return self.mixture(x)
        if c.qkv == "conv1d":
            return self.conv1d(self.activate(self.conv1d(x, c.width, hidden)), hidden, c.width)
        if not c.gated:
            return self.linear(self.activate(self.linear(x, c.width, hidden)), hidden, c.width)
        if c.gate_up == "split":
            gate, up = g.split(self.linear(x, c.width, 2 * hidden), [hidden, hidden])
        else:
            gate, up = (self.linear(x, c.width, hidden) for _ in range(2))
        return self.linear(g.mul(self.activate(gate), up), hidden, c.width)

    def expert_shares(self, rows):
        """[tokens, experts]: what each expert gives to each token, two of them
        other than 0."""
        c, g = self.c, self.g
        scores = g.node("Softmax", self.linear(rows, c.width, c.experts, False), axis=-1)
        best, chosen = g.node("TopK", scores, g.ints(2), axis=-1, results=2)
        best = g.node("Div", best, g.sum(best, -1, keepdims=1))
        if c.shares == "scatter":
            zero = numpy_tensor(np.zeros(1, g.float))
            none = g.node("ConstantOfShape", g.node("Shape", scores), value=zero)
            return g.node("ScatterElements", none, chosen, best, axis=1)
        ones = g.constant(np.array([0, 1]))
        places = g.node("OneHot", chosen, g.constant(c.experts, np.int64), ones, axis=-1)
        return g.sum(g.mul(places, g.unsqueeze(best, -1)), 1, keepdims=0)

    def routed(self, rows, shares, hidden):
        """Each expert for the tokens that chose it: data decide how many."""
        c, g = self.c, self.g
        zero = numpy_tensor(np.zeros(1, g.float))
        total = g.node("ConstantOfShape", g.node("Shape", rows), value=zero)
        for expert in range(c.experts):
            share = g.slice(shares, expert, expert + 1)
            has_any = g.node("Greater", g.squeeze(share, -1), g.constant(0.0))
            tokens = g.squeeze(g.node("NonZero", has_any), 0)
            chosen = g.node("Gather", rows, tokens, axis=0)
            gate, up = (self.linear(chosen, c.width, hidden, False) for _ in range(2))
            y = self.linear(g.mul(self.activate(gate), up), hidden, c.width, False)
            y = g.mul(y, g.node("Gather", share, tokens, axis=0))
            total = g.node("ScatterND", total, g.unsqueeze(tokens, -1), y, reduction="add")
        return total

    def mixture(self, x):
        """All experts for all tokens, then the sum that a router weighs."""
        c, g = self.c, self.g
        hidden = c.hidden or c.width
        rows = g.node("Reshape", x, g.ints(-1, c.width))
        shares = self.expert_shares(rows)
        if c.experts_form == "stacked":
            self.found["linear"] += 2 * c.experts
            shape = [g.ints(c.experts), g.unsqueeze(g.size(rows, 0), 0), g.ints(c.width)]
            copies = g.node("Expand", g.unsqueeze(rows, 0), g.node("Concat", *shape, axis=0))
            both = g.matmul(copies, g.weight((c.experts, c.width, 2 * hidden), 0.2))
            gate, up = g.split(both, [hidden, hidden])
            y = g.matmul(
                g.mul(self.activate(gate), up),
                g.weight((c.experts, hidden, c.width), 0.2),
            )
            weighed = g.mul(y, g.unsqueeze(g.transpose(shares, 1, 0), -1))
            total = g.sum(weighed, 0, keepdims=0)
        elif c.experts_form == "routed":
            total = self.routed(rows, shares, hidden)
        else:
            total = None
            for expert in range(c.experts):
                gate, up = (self.linear(rows, c.width, hidden, False) for _ in range(2))
                y = self.linear(g.mul(self.activate(gate), up), hidden, c.width, False)
                y = g.mul(y, g.slice(shares, expert, expert + 1))
                total = g.add(total, y) if total else y
        return g.reshape(total, [("of", x, 0), ("of", x, 1), c.width], like=x)

    def layer(self, x, number):
        c, g = self.c, self.g
        g.scope = [f"layers.{number}"]
        if c.post_norm:
            x = self.norm(g.add(x, self.attention(x, number)), c.width)
            return self.norm(g.add(x, self.mlp(x)), c.width)
        if c.parallel:
            normed = self.norm(x, c.width)
            both = g.add(self.attention(normed, number), self.mlp(normed))
            return g.add(x, both)
        x = g.add(x, self.attention(self.norm(x, c.width), number))
        return g.add(x, self.mlp(self.norm(x, c.width)))

    def embed(self, ids, entries):
        self.found["embedding"] += 1
        table = self.g.stored(self.g.random.normal(size=(entries, self.c.width)))
        return self.g.node("Gather", table, ids, axis=0), table

    def build(self):
        c, g = self.c, self.g
        total = "past_sequence + sequence" if c.past else "sequence"
        ids = g.input("input_ids", TensorProto.INT64, ["batch", "sequence"])
        mask = g.input("attention_mask", TensorProto.INT64, ["batch", total])
        positions = None
        if c.positions in ("rope", "learned") and c.rope_form != "inside":
            if c.position_ids == "input":
                positions = g.input("position_ids", TensorProto.INT64, ["batch", "sequence"])
            else:
                end = g.size(mask, 1)
                start = g.node("Sub", end, g.size(ids, 1))
                positions = g.node("Range", start, end, g.constant(1, np.int64))
                positions = g.unsqueeze(positions, 0)
        x, table = self.embed(ids, c.vocabulary)
        if c.embedding_scale != 1:
            x = g.mul(x, g.constant(c.embedding_scale))
        if c.positions == "learned":
            x = g.add(x, self.embed(positions, c.context)[0])
        elif c.positions == "cumulative":
            # OPT: positions count the tokens that the mask shows.
            count = g.node("CumSum", mask, g.constant(1, np.int64))
            count = g.node("Sub", g.mul(count, mask), g.constant(1, np.int64))
            start = g.node("Sub", g.size(mask, 1), g.size(ids, 1))
            count = g.slice(count, g.unsqueeze(start, 0), np.iinfo(np.int64).max, axis=1)
            count = g.add(count, g.constant(2, np.int64))
            x = g.add(x, self.embed(count, c.context + 2)[0])
        if c.segments:
            segments = g.input("token_type_ids", TensorProto.INT64, ["batch", "sequence"])
            x = g.add(x, self.embed(segments, 2)[0])
        if c.embedding_norm:
            x = self.norm(x, c.width)
        if c.positions == "rope":
            axis = 2 if c.rope_form == "before_transpose" else 1
            self.tables = self.rope_table(positions)
            if c.rope_form not in ("operator", "inside"):
                self.tables = [g.unsqueeze(t, axis) for t in self.tables]
        if c.attention == "group_query":
            ones = g.sum(mask, 1, keepdims=0)
            last = g.node("Sub", ones, g.constant(1, np.int64))
            total = g.cast(g.size(mask, 1), TensorProto.INT32)
            self.lengths = [g.cast(last, TensorProto.INT32), total]
        self.prepare_mask(ids, mask)
        for number in range(c.layers):
            x = self.layer(x, number)
        g.scope = []
        if not c.post_norm:
            x = self.norm(x, c.width)
        if c.output == "hidden":
            g.output(x, "logits", ["batch", "sequence", c.width])
            return g.model()
        if c.tied:
            self.found["linear"] += 1
            logits = g.matmul(x, g.transpose(table, 1, 0))
        else:
            logits = self.linear(x, c.width, c.vocabulary, bias=False)
        g.output(logits, "logits", ["batch", "sequence", c.vocabulary])
        return g.model()


def numpy_tensor(array):
    from onnx import numpy_helper

    return numpy_helper.from_array(array)
