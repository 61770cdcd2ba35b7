"""Counts, simulates and predicts; called by evidence.sh, which builds everything first. Writes bench/log/arm.md.

    evidence.py WORK MATMUL_ONCE PEER_VERSION [FORMAT...]
"""

import os
import re
import subprocess
import sys

FORMATS = ["Q4_0", "Q8_0", "Q4_K", "Q6_K", "Q5_0", "Q4_1", "Q3_K", "IQ4_XS"]
SUPER_BLOCKS = {"Q4_K", "Q6_K", "Q3_K", "IQ4_XS"}
# Emulated CPU, our tier, the CPU that llvm-mca simulates.
CPUS = [("cortex-a72", "neon", "cortex-a72"), ("cortex-a76", "dotprod", "neoverse-n1")]
COLUMNS = [1, 64, 128]
# What a board is: cores, GHz, GB/s that all cores together read from memory.
BOARDS = {"cortex-a72": ("Raspberry Pi 4", 4, 1.8, 5.0), "cortex-a76": ("Raspberry Pi 5", 4, 2.4, 13.0)}
BITS = {"Q4_0": 4.5, "Q8_0": 8.5, "Q4_K": 4.5, "Q6_K": 6.5625, "Q5_0": 5.5, "Q4_1": 5.0, "Q3_K": 3.4375, "IQ4_XS": 4.25}
# At most this share of the peer's instructions: GEMM, by CPU and format. GEMV: at most the peer's.
TARGETS = {
    "cortex-a72": dict.fromkeys(["Q4_0", "Q8_0", "Q4_K", "Q6_K"], 0.5),
    "cortex-a76": dict.fromkeys(["Q4_0", "Q8_0", "Q4_K", "Q6_K"], 0.9) | dict.fromkeys(["Q5_0", "Q4_1", "Q3_K", "IQ4_XS"], 0.5),
}

work, ours, peer_version = sys.argv[1:4]
formats = sys.argv[4:] or FORMATS


def shapes(fmt):
    """Rows x columns: of a 0.5B model's attention and of a 7B model's, a super-block being 256 wide."""
    return [(1024, 768) if fmt in SUPER_BLOCKS else (896, 896), (512, 4096)]


def executed(cpu, command, tier=None):
    """Instructions, and what the program printed."""
    qemu = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", cpu, "-plugin", f"{work}/instructions.so"]
    environment = os.environ | ({"KINGLET_TIER": tier} if tier else {})
    run = subprocess.run(qemu + command, capture_output=True, text=True, env=environment)
    found = re.search(r"^instructions (\d+)$", run.stderr, re.M)
    if run.returncode or not found:
        sys.exit(f"{' '.join(command)}: {run.stderr.strip()}")
    return int(found[1]), run.stdout


def per_multiply_add(cpu, command, fmt, shape, n, tier=None):
    """Of one more product, so that start and set-up do not count."""
    arguments = [fmt, str(shape[0]), str(shape[1]), str(n)]
    once, printed = executed(cpu, command + arguments + ["1"], tier)
    twice, _ = executed(cpu, command + arguments + ["2"], tier)
    return (twice - once) / (shape[0] * shape[1] * n), printed


# --- llvm-mca ---------------------------------------------------------------------------------------------------------

MULTIPLY_ADDS = [(r"sdot", 16), (r"smmla", 32), (r"sm(ull|lal)2?\s+\S+\.8h", 8)]


def symbols():
    out = subprocess.run(["aarch64-linux-gnu-nm", "-C", "-S", ours], capture_output=True, text=True, check=True).stdout
    return [(int(a, 16), int(s, 16), name) for a, s, name in re.findall(r"^(\w+) (\w+) [tT] (.*)$", out, re.M)]


SYMBOLS = symbols()


def inner_loop(pattern):
    """The innermost loop with most multiplications in the function whose name matches: (instructions, its multiply-adds)."""
    address, size = next(((a, s) for a, s, name in SYMBOLS if re.search(pattern, name)), (0, 0))
    if not size:
        return None
    command = ["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", f"--start-address={address}", f"--stop-address={address + size}"]
    listing = subprocess.run(command + [ours], capture_output=True, text=True, check=True).stdout
    code = [(int(a, 16), re.sub(r"\s*(//|<).*", "", text)) for a, text in re.findall(r"^\s*([0-9a-f]+):\s+(.*)$", listing, re.M)]
    at = {a: i for i, (a, _) in enumerate(code)}
    best, inner = None, -1
    for i, (a, text) in enumerate(code):
        back = re.match(r"(?:b\.\w+|cbn?z\s+\w+,|tbn?z\s.*,)\s*([0-9a-f]+)$", text)
        if not back or int(back[1], 16) >= a or int(back[1], 16) not in at:
            continue
        start = at[int(back[1], 16)]
        if start <= inner:  # around another loop
            continue
        inner = start
        body = [text for _, text in code[start : i + 1]]
        total = sum(n for text in body for mnemonic, n in MULTIPLY_ADDS if re.match(mnemonic, text))
        if total and (best is None or total > best[1]):
            best = body, total
    return best


