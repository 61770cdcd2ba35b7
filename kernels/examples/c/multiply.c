/* Maps a GGUF file, takes one of its matrices where it lies and multiplies it on two threads.
 *
 *   multiply FILE.gguf [TENSOR]
 *   multiply --speed FILE.gguf [TENSOR]     beside a loop over dequantized weights, both on one thread
 *
 * Without a name, every matrix of the file is taken in turn. Each result is compared with the sum over dequantized weights in double
 * precision. Plain C99 and POSIX; what it shows: matrices in place, workspace from the caller, rows divided among the caller's threads.
 */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <inttypes.h>
#include <kinglet.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { COLUMNS = 3, THREADS = 2 };

static void die(const char *what, const char *why) {
  fprintf(stderr, "multiply: %s: %s\n", what, why);
  exit(1);
}

static void check(kinglet_status status, const char *what) {
  if (status != KINGLET_STATUS_OK) {
    fprintf(stderr, "multiply: %s: %s (%s)\n", what, kinglet_strerror(status), kinglet_last_error());
    exit(1);
  }
}

static void *room(size_t bytes) {
  void *p = malloc(bytes ? bytes : 1);
  if (!p) die("memory", "there is none");
  return p;
}

/* The file, and how far it has been read. */
struct reader {
  const unsigned char *data;
  size_t size, at;
};

static const unsigned char *take(struct reader *r, uint64_t n) {
  if (n > r->size - r->at) die("file", "it ends too early");
  r->at += (size_t)n;
  return r->data + r->at - n;
}

static uint64_t number(struct reader *r, size_t bytes) {
  const unsigned char *p = take(r, bytes);
  uint64_t value = 0;
  for (size_t i = bytes; i-- > 0;) value = value << 8 | p[i];
  return value;
}

/* Bytes of a metadata value of this type; 0 for strings and arrays. */
static size_t scalar_size(uint32_t type) {
  static const size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  if (type >= sizeof sizes / sizeof *sizes) die("metadata", "a type that is not known");
  return sizes[type];
}

static void skip_value(struct reader *r, uint32_t type, int depth) {
  if (depth > 4) die("metadata", "arrays too deep");
  if (type == 8) {
    take(r, number(r, 8));
  } else if (type == 9) {
    uint32_t of = (uint32_t)number(r, 4);
    uint64_t n = number(r, 8);
    size_t each = scalar_size(of);
    if (each) {
      if (n > r->size / each) die("metadata", "an array longer than the file");
      take(r, n * each);
    } else {
      for (uint64_t i = 0; i < n; i++) skip_value(r, of, depth + 1);
    }
  } else {
    take(r, scalar_size(type));
  }
}

struct tensor {
  char name[128];
  uint64_t shape[4], offset;
  uint32_t dims, format;
};

/* One thread's share. */
struct part {
  const kinglet_kernels *kernels;
  const kinglet_matrix *w;
  const kinglet_activations *x;
  size_t begin, end;
  float *y;
};

static void *multiply_rows(void *argument) {
  struct part *p = argument;
  size_t bytes;
  check(kinglet_matmul_workspace(p->kernels, p->w, &bytes), "workspace");
  void *workspace = room(bytes);
  check(kinglet_matmul(p->kernels, p->w, p->x, NULL, p->begin, p->end, p->y, p->w->rows, workspace, bytes), "matmul");
  free(workspace);
  return NULL;
}

/* Activations whose quantization is exact: whole numbers, 127 the largest of each 32. */
static void fill(float *x, size_t n) {
  uint32_t state = 1;
  for (size_t i = 0; i < n; i++) {
    state = state * 1664525u + 1013904223u;
    x[i] = i % 32 == 5 ? 127.0f : (float)(state >> 24) - 127.0f;
    if (x[i] > 127.0f) x[i] = 127.0f;
  }
}

