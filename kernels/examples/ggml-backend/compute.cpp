#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "ops.hpp"

namespace kinglet_ggml {

const char *const KIND_NAMES[KINDS] = {"mul_mat", "rms_norm", "rope", "norm_weight", "add"};
std::atomic<uint64_t> counts[KINDS];

// Rows of weights are handed out in multiples of this, and a part is this share of what is left for each thread.
constexpr size_t ROW_TILE = 32, SHARES_PER_THREAD = 2;
// An operation on fewer values is done before another thread has woken up.
constexpr size_t WORTH_DIVIDING = 16384;
// Tables of angles to keep: models with layers of two kinds have two.
constexpr size_t TABLES = 4;

static void count(Kind kind) { counts[kind].fetch_add(1, std::memory_order_relaxed); }
static size_t size(int64_t n) { return static_cast<size_t>(n); }

// Where row `row` of all rows of a tensor begins.
static char *row_of(const ggml_tensor *t, size_t row) {
  const size_t i1 = row % size(t->ne[1]), i2 = row / size(t->ne[1]) % size(t->ne[2]), i3 = row / size(t->ne[1]) / size(t->ne[2]);
  return static_cast<char *>(t->data) + i1 * t->nb[1] + i2 * t->nb[2] + i3 * t->nb[3];
}
static float *floats(const ggml_tensor *t, size_t row) { return reinterpret_cast<float *>(row_of(t, row)); }

static bool overlap(const ggml_tensor *a, const ggml_tensor *b) {
  const char *x = static_cast<const char *>(a->data), *y = static_cast<const char *>(b->data);
  return x < y + ggml_nbytes(b) && y < x + ggml_nbytes(a);
}

// On any thread.
void Engine::check(kinglet_status status, const char *what) {
  if (status == KINGLET_STATUS_OK || failed_.exchange(true)) return;
  std::fprintf(stderr, "ggml-kinglet: %s: %s (%s)\n", what, kinglet_strerror(status), kinglet_last_error());
}

template <class F>
void Engine::divide(size_t n, size_t values, F f) {
  if (team_.threads() == 1 || values < WORTH_DIVIDING || n < 2) return f(size_t{0}, n);
  const size_t part = std::max<size_t>(n / (4 * team_.threads()), 1);
  std::atomic<size_t> next{0};
  auto job = [&](unsigned) {
    for (size_t begin; (begin = next.fetch_add(part, std::memory_order_relaxed)) < n;) f(begin, std::min(begin + part, n));
  };
  team_.run(job);
}

// All rows of `x`. Products that share an input (queries, keys and values; gate and up) follow each other, and quantize it once.
kinglet_activations Engine::quantize(const ggml_tensor *x) {
  const size_t n = size(ggml_nrows(x)), k = size(x->ne[0]);
  int8_t *q = q_.at_least(n * k);
  float *d = d_.at_least(n * k / 32);
  int16_t *sums = sums_.at_least(n * k / 16);
  const kinglet_activations a = {sizeof a, q, d, sums, n, k};
  if (quantized_ == x) return a;
  const bool together = ggml_is_contiguous(x);
  divide(n, n * k, [&](size_t begin, size_t end) {
    const size_t step = together ? end - begin : 1;
    for (size_t i = begin; i < end; i += step) {
      check(kinglet_quantize(kernels_, floats(x, i), step, k, q + i * k, d + i * k / 32, sums + i * k / 16), "quantize");
    }
  });
  quantized_ = x;
  return a;
}

void Engine::mul_mat(const ggml_tensor *op, const float *bias) {
  const ggml_tensor *weights = op->src[0], *x = op->src[1];
  const kinglet_activations all = quantize(x);
  const size_t rows = size(weights->ne[1]), row_size = ggml_row_size(weights->type, weights->ne[0]);
  kinglet_matrix shape = {sizeof shape, weights->data,    (rows - 1) * weights->nb[1] + row_size, rows,
                          all.k,        weights->nb[1], static_cast<uint32_t>(weights->type),   0,    nullptr};
  size_t bytes = 0;
  check(kinglet_matmul_workspace(kernels_, &shape, &bytes), "workspace");
  workspaces_.resize(std::max<size_t>(workspaces_.size(), team_.threads()));
  for (Room<char> &workspace : workspaces_) workspace.at_least(bytes);

  // A matrix is used for neighbours of the input's third and fourth dimension where it has fewer of them. Those of the third are columns of
  // one product, as they lie side by side in what is quantized and in the result; so are all of them when there is one matrix.
  const size_t repeat3 = size(x->ne[3] / weights->ne[3]), ne2 = size(weights->ne[2]);
  const bool single = ne2 == 1 && weights->ne[3] == 1;
  const size_t products = single ? 1 : ne2 * size(x->ne[3]), n = all.n / products, total = products * rows;
  float *y = static_cast<float *>(op->data);

  std::atomic<size_t> next{0};
  const size_t shares = team_.threads() == 1 ? 1 : team_.threads() * SHARES_PER_THREAD;
  auto job = [&](unsigned worker) {
    char *workspace = workspaces_[worker].at_least(bytes);
    size_t at = next.load(std::memory_order_relaxed);
    while (at < total && !failed_.load(std::memory_order_relaxed)) {
      // Parts shrink towards the end, so that a late thread leaves little to wait for. None crosses from one product to the next.
      const size_t begin = at % rows, share = (total - at + shares - 1) / shares;
      const size_t end = std::min(rows, begin + (share + ROW_TILE - 1) / ROW_TILE * ROW_TILE);
      if (!next.compare_exchange_weak(at, at + end - begin, std::memory_order_relaxed)) continue;
      const size_t product = at / rows, column = product * n;
      kinglet_matrix w = shape;
      w.data = static_cast<const char *>(weights->data) + product % ne2 * weights->nb[2] + product / ne2 / repeat3 * weights->nb[3];
      const size_t first = column * all.k;
      const kinglet_activations a = {sizeof a, all.q + first, all.d + first / 32, all.sums + first / 16, n, all.k};
      check(kinglet_matmul(kernels_, &w, &a, bias, begin, end, y + column * rows, rows, workspace, bytes), "matmul");
      at = next.load(std::memory_order_relaxed);
    }
  };
  team_.run(job);
  count(MUL_MAT);
}

// `weight` may be null.
void Engine::rms_norm(const ggml_tensor *op, const float *weight) {
  const ggml_tensor *x = op->src[0];
  const size_t rows = size(ggml_nrows(x)), n = size(x->ne[0]);
  float eps;
  std::memcpy(&eps, op->op_params, sizeof eps);
  const bool together = ggml_is_contiguous(x) && ggml_is_contiguous(op);
  divide(rows, rows * n, [&](size_t begin, size_t end) {
    const size_t step = together ? end - begin : 1;
    for (size_t i = begin; i < end; i += step) {
      check(kinglet_rms_norm(kernels_, floats(x, i), step, n, weight, eps, floats(op, i)), "rms_norm");
    }
  });
  count(RMS_NORM);
}

const Engine::Angles &Engine::angles(const ggml_tensor *op) {
  const RopeParams p(op);
  const ggml_tensor *positions = op->src[1], *factors = op->src[2];
  const size_t n = size(positions->ne[0]), pairs = size(p.dims / 2);
  const int32_t *position = static_cast<const int32_t *>(positions->data);
  const float *factor = factors ? static_cast<const float *>(factors->data) : nullptr;
  for (const Angles &a : angles_) {
    if (a.dims == p.dims && a.base == p.base && a.scale == p.scale && a.magnitude == p.magnitude && a.positions.size() == n &&
        std::equal(a.positions.begin(), a.positions.end(), position) && a.factors.size() == (factor ? pairs : 0) &&
        std::equal(a.factors.begin(), a.factors.end(), factor)) {
      return a;
    }
  }
  if (angles_.size() < TABLES) angles_.emplace_back();
  Angles &a = angles_[oldest_++ % angles_.size()];
  // Not to be found until it is complete.
  a.dims = 0;
  a.positions.assign(position, position + n);
  a.factors.assign(factor, factor + (factor ? pairs : 0));
  a.cos.resize(n * pairs);
  a.sin.resize(n * pairs);
  std::vector<double> frequencies(pairs);
  for (size_t i = 0; i < pairs; i++) {
    const double frequency = p.scale * std::pow(static_cast<double>(p.base), -2.0 * static_cast<double>(i) / p.dims);
    frequencies[i] = factor ? frequency / factor[i] : frequency;
  }
  divide(n, 16 * n * pairs, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      for (size_t j = 0; j < pairs; j++) {
        const double angle = position[i] * frequencies[j];
        a.cos[i * pairs + j] = static_cast<float>(std::cos(angle) * p.magnitude);
        a.sin[i * pairs + j] = static_cast<float>(std::sin(angle) * p.magnitude);
      }
    }
  });
  a.dims = p.dims;
  a.base = p.base;
  a.scale = p.scale;
  a.magnitude = p.magnitude;
  return a;
}

