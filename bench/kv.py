#!/usr/bin/env python3
"""What a smaller type of the key and value cache costs in perplexity, chunk by chunk on the same text, as Markdown.

    cargo build --release -p kinglet
    git ls-files -z '*.md' | xargs -0 cat >text
    bench/kv.py --file text model.gguf ...

Both see the same chunks, so the difference is known far better than either perplexity: the standard error is that of the chunks'
differences.
"""

import argparse, math, os, re, statistics, subprocess


def sums(args, model, kv):
    """Of each chunk, the sum of negative log-likelihoods over the tokens counted in it, in units of a chunk's count."""
    command = [args.kinglet, "-vv", "perplexity", model, "--file", args.file, "--ctx", str(args.ctx), "--kv", kv]
    said = subprocess.run(command, capture_output=True, text=True)
    if said.returncode:
        raise SystemExit(said.stderr.strip())
    # [i] is the perplexity of chunks 1 to i.
    so_far = [math.log(float(x)) for x in re.findall(r"\[\d+\]([\d.]+)", said.stdout + said.stderr)]
    totals = [0.0] + [i * x for i, x in enumerate(so_far, 1)]
    return [b - a for a, b in zip(totals, totals[1:])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="files")
    parser.add_argument("--file", required=True, help="the text")
    parser.add_argument("--kinglet", default="target/release/kinglet")
    parser.add_argument("--ctx", type=int, default=512, help="tokens of a chunk, of which the second half counts")
    args = parser.parse_args()
    print("| model | chunks | cache | perplexity | beside f32 |\n|---|---:|---|---:|---:|")
    for model in args.models:
        base = sums(args, model, "f32")
        if len(base) < 2:
            raise SystemExit(f"{args.file} has fewer than two chunks of {args.ctx} tokens: give a longer text, or a smaller --ctx")
        for kv in ("f32", "f16", "q8_0"):
            own = base if kv == "f32" else sums(args, model, kv)
            difference = [b - a for a, b in zip(base, own)]
            error = statistics.stdev(difference) / math.sqrt(len(difference))
            cost = "" if kv == "f32" else f"{100 * statistics.mean(difference):+.2f} % +- {100 * error:.2f}"
            print(f"| {os.path.basename(model)} | {len(own)} | {kv} | {math.exp(statistics.mean(own)):.3f} | {cost} |", flush=True)


main()
