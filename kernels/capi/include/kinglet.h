/* libkinglet: CPU kernels for quantized language models, with the same bits on every CPU.
 *
 * Made by cbindgen from kernels/capi/src; `KINGLET_WRITE_DOCS=1 cargo test -p kinglet-capi --release --test header` writes it anew.
 *
 * - Weights are GGUF blocks in place. Shapes are written [outer][inner], sizes count values unless they say bytes.
 * - Functions return a kinglet_status, 0 for success; kinglet_last_error() says which argument was wrong. Where a function is refused, no
 *   result has been written.
 * - Null, misaligned, overlapping, too large and wrapping arguments and unknown numbers are refused. Pointers to nothing are null or have
 *   a count of 0.
 * - No allocation, lock, thread or exception, unless a function says so (kinglet_detect and kinglet_verify do). Every function may be
 *   called from any thread; to divide a product, give threads disjoint rows.
 * - Threads must round to nearest and keep denormals (the state a thread begins in), else KINGLET_STATUS_FLOAT_ENVIRONMENT.
 * - Structs begin with their size, so that they can grow: set it to sizeof, and what you do not use to 0.
 * Licensed under MIT or Apache-2.0, as you like.
 */

#ifndef KINGLET_H
#define KINGLET_H

#include <stddef.h>
#include <stdint.h>

/**
 * The version of the binary interface that this header describes: the number in the library's SONAME. Compare it with
 * `kinglet_abi_version()`.
 */
#define KINGLET_ABI_VERSION 1

/**
 * What a function returns. 0 is success. Where it is anything else no result has been written.
 */
enum kinglet_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Done.
   */
  KINGLET_STATUS_OK = 0,
  /**
   * A pointer is null where something is to be read or written.
   */
  KINGLET_STATUS_NULL_POINTER = 1,
  /**
   * A pointer is not aligned for its type.
   */
  KINGLET_STATUS_MISALIGNED = 2,
  /**
   * A result overlaps another argument.
   */
  KINGLET_STATUS_OVERLAP = 3,
  /**
   * A size is larger than memory can be, or wraps.
   */
  KINGLET_STATUS_TOO_LARGE = 4,
  /**
   * Sizes do not fit together.
   */
  KINGLET_STATUS_SHAPE = 5,
  /**
   * A number that names nothing: a format, an activation, a cache type, a kind of rotation.
   */
  KINGLET_STATUS_UNKNOWN_VALUE = 6,
  /**
   * A tier's or operation's name that does not exist.
   */
  KINGLET_STATUS_UNKNOWN_NAME = 7,
  /**
   * A tier that this machine cannot run or the program does not allow.
   */
  KINGLET_STATUS_UNUSABLE_TIER = 8,
  /**
   * Too little workspace.
   */
  KINGLET_STATUS_WORKSPACE = 9,
  /**
   * The thread flushes denormals to zero or rounds other than to nearest.
   */
  KINGLET_STATUS_FLOAT_ENVIRONMENT = 10,
  /**
   * A struct's size is not that of any version of it, or it has a field set that this library does not know.
   */
  KINGLET_STATUS_STRUCT_SIZE = 11,
  /**
   * A handle that is none.
   */
  KINGLET_STATUS_BAD_HANDLE = 12,
  /**
   * Past the end of a list.
   */
  KINGLET_STATUS_END = 13,
  /**
   * A bug in kinglet; please report it.
   */
  KINGLET_STATUS_INTERNAL = 14,
  /**
   * A value that cannot be encoded: NaN, infinite, or more than the format holds.
   */
  KINGLET_STATUS_VALUE = 15,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kinglet_status kinglet_status;
#else
typedef int32_t kinglet_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The activations of `kinglet_activate`.
 */
enum kinglet_activation_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * `x / (1 + exp(-x))`
   */
  KINGLET_ACTIVATION_KIND_SILU = 0,
  /**
   * GELU by the tanh approximation.
   */
  KINGLET_ACTIVATION_KIND_GELU_TANH = 1,
  /**
   * GELU by the error function.
   */
  KINGLET_ACTIVATION_KIND_GELU_ERF = 2,
  /**
   * `max(0, x)`
   */
  KINGLET_ACTIVATION_KIND_RELU = 3,
  /**
   * `max(0, x)^2`
   */
  KINGLET_ACTIVATION_KIND_RELU2 = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kinglet_activation_kind kinglet_activation_kind;
