"""usage: errors.py FOLDER

Runs the tools on what a user can get wrong. Each case must end with the exit code
that is due, and its last line on stderr must be `error: ...` and say what the
case lists: what was expected, what was found, or what to do. A failed run leaves
no file behind that looks like a result."""

import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

root = pathlib.Path(__file__).resolve().parents[3]
MODEL = str(root / "examples" / "stories260K" / "model.onnx")
TOKENS = str(root / "examples" / "stories260K" / "eval.npy")
DIMS = ["--dim", "batch=1..2", "--dim", "sequence=1..64"]

folder = pathlib.Path(sys.argv[1])
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)
os.chdir(folder)
failures = 0
cases = 0


def expect(code, parts, *command, absent=None, **how):
    """`how` goes to subprocess.run."""
    global failures, cases
    cases += 1
    how = {"capture_output": True, **how}
    result = subprocess.run(command, text=True, **how)
    lines = result.stderr.rstrip("\n").split("\n")
    problems = []
    if result.returncode != code:
        problems.append(f"exit code {result.returncode}, expected {code}")
    if not lines[-1].startswith("error: "):
        problems.append("the last line is not 'error: ...'")
    problems += [f"{p!r} is not named" for p in parts if p not in lines[-1]]
    if absent and os.path.exists(absent):
        problems.append(f"{absent} was left behind")
    left = [n for n in os.listdir(".") if ".tmp" in n or n.startswith(".")]
    problems += [f"{name} was left behind" for name in left]
    if problems:
        failures += 1
        print(" ".join(command), *problems, result.stderr, sep="\n  ")


def inputs(**arrays):
    """--input options for the model's three inputs, with changes."""
    ids = np.full((1, 4), 5, np.int64)
    given = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.arange(4)[None],
    }
    given.update(arrays)
    options = []
    for name, array in given.items():
        np.save(f"{name}.npy", array)
        options += ["--input", f"{name}={name}.npy"]
    return options


subprocess.run(["quant-compile", "-q", MODEL, *DIMS, "-o", "m.nbl"], check=True)

# Files.
expect(1, ["none.onnx"], "quant-compile", "none.onnx", "-o", "x.nbl")
expect(1, ["none.nbl"], "quant-run", "none.nbl", "--inspect")
expect(1, ["none.nbl"], "quant-eval", "none.nbl", "--tokens", TOKENS)
expect(1, ["none.npy"], "quant-eval", "m.nbl", "--tokens", "none.npy")
expect(1, ["none.npy"], "quant-run", "m.nbl", "--input", "input_ids=none.npy")
pathlib.Path("text.onnx").write_text("this is no model")
expect(1, [], "quant-compile", "text.onnx", "-o", "x.nbl", absent="x.nbl")
pathlib.Path("empty.onnx").write_text("")
expect(1, [], "quant-compile", "empty.onnx", "-o", "x.nbl", absent="x.nbl")
pathlib.Path("text.mlir").write_text("func.func @")
expect(1, [], "quant-compile", "text.mlir", "-o", "x.nbl", absent="x.nbl")
pathlib.Path("text.nbl").write_text("this is no bundle")
expect(1, ["text.nbl"], "quant-run", "text.nbl", "--inspect")
expect(1, [], "quant-compile", MODEL, *DIMS, "-o", "no/such/folder/x.nbl")
expect(1, ["none.model"], "quant-compile", MODEL, *DIMS, "--tokenizer",
       "none.model", "-o", "x.nbl", absent="x.nbl")

# Options.
expect(2, ["--no-such-flag"], "quant-compile", MODEL, "--no-such-flag",
       "-o", "x.nbl")
expect(2, [], "quant-compile", MODEL)
expect(2, [], "quant-compile")
expect(2, [], "quant-run")
expect(2, ["--tokens"], "quant-eval", "m.nbl")
expect(2, ["--context"], "quant-eval", "m.nbl", "--tokens", TOKENS,
       "--context", "1")
expect(2, ["nope", "w4a16-rtn"], "quant-compile", MODEL, *DIMS,
       "--recipe=nope", "-o", "x.nbl", absent="x.nbl")
expect(2, ["z80", "x86-64-v3"], "quant-compile", MODEL, *DIMS,
       "--target=z80", "-o", "x.nbl", absent="x.nbl")
