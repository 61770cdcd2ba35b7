// libggml-kinglet: kinglet's kernels as a backend of ggml, to be loaded by `ggml_backend_load`.
//
// It is an accelerator in ggml's sense, like its BLAS backend: it works in the memory of ggml's CPU backend, which stays and computes what
// this one does not take. Weights are used where they lie.
#include <ggml-backend-impl.h>
#include <kinglet.h>

#include <cstdio>
#include <cstring>
#include <exception>

#include "ops.hpp"

#if GGML_BACKEND_API_VERSION != 2
#error "This was written for version 2 of ggml's backend interface: compare ggml-backend-impl.h with what backend.cpp fills in"
#endif

using kinglet_ggml::Engine;

namespace {

const kinglet_kernels *kernels = nullptr;

Engine *engine(ggml_backend_t backend) { return static_cast<Engine *>(backend->context); }

// No exception may pass through ggml, which is C.
template <class R, class F>
R guarded(R otherwise, F f) {
  try {
    return f();
  } catch (const std::exception &e) {
    std::fprintf(stderr, "ggml-kinglet: %s\n", e.what());
  }
  return otherwise;
}

const char *name(ggml_backend_t) { return "kinglet"; }

void free_backend(ggml_backend_t backend) {
  delete engine(backend);
  delete backend;
}

ggml_status graph_compute(ggml_backend_t backend, ggml_cgraph *graph) {
  return guarded(GGML_STATUS_ALLOC_FAILED, [&] { return engine(backend)->compute(graph) ? GGML_STATUS_SUCCESS : GGML_STATUS_FAILED; });
}

void set_n_threads(ggml_backend_t backend, int n) {
  guarded(0, [&] { return engine(backend)->set_threads(n), 0; });
}

ggml_guid_t guid() {
  static ggml_guid id = {0x6b, 0x69, 0x6e, 0x67, 0x6c, 0x65, 0x74, 0x2d, 0x67, 0x67, 0x6d, 0x6c, 0x2d, 0x63, 0x70, 0x75};
  return &id;
}

const char *device_name(ggml_backend_dev_t) { return "kinglet"; }
const char *device_description(ggml_backend_dev_t) { return kinglet_tier_name(kernels); }

// It has none of its own.
void device_memory(ggml_backend_dev_t, size_t *free, size_t *total) { *free = *total = 0; }

enum ggml_backend_dev_type device_type(ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_ACCEL; }

void device_props(ggml_backend_dev_t dev, ggml_backend_dev_props *props) {
  *props = {};
  props->name = device_name(dev);
  props->description = device_description(dev);
  props->type = device_type(dev);
  props->caps.buffer_from_host_ptr = true;
  props->caps.mmap_support = true;
}

ggml_backend_t init_backend(ggml_backend_dev_t dev, const char *) {
  return guarded(ggml_backend_t{nullptr}, [&]() -> ggml_backend_t {
    ggml_backend *backend = new ggml_backend{};
    backend->guid = guid();
    backend->iface.get_name = name;
    backend->iface.free = free_backend;
    backend->iface.graph_compute = graph_compute;
    backend->device = dev;
    try {
      backend->context = new Engine(kernels);
    } catch (...) {
      delete backend;
      throw;
    }
    return backend;
  });
}

ggml_backend_buffer_type_t buffer_type(ggml_backend_dev_t) { return ggml_backend_cpu_buffer_type(); }

ggml_backend_buffer_t buffer_from_host(ggml_backend_dev_t, void *ptr, size_t size, size_t) {
  return ggml_backend_cpu_buffer_from_ptr(ptr, size);
}

bool supports_op(ggml_backend_dev_t, const ggml_tensor *op) { return kinglet_ggml::supports(op); }
// Where weights have been repacked, they are no longer GGUF's blocks, and the buffer does not say that it is the host's.
bool supports_buft(ggml_backend_dev_t, ggml_backend_buffer_type_t type) { return ggml_backend_buft_is_host(type); }

const char *reg_name(ggml_backend_reg_t) { return "kinglet"; }
size_t device_count(ggml_backend_reg_t) { return 1; }

ggml_backend_dev_t get_device(ggml_backend_reg_t reg, size_t index) {
  static ggml_backend_device device = [&] {
    ggml_backend_device d{};
    d.iface.get_name = device_name;
    d.iface.get_description = device_description;
    d.iface.get_memory = device_memory;
    d.iface.get_type = device_type;
    d.iface.get_props = device_props;
    d.iface.init_backend = init_backend;
    d.iface.get_buffer_type = buffer_type;
    d.iface.buffer_from_host_ptr = buffer_from_host;
    d.iface.supports_op = supports_op;
    d.iface.supports_buft = supports_buft;
    d.reg = reg;
    return d;
  }();
  return index == 0 ? &device : nullptr;
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Kind `index` of operation, from 0 on: its name, and how many have been computed in this process. False past the last.
EXPORT bool kinglet_ggml_counts(size_t index, const char **name, uint64_t *count) {
  if (index >= kinglet_ggml::KINDS) return false;
  *name = kinglet_ggml::KIND_NAMES[index];
  *count = kinglet_ggml::counts[index].load(std::memory_order_relaxed);
  return true;
}

static void *proc_address(ggml_backend_reg_t, const char *name) {
  if (std::strcmp(name, "ggml_backend_set_n_threads") == 0) return reinterpret_cast<void *>(set_n_threads);
  if (std::strcmp(name, "kinglet_ggml_counts") == 0) return reinterpret_cast<void *>(kinglet_ggml_counts);
  return nullptr;
}

// What `ggml_backend_load` calls. Null when this machine cannot be served, with the reason on stderr.
EXPORT ggml_backend_reg_t ggml_backend_init(void) {
  static ggml_backend_reg reg = [] {
    ggml_backend_reg r{};
    r.api_version = GGML_BACKEND_API_VERSION;
    r.iface.get_name = reg_name;
    r.iface.get_device_count = device_count;
    r.iface.get_device = get_device;
    r.iface.get_proc_address = proc_address;
    return r;
  }();
  if (kinglet_abi_version() != KINGLET_ABI_VERSION) {
    std::fprintf(stderr, "ggml-kinglet: libkinglet's ABI is %u, and this module was built for %d: rebuild it\n", kinglet_abi_version(),
                 KINGLET_ABI_VERSION);
    return nullptr;
  }
  const kinglet_status status = kinglet_detect(nullptr, &kernels);
  if (status != KINGLET_STATUS_OK) {
    std::fprintf(stderr, "ggml-kinglet: %s (%s)\n", kinglet_strerror(status), kinglet_last_error());
    return nullptr;
  }
  return &reg;
}