#else
typedef uint32_t kinglet_activation_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The pairs of `kinglet_rope`.
 */
enum kinglet_rope_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * `(x[2i], x[2i + 1])`
   */
  KINGLET_ROPE_KIND_INTERLEAVED = 0,
  /**
   * `(x[i], x[i + pairs])`
   */
  KINGLET_ROPE_KIND_HALF_SPLIT = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kinglet_rope_kind kinglet_rope_kind;
#else
typedef uint32_t kinglet_rope_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The functions of `kinglet_map`.
 */
enum kinglet_map_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * `e^x`; the parameter is not used.
   */
  KINGLET_MAP_KIND_EXP = 0,
  /**
   * The hyperbolic tangent; the parameter is not used.
   */
  KINGLET_MAP_KIND_TANH = 1,
  /**
   * The error function; the parameter is not used.
   */
  KINGLET_MAP_KIND_ERF = 2,
  /**
   * `x * parameter`
   */
  KINGLET_MAP_KIND_SCALE = 3,
  /**
   * `parameter * tanh(x / parameter)`
   */
  KINGLET_MAP_KIND_SOFTCAP = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kinglet_map_kind kinglet_map_kind;
#else
typedef uint32_t kinglet_map_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a KV cache stores.
 */
enum kinglet_cache_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * 4 bytes a value.
   */
  KINGLET_CACHE_KIND_F32 = 0,
  /**
   * 2 bytes a value.
   */
  KINGLET_CACHE_KIND_F16 = 1,
  /**
   * 34 bytes for 32 values.
   */
  KINGLET_CACHE_KIND_Q8_0 = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kinglet_cache_kind kinglet_cache_kind;
#else
typedef uint32_t kinglet_cache_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The kernels of one tier. Obtained from `kinglet_detect`, never freed, usable from any thread.
 */
typedef struct kinglet_kernels kinglet_kernels;

/**
 * The shape of the cache of one KV head. A page holds 512 keys and values, at absolute positions `512 * page` and on.
 */
typedef struct kinglet_cache {
  /**
   * `sizeof(kinglet_cache)`
   */
  size_t size;
  /**
   * Values per key, 1 to 4096.
   */
  size_t head_dim;
  /**
   * Values per value vector, 1 to 4096.
   */
  size_t value_dim;
  /**
   * A `kinglet_cache_kind`.
   */
  uint32_t kind;
  /**
   * 0.
   */
  uint32_t reserved;
} kinglet_cache;

/**
 * Sizes that follow from a `kinglet_cache`.
 */
typedef struct kinglet_cache_sizes_t {
  /**
   * Bytes of the keys of one page.
   */
  size_t key_page;
  /**
   * Bytes of the values of one page.
   */
  size_t value_page;
  /**
   * Values per row of unfinished outputs: value_dim rounded up to 16.
   */
  size_t output_dim;
  /**
   * Bytes of workspace for `kinglet_attention_page`.
   */
  size_t workspace;
} kinglet_cache_sizes_t;

/**
 * One query: one head at one position. Rows of one call share a KV head.
 */
typedef struct kinglet_query {
  /**
   * Its absolute position.
   */
  size_t position;
  /**
   * The first absolute position that it sees.
   */
  size_t visible_begin;
  /**
   * One past the last.
   */
  size_t visible_end;
  /**
   * ALiBi: `score += slope * (key position - query position)`; 0 for none.
   */
  float slope;
  /**
   * 0.
   */
  uint32_t reserved;
} kinglet_query;

/**
 * What `kinglet_attention_page` works on.
 */
