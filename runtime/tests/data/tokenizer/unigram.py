#!/usr/bin/env python3
"""Makes unigram.gguf and unigram.json beside this file: a made-up unigram vocabulary with a map of characters, and llama.cpp's answers.

    unigram.py SCRATCH_DIR        needs `pip install llama-cpp-python`
"""
import json
import pathlib
import random
import struct
import subprocess
import sys
import unicodedata

import generate

HERE = pathlib.Path(__file__).parent
SPECIAL = ["<pad>", "</s>", "<unk>", "<extra_id_0>"]
USER = ["<u>", "nb"]
UNUSED = ["▁zz"]


def charsmap():
    """NFKC of some characters, white space to a space, and a few sequences, as SentencePiece stores them."""
    pairs = {c: unicodedata.normalize("NFKC", c) for c in map(chr, range(0xA0, 0x2200)) if unicodedata.normalize("NFKC", c) != c}
    pairs = dict(list(pairs.items())[::9]) | {c: unicodedata.normalize("NFKC", c) for c in "ﬁ½Ⅷ²ªＡｂ１…㎏"}
    pairs |= {"\t": " ", "\n": " ", "\u00a0": " ", "\u3000": " ", "\u200b": "", "e\u0301": "é", "a\u0308": "ä", "ab\u0301": "AB", "\r\n": " "}
    trie, texts = {}, b""
    for key, value in pairs.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(texts)
        texts += value.encode() + b"\0"
    units = {}
    taken, work = {0}, [(0, trie)]
    free = 1
    while work:
        at, children = work.pop(0)
        base = free
        while any(base ^ at ^ c in taken for c in children):
            base += 1
        slots = {c: base ^ at ^ c for c in children}
        taken |= set(slots.values())
        units[at] = units.get(at, 0) | base << 10 | (0 in children) << 8
        while free in taken:
            free += 1
        for c, slot in slots.items():
            if c == 0:
                units[slot] = 1 << 31 | children[0]
            else:
                units[slot] = c
                work.append((slot, children[c]))
    blob = b"".join(struct.pack("<I", units.get(i, 0)) for i in range(max(taken) + 1))
    return struct.pack("<I", len(blob)) + blob + texts


def vocabulary():
    rng = random.Random(3)
    words = generate.WORDS + ["Hello", "world", "naïve", "straße", "é", "ä", "the", "漢字", "漢", "ing", "ed", "er", "12", "AB", "fi"]
    pieces = set("▁abcdefghijklmnopqrstuvwxyzHAB0123456789.,!'éä漢")
    for word in words:
        word = "▁" + word
        for _ in range(6):
            start = rng.randrange(len(word))
            pieces.add(word[start:start + rng.randint(1, 6)])
        pieces.add(word)
    pieces = sorted(pieces - {"▁zz"})
    tokens = SPECIAL + USER + UNUSED + pieces
    kinds = [3, 3, 2, 3] + [4, 4] + [5] + [1] * len(pieces)
    scores = [0.0] * 6 + [-3.0] + [-rng.uniform(2, 12) for _ in pieces]
    return tokens, kinds, scores


def write(path, prefix, merge):
    tokens, kinds, scores = vocabulary()
    generate.write(str(path), {
        "general.architecture": ("str", "t5"), "tokenizer.ggml.model": ("str", "t5"), "tokenizer.ggml.tokens": ("strs", tokens),
        "tokenizer.ggml.scores": ("f", scores), "tokenizer.ggml.token_type": ("i", kinds),
        "tokenizer.ggml.add_space_prefix": ("?", prefix), "tokenizer.ggml.remove_extra_whitespaces": ("?", merge),
        "tokenizer.ggml.precompiled_charsmap": ("B", list(charsmap()))})


def texts():
    rng = random.Random(4)
    own = ["ab\u0301 abc e\u0301te a\u0308", "ﬁne ½ Ⅷ ² ＡｂＡ", "  two  spaces ", "zz zzz a zz", "<u>the <u> nb x", "the</s> of", "漢字漢 漢x☃☃☃y", "x" * 70, "\u200b\u200b", "\t\n a \r\n b"]
    return own + generate.texts(rng, 55, ["</s>", "<u>", "<unk>", "<extra_id_0>", "nb"])


def main(scratch):
    out = []
    for prefix, merge in ((True, True), (True, False), (False, True), (False, False)):
        path = pathlib.Path(scratch) / "unigram.gguf"
        write(path, prefix, merge)
        script = "import sys, json; from llama_cpp import Llama; m = Llama(sys.argv[1], vocab_only=True, verbose=False)\n" \
            "print(json.dumps([[t, m.tokenize(t.encode(), add_bos=False, special=False), m.tokenize(t.encode(), add_bos=True, special=True)] for t in json.load(sys.stdin)]))"
        run = subprocess.run([sys.executable, "-c", script, str(path)], input=json.dumps(texts()), capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr[-800:])
        out.append({"add_space_prefix": prefix, "remove_extra_whitespaces": merge, "cases": json.loads(run.stdout)})
    variants = ",\n".join(json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in out)
    (HERE / "unigram.json").write_text(f"[{variants}]\n")
    write(HERE / "unigram.gguf", True, True)


main(sys.argv[1])