expect(2, ["batch"], "quant-compile", MODEL, "--dim", "batch=4..1",
       "-o", "x.nbl", absent="x.nbl")
expect(2, [], "quant-compile", MODEL, *DIMS, "--quantize-head=9",
       "--recipe=w4a16-rtn", "-o", "x.nbl", absent="x.nbl")
expect(2, ["float32", "--recipe"], "quant-compile", MODEL, *DIMS,
       "--quantize-head=8", "-o", "x.nbl", absent="x.nbl")

# The model.
expect(1, ["--dim", "sequence"], "quant-compile", MODEL, "--dim", "batch=1..2",
       "-o", "x.nbl", absent="x.nbl")
expect(1, ["expects to quantize at least one layer"], "quant-compile", MODEL,
       *DIMS, "--recipe=w4a16-rtn", "--include=no-such-layer", "-o", "x.nbl",
       absent="x.nbl")
expect(1, ["("], "quant-compile", MODEL, *DIMS, "--recipe=w4a16-rtn",
       "--include=(", "-o", "x.nbl", absent="x.nbl")

# Inputs of a run.
run = ["quant-run", "m.nbl", "-o", "x.npz"]
expect(1, ["input_ids", "si64"], *run,
       *inputs(input_ids=np.zeros((1, 4), np.float32)), absent="x.npz")
expect(1, ["input_ids"], *run, *inputs(input_ids=np.zeros(4, np.int64)),
       absent="x.npz")
expect(1, ["sequence"], *run, *inputs(attention_mask=np.ones((1, 5), np.int64)),
       absent="x.npz")
expect(1, ["512"], *run,
       *inputs(input_ids=np.array([[1, 2, 512, 3]], np.int64)), absent="x.npz")
expect(1, ["-513"], *run,
       *inputs(input_ids=np.array([[1, 2, -513, 3]], np.int64)), absent="x.npz")
wide = np.ones((1, 65), np.int64)
expect(1, ["64"], *run,
       *inputs(input_ids=wide, attention_mask=wide, position_ids=wide),
       absent="x.npz")
tall = np.ones((3, 4), np.int64)
expect(1, ["2"], *run,
       *inputs(input_ids=tall, attention_mask=tall, position_ids=tall),
       absent="x.npz")
expect(1, ["input_ids"], *run, *inputs()[2:], absent="x.npz")
expect(1, ["nothing"], *run, *inputs(nothing=np.zeros(1)), absent="x.npz")

# Tokens of an evaluation.
for name, array, parts in (
    ("high", np.array([[1, 2, 512]]), ["0..511", "512", "row 0, column 2"]),
    ("low", np.array([[1, -1, 2]]), ["0..511", "-1", "row 0, column 1"]),
    ("floats", np.zeros((2, 4), np.float32), ["integer tokens", "2x4xf32"]),
    ("flat", np.zeros(4, np.int64), ["[sequences, length]", "4xsi64"]),
    ("single", np.zeros((3, 1), np.int64), ["two tokens"]),
    ("none", np.zeros((0, 8), np.int64), ["at least one row"]),
):
    np.save("tokens.npy", array)
    expect(1, parts, "quant-eval", "m.nbl", "--tokens", "tokens.npy")
expect(1, ["--context", "64", "65"], "quant-eval", "m.nbl", "--tokens", TOKENS,
       "--context", "65")

# A disk that is full: writes fail after 64 KiB (Python ignores SIGXFSZ, and so do
# its children with restore_signals=False).
def full_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))


full = {"preexec_fn": full_disk, "restore_signals": False}
expect(1, ["cannot write"], "quant-compile", MODEL, *DIMS, "-o", "full.nbl",
       absent="full.nbl", **full)
expect(1, ["cannot write"], "quant-compile", MODEL, *DIMS, "--emit=exe", "-o",
       "full", absent="full", **full)
many = np.ones((2, 64), np.int64)
expect(1, ["full.npz"], "quant-run", "m.nbl", "-o", "full.npz",
       *inputs(input_ids=many, attention_mask=many, position_ids=many),
       absent="full.npz", **full)
with open("/dev/full", "w") as device:
    expect(1, ["standard output"], "quant-eval", "m.nbl", "--tokens", TOKENS,
           "--rows", "1", capture_output=False, stdout=device,
           stderr=subprocess.PIPE)


