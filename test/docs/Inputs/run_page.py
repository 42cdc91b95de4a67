"""Runs the commands of a page of the documentation, in one shell and in order.

    run_page.py PAGE --after HEADING [--define NAME=VALUE ...]

Commands are the lines of indented blocks. A block whose first line begins with
"$ " also shows what is printed: that must come out as it stands, as the last
lines of the command's output. Blocks before the heading are not run."""

import argparse
import re
import subprocess
import sys


def blocks(text):
    """Lists of lines, one for each indented block."""
    current = []
    for line in text.splitlines() + [""]:
        if line.startswith("    ") or (current and not line.strip()):
            current.append(line[4:])
        else:
            while current and not current[-1].strip():
                current.pop()
            if current:
                yield current
            current = []


def steps(block):
    """(command, expected output or None) for every command of a block."""
    shows = block[0].startswith("$ ")
    joined = re.sub(r"\\\n\s*", " ", "\n".join(block)).splitlines()
    if not shows:
        for line in joined:
            if line.strip():
                yield line, None
        return
    command, output = None, []
    for line in joined + ["$ "]:
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], []
        else:
            output.append(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("page")
    parser.add_argument("--after", required=True)
    parser.add_argument("--define", action="append", default=[])
    arguments = parser.parse_args()
    with open(arguments.page, encoding="utf-8") as page:
        text = page.read()
    start = text.index(arguments.after)
    settings = dict(entry.split("=", 1) for entry in arguments.define)

    done = "".join(f'{name}="{value}"\n' for name, value in settings.items())
    count = failures = 0
    for block in blocks(text[start:]):
        for command, expected in steps(block):
            name = command.partition("=")[0]
            if re.fullmatch(r"[A-Z]+", name):
                if name not in settings:
                    done += command + "\n"
                continue
            count += 1
            result = subprocess.run(
                ["bash", "-c", done + command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            printed = result.stdout.rstrip("\n").splitlines()
            fails = bool(expected) and expected[-1].startswith("error: ")
            wrong = (result.returncode != 0) != fails
            if expected and printed[-len(expected) :] != expected:
                wrong = True
            if wrong:
                failures += 1
                print(f"{arguments.page}: $ {command}")
                print(f"exit code {result.returncode}, printed:\n{result.stdout}")
                if expected:
                    print("expected:\n" + "\n".join(expected))
    print(f"{count} commands, {failures} failures")
    return 1 if failures or not count else 0


if __name__ == "__main__":
    sys.exit(main())