typedef struct kinglet_attention {
  /**
   * `sizeof(kinglet_attention)`
   */
  size_t size;
  /**
   * `[rows][head_dim]`
   */
  const float *q;
  /**
   * `[rows]`
   */
  const struct kinglet_query *queries;
  /**
   * Query rows.
   */
  size_t rows;
  /**
   * The page's number.
   */
  size_t page;
  /**
   * The page's keys.
   */
  const void *keys;
  /**
   * The page's values.
   */
  const void *values;
  /**
   * `[rows]`, written: the largest score; -infinity where no key was visible.
   */
  float *m;
  /**
   * `[rows]`, written: the sum of `exp(score - m)`.
   */
  float *l;
  /**
   * `[rows][output_dim]`, written: the sum of `exp(score - m) * value`.
   */
  float *o;
  /**
   * Multiplies the dot products.
   */
  float scale;
  /**
   * `score = cap * tanh(score / cap)` after the scale; 0 for none.
   */
  float softcap;
  /**
   * Workspace, as `kinglet_cache_sizes` says.
   */
  void *workspace;
  /**
   * Its bytes.
   */
  size_t workspace_size;
} kinglet_attention;

/**
 * How a tier is chosen. Set `size` to its sizeof and the rest to 0 for the default: `KINGLET_TIER` if it is set, else
 * the fastest tier that the machine can run.
 */
typedef struct kinglet_options {
  /**
   * `sizeof(kinglet_options)`
   */
  size_t size;
  /**
   * Exactly this tier, such as `avx2`, whatever `KINGLET_TIER` says; null for none.
   */
  const char *tier;
  /**
   * No tier beyond this one; null for none. It limits tiers of its own architecture, `scalar` limits all.
   */
  const char *cap;
  /**
   * Other than 0: do not read `KINGLET_TIER`.
   */
  uint32_t ignore_environment;
  /**
   * 0.
   */
  uint32_t reserved;
} kinglet_options;

/**
 * A kernel. Texts end with 0.
 */
typedef struct kinglet_kernel_info {
  /**
   * Such as `q4_k.gemv.avx2`.
   */
  char name[48];
  /**
   * The operation, such as `gemv`.
   */
  char op[24];
  /**
   * The tier whose code it is.
   */
  char tier[24];
  /**
   * The identity of the layout that it expects or leaves data in, such as `a8x32.1`.
   */
  char layout[24];
  /**
   * ggml's type number of the weights, or 0xffffffff when it reads none.
   */
  uint32_t format;
  /**
   * The `kinglet_cache_kind`, or 0xffffffff when it reads no cache.
   */
  uint32_t cache;
  /**
   * Rows and columns of its register tile; 0 when it has none.
   */
  uint32_t tile_rows;
  /**
   * See `tile_rows`.
   */
  uint32_t tile_columns;
} kinglet_kernel_info;

/**
 * A weight matrix in GGUF blocks, where it lies: `rows` outputs of `cols` inputs, row after row. Blocks need no alignment.
 */
typedef struct kinglet_matrix {
  /**
   * `sizeof(kinglet_matrix)`
   */
  size_t size;
  /**
   * The blocks of the first row.
   */
  const void *data;
  /**
   * Bytes there are at `data`.
   */
  size_t data_size;
  /**
   * Outputs.
   */
  size_t rows;
  /**
   * Inputs (K), a whole number of blocks.
   */
  size_t cols;
  /**
   * Bytes from one row to the next; 0 when rows lie back to back.
   */
  size_t stride;
  /**
   * ggml's type number, such as 12 for Q4_K.
   */
  uint32_t format;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * What is multiplied next, when the last row of this matrix has been; null when that is not known. A hint: a product then fetches the
   * beginning of its blocks into the cache while it still computes. Results do not depend on it, nothing is read of it but the struct, and its
   * own `next` is not looked at.
   */
  const struct kinglet_matrix *next;
} kinglet_matrix;

/**
 * Quantized activations: what `kinglet_quantize` writes. Layout `a8x32.1`. Codes are within -127 and 127, and sums are those of the codes, which is not
 * checked: of others, products are numbers that mean nothing and differ between tiers.
 */
