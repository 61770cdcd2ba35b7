// Operations one by one: what the module computes beside what ggml's own CPU backend computes, and what it must refuse.
//
//   check_ops libggml-kinglet.so
//
// Shapes with several matrices and repeated ones, inputs and results that are views of larger tensors, permuted ones, all formats.
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace {

using Build = std::function<ggml_tensor *(ggml_context *)>;

ggml_backend_t cpu = nullptr, kinglet = nullptr;
ggml_backend_dev_t device = nullptr;
void (*set_threads)(ggml_backend_t, int) = nullptr;
int failed = 0, compared = 0, refused = 0;
double worst = 0;

void die(const char *what) {
  std::fprintf(stderr, "check_ops: %s\n", what);
  std::exit(2);
}

// What a graph computes before its result, though the result does not need it.
std::vector<ggml_tensor *> also;

// About normally distributed.
float random_value() {
  static uint32_t state = 1;
  float sum = -2;
  for (int i = 0; i < 4; i++) {
    state = state * 1664525U + 1013904223U;
    sum += static_cast<float>(state >> 8) * 0x1p-24F;
  }
  return sum;
}

std::vector<float> random_values(size_t n) {
  std::vector<float> x(n);
  for (float &value : x) value = random_value();
  return x;
}

void fill(ggml_tensor *t) {
  const size_t n = static_cast<size_t>(ggml_nelements(t));
  if (t->type == GGML_TYPE_I32) {
    std::vector<int32_t> x(n);
    for (size_t i = 0; i < n; i++) x[i] = static_cast<int32_t>(i * 37 % 1000);
    ggml_backend_tensor_set(t, x.data(), 0, n * sizeof(int32_t));
  } else if (t->type == GGML_TYPE_F32) {
    // Not around 0, where a sum that is missing would not be noticed.
    std::vector<float> x = random_values(n);
    for (float &value : x) value += 0.25F;
    // Divisors.
    if (std::strcmp(ggml_get_name(t), "factors") == 0) {
      for (float &value : x) value = 1 + std::fabs(value);
    }
    ggml_backend_tensor_set(t, x.data(), 0, n * sizeof(float));
  } else {
    const std::vector<float> x = random_values(n), importance(static_cast<size_t>(t->ne[0]), 1.0F);
    std::vector<char> blocks(ggml_nbytes(t));
    ggml_quantize_chunk(t->type, x.data(), blocks.data(), 0, ggml_nrows(t), t->ne[0], importance.data());
    ggml_backend_tensor_set(t, blocks.data(), 0, blocks.size());
  }
}

// A graph in memory of the host, and its last node's values.
struct Graph {
  ggml_context *context;
  ggml_cgraph *graph;
  ggml_tensor *result;
  ggml_backend_buffer_t buffer;

  explicit Graph(const Build &build) {
    context = ggml_init({64 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true});
    result = build(context);
    graph = ggml_new_graph(context);
    for (ggml_tensor *t : also) ggml_build_forward_expand(graph, t);
    also.clear();
    ggml_build_forward_expand(graph, result);
    buffer = ggml_backend_alloc_ctx_tensors(context, cpu);
    for (ggml_tensor *t = ggml_get_first_tensor(context); t; t = ggml_get_next_tensor(context, t)) {
      if (t->op == GGML_OP_NONE && !t->view_src) fill(t);
    }
  }
  ~Graph() {
    ggml_backend_buffer_free(buffer);
    ggml_free(context);
  }
  Graph(const Graph &) = delete;
  Graph &operator=(const Graph &) = delete;

  bool supported() const {
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
      if (!ggml_backend_dev_supports_op(device, ggml_graph_node(graph, i))) return false;
    }
    return true;
  }

  std::vector<float> compute(ggml_backend_t backend) const {
    // An operation in place changes what the next backend reads: put it back.
    std::vector<char> before(ggml_backend_buffer_get_size(buffer));
    void *memory = ggml_backend_buffer_get_base(buffer);
    std::memcpy(before.data(), memory, before.size());
    if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) die("a graph could not be computed");
    std::vector<float> out;
    for (int64_t i = 0; i < ggml_nelements(result); i++) {
      int64_t at[4];
      ggml_unravel_index(result, i, &at[0], &at[1], &at[2], &at[3]);
      const char *data = static_cast<const char *>(result->data);
      for (int d = 0; d < 4; d++) data += static_cast<size_t>(at[d]) * result->nb[d];
      out.push_back(*reinterpret_cast<const float *>(data));
    }
    std::memcpy(memory, before.data(), before.size());
    return out;
  }
};

