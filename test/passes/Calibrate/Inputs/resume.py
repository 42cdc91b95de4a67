# ===- resume.py - Runs that are ended, and go on -------------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""resume.py FOLDER KILLS: FOLDER has a model by make_model.py.

A run is killed at random moments, or its checkpoint is damaged, and started
again: the result must have the bytes of a run that nobody disturbed, or there
must be an error that says why not."""

import fcntl
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

LAYERS = 6
folder, kills = pathlib.Path(sys.argv[1]), int(sys.argv[2])
output, resume = folder / "out.nbl", folder / "out.nbl.resume"
checkpoint = resume / "0"


def command(
    *more, recipe="w4a16-gptq", data="calibration.npy", flag="--resume", threads=1
):
    return [
        "quant-compile",
        folder / "model.onnx",
        f"--recipe={recipe}",
        f"--data={folder / data}",
        "--dim=batch=1..4",
        "--dim=sequence=1..64",
        f"--threads={threads}",
        "-q",
        "-o",
        output,
        *([flag] if flag else []),
        *more,
    ]


def run(*more, **options):
    done = subprocess.run(command(*more, **options), capture_output=True, text=True)
    return done.returncode, done.stderr


def finished():
    """The layers that the folder has a list of."""
    return len(list(checkpoint.glob("layer-*.json")))


def taken(log):
    """How many layers a run says that it took."""
    line = re.search(r"layers @layer_0 to @layer_(\d+) are taken", log)
    return int(line[1]) + 1 if line else 0


def interrupt(layers, seconds=0):
    """Starts a run and kills it some time after it has finished `layers`."""
    process = subprocess.Popen(command(), stderr=subprocess.DEVNULL)
    while finished() < layers and process.poll() is None:
        time.sleep(0.001)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()


def expect(condition, what):
    if not condition:
        sys.exit(f"error: {what}")


def expect_same(what):
    """The run that went on is as good as one that was never ended."""
    expect(output.read_bytes() == whole, f"{what}: the bytes differ")
    expect(not resume.exists(), f"{what}: the folder is still there")
    output.unlink()


def put(state):
    shutil.rmtree(resume, ignore_errors=True)
    shutil.copytree(state, resume)


def expect_recovery(state, what, damage, warning):
    put(state)
    damage()
    code, log = run()
    expect(code == 0 and warning in log, f"{what}: exit {code}, {log}")
    expect_same(what)


def expect_error(state, what, damage, message, **options):
    put(state)
    damage()
    code, log = run(**options)
    last = log.strip().splitlines()[-1]
    expect(code == 1, f"{what}: exit {code}, {log}")
    expect(last.startswith("error: ") and message in last, f"{what}: {log}")


def flip(path):
    """Alters one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forge(path, change):
    """Alters a list, with a hash that fits."""
    lines = path.read_text().splitlines()
    content = json.loads("\n".join(lines[:-1]))
    change(content)
    text = json.dumps(content) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(f"{text}sha256 {digest}\n")