typedef struct kinglet_activations {
  /**
   * `sizeof(kinglet_activations)`
   */
  size_t size;
  /**
   * `[n][k]` codes.
   */
  const int8_t *q;
  /**
   * `[n][k / 32]` scales.
   */
  const float *d;
  /**
   * `[n][k / 16]` sums of codes.
   */
  const int16_t *sums;
  /**
   * Rows: columns of the product.
   */
  size_t n;
  /**
   * Values per row, a multiple of 32.
   */
  size_t k;
} kinglet_activations;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Sizes for a cache of this shape, into `sizes`.
 *
 * # Safety
 * `cache` is a `kinglet_cache`; `sizes` can be written.
 */
kinglet_status kinglet_cache_sizes(const struct kinglet_kernels *kernels,
                                   const struct kinglet_cache *cache,
                                   struct kinglet_cache_sizes_t *sizes);

/**
 * Stores one key (`[head_dim]`) and one value (`[value_dim]`) at slot `slot` (0 to 511) of a page. Pages begin as anything; 64 bytes are their
 * best alignment.
 *
 * # Safety
 * `cache` is such a struct; `keys` and `values` are pages of that shape that can be written, `k` and `v` can be read.
 */
kinglet_status kinglet_store_kv(const struct kinglet_kernels *kernels,
                                const struct kinglet_cache *cache,
                                void *keys,
                                void *values,
                                size_t slot,
                                const float *k,
                                const float *v);

/**
 * As `kinglet_store_kv` for slots `slot_begin <= slot < slot_end`, whose keys and values are rows that begin `k_stride` and `v_stride` values
 * apart: those of one head in the rows of a batch of tokens. Strides are at least `head_dim` and `value_dim`. The 16 slots from a multiple of 16 on are
 * stored at once, in less time than one by one.
 *
 * # Safety
 * As there; `k` has `(slots - 1) * k_stride + head_dim` values and `v` has `(slots - 1) * v_stride + value_dim`, or none when there is no slot.
 */
kinglet_status kinglet_store_kv_batch(const struct kinglet_kernels *kernels,
                                      const struct kinglet_cache *cache,
                                      void *keys,
                                      void *values,
                                      size_t slot_begin,
                                      size_t slot_end,
                                      const float *k,
                                      size_t k_stride,
                                      const float *v,
                                      size_t v_stride);

/**
 * Attends from queries to the keys of one page. Fold pages in ascending order with `kinglet_attention_fold`, then
 * `kinglet_attention_finish`.
 *
 * # Safety
 * Both are such structs, and what `attention` points to is there.
 */
kinglet_status kinglet_attention_page(const struct kinglet_kernels *kernels,
                                      const struct kinglet_cache *cache,
                                      const struct kinglet_attention *attention);

/**
 * Folds a page's `part_m`, `part_l`, `part_o` into `m`, `l`, `o`, which begin as -infinity, 0 and 0. Shapes as in `kinglet_attention`.
 *
 * # Safety
 * `cache` is such a struct; there are `rows`, `rows` and `rows * output_dim` values each.
 */
kinglet_status kinglet_attention_fold(const struct kinglet_kernels *kernels,
                                      const struct kinglet_cache *cache,
                                      size_t rows,
                                      float *m,
                                      float *l,
                                      float *o,
                                      const float *part_m,
                                      const float *part_l,
                                      const float *part_o);

/**
 * `out = o / l`, `[rows][value_dim]` without padding; 0 for a row that saw no key.
 *
 * # Safety
 * `cache` is such a struct; `l` has `rows` values, `o` has `rows * output_dim`, `out` has room for `rows * value_dim`.
 */
kinglet_status kinglet_attention_finish(const struct kinglet_kernels *kernels,
                                        const struct kinglet_cache *cache,
                                        size_t rows,
                                        const float *l,
                                        const float *o,
                                        float *out);

/**
 * Chooses the kernels to use and writes a handle to `out`. `options` may be null for the default. Handles are the same for the
 * same tier, need not be freed and may be shared by threads. Locks once per tier, and may allocate while it reads `KINGLET_TIER`: call it
 * when your program starts.
 *
 * # Safety
 * `options` is null or a `kinglet_options` whose strings are null or end with 0; `out` can be written.
 */
kinglet_status kinglet_detect(const struct kinglet_options *options,
                              const struct kinglet_kernels **out);