// `far`: the largest mean square of the differences, in parts of the mean square of the values.
void compare(const std::string &name, double far, const Build &build) {
  const Graph graph(build);
  if (!graph.supported()) {
    std::printf("REFUSED  %s\n", name.c_str());
    failed++;
    return;
  }
  const std::vector<float> expected = graph.compute(cpu);
  std::vector<float> first;
  for (const int threads : {1, 3}) {
    set_threads(kinglet, threads);
    const std::vector<float> actual = graph.compute(kinglet);
    double distance = 0, magnitude = 0;
    for (size_t i = 0; i < actual.size(); i++) {
      distance += std::pow(static_cast<double>(actual[i]) - static_cast<double>(expected[i]), 2);
      magnitude += std::pow(static_cast<double>(expected[i]), 2);
    }
    const double part = distance / magnitude;
    if (!(part <= far)) {
      std::printf("DIFFERS  %s, threads: %d: %.1e, at most %.0e\n", name.c_str(), threads, part, far);
      failed++;
    }
    if (part > worst) worst = part;
    if (first.empty()) first = actual;
    if (std::memcmp(first.data(), actual.data(), actual.size() * sizeof(float)) != 0) {
      std::printf("DIFFERS  %s with the number of threads\n", name.c_str());
      failed++;
    }
  }
  compared++;
}

void refuse(const std::string &name, const Build &build) {
  if (Graph(build).supported()) {
    std::printf("ACCEPTED %s\n", name.c_str());
    failed++;
  }
  refused++;
}

ggml_tensor *floats(ggml_context *c, int64_t n0, int64_t n1 = 1, int64_t n2 = 1, int64_t n3 = 1) {
  return ggml_new_tensor_4d(c, GGML_TYPE_F32, n0, n1, n2, n3);
}

// Both quantize activations, each in its own way: that is what they differ by.
constexpr double PRODUCT = 5e-4, EXACT = 1e-10;

