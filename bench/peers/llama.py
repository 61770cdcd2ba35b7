"""llama.cpp as a peer of `kinglet-bench peers`, by llama-cpp-python's bindings: answers requests, one a line.

    python llama.py MODEL.gguf THREADS CONTEXT

The requests are those of candle/src/main.rs, and `ppl FILE`: the perplexity of a text by llama.cpp's method (needs numpy).
Its first line is `ready llama.cpp VERSION | FOLDER OF ITS LIBRARIES | what it was built for`.
"""

import ctypes, math, os, sys, time

import llama_cpp as L

file, threads, n_ctx = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
L.llama_backend_init()
quiet = L.llama_log_callback(lambda level, text, data: None)
L.llama_log_set(quiet, ctypes.c_void_p())
model = L.llama_model_load_from_file(file.encode(), L.llama_model_default_params())
if not model:
    sys.exit(f"llama.cpp cannot load {file}")
vocab = L.llama_model_get_vocab(model)
n_vocab = L.llama_vocab_n_tokens(vocab)
params = L.llama_context_default_params()
params.n_ctx = params.n_batch = n_ctx
params.n_ubatch = 512
params.n_threads = params.n_threads_batch = threads
context = L.llama_init_from_model(model, params)
memory = L.llama_get_memory(context)
depth = 0


def decode(tokens, position, logits_from):
    batch = L.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position + i, 1, 0
        batch.logits[i] = 1 if i >= logits_from or i == len(tokens) - 1 else 0
    status = L.llama_decode(context, batch)
    L.llama_batch_free(batch)
    if status:
        raise ValueError(f"llama_decode failed with {status}")


def test_tokens(n):
    return [i * 7919 % n_vocab for i in range(n)]


def go_to(wanted):
    """Forgets all behind the context of `wanted` tokens, and reads that first when it is not there yet."""
    global depth
    if wanted == depth and L.llama_memory_seq_rm(memory, 0, depth, -1):
        return
    L.llama_memory_clear(memory, True)
    depth = wanted
    if depth:
        decode(test_tokens(depth), 0, depth)
        L.llama_synchronize(context)


def pp(n, wanted):
    go_to(wanted)
    tokens = test_tokens(n)
    start = time.perf_counter()
    decode(tokens, wanted, n)
    L.llama_synchronize(context)
    return time.perf_counter() - start


def tg(n, wanted):
    go_to(wanted)
    tokens = test_tokens(n)
    start = time.perf_counter()
    for i, token in enumerate(tokens):
        decode([token], wanted + i, 0)
        L.llama_get_logits_ith(context, -1)
    return time.perf_counter() - start


def greedy(n, tokens):
    global depth
    L.llama_memory_clear(memory, True)
    depth, position, out = -1, 0, []
    for _ in range(n):
        decode(tokens, position, len(tokens))
        position += len(tokens)
        logits = L.llama_get_logits_ith(context, -1)
        tokens = [max(range(n_vocab), key=logits.__getitem__)]
        out.append(str(tokens[0]))
    return " ".join(out)


def perplexity(path):
    global depth
    import numpy as np

    text = open(path, "rb").read()
    space = (L.llama_token * (len(text) + 1))()
    n = L.llama_tokenize(vocab, text, len(text), space, len(text) + 1, True, False)
    tokens, bos, nll, count, depth = list(space[:n]), L.llama_vocab_bos(vocab), 0.0, 0, -1
    for chunk in range(n // 512):
        part = tokens[512 * chunk : 512 * chunk + 512]
        L.llama_memory_clear(memory, True)
        decode([bos] + part[1:] if L.llama_vocab_get_add_bos(vocab) else part, 0, 256)
        for i in range(256, 511):
            logits = np.ctypeslib.as_array(L.llama_get_logits_ith(context, i), (n_vocab,)).astype(np.float64)
            top = logits.max()
            nll += math.log(np.exp(logits - top).sum()) - (logits[part[i + 1]] - top)
            count += 1
    if not count:
        raise ValueError(f"{path} has fewer than 512 tokens")
    return math.exp(nll / count)


def answer(words):
    match words:
        case ["pp", n, d]:
            return pp(int(n), int(d))
        case ["tg", n, d]:
            return tg(int(n), int(d))
        case ["greedy", n, *tokens]:
            return greedy(int(n), [int(t) for t in tokens])
        case ["ppl", *path]:
            return perplexity(" ".join(path))
    raise ValueError(f"not a request: {' '.join(words)}")


libraries = os.path.join(os.path.dirname(L.__file__), "lib")
print(f"ready llama.cpp {L.__version__} | {libraries} | {L.llama_print_system_info().decode()}", flush=True)
for line in sys.stdin:
    try:
        print(answer(line.split()), flush=True)
    except Exception as e:
        print(f"error: {str(e).splitlines()[0] if str(e) else type(e).__name__}", flush=True)