/**
 * The name of the handle's tier, such as `avx2`; null when it is no handle. Valid for ever.
 *
 * # Safety
 * None: the handle is looked up, not followed.
 */
const char *kinglet_tier_name(const struct kinglet_kernels *kernels);

/**
 * Kernel number `index` of the handle's list, from 0 on; `KINGLET_STATUS_END` past the last.
 *
 * # Safety
 * `info` can be written.
 */
kinglet_status kinglet_kernel_at(const struct kinglet_kernels *kernels,
                                 size_t index,
                                 struct kinglet_kernel_info *info);

/**
 * Which kernel runs for an operation such as `gemv`, weights of a format (0xffffffff for none) or a cache of a kind (likewise), and so many
 * columns. `gemv` and `gemm` name the same product: the one that runs is returned.
 *
 * # Safety
 * `op` ends with 0; `info` can be written.
 */
kinglet_status kinglet_kernel_for(const struct kinglet_kernels *kernels,
                                  const char *op,
                                  uint32_t weights,
                                  uint32_t cache,
                                  size_t columns,
                                  struct kinglet_kernel_info *info);

/**
 * Compares every kernel of the handle's tier with the portable one on this machine, with data made from `seed`, and writes how many
 * differ to `differences`: 0 on a machine that is right. Takes a second or so, and allocates.
 *
 * # Safety
 * `differences` can be written.
 */
kinglet_status kinglet_verify(const struct kinglet_kernels *kernels,
                              uint64_t seed,
                              size_t *differences);

/**
 * Bytes of a row of `cols` weights of a format, into `bytes`.
 *
 * # Safety
 * `bytes` can be written.
 */
kinglet_status kinglet_row_size(uint32_t format, size_t cols, size_t *bytes);

/**
 * The name of a format, such as `Q4_K`, or null when kinglet does not know the number. Valid for ever.
 */
const char *kinglet_format_name(uint32_t format);

/**
 * Quantizes `n` rows of `k` activations (`k` a multiple of 32) into `q: [n][k]`, `d: [n][k / 32]`, `sums: [n][k / 16]`.
 *
 * # Safety
 * `x` can be read and the others written, as many values as said.
 */
kinglet_status kinglet_quantize(const struct kinglet_kernels *kernels,
                                const float *x,
                                size_t n,
                                size_t k,
                                int8_t *q,
                                float *d,
                                int16_t *sums);

/**
 * As `kinglet_quantize`, into rows that begin `stride` values apart in `q`, `stride / 32` in `d` and `stride / 16` in `sums`: `k` values of each row
 * of a wider whole. `stride` is a multiple of 32 and at least `k`. To divide rows along K, give each thread its own columns of `x`, back to back, and
 * the same whole from its first column on: nothing between the rows is written. Short rows are quantized many at a time.
 *
 * # Safety
 * `x` has `n * k` values; the rows of the others can be written and are nobody else's during the call.
 */
kinglet_status kinglet_quantize_rows(const struct kinglet_kernels *kernels,
                                     const float *x,
                                     size_t n,
                                     size_t k,
                                     int8_t *q,
                                     float *d,
                                     int16_t *sums,
                                     size_t stride);

/**
 * Bytes of workspace that `kinglet_matmul` and `kinglet_matmul_id` need for weights like these, whatever the number of columns
 * and rows. A workspace may begin anywhere; 64 bytes are its best alignment.
 *
 * # Safety
 * `w` is a `kinglet_matrix`; `bytes` can be written.
 */
kinglet_status kinglet_matmul_workspace(const struct kinglet_kernels *kernels,
                                        const struct kinglet_matrix *w,
                                        size_t *bytes);

/**
 * `y[c * y_stride + r] = dot(w[r], x[c]) + bias[r]` for rows `row_begin <= r < row_end` of quantized weights and all `x->n` columns.
 *
 * `y_stride` is at least `w->rows`, `bias` (`[w->rows]`) may be null. To divide the work, give each thread its own rows, a workspace of its own, and the same
 * `y`: nothing outside its rows is written.
 *
 * # Safety
 * `w` and `x` are such structs and their memory is there; `bias` is null or has `w->rows` values; the rows of `y` and the workspace can be
 * written and are nobody else's during the call.
 */