void check_mul_mat() {
  for (int i = 0; i < GGML_TYPE_COUNT; i++) {
    const ggml_type type = static_cast<ggml_type>(i);
    const std::string name = std::string("mul_mat ") + (ggml_type_name(type) ? ggml_type_name(type) : "");
    const Build product = [=](ggml_context *c) { return ggml_mul_mat(c, ggml_new_tensor_2d(c, type, 512, 70), floats(c, 512, 5)); };
    if (!ggml_is_quantized(type) || type == GGML_TYPE_Q8_1 || type == GGML_TYPE_Q8_K) continue;
    // Some of ggml's formats are not kinglet's.
    ggml_context *c = ggml_init({8 * ggml_tensor_overhead(), nullptr, true});
    const bool known = ggml_backend_dev_supports_op(device, product(c));
    ggml_free(c);
    if (!known) {
      std::printf("left to ggml: %s\n", name.c_str());
      continue;
    }
    compare(name, PRODUCT, product);
  }
  struct Shape {
    int64_t k, rows, n, w2, w3, x2, x3;
  };
  for (const ggml_type type : {GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_Q8_0}) {
    for (const Shape s : {Shape{256, 1, 1, 1, 1, 1, 1}, {256, 33, 1, 1, 1, 1, 1}, {512, 576, 64, 1, 1, 1, 1}, {256, 64, 7, 1, 1, 3, 2},
                          {256, 40, 5, 3, 1, 3, 1}, {256, 40, 5, 2, 1, 6, 1}, {256, 40, 5, 2, 3, 4, 3}, {256, 31, 2, 2, 2, 6, 4},
                          {256, 100, 1, 4, 2, 4, 6}}) {
      char name[128];
      std::snprintf(name, sizeof name, "mul_mat %s [%d %d %d %d] x [%d %d %d]", ggml_type_name(type), static_cast<int>(s.k),
                    static_cast<int>(s.rows), static_cast<int>(s.w2), static_cast<int>(s.w3), static_cast<int>(s.n), static_cast<int>(s.x2),
                    static_cast<int>(s.x3));
      compare(name, PRODUCT, [=](ggml_context *c) {
        return ggml_mul_mat(c, ggml_new_tensor_4d(c, type, s.k, s.rows, s.w2, s.w3), floats(c, s.k, s.n, s.x2, s.x3));
      });
    }
    const std::string name = std::string("mul_mat ") + ggml_type_name(type);
    compare(name + ", input permuted", PRODUCT, [=](ggml_context *c) {
      return ggml_mul_mat(c, ggml_new_tensor_3d(c, type, 256, 40, 3), ggml_permute(c, floats(c, 256, 6, 5), 0, 2, 1, 3));
    });
    compare(name + ", input a view of wider rows", PRODUCT, [=](ggml_context *c) {
      ggml_tensor *x = floats(c, 600, 9);
      return ggml_mul_mat(c, ggml_new_tensor_2d(c, type, 256, 40), ggml_view_2d(c, x, 256, 8, x->nb[1], 17 * sizeof(float)));
    });
    compare(name + ", weights a view of some rows", PRODUCT, [=](ggml_context *c) {
      ggml_tensor *w = ggml_new_tensor_2d(c, type, 256, 90);
      return ggml_mul_mat(c, ggml_view_2d(c, w, 256, 40, 2 * w->nb[1], w->nb[1]), floats(c, 256, 5));
    });
    compare(name + ", weights permuted", PRODUCT, [=](ggml_context *c) {
      return ggml_mul_mat(c, ggml_permute(c, ggml_new_tensor_3d(c, type, 256, 3, 40), 0, 2, 1, 3), floats(c, 256, 5, 6));
    });
    // A bias: computed with the product where it is added in place, as ggml's allocator makes it, or after it.
    for (const bool in_place : {false, true}) {
      compare(name + (in_place ? " and bias, in place" : " and bias"), PRODUCT, [=](ggml_context *c) {
        ggml_tensor *y = ggml_mul_mat(c, ggml_new_tensor_2d(c, type, 256, 40), floats(c, 256, 70)), *bias = floats(c, 40);
        return in_place ? ggml_add_inplace(c, y, bias) : ggml_add(c, y, bias);
      });
    }
    // The second product quantizes its input again, which is no longer what the first one read.
    compare(name + ", input changed between products", PRODUCT, [=](ggml_context *c) {
      ggml_tensor *w = ggml_new_tensor_2d(c, type, 256, 256), *x = floats(c, 256, 5);
      ggml_tensor *h = ggml_mul_mat(c, w, x);
      also = {ggml_mul_mat(c, w, h), ggml_rms_norm_inplace(c, h, 1e-6F)};
      return ggml_mul_mat(c, w, h);
    });
    compare(name + ", products in a row", 4 * PRODUCT, [=](ggml_context *c) {
      ggml_tensor *w = ggml_new_tensor_2d(c, type, 256, 256), *x = floats(c, 256, 5);
      also = {ggml_mul_mat(c, w, x)};
      return ggml_mul_mat(c, w, ggml_mul_mat(c, w, x));
    });
    refuse(name + " with f16 activations", [=](ggml_context *c) {
      return ggml_mul_mat(c, ggml_new_tensor_2d(c, type, 256, 40), ggml_new_tensor_2d(c, GGML_TYPE_F16, 256, 5));
    });
    refuse(name + " of experts", [=](ggml_context *c) {
      return ggml_mul_mat_id(c, ggml_new_tensor_3d(c, type, 256, 40, 4), floats(c, 256, 2, 5), ggml_new_tensor_2d(c, GGML_TYPE_I32, 2, 5));
    });
  }
  for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16}) {
    refuse(std::string("mul_mat ") + ggml_type_name(type),
           [=](ggml_context *c) { return ggml_mul_mat(c, ggml_new_tensor_2d(c, type, 256, 40), floats(c, 256, 5)); });
  }
  refuse("mul_mat as a Hadamard transform", [](ggml_context *c) {
    ggml_tensor *y = ggml_mul_mat(c, ggml_new_tensor_2d(c, GGML_TYPE_Q8_0, 256, 256), floats(c, 256, 5));
    y->op_params[1] = GGML_HINT_SRC0_IS_HADAMARD;
    return y;
  });
  const Build sum = [](ggml_context *c) {
    ggml_tensor *y = ggml_mul_mat(c, ggml_new_tensor_2d(c, GGML_TYPE_Q8_0, 256, 40), floats(c, 256, 50));
    return ggml_add(c, y, ggml_permute(c, floats(c, 40, 1, 50), 0, 2, 1, 3));
  };
  compare("mul_mat and residual", PRODUCT, sum);
  // The allocator may put a sum over its second argument.
  compare("mul_mat and residual, over the residual", PRODUCT, [=](ggml_context *c) {
    ggml_tensor *y = sum(c), *place = ggml_view_tensor(c, y->src[1]);
    place->op = GGML_OP_ADD;
    place->src[0] = y->src[0];
    place->src[1] = y->src[1];
    return place;
  });
  compare("mul_mat, bias and residual", PRODUCT, [](ggml_context *c) {
    ggml_tensor *y = ggml_mul_mat(c, ggml_new_tensor_2d(c, GGML_TYPE_Q8_0, 256, 40), floats(c, 256, 5));
    return ggml_add_inplace(c, ggml_add_inplace(c, y, floats(c, 40)), floats(c, 40, 5));
  });
  refuse("a sum of two activations", [](ggml_context *c) { return ggml_add(c, floats(c, 64, 32), floats(c, 64, 32)); });
  refuse("mul_mat and a number for each row", [](ggml_context *c) {
    ggml_tensor *y = ggml_mul_mat(c, ggml_new_tensor_2d(c, GGML_TYPE_Q8_0, 256, 40), floats(c, 256, 5));
    return ggml_add(c, y, floats(c, 1, 5));
  });
}

