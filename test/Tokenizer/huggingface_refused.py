# ===- huggingface_refused.py - What a tokenizer.json must not ask for ----=== #
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# ===--------------------------------------------------------------------=== #
"""usage: huggingface_refused.py PATH_OF_nibble-tokenize gpt2.json

Changes one field of the tokenizer at a time to something that is not honoured;
each must be refused with the words beside it. And the files beside a tokenizer
say what ends a text."""
import copy
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}


def regex(expression):
    return {"pre_tokenizer": SPLIT | {"pattern": {"Regex": expression}}}


CASES = [
    ({"normalizer": {"type": "NFC"}}, "normalizer: expects a normalizer that is Prepend"),
    ({"normalizer": {"type": "Replace", "pattern": {"Regex": "a"}, "content": ""}},
     "got 'Replace'"),
    ({"pre_tokenizer": {"type": "Whitespace"}}, "got 'Whitespace'"),
    ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "ByteLevel"}, {"type": "Digits"}]}}, "got 'Digits' behind it"),
    ({"pre_tokenizer": SPLIT | {"invert": True}}, "expects a Split with the behavior"),
    ({"pre_tokenizer": SPLIT | {"behavior": "MergedWithNext"}}, "got 'MergedWithNext'"),
    ({"pre_tokenizer": SPLIT}, "expects a pattern, got none"),
    (regex("a*?"), "got a lazy repetition"),
    (regex("(a"), "got a '(' without its ')'"),
    (regex("a)"), "got an unmatched ')'"),
    (regex("(?=a)"), "got '(?=a'"),
    (regex("(?!ab)"), "more than one set"),
    (regex("(a*)*"), "a repetition of what may be empty"),
    (regex("a*"), "matches an empty text"),
    (regex("(ab)++"), "a possessive repetition of more than a set"),
    (regex("a{2,1}"), "instead of numbers up to 100"),
    (regex("a{x}"), "got '{x}'"),
    (regex("\\w+"), "got '\\w'"),
    (regex("\\p{Han}"), "\\p{Han}, which is no general category"),
    (regex("\\p{L"), "which is no general category"),
    (regex("[a&&b]"), "'&&' in a set"),
    (regex("[[:alpha:]]"), "'[:' in a set"),
    (regex("[z-a]"), "does not ascend"),
    (regex("[a"), "an end where a character is missing"),
    (regex("(?i:é)"), "beyond ASCII"),
    (regex("^a"), "got '^' there"),
    (regex("\\u00"), "an escape without 4 digits"),
    (regex("a{100}" * 101), "more than 10000 steps"),
    (regex("(" * 60 + "a" + ")" * 60), "nested more than 50 times"),
    (regex("|".join("a" * 200000)), "steps"),
    (regex("(?!" * 200000), "more than one set of characters"),
    ({"model": {"type": "Unigram"}}, "model: expects a model of type BPE, got 'Unigram'"),
    ({"model.dropout": 0.1}, "expects no dropout"),
    ({"model.end_of_word_suffix": "</w>"}, "expects no end_of_word_suffix, got '</w>'"),
    ({"model.unk_token": "nothing"}, "unk_token: expects words of the vocabulary"),
    ({"model.vocab": None}, "expects a vocabulary, got none"),
    ({"model.merges": [["a", "nothing"]]}, "merges: expects words of the vocabulary"),
    ({"model.merges": ["a"]}, "expects merges of two words"),
    ({"model.vocab": {"a": 0, "b": 0}}, "expects one word for every id"),
    ({"model.vocab": {"a": -1}}, "expects ids from 0"),
    ({"model.vocab": {"a": "b"}}, "expects a number as the id of 'a'"),
    ({"added_tokens": [{"id": 7, "content": "new"}]}, "which another token has"),
    ({"added_tokens": [{"content": "new"}]}, "an id for every added token"),
    ({"added_tokens": [{"id": 999, "content": "x y", "single_word": True}]},
     "single_word of 'x y'"),
    ({"post_processor": {"type": "BertProcessing"}}, "got 'BertProcessing'"),
    ({"post_processor": {"type": "TemplateProcessing", "single": [
        {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<|end|>"}}],
        "special_tokens": {"<|end|>": {"ids": [0]}}}}, "one token in front of the text"),
    ({"decoder": None}, "expects a decoder, got none"),
    ({"decoder": {"type": "WordPiece"}}, "got 'WordPiece'"),
    ({"decoder": {"type": "Metaspace"}}, "got 'Metaspace'"),
    ({"model": None}, "is it a tokenizer.json?"),
]


def check_ends(tool, good, folder):
    file, described = folder / "tokenizer.json", folder / "described"
    file.write_text(json.dumps(good))
    ends = (("none", {}, -1), ("tokenizer_config", {"eos_token": "<|end|>"}, 0),
            ("tokenizer_config", {"eos_token": {"content": "<|end|>"}}, 0),
            ("generation_config", {"eos_token_id": 7}, 7),
            ("generation_config", {"eos_token_id": [9999, 5, 7]}, 5))
    for name, fields, end in ends:
        (folder / f"{name}.json").write_text(json.dumps(fields))
        subprocess.run([tool, file, "describe", "/dev/null", described], check=True)
        found = struct.unpack("<5i", described.read_bytes())
        assert found[2:] == (-1, end, -1), (fields, found)


def main():
    tool, path = sys.argv[1:]
    good = json.loads(pathlib.Path(path).read_text())
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "x.json"

        def error_of(text):
            file.write_text(text)
            result = subprocess.run([tool, file, "describe", "/dev/null", "/dev/null"],
                                    capture_output=True, text=True)
            return result.returncode, result.stderr

        assert error_of(json.dumps(good)) == (0, "")
        for changes, words in CASES:
            changed = copy.deepcopy(good)
            for key, value in changes.items():
                *outer, last = key.split(".")
                target = changed[outer[0]] if outer else changed
                target[last] = value
            code, message = error_of(json.dumps(changed))
            if code != 1 or words not in message:
                sys.exit(f"{str(changes)[:200]}: expected '{words}', got {code} {message}")
        for text, words in (("{", "expects JSON"), ("[]", "expects a JSON object")):
            code, message = error_of(text)
            assert code == 1 and words in message, message
        check_ends(tool, good, pathlib.Path(folder))
    print(f"{len(CASES)} changes refused")


if __name__ == "__main__":
    main()