kinglet_status kinglet_matmul(const struct kinglet_kernels *kernels,
                              const struct kinglet_matrix *w,
                              const struct kinglet_activations *x,
                              const float *bias,
                              size_t row_begin,
                              size_t row_end,
                              float *y,
                              size_t y_stride,
                              void *workspace,
                              size_t workspace_size);

/**
 * `y[c * y_stride + r] = dot(w[ids[c]][r], x[c / per_row])`: each column with the weights of its own expert.
 *
 * `w` holds `experts` matrices of `w->rows / experts` rows one after the other (`[experts][rows][cols]`). `ids` has `x->n * per_row`
 * entries, and `y` as many columns: `per_row` experts share a row of activations. Rows are those of one expert. Sorting by expert
 * pays when `per_row` is 1.
 *
 * # Safety
 * As `kinglet_matmul`; `ids` has `x->n * per_row` entries.
 */
kinglet_status kinglet_matmul_id(const struct kinglet_kernels *kernels,
                                 const struct kinglet_matrix *w,
                                 size_t experts,
                                 const uint32_t *ids,
                                 size_t per_row,
                                 const struct kinglet_activations *x,
                                 size_t row_begin,
                                 size_t row_end,
                                 float *y,
                                 size_t y_stride,
                                 void *workspace,
                                 size_t workspace_size);

/**
 * As `kinglet_matmul` for F32, F16 and BF16 weights and `n` rows of `w->cols` f32 activations; no workspace.
 *
 * # Safety
 * As there; `x` has `n * w->cols` values.
 */
kinglet_status kinglet_matmul_float(const struct kinglet_kernels *kernels,
                                    const struct kinglet_matrix *w,
                                    const float *x,
                                    size_t n,
                                    size_t row_begin,
                                    size_t row_end,
                                    float *y,
                                    size_t y_stride);

/**
 * Bytes of workspace that `kinglet_linear` needs for these weights and `n` columns.
 *
 * # Safety
 * `w` is a `kinglet_matrix`; `bytes` can be written.
 */
kinglet_status kinglet_linear_workspace(const struct kinglet_kernels *kernels,
                                        const struct kinglet_matrix *w,
                                        size_t n,
                                        size_t *bytes);

/**
 * A whole linear layer with weights of any format, on this thread: `y[c * y_stride + r] = dot(w[r], x[c]) + bias[r]` for `n` rows of
 * `w->cols` f32 activations. Quantizes them first when the weights are quantized; the bits are those of `kinglet_quantize` and
 * `kinglet_matmul`. `bias` may be null.
 *
 * # Safety
 * `w` is such a struct and its memory is there; `x` has `n * w->cols` values, `bias` is null or has `w->rows`; `y` and the workspace can be
 * written.
 */
kinglet_status kinglet_linear(const struct kinglet_kernels *kernels,
                              const struct kinglet_matrix *w,
                              const float *x,
                              size_t n,
                              const float *bias,
                              float *y,
                              size_t y_stride,
                              void *workspace,
                              size_t workspace_size);

/**
 * Row `row` of weights of any format, as f32 into `out: [w->cols]`.
 *
 * # Safety
 * `w` is such a struct and its memory is there; `out` can be written.
 */
kinglet_status kinglet_dequantize_row(const struct kinglet_kernels *kernels,
                                      const struct kinglet_matrix *w,
                                      size_t row,
                                      float *out);

/**
 * Encodes `n` finite values as blocks of a format into `out`, of which there are `out_size` bytes: those of `kinglet_row_size`.
 * `KINGLET_STATUS_UNKNOWN_VALUE` when the format can be read but not written, `KINGLET_STATUS_VALUE` when a value is not finite or more than it
 * can hold.
 *
 * # Safety
 * `x` can be read and `out` written.
 */
kinglet_status kinglet_encode_row(uint32_t format,
                                  const float *x,
                                  size_t n,
                                  void *out,
                                  size_t out_size);