void check_rms_norm() {
  compare("rms_norm", EXACT, [](ggml_context *c) { return ggml_rms_norm(c, floats(c, 576, 3), 1e-5F); });
  compare("rms_norm of heads", EXACT, [](ggml_context *c) { return ggml_rms_norm(c, floats(c, 65, 7, 30, 2), 1e-6F); });
  compare("rms_norm in place", EXACT, [](ggml_context *c) { return ggml_rms_norm_inplace(c, floats(c, 128, 300), 1e-6F); });
  compare("rms_norm permuted", EXACT,
          [](ggml_context *c) { return ggml_rms_norm(c, ggml_permute(c, floats(c, 64, 9, 40), 0, 2, 1, 3), 1e-6F); });
  const Build view = [](ggml_context *c) {
    ggml_tensor *x = floats(c, 400, 50);
    return ggml_rms_norm(c, ggml_view_3d(c, x, 64, 4, 50, 64 * sizeof(float), x->nb[1], 70 * sizeof(float)), 1e-6F);
  };
  compare("rms_norm of a view", EXACT, view);
  compare("rms_norm of a view, and weight", EXACT, [=](ggml_context *c) { return ggml_mul(c, view(c), floats(c, 64)); });
  compare("rms_norm of a view, and weight in place", EXACT, [=](ggml_context *c) { return ggml_mul_inplace(c, view(c), floats(c, 64)); });
  compare("rms_norm and weight", EXACT,
          [](ggml_context *c) { return ggml_mul_inplace(c, ggml_rms_norm(c, floats(c, 576, 64), 1e-5F), floats(c, 576)); });
  refuse("rms_norm transposed", [](ggml_context *c) { return ggml_rms_norm(c, ggml_transpose(c, floats(c, 32, 64)), 1e-5F); });
  refuse("norm", [](ggml_context *c) { return ggml_norm(c, floats(c, 64, 32), 1e-5F); });
  compare("rms_norm, weight and residual", EXACT, [](ggml_context *c) {
    return ggml_add(c, ggml_mul_inplace(c, ggml_rms_norm(c, floats(c, 64, 32), 1e-5F), floats(c, 64)), floats(c, 64, 32));
  });
  refuse("rms_norm and factors for each row",
         [](ggml_context *c) { return ggml_mul(c, ggml_rms_norm(c, floats(c, 64, 32), 1e-5F), floats(c, 64, 32)); });
  refuse("a product of two activations", [](ggml_context *c) { return ggml_mul(c, floats(c, 64, 32), floats(c, 64)); });
}

