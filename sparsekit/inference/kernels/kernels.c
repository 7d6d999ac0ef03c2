/* Products of sparse weights with activations. Plain C, called through ctypes; built once for each
   level of vector instructions. Needs nothing of PyTorch. */
#include <stdlib.h>

#include "vectors.h"
#include "transpose.h"
#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifdef _OPENMP
#define PARALLEL _Pragma("omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)")
#else
#define PARALLEL
#endif

/* So many rows are computed before their outputs are put where they belong. */
#define CHUNK 128

/* Tiles of `length` columns: all of TILE but the last, which may be as wide as WIDEST. */
INLINE long tile_count(long length) {
  return length <= WIDEST ? 1 : (length - LANES + TILE - 1) / TILE;
}
INLINE long tile_start(long tile) { return tile * TILE; }
INLINE long tile_width(long tile, long length) {
  return tile == tile_count(length) - 1 ? length - tile_start(tile) : TILE;
}

/* Memory of this thread, kept between calls; NULL where there is none. */
static float *scratch(long floats) {
  static __thread float *memory = NULL;
  static __thread long size = 0;
  if (floats > size) {
    free(memory);
    size = (floats + 1023) / 1024 * 1024;
    memory = aligned_alloc(64, sizeof(float) * size);
    if (!memory) size = 0;
  }
  return memory;
}

/* Features of `columns` samples, each feature's side by side; what pads them to eight is 0. */
static void pack(const float *x, long x_sample, long x_feature, long features, long columns,
                 float *packed, long pitch) {
  if (columns < NARROWEST) memset(packed, 0, sizeof(float) * features * pitch);
  if (x_feature == 1) {
    transpose(x, x_sample, columns, features, packed, pitch);
    return;
  }
  for (long f = 0; f < features; f++)
    memcpy(packed + f * pitch, x + f * x_feature, sizeof(float) * columns);
}

static void add(float *y, const float *residual, long count, long relu) {
  for (long i = 0; i < count; i++) y[i] = finished(y[i] + residual[i], relu);
}

/* Outputs of some rows to their places in y; `at` is where y lies in all of it, and residual. */
static void unpack(const float *block, long pitch, long rows, long columns, float *y, long y_sample,
                   long y_feature, const struct epilogue *after, long at) {
  const float *residual = after->residual ? after->residual + at : NULL;
  if (y_feature == 1) {
    transpose(block, pitch, rows, columns, y, y_sample);
    for (long b = 0; residual && b < columns; b++)
      add(y + b * y_sample, residual + b * y_sample, rows, after->relu);
    return;
  }
  for (long r = 0; r < rows; r++) {
    memcpy(y + r * y_feature, block + r * pitch, sizeof(float) * columns);
    if (residual) add(y + r * y_feature, residual + r * y_feature, columns, after->relu);
  }
}

/* Of columns first, first + 1, ... those that lie in the first `segment` of each `stride`. */
static void keep_segments(const float *block, long first, long columns, long segment, long stride,
                          float *y, const float *residual, long relu) {
  for (long done = 0; done < columns;) {
    const long line = (first + done) / stride, within = (first + done) % stride;
    long count = stride - within < columns - done ? stride - within : columns - done;
    const long kept = segment - within < count ? segment - within : count;
    if (kept > 0) {
      const long at = line * segment + within;
      memcpy(y + at, block + done, sizeof(float) * kept);
      if (residual) add(y + at, residual + at, kept, relu);
    }
    done += count;
  }
}

/* A copy of planes [channel][height][width][n] with zeros around, every `step`-th row and column in
   a plane of its own: out[channel][phase of row][phase of column][row][column][n]. */
void sparsekit_halo(const float *x, long channels, long height, long width, long n, long x_pitch,
                    long top, long left, long step_rows, long step_columns, long phase_rows,
                    long phase_columns, long rows, long columns, float *out, long out_pitch,
                    long threads) {
  (void)threads;
  PARALLEL for (long c = 0; c < channels; c++) {
    float *to = out + c * out_pitch;
    memset(to, 0, sizeof(float) * out_pitch);
    for (long p = 0; p < phase_rows * phase_columns; p++, to += rows * columns * n)
      for (long i = 0; i < rows; i++) {
        const long line = i * step_rows + p / phase_columns - top;
        if (line < 0 || line >= height) continue;
        const float *from = x + c * x_pitch + line * width * n;
        float *row = to + i * columns * n;
        const long shift = p % phase_columns - left;
        if (step_columns == 1) {
          memcpy(row - shift * n, from, sizeof(float) * width * n);
          continue;
        }
        long j = shift < 0 ? (-shift + step_columns - 1) / step_columns : 0;
        for (; j < columns && j * step_columns + shift < width; j++)
          memcpy(row + j * n, from + (j * step_columns + shift) * n, sizeof(float) * n);
      }
  }
}

/* What this was built for: 2 AVX-512, 1 AVX2, 0 anything; and whether it has threads. */
long sparsekit_level(void) { return LANES == 16 ? 2 : LANES == 8 ? 1 : 0; }
long sparsekit_threaded(void) {
#ifdef _OPENMP
  return 1;
#else
  return 0;
#endif
}

#define INDICES16(p) _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p)))
#define INDICES32(p) _mm256_loadu_si256((const __m256i *)(p))
#define VALUES32(p) _mm256_loadu_ps(p)
#define VALUES16(p) _mm256_castsi256_ps(_mm256_slli_epi32(INDICES16(p), 16))

#define VALUE float
#define WIDE as_float
#define VALUES VALUES32
#define INDEX uint16_t
#define INDICES INDICES16
#define NAME(name) name##_float32_16
#include "all.h"
#define INDEX int32_t
#define INDICES INDICES32
#define NAME(name) name##_float32_32
#include "all.h"
#undef VALUES
#undef WIDE
#undef VALUE

#define VALUE bfloat16
#define WIDE widened
#define VALUES VALUES16
#define INDEX uint16_t
#define INDICES INDICES16
#define NAME(name) name##_bfloat16_16
#include "all.h"
#define INDEX int32_t
#define INDICES INDICES32
#define NAME(name) name##_bfloat16_32
#include "all.h"
