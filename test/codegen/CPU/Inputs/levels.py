# ===- levels.py - Which instructions code is made of ---------------------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""Takes an object of quant-compile apart and checks that it has the dot products
of its target and nothing above the target's level.

    levels.py OBJECT TARGET

AArch64: LLVM's assembler must accept all instructions for the level, and must
not for the one below. Its assembler for x86 accepts anything; there, what needs
AVX-512 is told by the first byte of the encoding, and later extensions by
name."""

import re
import subprocess
import sys

# Byte 0x62 begins the EVEX encoding in 64-bit mode; these may stand before it.
LEGACY_PREFIXES = {"26", "2e", "36", "3e", "64", "65", "66", "67", "f0", "f2",
                   "f3"}

# IFMA, VBMI, VBMI2, BITALG, VPOPCNTDQ, GFNI, BF16, FP16, AMX.
BEHIND_VNNI = re.compile(
    r"vpmadd52|vperm(i2|t2)?b$|vpmultishift|vp(compress|expand)[bw]$|vpsh[lr]d|"
    r"vpopcnt|vpshufbitqmb|v?gf2p8|vdpbf16|vcvtne|v(add|sub|mul|div|min|max)ph$|"
    r"vf(n?m)(add|sub)\d*ph$|tdp|tile")

# Dot products that must be there, whether EVEX is, and what must not be.
X86 = {
    "x86-64-v3": ("vpmaddubsw", False, re.compile("vpdp")),
    "x86-64-v3-avxvnni": ("vpdpbusd", False, re.compile("vpdpb(ss|su|uu)d")),
    "x86-64-v4-vnni": ("vpdpbusd", True, BEHIND_VNNI),
}
# The same for the assembler's options: of the level and of the one below.
AARCH64 = {
    "aarch64-dotprod": ("sdot", "+v8a,+dotprod", "+v8a"),
    "aarch64-i8mm": ("usdot", "+v8a,+dotprod,+i8mm", "+v8a,+dotprod"),
}


def disassembled(path):
    """The bytes of every instruction, in hexadecimal, and its text."""
    text = subprocess.run(["llvm-objdump", "-d", "--no-leading-addr", path],
                          check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        found = re.match(r"\s*((?:[0-9a-f]{2,8} )+)\s*\t(.*)", line)
        if found:
            yield found[1].split(), found[2]


def is_evex(code):
    return next(byte for byte in code if byte not in LEGACY_PREFIXES) == "62"


def rejected(texts, features):
    """What the assembler for AArch64 does not accept."""
    lines = []
    for text in texts:
        text = re.sub(r"\s*// .*", "", text)
        # Places in the code are not what this is about.
        lines.append(re.sub(r"(0x)?[0-9a-f]+ <[^>]*>", ".", text))
    result = subprocess.run(
        ["llvm-mc", "-filetype=null", "-triple=aarch64", f"-mattr={features}"],
        input="\n".join(lines) + "\n", text=True, capture_output=True)
    return re.findall(r"error: (.*)\n(.*)", result.stderr)


def main():
    path, target = sys.argv[1:]
    code = list(disassembled(path))
    words = {word for _, text in code for word in text.split()[:2]}
    if target in X86:
        dot, may_evex, forbidden = X86[target]
        wide = [text for bytes, text in code if is_evex(bytes)]
        assert bool(wide) == may_evex, f"{target}: {len(wide)} EVEX: {wide[:3]}"
        above = [word for word in words if forbidden.match(word)]
    else:
        dot, level, lesser = AARCH64[target]
        texts = [text for _, text in code]
        above = rejected(texts, level)
        assert rejected(texts, lesser), f"{lesser} accepts code for {target}"
    assert not above, f"{target}: {len(above)} above the level: {above[:5]}"
    assert dot in words, f"{target}: no {dot}"
    print(f"{target}: {len(code)} instructions, none above its level")


if __name__ == "__main__":
    main()
