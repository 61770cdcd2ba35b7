#!/usr/bin/env python3
"""Decode beside other work: tokens per second in quiet and with busy processes on the same CPUs, as Markdown.

    cargo build --release -p kinglet
    bench/peers/under_load.py --kinglet target/release/kinglet model.gguf
    VENV/bin/python bench/peers/under_load.py --llama ... model.gguf    # llama.cpp too; `kinglet-bench peers` makes ~/.cache/kinglet-bench/llama-native

Everything is confined to as many CPUs as there are decode threads. Quiet and busy runs take turns, figures are medians, the
share is the median of the shares of neighbours. Close everything else first: the quiet runs must be quiet.
"""

import argparse, json, os, statistics, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
SPIN = "while True: pass"


def measure(args, model, engine):
    if engine == "llama.cpp":
        command = [sys.executable, os.path.join(HERE, "llama.py"), model, str(args.threads), str(max(512, args.generate))]
        requests = f"tg 4 0\ntg {args.generate} 0\n"
    else:
        command = [args.kinglet, "bench", model, "--json", "-p", "0", "-n", str(args.generate), "-r", "1"]
        command += ["-t", str(args.threads)]
        requests = ""
    done = subprocess.run(command, input=requests, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    if engine == "llama.cpp":
        return args.generate / float(done.stdout.splitlines()[-1])
    return json.loads(done.stdout)[0]["avg_ts"]


def with_load(args, f):
    busy = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(args.busy)]
    try:
        # Until they compute and no longer start.
        time.sleep(0.3)
        return f()
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="files")
    parser.add_argument("--kinglet", default="target/release/kinglet")
    parser.add_argument("-t", "--threads", type=int, default=2, help="decode threads, and CPUs they get [2]")
    parser.add_argument("-b", "--busy", type=int, default=1, help="busy processes beside them [1]")
    parser.add_argument("-n", "--generate", type=int, default=128)
    parser.add_argument("-r", "--repeat", type=int, default=5)
    parser.add_argument("--llama", action="store_true", help="llama.cpp too; needs llama-cpp-python")
    args = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))[: args.threads]
    if len(cpus) < args.threads:
        sys.exit(f"{args.threads} threads need as many CPUs, and {len(cpus)} may be used")
    os.sched_setaffinity(0, cpus)
    print(f"{args.threads} threads on CPUs {cpus}, {args.busy} busy beside them\n")
    print("| model | engine | quiet t/s | busy t/s | share kept |\n|---|---|---:|---:|---:|")
    for model in args.models:
        for engine in ["kinglet"] + ["llama.cpp"] * args.llama:
            pairs = []
            for _ in range(args.repeat):
                quiet = measure(args, model, engine)
                pairs.append((quiet, with_load(args, lambda: measure(args, model, engine))))
            quiet, busy = (statistics.median(p[i] for p in pairs) for i in (0, 1))
            share = statistics.median(b / q for q, b in pairs)
            name = os.path.basename(model)
            print(f"| {name} | {engine} | {quiet:.1f} | {busy:.1f} | {100 * share:.0f} % |", flush=True)


main()
