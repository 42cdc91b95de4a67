# ===- make_huggingface.py - Tokenizers and what they make of texts -------=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""usage: make_huggingface.py FOLDER [TEXTS [SEED]]

Trains small tokenizers of the kinds that models are published with, on the
pages of docs/, and writes NAME.json and NAME.vectors.json: texts with their ids,
and ids with their text, by the package `tokenizers` (0.23.3). The files in
Inputs are those of 150 texts; huggingface_equal.py compares with them. Broken
UTF-8 counts as U+FFFD for every byte."""

import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models
from tokenizers import normalizers, pre_tokenizers, processors, trainers

from sentencepiece_equal import random_text

ROOT = pathlib.Path(__file__).resolve().parents[2]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}"
         r"\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
EXTRA = ("It's WE'LL they'Re I'M x'ſ 'd 12345 ١٢٣ ½ ⅷ 1 22 333 <|end|> <s> </s> "
         "<pad>   <pad> <|end|><|end|> don't\n\n  a \t\r\n b   \n ÉTÉ ßtraße ǅ "
         "e\u0301\u0327 नि ไทย 👩‍🔬 ﷽ \u2028 \u3000 \ufffd CamelCaseXML a_b // /\n").split(" ")


def corpus():
    return [path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))]


def train(tokenizer, size, byte_level, special):
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special,
                                  initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def gpt2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return train(tokenizer, 420, True, ["<|end|>"])


def llama3():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, 400, True, [])
    # A word that merging does not make.
    state = json.loads(tokenizer.to_str())
    state["model"]["vocab"]["Ġnaïve".replace("ï", "Ã¯")] = tokenizer.get_vocab_size()
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens(["<s>", "<|end|>"])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B:1",
            special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])])
    return tokenizer


def o200k():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Split(Regex(O200K), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, 400, True, ["<|end|>"])
    tokenizer.add_tokens([AddedToken("<pad>", lstrip=True, rstrip=True),
                          AddedToken("été", normalized=True), "日本 語"])
    return tokenizer


def with_bytes(tokenizer):
    """The 256 tokens of bytes, which the trainer knows nothing of."""
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    return Tokenizer.from_str(json.dumps(state))


def llama2():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    train(tokenizer, 350, False, ["<unk>", "<s>", "</s>"])
    tokenizer.pre_tokenizer = None
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    tokenizer = with_bytes(tokenizer)
    tokenizer.add_tokens([AddedToken("naïve", normalized=True)])
    return tokenizer


def metaspace():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return train(tokenizer, 300, False, ["<unk>", "<|end|>"])


def repaired(data):
    text, at = "", 0
    while at < len(data):
        for size in range(1, 5):
            try:
                text += data[at:at + size].decode()
                at += size
                break
            except UnicodeDecodeError:
                pass
        else:
            text, at = text + "\ufffd", at + 1
    return text


def texts(rng, count):
    yield from (b"", b" ", b"Hello world", b"a" * 300, " ".join(EXTRA).encode())
    for _ in range(count - 5):
        if rng.random() < 0.4:
            yield rng.choice(("", " ", "  ")).join(
                rng.choice(EXTRA) for _ in range(rng.randrange(12))).encode()
        else:
            yield random_text(rng)


def vectors(tokenizer, rng, count):
    found = {"texts": [], "ids": []}
    for data in texts(rng, count):
        ids = tokenizer.encode(repaired(data), add_special_tokens=False).ids
        text = {"hex": data.hex()}
        try:
            text = {"text": data.decode()}
        except UnicodeDecodeError:
            pass
        found["texts"].append(text | {"ids": ids})
    size = tokenizer.get_vocab_size()
    for i in range(count // 2):
        ids = list(rng.choice(found["texts"])["ids"][:40])
        if i % 2:
            rng.shuffle(ids)
        if i % 4 == 0:
            ids = [rng.randrange(size) for _ in range(rng.randrange(20))]
        found["ids"].append({"ids": ids, "text": tokenizer.decode(ids)})
    return found


def main():
    folder = pathlib.Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 150
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    for make in (gpt2, llama3, o200k, llama2, metaspace):
        tokenizer = make()
        path = folder / f"{make.__name__}.json"
        path.write_text(json.dumps(json.loads(tokenizer.to_str()),
                                   ensure_ascii=False, separators=(",", ":")) + "\n")
        found = vectors(tokenizer, random.Random(seed), count)
        lines = [json.dumps(each, ensure_ascii=False)
                 for each in found["texts"] + found["ids"]]
        path.with_suffix(".vectors.json").write_text(
            "[" + ",\n".join(lines) + "]\n")


if __name__ == "__main__":
    main()
