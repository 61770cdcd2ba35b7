#!/usr/bin/env python3
"""Makes the tokenizer fixtures beside this file: llama.cpp's answers on seeded texts. Needs `pip install llama-cpp-python`.

    generate.py cases MODEL.gguf N SEED OUT.jsonl [MAX_BYTES]   answers of one model (lines longer than MAX_BYTES are left out)
    generate.py small SMOLLM2.gguf OUT_DIR                      bpe.gguf and spm.gguf, cut from SmolLM2's vocabulary (Apache-2.0)

Each line of a .jsonl file is [text, ids, ids with special tokens parsed, ids with BOS and EOS too].
"""
import json
import random
import struct
import sys

from llama_cpp import Llama, llama_model_get_vocab, llama_vocab_get_attr, llama_vocab_get_text, llama_vocab_n_tokens

WORDS = """the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not what
all were we when your can said there use an each which she do how their if will up other about out many then them these so some
her would make like him into time has look two more write go see number no way could people my than first water been call who oil
its now find long down day did get come made may part""".split()
CODE = ["def f(x):\n    return x+1\n", "for (int i=0;i<n;i++) { a[i] = b[i]; }", "#include <stdio.h>\n", '<div class="a">\n\t</div>',
        "SELECT * FROM t WHERE id=42;", "https://example.com/a?b=c&d=%20", '{"k": [1, 2.5, null]}', "\\frac{1}{2}", "a_b-c.d",
        'fn main() { println!("{}", 1u8); }', "$HOME/.cache", "x==y&&z!=w"]
ODD = ["👨‍👩‍👧‍👦", "🤷🏽‍♀️", "😀", "🚀", "🇩🇪", "❤️", "e\u0301", "Å", "ﬁ", "naïve", "Straße", "İstanbul", "½", "Ⅷ", "²", "٣٤", "१२", "▁", "▁the", "Ġthe",
       "<0x0A>", "\ufffd", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\xa0", "\u2003", "\u2028", "\u3000", "\u200b", "\ufeff", "\xad", "\x7f"]
APOSTROPHES = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'VE", "'M", "'LL", "'D", "'x", "’s", "''", "'"]
SCRIPTS = [(0x4E00, 0x9FA5), (0x3041, 0x30FF), (0xAC00, 0xD7A3), (0x410, 0x44F), (0x621, 0x64A), (0x905, 0x94D), (0xE01, 0xE4D), (0x3B1, 0x3C9),
           (0xA0, 0x52F), (0x1F300, 0x1F6FF), (0x2000, 0x2BFF), (0x10000, 0x1055F), (1, 31), (0x20, 0x7E)]


def texts(rng, n, specials):
    def script():
        low, high = rng.choice(SCRIPTS)
        return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6)))

    pieces = [
        lambda: rng.choice(WORDS), lambda: rng.choice(WORDS).capitalize(), lambda: rng.choice(WORDS).upper(),
        lambda: str(rng.randint(0, 10 ** rng.randint(1, 12))), lambda: "%.3f" % rng.uniform(-1e3, 1e3),
        lambda: " " * rng.randint(1, 40), lambda: "\n" * rng.randint(1, 8), lambda: "\t" * rng.randint(1, 4),
        lambda: rng.choice(APOSTROPHES), lambda: rng.choice(ODD), lambda: rng.choice(CODE), script, script, script,
        lambda: "".join(rng.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(rng.randint(1, 6))),
        lambda: rng.choice("abcxyz=-0") * rng.randint(1, 60), lambda: rng.choice(specials), lambda: rng.choice(specials)[:-1],
    ]
    out = ["", " ", "  ", "\n", "a", " a", "a ", "\n\n\n", "\t", "Hello, world!", " Hello", "Hello  world"]
    while len(out) < n:
        between = rng.choice(["", " ", " ", "\n"])
        out.append(between.join(rng.choice(pieces)() for _ in range(rng.choice([1, 1, 2, 3, 4, 5, 8, 12]))))
    return out


