# ===- gpu_bundle.py - Code for GPUs beside that for processors -----------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""usage: gpu_bundle.py CPU.nbl BOTH.nbl GPU.nbl REPORT.json

Text, logits and code of the processor are the same in a bundle with code for GPUs
and in one without; hashes are right; weights that are packed alike are in a file
once; and the report has every function of a cubin."""

import json
import subprocess
import sys


def run(*arguments):
    return subprocess.run(["quant-run", *arguments], check=True, text=True,
                          capture_output=True).stdout


def described(bundle):
    return json.loads(run(bundle, "--inspect", "--json"))


def main():
    alone, both, gpu, report = sys.argv[1:]
    for bundle in (alone, both, gpu):
        run(bundle, "--verify")
    texts = [run(bundle, "--generate", "--prompt", "Once upon a time",
                 "--max-tokens", "60", "--temperature", "0")
             for bundle in (alone, both)]
    assert texts[0] == texts[1] and texts[0], texts
    of_alone, of_both = described(alone), described(both)
    for key in ("entry_points", "dims", "layers", "variants"):
        assert of_alone[key] == of_both[key], key
    images = json.load(open(report))["cuda"]
    assert [image["target"] for image in images] == ["sm_90a", "compute_80"]
    for image in images:
        is_cubin = image["kind"] == "cubin"
        assert bool(image["functions"]) == is_cubin, image["kind"]
        for function in image["functions"]:
            assert 0 < function["registers"] <= 255, function
    assert images[1]["kind"] == "ptx"
    print("equal on the processor; cubins of",
          ", ".join(i["target"] for i in images if i["kind"] == "cubin") or "none")


if __name__ == "__main__":
    main()
