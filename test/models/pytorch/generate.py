# ===- generate.py - Models as PyTorch exports them -----------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
#
#   generate.py FOLDER [MODEL...]
#
# Small random models of Hugging Face's transformers, exported with torch.onnx:
# by TorchScript (names end in -tsN, N the opset) and by torch.export (-exN).
# Beside each model are inputs and the logits that PyTorch computes for them.
#
# The files in this folder were made with
#   torch==2.15.0 transformers==5.23.0 onnxscript==0.7.2 onnx==1.23.2
#
# ===--------------------------------------------------------------------=== #

import inspect
import os
import pathlib
import sys
import tempfile
import types

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import transformers

WIDTH, HIDDEN, VOCABULARY, CONTEXT = 24, 40, 83, 32
# batch, tokens, padded tokens at the end of the last row
RUNS = [(2, 7, 2), (1, 12, 0)]


def decoder(family, **choices):
    common = dict(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=HIDDEN,
        max_position_embeddings=CONTEXT,
        pad_token_id=0,
    )
    config = getattr(transformers, family + "Config")(**{**common, **choices})
    return getattr(transformers, family + "ForCausalLM")(config)


def gpt2():
    sizes = dict(vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=4)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**sizes, n_positions=CONTEXT)
    )


def bert():
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=HIDDEN,
        max_position_embeddings=CONTEXT,
    )
    return transformers.BertForMaskedLM(config)


# A mixture of experts picks rows by data in transformers, which gives shapes
# that depend on data. What is exported instead computes all experts for all
# tokens: one after the other, or all at once with the stacked weights.


def experts_in_turn(self, x, chosen, weights):
    result = torch.zeros_like(x)
    for expert in range(self.num_experts):
        share = (weights * (chosen == expert)).sum(-1, keepdim=True)
        gate, up = F.linear(x, self.gate_up_proj[expert]).chunk(2, dim=-1)
        y = F.linear(self.act_fn(gate) * up, self.down_proj[expert])
        result = result + y * share
    return result


def experts_stacked(self, x, chosen, weights):
    shares = torch.zeros(x.shape[0], self.num_experts, dtype=x.dtype)
    shares = shares.scatter(1, chosen, weights.to(x.dtype))
    copies = x.unsqueeze(0).expand(self.num_experts, -1, -1)
    both = torch.bmm(copies, self.gate_up_proj.transpose(1, 2))
    gate, up = both.chunk(2, dim=-1)
    y = torch.bmm(self.act_fn(gate) * up, self.down_proj.transpose(1, 2))
    return (y * shares.t().unsqueeze(-1)).sum(0)


def mixture(family, forward, **choices):
    model = decoder(family, **choices)
    for module in model.modules():
        if type(module).__name__.endswith("Experts"):
            module.forward = types.MethodType(forward, module)
    return model


MODELS = {
    "llama": lambda: decoder("Llama"),
    "qwen2": lambda: decoder("Qwen2", num_key_value_heads=4),
    "qwen3": lambda: decoder("Qwen3", head_dim=20),
    "gemma2": lambda: decoder(
        "Gemma2", head_dim=16, sliding_window=4, query_pre_attn_scalar=16
    ),
    "phi3": lambda: decoder("Phi3", num_key_value_heads=4),
    "gpt2": gpt2,
    "opt": lambda: decoder("OPT", ffn_dim=HIDDEN, word_embed_proj_dim=WIDTH),
    "falcon": lambda: decoder("Falcon", multi_query=True, bias=False),
    "bert": bert,
    "mixtral": lambda: mixture(
        "Mixtral", experts_in_turn, num_local_experts=3, num_experts_per_tok=2
    ),
    "qwen3moe": lambda: mixture(
        "Qwen3Moe",
        experts_stacked,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        head_dim=20,
    ),
}

