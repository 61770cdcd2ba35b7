#!/usr/bin/env python3
"""Makes pre.gguf and pre.json beside this file: what every pre-tokenizer name does to texts that tell them apart.

    pre.py PATH_OF_PRETOKENIZE_RS SCRATCH_DIR

pre.gguf has the bytes of the texts and merges of all pairs of them that the texts hold, in random order, so that a word that is
cut elsewhere gives other tokens. The answers are llama.cpp's (`pip install llama-cpp-python`), on copies of the file with
the name changed; for the names of ORIGINALS, which llama.cpp approximates, they are those of the expressions that the
models were trained with, run by `pip install tokenizers`.
"""
import collections
import json
import pathlib
import random
import re
import subprocess
import sys

import generate

HERE = pathlib.Path(__file__).parent
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
END = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def cased(digits, contraction=CONTRACTION, end=END, upper=f"[{UPPER}]", lower=f"[{LOWER}]"):
    lead = r"[^\r\n\p{L}\p{N}]?"
    return f"{lead}{upper}*{lower}+{contraction}|{lead}{upper}+{lower}*{contraction}|{digits}{end}"


O200K = cased(r"\p{N}{1,3}")
ORIGINALS = {
    ("tekken",): [cased(r"\p{N}", contraction="")],
    ("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2", "granite-embed-multi-97m"): [O200K],
    ("tiny_aya", "cohere2moe"): [r"\d{1,3}(?=(?:\d{3})*\b)", O200K],
    ("youtu",): ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+", cased(r"\p{N}")],
    ("superbpe",): [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    ("kimi-k2",): [r"\p{Han}+|" + cased(r"\p{N}{1,3}", end=END.replace("/", ""), upper=f"[{UPPER}&&[^\\p{{Han}}]]", lower=f"[{LOWER}&&[^\\p{{Han}}]]")],
}
TEXTS = [
    "Hello world", "don't DON'T we'LL I'M it'S you'Re o'clock 'tis ''s", "1 12 123 1234 12345 123456 1234567", "3333 33333333 abc1234def 12ab345678",
    "٣٤٥٦ १२३४ ²³½ⅧⅨ", "a  b   c    d", "a\tb\t\tc \t d", "line\nline\n\nline\r\n\r\n  line \n \n x", "   \n   \n\n   end   ", "trailing   ", "\n\n\n", " \t \n",
    "f(x) = {a: [1, 2.5]}; // x+y!=z\n", "!!!... ??? ---\n\n...\r\nnext", "path/to/file//\n/x /\n", "$100 +20% <b>~^|`code` a_b-c.d@e #tag", "\\frac{1}{2} “quoted” ‘single’ — … «x»",
    "CamelCaseWORDS iPhone HTTPServer XMLHttp aB Ab", "École ÉCOLE Ärger ÑANDÚ straßE ΣΑΣ Здравствуй МИР", "中文字符测试, 12个。にほんご カタカナー ｶﾅ 한국어 ㄱㄴ ㄅㄆ", "apple工作1314151天～ the中文in", "a\u00a0b \u3000中\u3000 \u2003x \u2028y \x85z",
    "e\u0301te\u0301 cafe\u0301s a\u0308\u0308 \u0301x", "नमस्ते दुनिया किताबें", "ภาษาไทยเป็น ກຂ ខ្មែរ မြန်မာ", "مرحبا بالعالم، كيف؟ ۔", "שָׁלוֹם עולם", "👨‍👩‍👧‍👦 🤷🏽‍♀️ 😀😀 🇩🇪x❤️!", "\u200b\u200d\ufeff\xad a\u200db", "ǅ ǈabc ʰʷ ªº ﬁ ﬀ",
    "x² y₃ 5km 3.14e-10 0xFF 1,000,000", "' ' 's' 'S 'll' ’s we’ve", "a.b,c|d(e)f!g?h…i。j，k、l", " (paren) |pipe| ,comma", "<sentinel:12> IMGIMGABZ IMGIMGABCDEZ <sentinel:x>", "    indented\n\tdef f():\n\t\treturn  1",
    "a\x0bb\x0cc\x1cd\x1fe\x7ff", "foo  bar\n\n  baz\n", "İstanbul ıI ſſ K Å ℂ ⅓ ⓐ ㊀ 〇 々", "\ue000\u0378 \U000e0001 \U00020000\U0002a700 \U0001d400\U0001d7ce", "end.\n\nNew", "A'sB'tC'reD 'Tis'nt n'T", "12:34:56 2024-01-02T03:04", "中1234文  5678\n９９９ １２３４",
    "     x" + " " * 17 + "y", "--- ===\n***", "mixed Русский中文English123",
]
ODD = "  \t\n\r\u00a0\u3000''stmdrevSLlaAbBzZ019٣².,!/$+<=~^|`_-éÉǅʰ漢あ가ก\u0301ा\u200d😀«…ΣДㄱ"


def texts():
    rng = random.Random(5)
    return TEXTS + ["".join(rng.choice(ODD) for _ in range(rng.randint(8, 30))) for _ in range(45)]


def alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    free = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(free)) for b in range(256)]


