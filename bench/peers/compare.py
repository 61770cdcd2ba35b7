#!/usr/bin/env python3
"""kinglet beside llama.cpp on the same files, threads and minute: speed (pp, tg) and perplexity, as Markdown.

    python3 -m venv peers && CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" \
        peers/bin/pip install --no-binary llama-cpp-python llama-cpp-python          # llama.cpp's AVX2 build
    # Its AVX-512 VNNI build: add -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON to the flags. No flags: a native one.
    cargo build --release -p kinglet
    peers/bin/python bench/peers/compare.py --kinglet target/release/kinglet smollm2:135m gemma3:270m qwen2.5-coder:0.5b

Runs take turns (ours, theirs, ours, …), so that a machine whose speed drifts treats both alike; figures are medians, the
ratio is the median of the ratios of neighbours. Close everything else first.
"""

import argparse, ctypes, json, math, statistics, subprocess, sys, time

# Debian, Ubuntu and Raspberry Pi OS all have it.
TEXT = "/usr/share/common-licenses/GPL-3"


def llama_worker(args):
    """Runs in a process of its own: llama.cpp's speed of one repetition, or its perplexity, as JSON."""
    import llama_cpp as L
    import numpy as np

    L.llama_backend_init()
    quiet = L.llama_log_callback(lambda level, text, data: None)
    L.llama_log_set(quiet, ctypes.c_void_p())
    model = L.llama_model_load_from_file(args.file.encode(), L.llama_model_default_params())
    vocab = L.llama_model_get_vocab(model)
    n_vocab = L.llama_vocab_n_tokens(vocab)
    params = L.llama_context_default_params()
    params.n_ctx = params.n_batch = args.depth + max(512, args.prompt, args.generate)
    params.n_ubatch = max(512, args.prompt)
    params.n_threads = params.n_threads_batch = args.threads
    context = L.llama_init_from_model(model, params)

    def decode(tokens, position, every):
        batch = L.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position + i, 1, 0
            batch.logits[i] = 1 if i >= every or i == len(tokens) - 1 else 0
        assert L.llama_decode(context, batch) == 0
        L.llama_batch_free(batch)

    def clear():
        L.llama_memory_clear(L.llama_get_memory(context), True)

    if args.worker == "ppl":
        text = open(TEXT, "rb").read()
        space = (L.llama_token * len(text))()
        n = L.llama_tokenize(vocab, text, len(text), space, len(text), True, False)
        tokens, bos = list(space[:n]), L.llama_vocab_bos(vocab)
        nll = count = 0
        for chunk in range(n // 512):
            part = tokens[512 * chunk : 512 * chunk + 512]
            clear()
            decode([bos] + part[1:] if L.llama_vocab_get_add_bos(vocab) else part, 0, 256)
            for i in range(256, 511):
                logits = np.ctypeslib.as_array(L.llama_get_logits_ith(context, i), (n_vocab,)).astype(np.float64)
                top = logits.max()
                nll += math.log(np.exp(logits - top).sum()) - (logits[part[i + 1]] - top)
                count += 1
        print(json.dumps(math.exp(nll / count)))
        return

    def back():
        L.llama_memory_seq_rm(L.llama_get_memory(context), 0, args.depth, -1)

    clear()
    if args.depth:
        decode([i * 7919 % n_vocab for i in range(args.depth)], 0, args.depth)
    result = {}
    for warm in (True, False):
        back()
        start = time.perf_counter()
        decode([i * 7919 % n_vocab for i in range(args.prompt)], args.depth, args.prompt)
        L.llama_synchronize(context)
        result["pp"] = args.prompt / (time.perf_counter() - start)
        back()
        start = time.perf_counter()
        for i in range(args.generate if not warm else 4):
            decode([i * 7919 % n_vocab], args.depth + i, 0)
            L.llama_get_logits_ith(context, -1)
        result["tg"] = args.generate / (time.perf_counter() - start)
    print(json.dumps(result))


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def theirs(what, file, args):
    me = [sys.executable, __file__, "--worker", what, "--file", file]
    sizes = ["-p", args.prompt, "-n", args.generate, "-d", args.depth]
    return json.loads(run(*me, "-t", args.threads, *sizes).splitlines()[-1])


def ours(file, args):
    tier = ["--tier", args.tier] if args.tier else []
    sizes = ["-p", args.prompt, "-n", args.generate, "-d", args.depth, "-t", args.threads, "-r", 1]
    sizes += ["--threads-batch", args.threads, "--ctx", args.depth + max(512, args.prompt, args.generate)]
    tests = json.loads(run(args.kinglet, "bench", file, "--json", *sizes, *tier))
    return {t["test"][:2]: t["avg_ts"] for t in tests}, tests[0]["tier"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names or files, as kinglet takes them")
    parser.add_argument("--kinglet", default="target/release/kinglet")
    parser.add_argument("--tier")
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=64)
    parser.add_argument("-d", "--depth", type=int, default=0, help="tokens in the context before each test")
    parser.add_argument("-r", "--repeat", type=int, default=5)
    parser.add_argument("--ppl", action="store_true", help=f"perplexity of {TEXT} instead of speed")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return llama_worker(args)
    if args.ppl:
        print("| model | kinglet | llama.cpp |\n|---|---:|---:|")
    else:
        print("| model | tier | threads | test | kinglet t/s | llama.cpp t/s | ratio |\n|---|---|---:|---|---:|---:|---:|")
    for model in args.models:
        file = run(args.kinglet, "pull", model).strip() if "/" not in model else model
        if args.ppl:
            line = run(args.kinglet, "perplexity", file, "--file", TEXT).splitlines()[-1]
            print(f"| {model} | {line.split('=')[1].strip()} | {theirs('ppl', file, args):.4f} |", flush=True)
            continue
        depth = f" @ d{args.depth}" if args.depth else ""
        pairs = [(ours(file, args), theirs("speed", file, args)) for _ in range(args.repeat)]
        for test, n in (("pp", args.prompt), ("tg", args.generate)):
            a, b = [p[0][0][test] for p in pairs], [p[1][test] for p in pairs]
            ratio = statistics.median(x / y for x, y in zip(a, b))
            print(
                f"| {model} | {pairs[0][0][1]} | {args.threads} | {test}{n}{depth} | {statistics.median(a):.1f} "
                f"| {statistics.median(b):.1f} | {ratio:.2f} |",
                flush=True,
            )


main()
