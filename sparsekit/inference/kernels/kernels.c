/* Products of sparse weights with activations. Plain C, called through ctypes; built once for each
   level of vector instructions. Needs nothing of PyTorch. */
#include <math.h>
#include <stdlib.h>

#include "vectors.h"
#include "picking.h"
#include "transpose.h"
#include "gelu.h"

#ifdef _OPENMP
#define PARALLEL _Pragma("omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)")
#else
#define PARALLEL
#endif

/* So many rows are computed before their outputs are put where they belong. Bands of
   blocked weights in Python (blocking.BAND). */
#define CHUNK 128

/* Tiles of `length` columns: all as wide as `tile` but the last, which may be a vector wider. */
INLINE long tile_count(long length, long tile) {
  return length <= tile + LANES ? 1 : (length - LANES + tile - 1) / tile;
}
INLINE long tile_width(long number, long length, long tile) {
  return number == tile_count(length, tile) - 1 ? length - number * tile : tile;
}
/* How wide a tile is, where each of its columns reads so many inputs. */
INLINE long fitting_tile(long inputs) {
  return inputs * TILE * (long)sizeof(float) > NEAR ? TILE / 2 : TILE;
}

/* Outputs of so many bytes are in no near cache when they are written: those of the next rows, and
   what is added to them, are fetched while the rows before them are summed. */
#define FAR (1 << 20)
#define AHEAD 8