void check_rope() {
  struct Rope {
    const char *name;
    int mode, dims;
    float base = 10000, scale = 1, yarn = 0, magnitude = 1;
    bool factors = false, in_place = false, view = false;
    int offset = 0;
    ggml_type type = GGML_TYPE_F32;
  };
  const auto build = [](Rope r) {
    return [=](ggml_context *c) {
      ggml_tensor *x = r.type == GGML_TYPE_F32 ? floats(c, 64, 5, 40, 2) : ggml_new_tensor_4d(c, r.type, 64, 5, 40, 2);
      if (r.view) {
        // Queries beside keys and values.
        ggml_tensor *all = floats(c, 1000, 40);
        x = ggml_view_3d(c, all, 64, 5, 40, 80 * sizeof(float), all->nb[1], 128 * sizeof(float));
      }
      ggml_tensor *positions = ggml_new_tensor_1d(c, GGML_TYPE_I32, 40), *factors = nullptr;
      if (r.factors) factors = ggml_set_name(floats(c, r.dims / 2), "factors");
      const auto rope = r.in_place ? ggml_rope_ext_inplace : ggml_rope_ext;
      ggml_tensor *y = rope(c, x, positions, factors, r.dims, r.mode, 4096, r.base, r.scale, r.yarn, r.magnitude, 32, 1);
      y->op_params[15] = r.offset;
      return y;
    };
  };
  std::vector<Rope> cases;
  for (const int mode : {GGML_ROPE_TYPE_NORMAL, GGML_ROPE_TYPE_NEOX}) {
    Rope plain{mode == GGML_ROPE_TYPE_NEOX ? "rope neox" : "rope normal", mode, 64};
    cases.push_back(plain);
    Rope r = plain;
    r.dims = 20;
    cases.push_back(r);
    r.factors = true;
    cases.push_back(r);
    r = plain;
    r.base = 1e6F, r.scale = 0.25F, r.magnitude = 1.2F, r.in_place = true;
    cases.push_back(r);
    r = plain;
    r.view = true;
    cases.push_back(r);
    r.in_place = true, r.dims = 32;
    cases.push_back(r);
  }
  for (const Rope &r : cases) {
    // The angles: ggml multiplies them up in f32, from pair to pair.
    const std::string more = std::string(r.factors ? ", factors" : "") + (r.in_place ? ", in place" : "") + (r.view ? ", view" : "");
    compare(std::string(r.name) + ", dimensions: " + std::to_string(r.dims) + more, 1e-7, build(r));
  }
  Rope r{"", GGML_ROPE_TYPE_NEOX, 64};
  r.yarn = 1;
  refuse("rope with YaRN", build(r));
  r.yarn = 0, r.dims = 32, r.offset = 16;
  refuse("rope inside the head", build(r));
  r.offset = 0, r.type = GGML_TYPE_F16;
  refuse("rope of f16", build(r));
  for (const int mode : {GGML_ROPE_TYPE_MROPE, GGML_ROPE_TYPE_VISION, GGML_ROPE_TYPE_IMROPE}) {
    refuse("rope with several positions", [=](ggml_context *c) {
      int sections[4] = {8, 8, 8, 8};
      ggml_tensor *positions = ggml_new_tensor_1d(c, GGML_TYPE_I32, 4 * 40);
      return ggml_rope_multi(c, floats(c, 64, 5, 40), positions, nullptr, 32, sections, mode, 4096, 10000, 1, 0, 1, 32, 1);
    });
  }
  refuse("rope backwards", [](ggml_context *c) {
    ggml_tensor *positions = ggml_new_tensor_1d(c, GGML_TYPE_I32, 40);
    return ggml_rope_ext_back(c, floats(c, 64, 5, 40), positions, nullptr, 64, 0, 4096, 10000, 1, 0, 1, 32, 1);
  });
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2) die("usage: check_ops libggml-kinglet.so");
  const ggml_backend_reg_t reg = ggml_backend_load(argv[1]);
  if (!reg) die("ggml does not take the module");
  device = ggml_backend_reg_dev_get(reg, 0);
  kinglet = ggml_backend_dev_init(device, nullptr);
  cpu = ggml_backend_cpu_init();
  void *address = ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads");
  if (!kinglet || !cpu || !address) die("no backend");
  ggml_backend_cpu_set_n_threads(cpu, 1);
  std::memcpy(&set_threads, &address, sizeof address);
  check_mul_mat();
  check_rms_norm();
  check_rope();
  ggml_backend_free(kinglet);
  ggml_backend_free(cpu);
  std::printf("%d operations compared with ggml's (tier %s), largest distance %.1e; %d refused; failed: %d\n", compared,
              ggml_backend_dev_description(device), worst, refused, failed);
  return failed != 0;
}