# Model, exporter and opset, type of weights and activations.
EXPORTS = [
    ("llama", "ts", 14, torch.float32),
    ("llama", "ex", 20, torch.float32),
    ("llama", "ex", 23, torch.float32),
    ("llama", "ts", 17, torch.float16),
    ("llama", "ex", 18, torch.bfloat16),
    ("qwen2", "ts", 16, torch.float32),
    ("qwen2", "ex", 23, torch.float16),
    ("qwen3", "ts", 18, torch.float32),
    ("qwen3", "ex", 20, torch.float32),
    ("gemma2", "ts", 17, torch.float32),
    ("gemma2", "ex", 18, torch.float32),
    ("phi3", "ts", 15, torch.float32),
    ("phi3", "ex", 21, torch.float32),
    ("gpt2", "ts", 16, torch.float32),
    ("gpt2", "ex", 18, torch.float32),
    ("opt", "ts", 14, torch.float32),
    ("opt", "ex", 18, torch.float32),
    ("falcon", "ts", 16, torch.float32),
    ("falcon", "ex", 22, torch.float32),
    ("bert", "ts", 14, torch.float32),
    ("bert", "ex", 18, torch.float32),
    ("mixtral", "ts", 17, torch.float32),
    ("mixtral", "ex", 20, torch.float32),
    ("qwen3moe", "ts", 18, torch.float32),
    ("qwen3moe", "ex", 20, torch.float32),
]


class Logits(torch.nn.Module):
    """The model as a function of tokens and mask."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.eval()
        accepted = inspect.signature(model.forward).parameters
        self.extra = {"use_cache": False} if "use_cache" in accepted else {}

    def forward(self, input_ids, attention_mask):
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, **self.extra
        ).logits


def inputs(batch, tokens, padded):
    ids = torch.randint(1, VOCABULARY, (batch, tokens))
    mask = torch.ones(batch, tokens, dtype=torch.int64)
    if padded:
        mask[-1, tokens - padded :] = 0
    return ids, mask


def stripped(model):
    """Without what only says where a node came from."""
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in [model.graph, *model.functions]:
        del graph.value_info[:], graph.metadata_props[:]
        graph.doc_string = ""
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        value.doc_string = ""
        del value.metadata_props[:]
    # Exporters repeat long names of nodes as names of values.
    graph = model.graph
    kept = {value.name for value in [*graph.input, *graph.output, *graph.initializer]}
    short = {}
    for node in graph.node:
        for values in (node.input, node.output):
            for i, name in enumerate(values):
                if name and name not in kept:
                    values[i] = short.setdefault(name, f"v{len(short)}")
    return model


def export(model, exporter, opset, path):
    example = inputs(2, 6, 1)
    names = dict(
        input_names=["input_ids", "attention_mask"], output_names=["logits"]
    )
    dims = ["batch", "sequence"]
    if exporter == "ts":
        axes = {name: dict(enumerate(dims)) for name in sum(names.values(), [])}
        torch.onnx.export(
            model, example, path, dynamo=False, opset_version=opset,
            dynamic_axes=axes, **names,
        )
    else:
        sizes = {i: torch.export.Dim(d, max=CONTEXT) for i, d in enumerate(dims)}
        shapes = {name: sizes for name in names["input_names"]}
        torch.onnx.export(
            model, example, path, dynamo=True, opset_version=opset,
            dynamic_shapes=shapes, external_data=False, **names,
        )


def generate(name, exporter, opset, dtype, folder):
    torch.manual_seed(len(name) * opset)
    model = MODELS[name]().eval()
    for parameter in model.parameters():
        # The initial weights are so small that every logit is nearly 0.
        parameter.data += 0.15 * torch.randn_like(parameter)
    model = Logits(model.to(dtype))
    short = {torch.float16: "-fp16", torch.bfloat16: "-bf16"}.get(dtype, "")
    path = folder / f"{name}{short}-{exporter}{opset}"
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        whole = os.path.join(scratch, "model.onnx")
        export(model, exporter, opset, whole)
        onnx.save(stripped(onnx.load(whole)), f"{path}.onnx")
        # Without rounding between the layers: what is stored is all that is
        # half.
        model = model.to(torch.float32)
        arrays = {}
        for number, run in enumerate(RUNS):
            ids, mask = inputs(*run)
            arrays[f"{number}.input_ids"] = ids.numpy()
            arrays[f"{number}.attention_mask"] = mask.numpy()
            arrays[f"{number}.logits"] = model(ids, mask).numpy()
        np.savez(f"{path}.npz", **arrays)
    print(path.name, os.path.getsize(f"{path}.onnx"), flush=True)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, exporter, opset, dtype in EXPORTS:
        if not sys.argv[2:] or name in sys.argv[2:]:
            generate(name, exporter, opset, dtype, folder)


main()