/**
 * RMSNorm of `rows` rows of `n` values: `y = (x / rms(x)) * w`. `w` (`[n]`) may be null. `y` may be `x`, else they do not overlap.
 *
 * # Safety
 * `x` has `rows * n` values, `w` is null or has `n`, `y` has room for `rows * n`.
 */
kinglet_status kinglet_rms_norm(const struct kinglet_kernels *kernels,
                                const float *x,
                                size_t rows,
                                size_t n,
                                const float *w,
                                float eps,
                                float *y);

/**
 * LayerNorm of `rows` rows of `n` values: `y = (x - mean) / std * w + b`. `w` and `b` (`[n]`) may be null. `y` may be `x`, else they
 * do not overlap.
 *
 * # Safety
 * `x` has `rows * n` values, `w` and `b` are null or have `n`, `y` has room for `rows * n`.
 */
kinglet_status kinglet_layer_norm(const struct kinglet_kernels *kernels,
                                  const float *x,
                                  size_t rows,
                                  size_t n,
                                  const float *w,
                                  const float *b,
                                  float eps,
                                  float *y);

/**
 * Rotates `heads` heads of `head_dim` values in place, the first `2 * pairs` values of each, by the angles whose `cos` and `sin` are given, one
 * per pair. `kind` is a `kinglet_rope_kind`.
 *
 * # Safety
 * `x` has `heads * head_dim` values, `cos` and `sin` have `pairs`.
 */
kinglet_status kinglet_rope(const struct kinglet_kernels *kernels,
                            uint32_t kind,
                            float *x,
                            size_t heads,
                            size_t head_dim,
                            const float *cos,
                            const float *sin,
                            size_t pairs);

/**
 * `x = a(x)` for `n` values. `kind` is a `kinglet_activation_kind`.
 *
 * # Safety
 * `x` has `n` values.
 */
kinglet_status kinglet_activate(const struct kinglet_kernels *kernels, uint32_t kind, float *x, size_t n);

/**
 * `gate = a(gate) * up` for `n` values. `kind` is a `kinglet_activation_kind`.
 *
 * # Safety
 * Both have `n` values.
 */
kinglet_status kinglet_activate_mul(const struct kinglet_kernels *kernels,
                                    uint32_t kind,
                                    float *gate,
                                    const float *up,
                                    size_t n);

/**
 * `x = f(x)` for `n` values. `kind` is a `kinglet_map_kind`, which says what `parameter` is.
 *
 * # Safety
 * `x` has `n` values.
 */
kinglet_status kinglet_map(const struct kinglet_kernels *kernels,
                           uint32_t kind,
                           float parameter,
                           float *x,
                           size_t n);

/**
 * `x += y` for `n` values.
 *
 * # Safety
 * Both have `n` values.
 */
kinglet_status kinglet_add(const struct kinglet_kernels *kernels, float *x, const float *y, size_t n);

/**
 * `x += y * s` for `n` values, rounded after each operation.
 *
 * # Safety
 * Both have `n` values.
 */
kinglet_status kinglet_add_scaled(const struct kinglet_kernels *kernels,
                                  float *x,
                                  const float *y,
                                  float s,
                                  size_t n);

/**
 * Softmax of `rows` rows of `n` values, in place.
 *
 * # Safety
 * `x` has `rows * n` values.
 */
kinglet_status kinglet_softmax(const struct kinglet_kernels *kernels, float *x, size_t rows, size_t n);

/**
 * The text for a status, in English, without a full stop. Never null; valid for ever.
 */
const char *kinglet_strerror(int32_t status);

/**
 * What was wrong with the last call of this thread that failed, with the argument's name and the numbers; empty when none has. Never
 * null; valid until the thread's next call that fails, or its end.
 */
const char *kinglet_last_error(void);

/**
 * The version of the library's binary interface: `KINGLET_ABI_VERSION` of the header it was built with.
 */
uint32_t kinglet_abi_version(void);

/**
 * The version of the numerical contract: libraries that return the same number return the same bits.
 */
uint32_t kinglet_contract_version(void);

/**
 * The library's version, such as `0.1.0`. Never null; valid for ever.
 */
const char *kinglet_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KINGLET_H */