# llvm-mca's "Block RThroughput" counts an instruction that one of these alone can run for that one only, not for the pair.
VECTOR_PIPES = r"(A57Unit[WX]|N1UnitV[01])"


def simulate(loop, cpu):
    """Cycles per multiply-add that llvm-mca sees, and the bound by its ports alone."""
    body, total = loop
    source = "\n".join(re.sub(r"\b[0-9a-f]{3,}$", ".Lloop", t) if re.match(r"(b\.|b\s|cbn?z|tbn?z)", t) else t for t in body)
    run = subprocess.run(
        ["llvm-mca-19", "-mtriple=aarch64", f"-mcpu={cpu}", "-mattr=+dotprod", "-iterations=200"],
        input=source, capture_output=True, text=True,
    )
    if run.returncode:
        sys.exit(f"llvm-mca: {run.stderr[:500]}")
    cycles = int(re.search(r"Total Cycles:\s+(\d+)", run.stdout)[1]) / 200
    pipes = re.findall(rf"^\[([\d.]+)\]\s+- {VECTOR_PIPES}$", run.stdout, re.M)
    names, pressure = re.search(r"Resource pressure per iteration:\n(.*)\n(.*)\n", run.stdout).groups()
    taken = dict(zip(re.findall(r"\[([\d.]+)\]", names), pressure.split()))
    vectors = sum(float(taken[number]) for number, _ in pipes if taken[number] != "-") / len(pipes)
    return cycles / total, max(float(re.search(r"Block RThroughput:\s+([\d.]+)", run.stdout)[1]), vectors) / total


def kernels_of(tier, fmt):
    """Patterns of the GEMM and the GEMV of a format."""
    dot = {"neon": "dot::Neon", "dotprod": "dot::DotProd"}[tier]
    codes = {"Q4_0": "Short", "Q4_1": "Short", "Q5_0": "Short", "Q4_K": "Short", "Q6_K": "SixSub", "Q3_K": "TinySub"}.get(fmt, "Byte")
    size = {"neon": "1, 8", "dotprod": "2, 4"}[tier]
    gemv = "(DotProd|I8mm)" if tier == "dotprod" else "Neon"  # the compiler merges the GEMV of both
    return rf"run::<.*{dot}, .*::{codes}, {size}>", rf"gemv::<.*dot::{gemv}, .*::{fmt}, 1>"


# What no run of this shows: where the GEMV of dotprod came from. Cycles per multiply-add by llvm-mca, neoverse-n1.
TRIED = """
### What was tried on GEMV, neoverse-n1

All of these loops but Q8_0's kept both vector pipes busy (97 to 100 %), so chains of dependences, rows in flight and the reorder buffer were not
what to work on: only fewer vector operations are faster. Loads and integer operations have room.

| what | format | cycles before | after | |
|---|---|---|---|---|
| scales loaded between the rows of the group before, in turns that overlap | Q8_0 | 0.0940 | 0.0807 | kept; between the rows, but without the overlap: 0.0901 |
| the same | Q4_0 | 0.1086 | 0.1057 | kept; at its limit: a lane of scales takes a vector pipe, and a general register twice the instructions |
| `sri` on the mask for the high nibbles, not `ushr` and `sli` | Q5_0 | 0.1728 | 0.1571 | kept |
| masks of the fifth bit from a table of 256 x 8 bytes | Q5_0 | 0.1571 | 0.14 by its ports | not written: a quarter more instructions, and a Cortex-A76 decodes four a cycle |
| high bits of two parts by one `and`, then `sli` and `sri`: 7 operations for 4 vectors, not 10 | Q6_K | 0.1800 | 0.1604 | kept; as intrinsics 0.1741: the compiler takes `sri` apart |
| masks that it may not make anew | Q6_K | 0.1604 | 0.1585 | kept |
| parts in pairs written out, so that nothing is spilled | Q6_K | 0.1585 | 0.1565 | kept |
| each part's f32 step before the next part | Q6_K | 0.1585 | 0.1623 | no; for Q3_K, which runs out of registers, 0.2023 without it and 0.1954 with it |
| third bits of two parts by `tbl`, half sums in i16, scales of four rows decoded together | Q3_K | 0.2296 | 0.2052 | kept; `tbl` is slow on a Cortex-A72, where bits are shifted one by one |
| codes of rows one after the other | Q3_K | 0.1954 | 0.2003 | no; nor each row's sums before the next row's, 0.2003 too |
""".splitlines()

# --- the log ----------------------------------------------------------------------------------------------------------


def version(command):
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0]