static void multiply(const kinglet_kernels *kernels, const kinglet_matrix *w, float *y) {
  size_t n = COLUMNS * w->cols;
  float *x = room(n * sizeof *x);
  fill(x, n);
  if (w->format <= 1 || w->format == 30) { /* F32, F16, BF16 */
    check(kinglet_matmul_float(kernels, w, x, COLUMNS, 0, w->rows, y, w->rows), "matmul_float");
  } else {
    int8_t *q = room(n);
    float *d = room(n / 32 * sizeof *d);
    int16_t *sums = room(n / 16 * sizeof *sums);
    check(kinglet_quantize(kernels, x, COLUMNS, w->cols, q, d, sums), "quantize");
    kinglet_activations a = {sizeof a, q, d, sums, COLUMNS, w->cols};
    struct part parts[THREADS];
    pthread_t threads[THREADS];
    for (size_t t = 0; t < THREADS; t++) {
      struct part part = {kernels, w, &a, w->rows * t / THREADS, w->rows * (t + 1) / THREADS, y};
      parts[t] = part;
      if (pthread_create(&threads[t], NULL, multiply_rows, &parts[t])) die("thread", "it does not start");
    }
    for (size_t t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
    free(q);
    free(d);
    free(sums);
  }
  free(x);
}

/* The largest distance from the double precision sums, in parts of the sum of magnitudes. */
static double distance(const kinglet_kernels *kernels, const kinglet_matrix *w, const float *y) {
  float *x = room(COLUMNS * w->cols * sizeof *x), *row = room(w->cols * sizeof *row);
  double worst = 0;
  fill(x, COLUMNS * w->cols);
  for (size_t r = 0; r < w->rows; r++) {
    check(kinglet_dequantize_row(kernels, w, r, row), "dequantize_row");
    for (size_t c = 0; c < COLUMNS; c++) {
      double sum = 0, magnitude = 1e-30;
      for (size_t k = 0; k < w->cols; k++) {
        double product = (double)row[k] * (double)x[c * w->cols + k];
        sum += product;
        magnitude += fabs(product);
      }
      double far = fabs(y[c * w->rows + r] - sum) / magnitude;
      if (!(far <= worst)) worst = far;
    }
  }
  free(x);
  free(row);
  return worst;
}

/* What an engine does that has no kernels: a row is dequantized and multiplied, in f32. Sums are not in one chain, so that the
 * compiler may use vectors. */
static void plain(const kinglet_kernels *kernels, const kinglet_matrix *w, const float *x, float *row, float *y) {
  for (size_t r = 0; r < w->rows; r++) {
    check(kinglet_dequantize_row(kernels, w, r, row), "dequantize_row");
    for (size_t c = 0; c < COLUMNS; c++) {
      const float *column = x + c * w->cols;
      float sums[16] = {0}, sum = 0;
      for (size_t k = 0; k < w->cols / 16; k++)
        for (size_t i = 0; i < 16; i++) sums[i] += row[16 * k + i] * column[16 * k + i];
      for (size_t i = 0; i < 16; i++) sum += sums[i];
      for (size_t k = w->cols / 16 * 16; k < w->cols; k++) sum += row[k] * column[k];
      y[c * w->rows + r] = sum;
    }
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Milliseconds of both for COLUMNS columns, the best of runs that take turns. */
static void speed(const kinglet_kernels *kernels, const kinglet_matrix *w, float *y, double best[2]) {
  float *x = room(COLUMNS * w->cols * sizeof *x), *row = room(w->cols * sizeof *row);
  size_t bytes;
  check(kinglet_linear_workspace(kernels, w, COLUMNS, &bytes), "workspace");
  void *workspace = room(bytes);
  fill(x, COLUMNS * w->cols);
  best[0] = best[1] = INFINITY;
  double end = now() + 200;
  do {
    double start = now();
    plain(kernels, w, x, row, y);
    double between = now();
    check(kinglet_linear(kernels, w, x, COLUMNS, NULL, y, w->rows, workspace, bytes), "linear");
    double stop = now();
    if (between - start < best[0]) best[0] = between - start;
    if (stop - between < best[1]) best[1] = stop - between;
  } while (now() < end);
  free(x);
  free(row);
  free(workspace);
}

int main(int argc, char **argv) {
  int timed = argc > 1 && strcmp(argv[1], "--speed") == 0;
  if (timed) argc--, argv++;
  if (argc < 2 || argc > 3) die("usage", "multiply [--speed] FILE.gguf [TENSOR]");
  if (kinglet_abi_version() != KINGLET_ABI_VERSION) die("libkinglet", "its ABI is not that of kinglet.h");
  const kinglet_kernels *kernels;
  check(kinglet_detect(NULL, &kernels), "detect");

  int fd = open(argv[1], O_RDONLY);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) || st.st_size == 0) die(argv[1], "cannot be read");
  struct reader r = {mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0), (size_t)st.st_size, 0};
  if (r.data == MAP_FAILED) die(argv[1], "cannot be mapped");
  close(fd);

  if (memcmp(take(&r, 4), "GGUF", 4) != 0) die(argv[1], "is no GGUF file");
  uint32_t version = (uint32_t)number(&r, 4);
  if (version < 2 || version > 3) die(argv[1], "GGUF version");
  uint64_t tensors = number(&r, 8), keys = number(&r, 8), alignment = 32;
  for (uint64_t i = 0; i < keys; i++) {
    uint64_t length = number(&r, 8);
    const char *key = (const char *)take(&r, length);
    uint32_t type = (uint32_t)number(&r, 4);
    int aligns = length == 17 && memcmp(key, "general.alignment", 17) == 0 && type == 4;
    if (aligns) {
      alignment = number(&r, 4);
    } else {
      skip_value(&r, type, 0);
    }
  }
  if (alignment == 0 || alignment > 65536) die(argv[1], "alignment");
  if (tensors > r.size) die(argv[1], "more tensors than bytes");
  struct tensor *all = room((size_t)tensors * sizeof *all);
  for (uint64_t i = 0; i < tensors; i++) {
    struct tensor *t = &all[i];
    uint64_t length = number(&r, 8);
    if (length >= sizeof t->name) die(argv[1], "a tensor's name is too long");
    memcpy(t->name, take(&r, length), (size_t)length);
    t->name[length] = 0;
    t->dims = (uint32_t)number(&r, 4);
    if (t->dims > 4) die(t->name, "more than 4 dimensions");
    for (uint32_t d = 0; d < t->dims; d++) t->shape[d] = number(&r, 8);
    t->format = (uint32_t)number(&r, 4);
    t->offset = number(&r, 8);
  }
  uint64_t data = (r.at + alignment - 1) / alignment * alignment;

  int failed = 0, done = 0;
  for (uint64_t i = 0; i < tensors; i++) {
    struct tensor *t = &all[i];
    if (argc == 3 ? strcmp(t->name, argv[2]) != 0 : t->dims != 2) continue;
    if (t->dims != 2) die(t->name, "is no matrix");
    if (data > r.size || t->offset > r.size - data) die(t->name, "lies past the end of the file");
    /* Everything else about the sizes is checked by the library. */
    kinglet_matrix w = {sizeof w, r.data + data + t->offset, (size_t)(r.size - data - t->offset), (size_t)t->shape[1],
                        (size_t)t->shape[0], 0, t->format, 0, NULL};
    size_t bytes;
    check(kinglet_matmul_workspace(kernels, &w, &bytes), t->name);
    float *y = room(COLUMNS * w.rows * sizeof *y);
    if (timed) {
      double best[2];
      speed(kernels, &w, y, best);
      printf("%-28s %6zu x %-6zu %8.3f ms by a loop %8.3f ms by kinglet %6.1f times as fast\n", t->name, w.rows, w.cols, best[0], best[1],
             best[0] / best[1]);
      done++;
      free(y);
      continue;
    }
    multiply(kernels, &w, y);
    kinglet_kernel_info info;
    check(kinglet_kernel_for(kernels, "gemv", w.format, UINT32_MAX, COLUMNS, &info), "kernel_for");
    double far = distance(kernels, &w, y);
    /* One rounding of 2^-24 for each group of 32 and a few more. */
    int good = far <= ((double)w.cols / 32 + 20) * 0x1p-24;
    printf("%-28s %6zu x %-6zu %-26s y[0] = %-12g off by %.1e %s\n", t->name, w.rows, w.cols, info.name, (double)y[0], far,
           good ? "ok" : "WRONG");
    failed |= !good;
    done++;
    free(y);
  }
  free(all);
  munmap((void *)(uintptr_t)r.data, r.size);
  if (!done) die(argv[1], "no such matrix");
  return failed;
}
