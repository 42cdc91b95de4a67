"""Compares what --verify-stages reports with ONNX Runtime and the oracles.

usage: stages.py MODEL.onnx PROBES.npy REPORT.json REPORT.html
"""

import html.parser
import json
import os
import re
import sys
import xml.etree.ElementTree

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "..", "oracles"))
import common  # noqa: E402

model_path, probes_path, json_path, html_path = sys.argv[1:]
rows = json.load(open(json_path))
passes = {row["stage"]: row["pass"] for row in rows}
by_stage = {
    stage: {row["value"]: row for row in rows if row["stage"] == stage}
    for stage in passes
}


def stage_of(name):
    return by_stage[max(stage for stage, known in passes.items() if known == name)]


# What promises to preserve values does, and every layer is followed to the end.
for row in rows:
    if row["pass"] != "qmodel-quantize-rtn":
        assert row["preserving"], row
        assert row["added_rel_l2"] < 1e-6, row
        assert row.get("own_added_rel_l2", 0) < 1e-6, row
lowered = stage_of("qkernel-lower")
assert lowered["logits"]["layer"] == "main"
assert sum("own_rel_l2" in row for row in lowered.values()) == 37
assert lowered["m/layers.3/mlp/up_proj"]["layer"] == "layer_3"
# So is what lies between them, as far as steps give it to others.
attention = lowered["/m/layers.3/self_attn/Transpose_4"]
assert attention["op"] == "step.attention_transpose"
assert attention["layer"] == "layer_3"
assert sum(row.get("op") == "step.rms_norm" for row in lowered.values()) == 11

# Each layer's own error is that of its rounded weight on the input that ONNX
# Runtime gives it.
model = onnx.load(model_path)
weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
products = [
    node
    for node in model.graph.node
    if node.op_type == "MatMul" and node.input[1] in weights
]
inputs = sorted({node.input[0] for node in products})
for name in inputs:
    model.graph.output.append(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    )
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
session = onnxruntime.InferenceSession(
    model.SerializeToString(), options, providers=["CPUExecutionProvider"]
)
tokens = np.load(probes_path)
values = dict(
    zip(
        inputs,
        session.run(
            inputs,
            {
                "input_ids": tokens,
                "attention_mask": np.ones_like(tokens),
                "position_ids": np.tile(np.arange(tokens.shape[1]), (len(tokens), 1)),
            },
        ),
    )
)
quantized = stage_of("qmodel-quantize-rtn")
compared = 0
for node in products:
    id = node.name.strip("/").removesuffix("/MatMul").removeprefix("model/")
    found = [row for value, row in quantized.items() if value.endswith(id)]
    assert len(found) == 1, (id, list(quantized))
    weight = weights[node.input[1]].astype(np.float64).T
    x = values[node.input[0]].astype(np.float64)
    if id.endswith("lm_head"):
        expected = 0
    else:
        # 172 inputs are five groups and a part of one, as if padded with zeros.
        out, width = weight.shape
        padded = np.pad(weight, [(0, 0), (0, -width % 32)])
        rounded = common.rtn(padded, 4, sym=False, group_size=32)[0][:, :width]
        y = x @ weight.T
        expected = np.linalg.norm(x @ rounded.T - y) / np.linalg.norm(y)
    # Float32 scales move a code at a tie; nothing else differs.
    assert abs(found[0]["own_rel_l2"] - expected) <= 1e-3 * expected, (id, expected)
    compared += 1


class Page(html.parser.HTMLParser):
    """Nothing from elsewhere, and everything that is opened is closed."""

    open_tags, figures, titles, bars = [], 0, 0, 0

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe"), tag
        assert not any(name in ("src", "href") for name, _ in attrs)
        self.figures += tag == "figure"
        self.titles += tag == "title"
        self.bars += tag in ("rect", "circle")
        if tag not in ("meta", "br"):
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag, tag


page = Page()
with open(html_path) as file:
    text = file.read()
page.feed(text)
# Weights and inputs of eight layers; every mark says what it is.
assert not page.open_tags and page.figures == 16
assert text.count("weights, -") == 8 and text.count("inputs, -") == 8
assert page.titles == page.bars + 1 and page.bars > 500
drawings = re.findall("<svg.*?</svg>", text, re.S)
assert len(drawings) == 17
for drawing in drawings:
    xml.etree.ElementTree.fromstring(drawing)
for heading in "Passes", "Worst layers", "Error by layer", "Bits and bytes":
    assert f"<h2>{heading}" in text, heading
print(compared, "layers agree")