void Engine::rope(ggml_tensor *op) {
  const ggml_tensor *x = op->src[0];
  const RopeParams p(op);
  const Angles &a = angles(op);
  const size_t width = size(x->ne[0]), heads = size(x->ne[1]), tokens = size(x->ne[2]), pairs = size(p.dims / 2);
  const kinglet_rope_kind kind = p.mode == GGML_ROPE_TYPE_NEOX ? KINGLET_ROPE_KIND_HALF_SPLIT : KINGLET_ROPE_KIND_INTERLEAVED;
  // Heads of a token that lie side by side are turned in one call.
  const size_t together = x->nb[1] == width * sizeof(float) && op->nb[1] == width * sizeof(float) ? heads : 1;
  divide(tokens * size(x->ne[3]), size(ggml_nelements(x)), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const float *cos = a.cos.data() + i % tokens * pairs, *sin = a.sin.data() + i % tokens * pairs;
      for (size_t head = 0; head < heads; head += together) {
        const float *from = floats(x, i * heads + head);
        float *to = floats(op, i * heads + head);
        if (to != from) std::memcpy(to, from, together * width * sizeof(float));
        check(kinglet_rope(kernels_, kind, to, together, width, cos, sin, pairs), "rope");
      }
    }
  });
  count(ROPE);
}