def forge_text(index, change):
    """Alters the text of a layer, with hashes that fit."""
    path = checkpoint / f"layer-{index}.mlir"
    path.write_text(change(path.read_text()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    forge(checkpoint / f"layer-{index}.json", lambda l: l.update(text=digest))


def kill_at_random(randomly, seconds):
    for number in range(kills):
        # By progress, so that a slow machine is not always killed at the start.
        interrupt(
            randomly.randrange(LAYERS + 1), randomly.uniform(0, seconds / LAYERS)
        )
        if output.exists():  # it was too late
            output.unlink()
            shutil.rmtree(resume, ignore_errors=True)
        before = finished()
        code, log = run()
        expect(code == 0, f"kill {number}: exit {code}, {log}")
        expect(taken(log) == before, f"kill {number}: {before} layers, {log}")
        if 0 < before < LAYERS:
            again = f"; @layer_{before}, which was not finished, is computed again"
            expect(again in log, f"kill {number}: {log}")
        expect_same(f"kill {number}")
        print(f"kill {number}: went on behind {before} layers")


def damage_everything(state):
    last = finished() - 1
    activations = f"activations-{last}"
    weight = next(iter(sorted((checkpoint / "weights").iterdir()))).name

    def flipped(name):
        return lambda: flip(checkpoint / name)

    for name in ("layer-1.mlir", "layer-0.json", f"weights/{weight}"):
        expect_recovery(state, name, flipped(name), "is not what was written")
    for name, damage in (
        (activations, flipped(activations)),
        ("truncated", lambda: os.truncate(checkpoint / activations, 100)),
        ("removed", lambda: (checkpoint / activations).unlink()),
    ):
        expect_recovery(state, name, damage, "the data pass the finished layers")
    expect_recovery(
        state,
        "empty list",
        lambda: (checkpoint / "layer-1.json").write_text(""),
        "is not what was written",
    )
    expect_error(state, "key", flipped("key"), "delete the folder")

    # With hashes that fit, what is in the files is looked at.
    path = checkpoint / f"layer-{last}.json"
    streams = lambda l: l["streams"][1][0]["values"][0]  # noqa: E731
    for what, change, message in (
        ("shape", lambda l: streams(l).update(shape=[1, 2]), None),
        ("negative", lambda l: streams(l).update(shape=[-1, 2]), None),
        ("offset", lambda l: streams(l).update(offset=2**62), None),
        ("type", lambda l: streams(l).update(type="f64"), None),
        ("values", lambda l: l["streams"][1][0].update(values=[]), "values to go on"),
        ("runs", lambda l: l["streams"][1].pop(), "batches"),
        ("streams", lambda l: l["streams"].pop(), "two streams"),
    ):
        put(state)
        forge(path, change)
        code, log = run()
        if message:
            expect(code == 1 and message in log, f"forged {what}: {code}, {log}")
        else:
            expect(code in (0, 1), f"forged {what}: {code}, {log}")
            if code == 0:
                expect_same(f"forged {what}")
    for what, change in (
        ("name", lambda text: text.replace("@layer_1", "@layer_7")),
        ("syntax", lambda text: text[: len(text) // 2]),
        ("weights", lambda text: text.replace("#qmodel.stored", "#qmodel.stor")),
        ("hashes", lambda text: re.sub(r'"[0-9a-f]{64}"', '"' + 64 * "0" + '"', text)),
    ):
        expect_error(
            state, f"text: {what}", lambda: forge_text(1, change), "delete the folder"
        )


def change_something(state):
    nothing = lambda: None  # noqa: E731
    changed = "to be of this run, got one with a changed"
    expect_error(state, "pipeline", nothing, f"{changed} pipeline", recipe="w4a16-gptaq")
    expect_error(state, "plan", nothing, f"{changed} plan", recipe="w3a16-gptq")
    np.save(folder / "other.npy", np.load(folder / "calibration.npy")[::-1])
    expect_error(state, "data", nothing, f"{changed} data", data="other.npy")
    put(state)
    code, log = run("--samples=8")
    expect(code == 1 and "number of samples ('0' there, '8' here)" in log, log)
    weights = (folder / "model.onnx.data").read_bytes()
    flip(folder / "model.onnx.data")
    expect_error(state, "model", nothing, f"{changed} model")
    (folder / "model.onnx.data").write_bytes(weights)
    forge(checkpoint / "key", lambda key: key.update({"version of Nibble": "0.0"}))
    code, log = run()
    expect(code == 1 and "changed version of Nibble ('0.0' there" in log, log)
    # What does not change codes is not part of it.
    put(state)
    expect(run(threads=2)[0] == 0, "threads")
    expect_same("threads")


def use_wrong_folders(state):
    put(state)
    with open(checkpoint / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, log = run()
    expect(code == 1 and "one process at a time" in log, f"lock: {code}, {log}")
    shutil.rmtree(resume)
    checkpoint.mkdir(parents=True)
    (checkpoint / "thesis.txt").write_text("mine")
    code, log = run()
    expect(code == 1 and "got a folder with 'thesis.txt'" in log, log)
    expect((checkpoint / "thesis.txt").exists(), "a file of others was deleted")
    # What somebody else put there stays, and the rest goes.
    put(state)
    (checkpoint / "thesis.txt").write_text("mine")
    expect(run()[0] == 0, "thesis")
    expect(os.listdir(checkpoint) == ["thesis.txt"], "not only the thesis is left")
    shutil.rmtree(resume)


output.unlink(missing_ok=True)
shutil.rmtree(resume, ignore_errors=True)
code, log = run(flag=None)
expect(code == 0, f"exit {code}, {log}")
whole = output.read_bytes()
output.unlink()
start = time.monotonic()
expect(run()[0] == 0, "a run with a checkpoint")
seconds = time.monotonic() - start
expect_same("a run with a checkpoint")

kill_at_random(random.Random(7), seconds)
interrupt(3)
state = folder / "state"
shutil.rmtree(state, ignore_errors=True)
shutil.copytree(resume, state)
damage_everything(state)
change_something(state)
use_wrong_folders(state)
print("all went on")