/* Fetch outputs and residuals of rows order[from] to order[to] for a tile of columns. */
INLINE void fetch(const int32_t *order, long from, long to, const float *y, long y_pitch,
                  const struct epilogue *after, long columns) {
  for (long r = from; r < to; r++)
    for (long c = 0; c < columns + 15; c += 16) {
      __builtin_prefetch(y + order[r] * y_pitch + c, 1);
      if (after->residual) __builtin_prefetch(after->residual + order[r] * after->residual_pitch + c);
    }
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

#include "every.h"
#include "dense.h"
#include "places.h"

/* A weight and what it is multiplied by; arrays as in sparsekit_planes, with bands of CHUNK rows
   whether there are several blocks or one. Runs of columns begin x_step apart; without x they are
   what the stage before has left in near memory. */
struct part {
  const void *index, *value;
  const int32_t *starts, *order;
  long blocks;
  const float *x;
  long x_pitch, x_step;
};

/* What one convolution computes: the sum of its parts, the bias and the residual. Without y it is
   left in near memory, and copied to `places` from there if there are any. */
struct stage {
  struct part parts[2];
  long num_parts, rows;
  float *y;
  long y_pitch, y_step;
  const float *bias, *residual;
  long residual_pitch, residual_step, relu;
  struct places places;
};

/* Features of `columns` samples, each feature's side by side; what pads them to eight is 0. */
static void pack(const float *x, long x_sample, long x_feature, long features, long columns,
                 float *packed, long pitch) {
  if (x_feature == 1 && pitch == 8) {
    transpose_few(x, x_sample, columns, features, packed);
    return;
  }
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

/* sums[sample * LANES + row] of a slice to their places in y. */
INLINE void put_rows(float *sums, long samples, long from, const struct sliced *weight, float *y,
                     const struct epilogue *after) {
  const long left = weight->rows - from, rows = left < LANES ? left : LANES;
  const int32_t *order = weight->order + from;
  const float *bias = after->bias, *residual = after->residual;
  for (long n = 0; n < samples; n++, sums += LANES, y += weight->rows) {
    if (bias)
      for (long r = 0; r < rows; r++) sums[r] += bias[order[r]];
    if (residual) {
      for (long r = 0; r < rows; r++) sums[r] += residual[order[r]];
      residual += weight->rows;
    }
    for (long r = 0; r < rows; r++) y[order[r]] = finished(sums[r], after->relu);
  }
}

/* The slice that a piece of several begins with: all have about as many lines. Slices come in the
   order of what their rows gather, so that as many slices would not. */
static long first_slice(const struct sliced *weight, long slices, long piece, long pieces) {
  if (piece == pieces) return slices;
  const int64_t lines = weight->firsts[slices] / pieces * piece;
  long slice = 0;
  while (slice < slices && weight->firsts[slice] < lines) slice++;
  return slice;
}

/* Of columns first, first + 1, ... those that lie in the first `segment` of each `stride`. */
static void keep_segments(const float *block, long first, long columns, long segment, long stride,
                          float *y, float bias, const float *residual, long relu) {
  long line = first / stride, within = first % stride;
  for (long done = 0; done < columns; line++, within = 0) {
    const long rest = columns - done, kept = segment - within < rest ? segment - within : rest;
    const long at = line * segment + within;
    for (long i = 0; i < kept; i++) {
      const float sum = block[done + i] + bias + (residual ? residual[at + i] : 0);
      y[at + i] = finished(sum, relu);
    }
    done += stride - within;
  }
}

/* Which of `columns` columns, every `step`-th from `shift` on, lie inside of a line. */
struct inside {
  long first, end;
};
INLINE struct inside inside_of(long width, long shift, long step, long columns) {
  const long first = shift < 0 ? (-shift + step - 1) / step : 0;
  long end = (width - shift + step - 1) / step;
  if (end > columns) end = columns;
  return (struct inside){first, end < first ? first : end};
}

/* One row of a plane of sparsekit_halo: every `step`-th column from `shift` on, zeros outside. */
INLINE void halo_row(const float *from, long width, long n, long shift, long step, long columns,
                     float *row) {
  const struct inside inside = inside_of(width, shift, step, columns);
  const long first = inside.first, count = inside.end - first;
  memset(row, 0, sizeof(float) * first * n);
  if (step == 1)
    memcpy(row + first * n, from + (first + shift) * n, sizeof(float) * count * n);
  else
    copy_every(from + (first * step + shift) * n, step, count, n, row + first * n);
  memset(row + inside.end * n, 0, sizeof(float) * (columns - inside.end) * n);
}

/* A copy of planes [channel][height][width][n] with zeros around, every `step`-th row and column in
   a plane of its own: out[channel][phase of row][phase of column][row][column][n]. With an x_sample
   other than 1 the planes are [channel][n][height][width], samples so far apart: their lines are
   turned around one by one. Returns 1 where memory runs out. */
long sparsekit_halo(const float *x, long channels, long height, long width, long n, long x_pitch,
                    long x_sample, long top, long left, long step_rows, long step_columns,
                    long phase_rows, long phase_columns, long rows, long columns, float *out,
                    long out_pitch, long threads) {
  (void)threads;
  const long row = columns * n, phase = rows * row;
  long failed = 0;
  PARALLEL for (long c = 0; c < channels; c++) {
    float *turned = x_sample == 1 ? NULL : scratch(width * n);
    if (x_sample != 1 && !turned) { failed = 1; continue; }
    for (long i = 0; i < phase_rows * rows; i++) {
      float *to = out + c * out_pitch + i / rows * phase_columns * phase + i % rows * row;
      const long line = i % rows * step_rows + i / rows - top, outside = line < 0 || line >= height;
      const float *from = x + c * x_pitch + line * width * (x_sample == 1 ? n : 1);
      if (x_sample != 1 && !outside) {
        transpose(from, x_sample, n, width, turned, n);
        from = turned;
      }
      for (long p = 0; p < phase_columns; p++, to += phase)
        if (outside)
          memset(to, 0, sizeof(float) * row);
        else
          halo_row(from, width, n, p - left, step_columns, columns, to);
    }
    float *end = out + c * out_pitch + phase_rows * phase_columns * phase;
    memset(end, 0, sizeof(float) * (out + (c + 1) * out_pitch - end));
  }
  return failed;
}

/* The zeros of sparsekit_halo around planes [channel][height][width][n] that are written into it. */
void sparsekit_borders(long channels, long height, long width, long n, long top, long left,
                       long step_rows, long step_columns, long phase_rows, long phase_columns,
                       long rows, long columns, float *out, long out_pitch, long threads) {
  (void)threads;
  PARALLEL for (long c = 0; c < channels; c++) {
    float *to = out + c * out_pitch, *end = to + out_pitch;
    for (long p = 0; p < phase_rows * phase_columns; p++) {
      const struct inside inside = inside_of(width, p % phase_columns - left, step_columns, columns);
      for (long i = 0; i < rows; i++, to += columns * n) {
        const long line = i * step_rows + p / phase_columns - top;
        const long kept = line >= 0 && line < height ? inside.end - inside.first : 0;
        memset(to, 0, sizeof(float) * (kept ? inside.first : columns) * n);
        if (kept) memset(to + inside.end * n, 0, sizeof(float) * (columns - inside.end) * n);
      }
    }
    memset(to, 0, sizeof(float) * (end - to));
  }
}

#include "pools.h"

/* What this was built for: 2 AVX-512, 1 AVX2, 0 anything; and whether it has threads. */
long sparsekit_level(void) { return LANES == 16 ? 2 : LANES == 8 ? 1 : 0; }
/* Rows of a slice, inputs of a block of it, bits of a position in a block; 0 where all is rows. */
long sparsekit_lanes(void) { return LANES; }
long sparsekit_block(void) { return BLOCK; }
long sparsekit_bits(void) { return BITS; }
long sparsekit_threaded(void) {
#ifdef _OPENMP
  return 1;
#else
  return 0;
#endif
}

#if LANES == 16
/* One instruction; of __builtin_convertvector compilers make five. */
#define INDICES16(p)                                                                               \
  ((line_of_integers)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))))
#else
#define INDICES16(p) __builtin_convertvector(*(const half_a_line *)(p), line_of_integers)
#endif
#define INDICES32(p) (*(const line_of_integers *)(p))
#define VALUES32(p) (*(const vector *)(p))
#define VALUES16(p) ((vector)(INDICES16(p) << 16))

#define VALUE float
#define OF_VALUE(name) name##_float32
#include "sliced.h"
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
#undef OF_VALUE
#undef VALUES
#undef WIDE
#undef VALUE

#define VALUE bfloat16
#define OF_VALUE(name) name##_bfloat16
#include "sliced.h"
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
