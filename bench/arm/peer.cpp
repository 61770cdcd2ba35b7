// One matrix product of ggml's CPU backend, repeated, on one thread: what bench/arm/evidence.sh counts instructions of.
//
//   peer FORMAT ROWS COLS N TIMES
//
// Weights take the buffer type that llama.cpp would choose: the repacked one where ggml repacks the format for this CPU.
// Prints the name of that buffer type. Activations are f32, so each product begins by quantizing them, as in llama.cpp.

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

static ggml_type type_of(const char * name) {
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        const char * known = ggml_type_name((ggml_type) t);
        if (known && strcasecmp(known, name) == 0) return (ggml_type) t;
    }
    fprintf(stderr, "peer: unknown format %s\n", name);
    exit(2);
}

// Any values will do, as long as they differ.
static std::vector<float> values(size_t n) {
    std::vector<float> v(n);
    for (size_t i = 0; i < n; i++) v[i] = (float) ((i * 2654435761u >> 8) % 2001) / 1000.0f - 1.0f;
    return v;
}

int main(int argc, char ** argv) {
    if (argc != 6) {
        fprintf(stderr, "peer FORMAT ROWS COLS N TIMES\n");
        return 2;
    }
    const ggml_type type = type_of(argv[1]);
    const int64_t rows = atoll(argv[2]), cols = atoll(argv[3]), n = atoll(argv[4]);
    const int times = atoi(argv[5]);

    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(backend, 1);
    ggml_backend_dev_t device = ggml_backend_get_device(backend);

    ggml_context * weights = ggml_init({ ggml_tensor_overhead() * 8, nullptr, true });
    ggml_tensor * w = ggml_new_tensor_2d(weights, type, cols, rows);
    ggml_context * other = ggml_init({ ggml_tensor_overhead() * 8 + ggml_graph_overhead(), nullptr, true });
    ggml_tensor * x = ggml_new_tensor_2d(other, GGML_TYPE_F32, cols, n);
    ggml_tensor * y = ggml_mul_mat(other, w, x);

    // As llama.cpp does: the first of the extra buffer types in which the device can multiply this tensor.
    ggml_backend_buffer_type_t chosen = ggml_backend_cpu_buffer_type();
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(device);
    auto extra = (ggml_backend_dev_get_extra_bufts_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts");
    for (auto type = extra ? extra(device) : nullptr; type && *type; type++) {
        w->buffer = ggml_backend_buft_alloc_buffer(*type, 0);
        const bool good = ggml_backend_dev_supports_op(device, y);
        ggml_backend_buffer_free(w->buffer);
        w->buffer = nullptr;
        if (good) {
            chosen = *type;
            break;
        }
    }
    ggml_backend_alloc_ctx_tensors_from_buft(weights, chosen);
    ggml_backend_alloc_ctx_tensors_from_buft(other, ggml_backend_cpu_buffer_type());

    const std::vector<float> dense = values(rows * cols), activations = values(cols * n);
    std::vector<char> packed(ggml_nbytes(w));
    ggml_quantize_chunk(type, dense.data(), packed.data(), 0, rows, cols, nullptr);
    ggml_backend_tensor_set(w, packed.data(), 0, packed.size());
    ggml_backend_tensor_set(x, activations.data(), 0, ggml_nbytes(x));

    ggml_cgraph * graph = ggml_new_graph(other);
    ggml_build_forward_expand(graph, y);
    for (int i = 0; i < times; i++) {
        if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) return 1;
    }
    float first;
    ggml_backend_tensor_get(y, &first, 0, sizeof first);
    printf("%s %s: %g\n", argv[1], ggml_backend_buft_name(chosen), first);
    return 0;
}
