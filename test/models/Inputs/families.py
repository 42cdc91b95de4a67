# ===- families.py - The models of this test ------------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
# Every family with its own choices, and with several exporters' spellings. No
# two models share width, heads, vocabulary and opset, so that nothing fits one.
#
# ===--------------------------------------------------------------------=== #

from decoder import Config
from graph import Style


def models():
    llama = dict(kv_heads=2)
    qwen = dict(qkv_bias=True, kv_heads=2)
    gemma = dict(
        gain="one_plus", activation="gelu_tanh", tied=True, head=24, kv_heads=1
    )
    phi = dict(qkv="split", gate_up="split", rotary=0.5)
    gpt2 = dict(
        qkv="conv1d",
        norm="layer",
        positions="learned",
        activation="gelu_tanh",
        gated=False,
        tied=True,
        mask="buffer",
        biases=2,
    )
    opt = dict(
        bias=True,
        norm="layer",
        positions="cumulative",
        activation="relu",
        gated=False,
        tied=True,
        mask="expanded",
        scale="query",
    )
    falcon = dict(
        norm="layer",
        parallel=True,
        qkv="split",
        kv_heads=1,
        activation="gelu",
        gated=False,
    )
    bert = dict(
        norm="layer",
        post_norm=True,
        bias=True,
        positions="learned",
        segments=True,
        embedding_norm=True,
        activation="gelu",
        gated=False,
        mask="padding",
        biases=2,
        output="hidden",
    )
    plain = Style()
    odd = Style(swap=True, constant_nodes=True, anonymous=True)
    zeros = Style(swap=True, shapes="zeros")
    half = Style(weights="float16")
    integer = Style(weights="int8", swap=True)
    return [
        Config("llama", 1, 14, plain, 307, 64, 3, **llama),
        Config(
            "llama-past",
            2,
            17,
            odd,
            128,
            48,
            2,
            6,
            norm_form="reciprocal",
            rope_form="split",
            repeat="tile",
            scale="both",
            past=True,
            mask="where_infinite",
            **llama,
        ),
        Config(
            "llama-half-weights",
            3,
            18,
            half,
            97,
            32,
            rope_tables="gathered",
            scale="scores_mul",
            mask="where_scores",
            **llama,
        ),
        Config(
            "llama-interleaved",
            4,
            21,
            zeros,
            500,
            64,
            rope_form="interleaved",
            key_transpose="reshaped",
            norm_form="div_one",
            mask="trilu",
            past=True,
            **llama,
        ),
        Config("llama-integer-weights", 22, 16, integer, 160, 64, **llama),
        Config(
            "llama-float16",
            23,
            17,
            Style(half=True),
            180,
            64,
            tolerance=2e-2,
            mask="where_infinite",
            **llama,
        ),
        Config("qwen", 5, 15, zeros, 401, 96, 2, 6, **qwen),
        Config(
            "qwen-qk-norm",
            6,
            20,
            odd,
            223,
            64,
            3,
            head=32,
            qk_norm=True,
            norm_form="pow",
            scale="key",
            past=True,
            kv_heads=2,
        ),
        Config(
            "gemma",
            7,
            16,
            plain,
            1000,
            72,
            embedding_scale=72**0.5,
            norm_form="reciprocal",
            **gemma,
        ),
        Config(
            "gemma-past",
            8,
            20,
            odd,
            333,
            40,
            embedding_scale=40**0.5,
            norm_form="div_one",
            scale="query",
            past=True,
            **{**gemma, "activation": "gelu_tanh_op"},
        ),
        Config("phi3", 9, 13, plain, 250, 64, **{**phi, "rotary": 1.0}),
        Config(
            "phi-partial",
            10,
            19,
            odd,
            111,
            64,
            qkv_bias=True,
            past=True,
            rope_tables="gathered",
            **{**phi, "qkv": "slice"},
        ),
        Config(
            "rope-as-products", 11, 17, zeros, 130, 64, rope_form="products", **llama
        ),
        Config(
            "rope-before-transpose",
            12,
            17,
            plain,
            131,
            48,
            rope_form="before_transpose",
            past=True,
            **llama,
        ),
        Config("gpt2", 13, 13, plain, 300, 48, **gpt2),
        Config(
            "gpt2-past", 14, 17, odd, 257, 64, 3, past=True, norm_form="op",
            activation_form=1, **{**gpt2, "biases": 3}
        ),
        Config(
            "gpt2-triangle",
            15,
            18,
            zeros,
            97,
            32,
            **{**gpt2, "mask": "triu_infinite", "tied": False, "qkv": "three", "biases": 0},
        ),
        Config(
            "gpt2-weak-mask",
            24,
            15,
            odd,
            205,
            48,
            past=True,
            **{**gpt2, "mask": "buffer_weak", "biases": 0},
        ),
        Config(
            "gpt2-float-table",
            25,
            16,
            plain,
            205,
            32,
            past=True,
            **{**gpt2, "mask": "buffer_float", "qkv": "split", "biases": 0},
        ),
        Config(
            "gpt2-added-table",
            26,
            16,
            odd,
            205,
            32,
            past=True,
            **{**gpt2, "mask": "buffer_added", "qkv": "split", "biases": 0},
        ),
        Config(
            "opt-rank-3", 27, 14, zeros, 140, 48, attention_rank=3, past=True, **opt
        ),
        Config("opt", 16, 14, plain, 400, 56, **opt),
        Config(
            "opt-past", 17, 18, odd, 150, 64, norm_form="op", past=True,
            key_transpose="reshaped", **opt
        ),
        Config("falcon", 18, 16, zeros, 270, 64, **falcon),
        Config(
            "falcon-past",
            19,
            20,
            odd,
            203,
            96,
            3,
            past=True,
            norm_form="op",
            **{**falcon, "activation": "gelu_op"},
        ),
        Config("bert", 20, 14, plain, 350, 64, **bert),
        Config(
            "bert-boolean",
            21,
            17,
            odd,
            190,
            48,
            3,
            6,
            norm_form="op",
            activation_form=1,
            key_transpose="direct",
            **{**bert, "mask": "padding_boolean", "biases": 0},
        ),
    ]