def cases(model, n, seed, out, most=1 << 30):
    llm = Llama(model, vocab_only=True, verbose=False)
    vocab = llama_model_get_vocab(llm.model)
    ids = range(llama_vocab_n_tokens(vocab))
    # Unknown, control, user-defined.
    special = [llama_vocab_get_text(vocab, i).decode(errors="ignore") for i in ids if llama_vocab_get_attr(vocab, i) & 0b11001]
    special = [s for s in special if s and "unused" not in s] or ["<s>"]
    with open(out, "w") as file:
        kept = 0
        for text in texts(random.Random(seed), 4 * n, special):
            ways = ((False, False), (False, True), (True, True))
            answers = [llm.tokenize(text.encode(), add_bos=bos, special=parse) for bos, parse in ways]
            line = json.dumps([text, *answers], ensure_ascii=False, separators=(",", ":")) + "\n"
            if len(line.encode()) <= most and kept < n:
                kept += 1
                file.write(line)


def metadata(path):
    with open(path, "rb") as file:
        take = lambda form: struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))
        string = lambda: file.read(take("Q")[0]).decode()
        forms = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

        def value(kind):
            if kind == 8:
                return string()
            if kind == 9:
                element, n = take("IQ")
                return [value(element) for _ in range(n)]
            return take(forms[kind])[0]

        _, _, _, n = take("IIQQ")
        return {string(): value(take("I")[0]) for _ in range(n)}


def write(path, keys):
    string = lambda s: struct.pack("<Q", len(s.encode())) + s.encode()
    body = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys))
    for key, (kind, value) in keys.items():
        body += string(key)
        if kind == "str":
            body += struct.pack("<I", 8) + string(value)
        elif kind == "strs":
            body += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(string, value))
        elif kind in ("i", "f", "B"):
            body += struct.pack("<IIQ", 9, {"i": 5, "f": 6, "B": 0}[kind], len(value)) + struct.pack(f"<{len(value)}{kind}", *value)
        else:
            body += struct.pack("<I" + kind, {"I": 4, "?": 7}[kind], value)
    open(path, "wb").write(body)


def small(model, out):
    meta = metadata(model)
    tokens, kinds, merges = (meta["tokenizer.ggml." + k] for k in ("tokens", "token_type", "merges"))
    special = [t for t, kind in zip(tokens, kinds) if kind == 3]
    merges = merges[:2200]
    singles = [t for t, kind in zip(tokens, kinds) if kind == 1 and len(t) == 1]
    merged = list(dict.fromkeys(m.replace(" ", "", 1) for m in merges))
    head = {"general.architecture": ("str", "llama")}
    user = ["<tool>", "<tool_call>"]
    bpe = special + singles + merged + user
    write(out + "/bpe.gguf", head | {
        "tokenizer.ggml.model": ("str", "gpt2"), "tokenizer.ggml.pre": ("str", "smollm"),
        "tokenizer.ggml.tokens": ("strs", bpe), "tokenizer.ggml.merges": ("strs", merges),
        "tokenizer.ggml.token_type": ("i", [3] * len(special) + [1] * (len(bpe) - len(special) - 2) + [4, 4]),
        "tokenizer.ggml.bos_token_id": ("I", 1), "tokenizer.ggml.eos_token_id": ("I", 2),
        "tokenizer.ggml.add_bos_token": ("?", True), "tokenizer.ggml.add_eos_token": ("?", True)})
    # The same words in SentencePiece's spelling, the earlier merge scoring higher.
    words = [t.replace("Ġ", "▁").replace("Ċ", "\n") for t in singles + merged]
    words = list(dict.fromkeys(w for w in words if all(c.isascii() or c == "▁" for c in w)))
    head3 = ["<unk>", "<s>", "</s>"]
    spm = head3 + [f"<0x{b:02X}>" for b in range(256)] + words + ["<|turn|>", *user]
    write(out + "/spm.gguf", head | {
        "tokenizer.ggml.model": ("str", "llama"), "tokenizer.ggml.tokens": ("strs", spm),
        "tokenizer.ggml.scores": ("f", [0.0] * 259 + [-float(i) for i in range(len(words))] + [-1000.0] * 3),
        "tokenizer.ggml.token_type": ("i", [2, 3, 3] + [6] * 256 + [1] * len(words) + [3, 4, 4])})
    for name in ("bpe", "spm"):
        cases(f"{out}/{name}.gguf", 150, 11, f"{out}/{name}.jsonl", 500)


if __name__ == "__main__":
    command, *args = sys.argv[1:]
    if command == "cases":
        cases(args[0], int(args[1]), int(args[2]), args[3], *map(int, args[4:]))
    else:
        small(*args)