# A folder that may only be read: root writes anywhere unless it drops the
# capability to.
unprivileged = (["setpriv", "--inh-caps=-dac_override",
                 "--bounding-set=-dac_override"] if os.geteuid() == 0 else [])
os.mkdir("locked", 0o555)
expect(1, ["locked/x.nbl"], *unprivileged, "quant-compile", MODEL, *DIMS, "-o",
       "locked/x.nbl", absent="locked/x.nbl")
expect(1, ["locked/x.npz"], *unprivileged, "quant-run", "m.nbl", *inputs(),
       "-o", "locked/x.npz", absent="locked/x.npz")

# A processor that lacks something, as far as it can be made to look like one.
lesser = {"env": {**os.environ, "NIBBLE_CPU_WITHOUT": "avx2,fma"}}
for command in (["quant-run", "m.nbl", *inputs()],
                ["quant-eval", "m.nbl", "--tokens", TOKENS]):
    expect(1, ["this processor cannot run the bundle's code (x86-64-v3: lacks avx2, "
               "fma", "); compile it for this processor"], *command, **lesser)


# Memory that ends, at whichever place: a message, or a run that needs no more.
def outcome(command, kibibytes):
    """Exit code and last line; None where the program did not even load."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (kibibytes << 10, kibibytes << 10))

    # Without memory for its threads OpenBLAS interrupts the process, or waits for
    # them for ever; one thread needs none.
    result = subprocess.run(command, capture_output=True, text=True,
                            preexec_fn=limit, timeout=60,
                            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    if "error while loading shared libraries" in result.stderr:
        return None
    return result.returncode, result.stderr.rstrip("\n").split("\n")[-1]


for limits, command in (
    (range(7000, 14000, 250), ["quant-run", "m.nbl", *inputs(), "-o", "mem.out"]),
    (range(340000, 800000, 3000), ["quant-compile", "-q", MODEL, *DIMS, "-o", "mem.out"]),
    (range(340000, 800000, 3000), ["quant-import", MODEL, "-o", "mem.out"]),
):
    codes = []
    for kibibytes in limits:
        if codes.count(0) == 3:
            break
        pathlib.Path("mem.out").unlink(missing_ok=True)
        found = outcome(command, kibibytes)
        if found is None:
            continue
        cases += 1
        code, line = found
        codes.append(code)
        if code == 0 and os.path.exists("mem.out"):
            continue
        if code != 1 or not line.startswith("error: ") or os.path.exists("mem.out"):
            failures += 1
            print(f"{kibibytes} KiB: {' '.join(command)}: exit code {code}\n  {line}")
    if 1 not in codes:
        failures += 1
        print(f"{command[0]}: expected a run without enough memory, found none")

# Ctrl-C, at any time: exit code 1, and nothing left behind, nor in TMPDIR. Tests
# may run with interrupts ignored, as nohup does it, which is inherited.
os.mkdir("interrupted")
os.mkdir("interrupted/tmp")
caught = 0
for wait in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9):
    process = subprocess.Popen(
        ["quant-compile", "-q", MODEL, *DIMS, "-o", "interrupted/x.nbl"],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "TMPDIR": str(folder.resolve() / "interrupted/tmp")})
    time.sleep(wait)
    # To the whole group, as the terminal does.
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    line = process.communicate()[1].rstrip("\n").split("\n")[-1]
    if process.returncode == 0:
        os.remove("interrupted/x.nbl")
        continue
    # Before main, there is nobody to say anything.
    if process.returncode == -signal.SIGINT and wait == 0.05:
        continue
    cases += 1
    caught += 1
    # The interrupt may come when all is done but the end of the process.
    result = pathlib.Path("interrupted/x.nbl")
    if result.exists() and result.read_bytes() == pathlib.Path("m.nbl").read_bytes():
        result.unlink()
    # The helper that makes code ends a moment after the compiler.
    for _ in range(40):
        left = [n for n in os.listdir("interrupted") + os.listdir("interrupted/tmp")
                if n != "tmp"]
        if not left:
            break
        time.sleep(0.05)
    if (process.returncode, line, left) != (1, "error: interrupted", []):
        failures += 1
        print(f"interrupted after {wait} s: exit code {process.returncode}, "
              f"{line!r}, left {left}")
if not caught:
    failures += 1
    print("expected to interrupt quant-compile, it was always faster")

print(f"{cases} cases, {failures} failures")
sys.exit(failures != 0)
