"""llama.cpp without and with kinglet's kernels: the same text? the same perplexity? how fast?

    python run.py MODEL.gguf [--module build/libggml-kinglet.so] [-t THREADS] [-r REPETITIONS] [--text FILE]

Run it with the Python that has llama-cpp-python (pip's, unmodified). Two processes take turns: llama.cpp as it comes, with its own
repacking of weights, and llama.cpp with the module loaded. It fails when the module computed no product, norm or rotation of a
model that has them, or perplexity moved; a text that
differs is shown, with how close the two words were, as the two round differently. KINGLET_TIER forces the module's tier, such as
avx512_vnni beside a llama.cpp that was built without AMX.
"""

import argparse
import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROMPT = "The kinglet is the smallest bird of its forest, and"
GREEDY, PP, TG, CHUNK = 64, 512, 128, 512


class Llama:
    """llama.cpp by llama-cpp-python's plain bindings."""

    def __init__(self, file, threads, module, repack):
        # Here, as the process that compares the two needs neither.
        import llama_cpp
        import numpy

        self.api, self.numpy = llama_cpp, numpy
        self.log = []
        # Kept, as llama.cpp keeps the pointer.
        self.callback = llama_cpp.llama_log_callback(lambda level, text, data: self.log.append(text.decode(errors="replace")))
        llama_cpp.llama_log_set(self.callback, ctypes.c_void_p())
        self.tier, self.counts = load(module, self.log) if module else ("", dict)
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        # Repacked weights are no longer what is in the file, and only ggml's CPU backend can read them.
        params.use_extra_bufts = repack
        self.model = llama_cpp.llama_model_load_from_file(file.encode(), params)
        if not self.model:
            raise SystemExit(f"run.py: llama.cpp cannot load {file}: {''.join(self.log[-3:])}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = CHUNK
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit(f"run.py: llama.cpp makes no context for {file}: {''.join(self.log[-3:])}")

    def forget(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def decode(self, tokens, position, logits_from):
        batch = self.api.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position + i, 1, 0
            batch.logits[i] = i >= logits_from or i == len(tokens) - 1
        status = self.api.llama_decode(self.context, batch)
        self.api.llama_batch_free(batch)
        if status:
            raise SystemExit(f"run.py: llama_decode failed with {status}: {''.join(self.log[-3:])}")

    def logits(self, i):
        row = self.api.llama_get_logits_ith(self.context, i)
        return self.numpy.ctypeslib.as_array(row, (self.n_vocab,)).astype(self.numpy.float64)

    def tokens(self, text):
        text = text.encode()
        space = (self.api.llama_token * (len(text) + 2))()
        return list(space[: self.api.llama_tokenize(self.vocab, text, len(text), space, len(space), True, False)])

    def piece(self, token):
        space = ctypes.create_string_buffer(256)
        n = self.api.llama_token_to_piece(self.vocab, token, space, len(space), 0, True)
        return space.raw[: max(0, n)].decode(errors="replace")

    def greedy(self):
        """Each token, its text, and how far it was before the second."""
        self.forget()
        tokens, position, out = self.tokens(PROMPT), 0, []
        for _ in range(GREEDY):
            self.decode(tokens, position, len(tokens))
            position += len(tokens)
            logits = self.logits(-1)
            second, first = (int(i) for i in self.numpy.argpartition(logits, -2)[-2:])
            tokens = [first]
            out.append((first, self.piece(first), float(logits[first] - logits[second])))
        return out

    def nll(self, path):
        """-ln of the probability of each token in the second half of each chunk, as llama.cpp's perplexity program takes them."""
        tokens, out = self.tokens(Path(path).read_text(encoding="utf-8")), []
        size = min(CHUNK, len(tokens))
        if size < 128:
            raise SystemExit(f"run.py: {path} has {size} tokens, too few for a perplexity; give a --text of 128 or more")
        for chunk in range(len(tokens) // size):
            part = tokens[size * chunk : size * chunk + size]
            if self.api.llama_vocab_get_add_bos(self.vocab):
                part[0] = self.api.llama_vocab_bos(self.vocab)
            self.forget()
            self.decode(part, 0, size // 2)
            for i in range(size // 2, size - 1):
                logits = self.logits(i)
                top = logits.max()
                out.append(math.log(self.numpy.exp(logits - top).sum()) - float(logits[part[i + 1]] - top))
        return out

    def timed(self, batches):
        """Tokens per second of reading so many batches of one size, from an empty context."""
        import time

        self.forget()
        start = time.perf_counter()
        for i, batch in enumerate(batches):
            self.decode([(i * batch + j) * 7919 % self.n_vocab for j in range(batch)], i * batch, batch)
            self.api.llama_synchronize(self.context)
        return sum(batches) / (time.perf_counter() - start)

    def expected(self):
        """What a model like this has of what the module computes."""
        value = ctypes.create_string_buffer(128)

        def meta(key):
            return self.api.llama_model_meta_val_str(self.model, key.encode(), value, len(value)) >= 0

        meta("general.architecture")
        norms = meta(f"{value.value.decode()}.attention.layer_norm_rms_epsilon")
        # LLAMA_ROPE_TYPE_NORM and NEOX; others stay with ggml.
        return ["mul_mat", *["rms_norm"] * norms, *["rope"] * (self.api.llama_model_rope_type(self.model) in (0, 2))]

    def answer(self, what, *arguments):
        match what:
            case "greedy":
                return self.greedy()
            case "nll":
                return self.nll(*arguments)
            case "pp":
                return self.timed([PP])
            case "tg":
                return self.timed([1] * TG)
            case "counts":
                return self.counts()
            case "expected":
                return self.expected()
            case "instructions":
                info = self.api.llama_print_system_info().decode()
                return self.tier or ", ".join(part.split("=")[0].split(":")[-1].strip() for part in info.split("|") if "= 1" in part)


def load(module, log):
    """Loads the module into llama.cpp's ggml, before it looks for devices. The name of its tier, and a function that reads its counts."""
    from llama_cpp import llama_cpp

    # Through llama.cpp's own handle: the package has several copies of ggml's library, of which `llama_cpp._ggml` opens another one.
    ggml = llama_cpp._lib
    ggml.ggml_backend_load.argtypes, ggml.ggml_backend_load.restype = [ctypes.c_char_p], ctypes.c_void_p
    ggml.ggml_backend_reg_dev_get.argtypes, ggml.ggml_backend_reg_dev_get.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_void_p
    ggml.ggml_backend_dev_description.argtypes, ggml.ggml_backend_dev_description.restype = [ctypes.c_void_p], ctypes.c_char_p
    module_reg = ggml.ggml_backend_load(module.encode())
    if not module_reg:
        raise SystemExit(f"run.py: ggml does not take {module}: {''.join(log[-3:]).strip()}\n"
                         f"A module is built anew for each version of llama-cpp-python (README.md)")
    function = ctypes.CDLL(module).kinglet_ggml_counts
    function.argtypes = [ctypes.c_size_t, ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_uint64)]
    function.restype = ctypes.c_bool

    def counts():
        out, name, count = {}, ctypes.c_char_p(), ctypes.c_uint64()
        while function(len(out), name, count):
            out[name.value.decode()] = count.value
        return out

    return ggml.ggml_backend_dev_description(ggml.ggml_backend_reg_dev_get(module_reg, 0)).decode(), counts


def work(request):
    """A process that answers requests, one a line."""
    llama = Llama(**json.loads(request))
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(llama.answer(*json.loads(line))), flush=True)


class Process:
    def __init__(self, **options):
        command = [sys.executable, "-B", __file__, "--worker", json.dumps(options)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def read(self):
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"run.py: a process ended with status {self.child.wait()}, see above")
        return line

    def ask(self, *words):
        print(json.dumps(words), file=self.child.stdin, flush=True)
        return json.loads(self.read())


def compare_text(before, after):
    for i, ((a, word, gap), (b, other, _)) in enumerate(zip(before, after)):
        if a != b:
            same = "".join(piece for _, piece, _ in before[:i])
            print(f"greedy text: equal for {i} of {GREEDY} tokens, up to {same[-40:]!r}; then {word!r} without and {other!r} with, where")
            print(f"             {word!r} was {gap:.3f} before the second word (the two round activations differently)")
            return
    print(f"greedy text: equal, {GREEDY} tokens: {''.join(piece for _, piece, _ in before)!r}")


def compare_perplexity(before, after):
    """Whether perplexity stayed: the tokens are the same, so the noise is that of the differences."""
    differences = [b - a for a, b in zip(before, after)]
    change, noise = statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(len(differences))
    same = abs(change) <= max(3 * noise, 0.005)
    ppl = [math.exp(statistics.fmean(x)) for x in (before, after)]
    print(f"perplexity:  {ppl[0]:.4f} without, {ppl[1]:.4f} with: {100 * math.expm1(change):+.2f} % +- {100 * noise:.2f} % "
          f"over {len(before)} tokens: {'unchanged' if same else 'CHANGED'}")
    return same


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="See README.md beside this file.")
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--module", default=HERE / "build" / "libggml-kinglet.so", help="default: build/ beside this file")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all there are")
    parser.add_argument("-r", "--repetitions", type=int, default=5, help="default: 5")
    parser.add_argument("--text", default=HERE / "text.txt", help="for perplexity; default: text.txt beside this file")
    parser.add_argument("--no-repack", action="store_true", help="llama.cpp without the module does not repack weights either")
    options = parser.parse_args()
    if options.threads < 1 or options.repetitions < 1:
        parser.error("threads and repetitions are 1 or more")
    no_module = "no module; README.md says how to build it:"
    for file, what in ((options.model, "no model"), (options.text, "no text"), (options.module, no_module)):
        if not Path(file).is_file():
            parser.error(f"{what} {file}")
    try:
        import llama_cpp
    except ImportError as error:
        parser.error(f"{error}. This Python ({sys.executable}) has no llama-cpp-python: `python3 -m venv ENV && ENV/bin/pip install "
                     f"--no-binary llama-cpp-python llama-cpp-python==0.3.36` builds it, in ten minutes or more; then ENV/bin/python "
                     f"{__file__} …")
    return options, llama_cpp.__version__


def main():
    if sys.argv[1:2] == ["--worker"]:
        return work(sys.argv[2])
    options, version = arguments()
    common = {"file": str(options.model), "threads": options.threads}
    before = Process(**common, module=None, repack=not options.no_repack)
    after = Process(**common, module=str(Path(options.module).resolve()), repack=False)
    print(f"{Path(options.model).name}, llama-cpp-python {version}, threads: {options.threads}")
    print(f"llama.cpp was built for: {before.ask('instructions')}; tier of the module: {after.ask('instructions')}")
    compare_text(before.ask("greedy"), after.ask("greedy"))
    same = compare_perplexity(before.ask("nll", str(options.text)), after.ask("nll", str(options.text)))

    print(f"{'':12} {'without':>9} {'with':>9} {'ratio':>6}   tokens per second, medians of {options.repetitions}")
    for test, name in (("pp", f"pp{PP}"), ("tg", f"tg{TG}")):
        times = {before: [], after: []}
        for process in times:
            process.ask(test)
        for _ in range(options.repetitions):
            for process, list_ in times.items():
                list_.append(process.ask(test))
        a, b = (statistics.median(list_) for list_ in times.values())
        print(f"{name:12} {a:9.1f} {b:9.1f} {b / a:6.2f}{'   slower' if b < a else ''}")

    counts = after.ask("counts")
    print("computed by the module: " + ", ".join(f"{kind} {n}" for kind, n in counts.items()))
    if missing := [kind for kind in after.ask("expected") if not counts[kind]]:
        sys.exit(f"run.py: the module computed no {', no '.join(missing)}: are the weights quantized in a format that kinglet knows?")
    if not same:
        sys.exit("run.py: perplexity changed by more than its noise")


if __name__ == "__main__":
    main()
