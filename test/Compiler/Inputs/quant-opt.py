"""usage: quant-opt.py PIPELINE_FILE MODULE OUTPUT: runs the pipeline of a file."""

import subprocess
import sys

with open(sys.argv[1]) as file:
    pipeline = file.read().strip()
subprocess.run(
    ["quant-opt", sys.argv[2], f"--pass-pipeline={pipeline}", "-o", sys.argv[3]],
    check=True,
)
