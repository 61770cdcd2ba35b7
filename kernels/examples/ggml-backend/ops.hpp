// What the module computes, and how a graph's node is told from one that it leaves to ggml's CPU backend.
#pragma once
#include <ggml.h>
#include <kinglet.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include "team.hpp"

namespace kinglet_ggml {

// Whether a node is computed here. Everything that `Engine` reads is checked by this.
bool supports(const ggml_tensor *op);

// A view: nothing to compute.
bool is_view(const ggml_tensor *op);

// The kinds of operations that are counted.
enum Kind { MUL_MAT, RMS_NORM, ROPE, NORM_WEIGHT, ADD, KINDS };
extern const char *const KIND_NAMES[KINDS];
// Operations computed in this process so far.
extern std::atomic<uint64_t> counts[KINDS];

// The parameters of GGML_OP_ROPE, where ggml keeps them.
struct RopeParams {
  int32_t dims, mode, offset;
  float base, scale, yarn, magnitude;
  explicit RopeParams(const ggml_tensor *op);
};

// Memory that grows and is kept, in cache lines.
template <class T>
class Room {
 public:
  Room() = default;
  Room(Room &&other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr, other.size_ = 0; }
  ~Room() { std::free(data_); }
  T *at_least(size_t n) {
    if (n > size_) {
      std::free(data_);
      size_ = 0;
      data_ = static_cast<T *>(std::aligned_alloc(64, (n * sizeof(T) + 63) / 64 * 64));
      if (!data_) throw std::bad_alloc();
      size_ = n;
    }
    return data_;
  }

 private:
  T *data_ = nullptr;
  size_t size_ = 0;
};

// The state of one backend, as ggml makes one for each context.
class Engine {
 public:
  explicit Engine(const kinglet_kernels *kernels) : kernels_(kernels) {}
  void set_threads(int threads) { team_.resize(threads < 1 ? 1 : static_cast<unsigned>(threads)); }

  // Computes the nodes of a graph. False after an error, which has been printed.
  bool compute(ggml_cgraph *graph);

 private:
  // Angles for the positions of a batch. Every layer asks for the same ones.
  struct Angles {
    std::vector<int32_t> positions;
    std::vector<float> factors;
    int32_t dims = 0;
    float base = 0, scale = 0, magnitude = 0;
    // [positions][dims / 2]
    std::vector<float> cos, sin;
  };

  void mul_mat(const ggml_tensor *op, const float *bias);
  void rms_norm(const ggml_tensor *op, const float *weight);
  void rope(ggml_tensor *op);
  void norm_weight(const ggml_tensor *op);
  void add(const ggml_tensor *op);

  kinglet_activations quantize(const ggml_tensor *x);
  const Angles &angles(const ggml_tensor *op);
  // `f(begin, end)` for parts of `0..n`, on all threads when there are `values` enough to be worth it.
  template <class F>
  void divide(size_t n, size_t values, F f);
  void check(kinglet_status status, const char *what);

  const kinglet_kernels *kernels_;
  Team team_;
  std::atomic<bool> failed_{false};
  // The quantized rows of a tensor; null when they are of none.
  const ggml_tensor *quantized_ = nullptr;
  Room<int8_t> q_;
  Room<float> d_;
  Room<int16_t> sums_;
  std::vector<Room<char>> workspaces_;
  std::vector<Angles> angles_;
  size_t oldest_ = 0;
};

}  // namespace kinglet_ggml