def main():
    compiler = version([os.environ.get("RUSTC", "rustc"), "-V"])
    log = [
        "# Arm without an Arm machine",
        "",
        f"Written by `bench/arm/evidence.sh`. Ours: {compiler}. Peer: ggml of {peer_version}, {version(['aarch64-linux-gnu-gcc', '--version'])},",
        "one thread, the buffer type that llama.cpp would choose. " + version(["qemu-aarch64", "--version"]) + ".",
        "Counts are executed instructions per multiply-add of one more product, the quantization of the activations included;",
        "they repeat exactly. Prefetches are left out, on both sides: they compute nothing. **Bold**: misses its target.",
    ]
    measured = {}
    for cpu, tier, _ in CPUS:
        log += ["", f"## Instructions per multiply-add, {cpu} (ours: `{tier}`)", ""]
        log += ["| format | shape | " + " | ".join(f"n={n}: ours | peer | ratio" for n in COLUMNS) + " | peer's buffer |"]
        log += ["|---|---|" + "---|---|---|" * len(COLUMNS) + "---|"]
        for fmt in formats:
            for shape in shapes(fmt):
                cells = []
                for n in COLUMNS:
                    own, _ = per_multiply_add(cpu, [ours], fmt, shape, n, tier)
                    theirs, printed = per_multiply_add(cpu, [f"{work}/peer-{cpu}"], fmt, shape, n)
                    measured[cpu, fmt, shape, n] = own
                    ratio, limit = own / theirs, 1.0 if n == 1 else TARGETS[cpu].get(fmt)
                    shown = f"{ratio:.2f}"
                    cells.append(f"{own:.4f} | {theirs:.4f} | " + (f"**{shown}**" if limit and ratio > limit else shown))
                repacked = "repacked" if "REPACK" in printed else "as in the file"
                log.append(f"| {fmt} | {shape[0]} x {shape[1]} | " + " | ".join(cells) + f" | {repacked} |")
                print(log[-1], flush=True)
    log += ["", "Targets: GEMM on cortex-a72 at most 0.5 for Q4_0, Q8_0, Q4_K, Q6_K; on cortex-a76 0.9 for what the peer repacks, 0.5 for the rest;"]
    log += ["GEMV at most 1.0."]

    cycles = {}
    for cpu, tier, model in CPUS:
        log += ["", f"## Cycles per multiply-add of the inner loops by llvm-mca, {model}", ""]
        log += ["| format | GEMM: cycles | port limit | reached | instructions | GEMV: cycles | port limit | reached | instructions |"]
        log += ["|---|---|---|---|---|---|---|---|---|"]
        for fmt in formats:
            cells = []
            for kind, pattern in zip(["gemm", "gemv"], kernels_of(tier, fmt)):
                loop = inner_loop(pattern)
                if loop is None:
                    cells.append("no symbol | | |")
                    continue
                seen, bound = simulate(loop, model)
                inside = len(loop[0]) / loop[1]
                # What is executed beside the inner loop is taken to run at the loop's pace.
                shape, n = shapes(fmt)[1], 128 if kind == "gemm" else 1
                cycles[cpu, fmt, kind] = seen * max(1.0, measured[cpu, fmt, shape, n] / inside)
                cells.append(f"{seen:.4f} | {bound:.4f} | {100 * bound / seen:.0f} % | {inside:.4f}")
            log.append(f"| {fmt} | " + " | ".join(cells) + " |")
    log += ["", "The limit is the loop's instructions on the ports they need, with no dependence between them: llvm-mca's reciprocal throughput of the"]
    log += ["block, or what the two vector pipes take together where that is more (it counts an instruction that only one of them can run for that"]
    log += ["one, and the rest for both: a loop that never leaves a vector pipe idle was told to reach 65 %)."]
    log += TRIED

    log += ["", "## Predictions, not measurements", ""]
    log += ["Prefill from the cycles of GEMM on all cores; decode from the slower of the cycles of GEMV on all cores and reading the weights once per"]
    log += ["token. Weights of one format, attention and the rest left out, no throttling: an upper bound for what a board will show."]
    for cpu, _, _ in CPUS:
        board, cores, ghz, bandwidth = BOARDS[cpu]
        log += ["", f"### {board}: {cores} x {cpu} at {ghz} GHz, {bandwidth:g} GB/s", ""]
        log += ["| format | pp, 0.5 B | tg, 0.5 B | pp, 1.5 B | tg, 1.5 B | decode is bound by |", "|---|---|---|---|---|---|"]
        for fmt in formats:
            if (cpu, fmt, "gemm") not in cycles or (cpu, fmt, "gemv") not in cycles:
                continue
            row, bound = [], ""
            for weights in [0.494e9, 1.54e9]:
                prefill = cores * ghz * 1e9 / (cycles[cpu, fmt, "gemm"] * weights)
                computing = cores * ghz * 1e9 / (cycles[cpu, fmt, "gemv"] * weights)
                reading = bandwidth * 1e9 / (weights * BITS[fmt] / 8)
                row += [f"{prefill:.0f} t/s", f"{min(computing, reading):.1f} t/s"]
                bound = "memory" if reading < computing else "arithmetic"
            log.append(f"| {fmt} | " + " | ".join(row) + f" | {bound} |")
    with open("bench/log/arm.md.tmp", "w") as out:
        out.write("\n".join(log) + "\n")
    os.replace("bench/log/arm.md.tmp", "bench/log/arm.md")
    print("wrote bench/log/arm.md")


main()