// As `add`: where the norm lies elsewhere.
void Engine::norm_weight(const ggml_tensor *op) {
  const ggml_tensor *x = op->src[0];
  const float *weight = static_cast<const float *>(op->src[1]->data);
  divide(size(ggml_nrows(x)), size(ggml_nelements(x)), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const float *from = floats(x, i);
      float *to = floats(op, i);
      for (size_t j = 0; j < size(x->ne[0]); j++) to[j] = from[j] * weight[j];
    }
  });
  count(NORM_WEIGHT);
}

// A residual; or a bias, where the product lies elsewhere in memory than the sum or is in another part of the graph.
void Engine::add(const ggml_tensor *op) {
  const ggml_tensor *x = op->src[0], *addend = op->src[1];
  const size_t n = size(x->ne[0]);
  const bool single = ggml_nrows(addend) == 1;
  divide(size(ggml_nrows(x)), size(ggml_nelements(x)), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      float *to = floats(op, i);
      const float *a = floats(x, i), *b = floats(addend, single ? 0 : i);
      // The allocator may have put the sum over either.
      if (to == b) std::swap(a, b);
      if (to != a) std::memcpy(to, a, n * sizeof(float));
      check(kinglet_add(kernels_, to, b, n), "add");
    }
  });
  count(ADD);
}

bool Engine::compute(ggml_cgraph *graph) {
  failed_ = false;
  // What a tensor holds may have changed since the last graph.
  quantized_ = nullptr;
  const int nodes = ggml_graph_n_nodes(graph);
  const auto skipped = [&](int i) {
    const ggml_tensor *t = ggml_graph_node(graph, i);
    return is_view(t) || !(t->flags & GGML_TENSOR_FLAG_COMPUTE) || ggml_is_empty(t);
  };
  for (int i = 0; i < nodes && !failed_; i++) {
    if (skipped(i)) continue;
    ggml_tensor *op = ggml_graph_node(graph, i);
    // The norm's weight or the product's bias go with it where the allocator has put the result over its input: nobody else reads that then.
    int after = i + 1;
    while (after < nodes && skipped(after)) after++;
    const ggml_tensor *with = after < nodes ? ggml_graph_node(graph, after) : nullptr;
    const auto takes = [&](ggml_op kind) {
      return with && with->op == kind && with->src[0] == op && with->data == op->data && ggml_are_same_stride(with, op) &&
             supports(with) && !overlap(op, with->src[1]);
    };
    const ggml_tensor *last = op;
    switch (op->op) {
      case GGML_OP_MUL_MAT:
        if (takes(GGML_OP_ADD) && ggml_nrows(with->src[1]) == 1) last = with;
        mul_mat(op, last == op ? nullptr : static_cast<const float *>(with->src[1]->data));
        if (last != op) count(ADD);
        break;
      case GGML_OP_RMS_NORM:
        if (takes(GGML_OP_MUL)) last = with;
        rms_norm(op, last == op ? nullptr : static_cast<const float *>(with->src[1]->data));
        if (last != op) count(NORM_WEIGHT);
        break;
      case GGML_OP_ROPE:
        rope(op);
        break;
      case GGML_OP_ADD:
        add(op);
        break;
      case GGML_OP_MUL:
        norm_weight(op);
        break;
      default:
        std::fprintf(stderr, "ggml-kinglet: %s was given to it, which it does not compute\n", ggml_op_desc(op));
        return false;
    }
    if (last != op) i = after;
    if (quantized_ && overlap(op, quantized_)) quantized_ = nullptr;
  }
  return !failed_;
}

}  // namespace kinglet_ggml
