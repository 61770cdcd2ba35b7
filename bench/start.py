#!/usr/bin/env python3
"""From process start to the first token of the prompt being computed, with a warm page cache, as Markdown.

    cargo build --release -p kinglet
    bench/start.py --kinglet target/release/kinglet model.gguf ...

Each run reads its own steps (KINGLET_TRACE=1), counted from the beginning of `main`; starting a program that does nothing
(`kinglet --version`) is measured beside it and added. Figures are milliseconds: median and least of the repetitions.
"""

import argparse, os, re, statistics, subprocess, sys, time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="files")
    parser.add_argument("--kinglet", default="target/release/kinglet")
    parser.add_argument("-r", "--repeat", type=int, default=41)
    parser.add_argument("--prompt", default="Why is the sky blue?")
    args = parser.parse_args()
    environment = dict(os.environ, KINGLET_TRACE="1")
    print("| model | step | median ms | least ms |\n|---|---|---:|---:|")
    for model in args.models:
        steps, name = {}, os.path.basename(model)
        for i in range(args.repeat + 1):
            start = time.perf_counter()
            subprocess.run([args.kinglet, "--version"], stdout=subprocess.DEVNULL, check=True)
            process = 1e3 * (time.perf_counter() - start)
            command = [args.kinglet, "run", model, "--temp", "0", "-n", "1", args.prompt]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            if i == 0:
                continue  # It warms the page cache.
            steps.setdefault("(start of the process)", []).append(process)
            for step, ms in re.findall(r"start: (.*?) +after +([0-9.]+) ms", done.stderr):
                steps.setdefault(step, []).append(process + float(ms))
        for step, samples in steps.items():
            print(f"| {name} | {step} | {statistics.median(samples):.1f} | {min(samples):.1f} |", flush=True)


main()