def vocabulary(plain):
    spell = lambda t: [t.replace(" ", "▁")] if plain else ["".join(LETTERS[b] for b in t.encode())]
    rng = random.Random(9)
    spelt = [s for t in texts() for s in spell(t)]
    pairs = sorted({s[i:i + 2] for s in spelt for i in range(len(s) - 1)})
    fours = sorted({s[i:i + 4] for s in spelt for i in range(len(s) - 3)})
    rng.shuffle(pairs)
    fours = rng.sample(fours, min(600, len(fours)))
    merges = [p[0] + " " + p[1] for p in pairs if "\n" not in p] + [f[:2] + " " + f[2:] for f in fours if "\n" not in f]
    singles = [f"<0x{b:02X}>" for b in range(256)] + sorted({c for s in spelt for c in s}) if plain else LETTERS
    tokens = list(dict.fromkeys(["<bos>", "<eos>", *singles, *(m.replace(" ", "") for m in merges), *(["\n\n"] if plain else [])]))
    kinds = [3, 3] + [6 if re.fullmatch("<0x..>", t) else 1 for t in tokens[2:]]
    return tokens, kinds, merges


LETTERS = alphabet()


def write(path, name, plain=False):
    tokens, kinds, merges = vocabulary(plain)
    generate.write(str(path), {
        "general.architecture": ("str", "llama"), "tokenizer.ggml.model": ("str", "gpt2"), "tokenizer.ggml.pre": ("str", name),
        "tokenizer.ggml.tokens": ("strs", tokens), "tokenizer.ggml.merges": ("strs", merges), "tokenizer.ggml.token_type": ("i", kinds),
        "tokenizer.ggml.bos_token_id": ("I", 0), "tokenizer.ggml.eos_token_id": ("I", 1)})


def llama(path):
    """A fresh process: llama.cpp ends the program when a file displeases it."""
    script = "import sys, json; from llama_cpp import Llama; m = Llama(sys.argv[1], vocab_only=True, verbose=False)\n" \
        "print(json.dumps([m.tokenize(t.encode(), add_bos=False, special=False) for t in json.load(sys.stdin)] + [m.tokenize(b'a', add_bos=True, special=False)]))"
    run = subprocess.run([sys.executable, "-c", script, str(path)], input=json.dumps(texts()), capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{path}: {run.stderr[-500:]}")
    return json.loads(run.stdout)


def original(patterns, ignore_merges):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers as pre

    tokens, _, merges = vocabulary(False)
    model = models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges], ignore_merges=ignore_merges)
    tokenizer = Tokenizer(model)
    splits = [pre.Split(Regex(p), "isolated") for p in patterns]
    tokenizer.pre_tokenizer = pre.Sequence([*splits, pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    return [tokenizer.encode(t).ids for t in texts()]


def same_expressions(table, name):
    """llama.cpp has the same ones; for DeepSeek it takes white space beyond ASCII out of the ranges that hold some."""
    line = next(line for line in table.splitlines() if f'row(&["{name}"]' in line)
    return [m.group(2) for m in re.finditer(r'\br(#*)"(.*?)"\1(?=[,\]])', line)]


def main(source, scratch):
    scratch = pathlib.Path(scratch)
    table = pathlib.Path(source).read_text().split("const TABLE")[1].split("];\n\n")[0]
    names = [n for names in re.findall(r"row\(&\[((?:[^\]\"]|\"[^\"]*\")*?)\],", table) for n in re.findall(r'"([^"]+)"', names)] + ["gemma4"]
    plain = ("gemma4", "granite-embed-multi-311m", "sarvam-moe")
    originals = {name: same_expressions(table, name) for name in ("deepseek-llm", "deepseek-coder")}
    # llama.cpp leaves what lies before some digits in one piece with the first of them.
    originals["afmoe"] = [r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", *same_expressions(table, "afmoe")]
    originals |= {name: patterns for group, patterns in ORIGINALS.items() for name in group}
    groups = collections.defaultdict(list)
    differs = {}
    for name in names:
        path = scratch / f"{name}.gguf"
        write(path, name, name in plain)
        *answers, bos = llama(path)
        if name in originals:
            ignores = name in ("tekken", "granite-embed-multi-97m", "youtu")
            trained = original(originals[name], ignores)
            differs[name] = sum(a != b for a, b in zip(answers, trained))
            answers = trained
        groups[json.dumps([name in plain, bos[:1] == [0], answers])].append(name)
    out = {"texts": texts(), "groups": []}
    rows = []
    for key, members in groups.items():
        is_plain, bos, answers = json.loads(key)
        # Most answers equal those of another group: only its number is written then.
        shared = [next((i for i, r in enumerate(rows) if r[at] == a), None) for at, a in enumerate(answers)]
        out["groups"].append({"names": members, "plain": is_plain, "bos": bos, "ids": [a if s is None else s for a, s in zip(answers, shared)]})
        rows.append(answers)
    lines = ['{"texts":' + json.dumps(out["texts"], ensure_ascii=False) + ',', '"groups":[']
    lines.append(",\n".join(json.dumps(g, separators=(",", ":")) for g in out["groups"]) + "]}")
    (HERE / "pre.json").write_text("\n".join(lines) + "\n")
    write(HERE / "pre.gguf", "default")
    write(HERE / "pre-plain.gguf", "gemma4", True)
    print(f"{len(names)} names in {len(rows)} groups; texts where llama.cpp differs from the original: {differs}")


main(*sys.argv[1:])
