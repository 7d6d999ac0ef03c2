/* Rows of a dense matrix times columns that lie side by side, where few inputs are read by many
   outputs: the first layer of a network. Four rows at a time share what they load. */
#ifndef SPARSEKIT_DENSE_H
#define SPARSEKIT_DENSE_H

#include "vectors.h"

#define DENSE_ROWS 4
/* Vectors of columns at a time: as many sums as registers hold. */
#define DENSE_VECTORS (LANES == 16 ? 6 : 2)

#define DENSE(count)                                                                               \
  static void dense_##count(const int32_t *where, const float *weight, long inputs,                \
                            const float *x, long last, float *y, long y_pitch, long rows,          \
                            const float *bias, long relu) {                                        \
    vector sums[DENSE_ROWS][count];                                                                \
    UNROLL for (int r = 0; r < DENSE_ROWS; r++)                                                    \
      UNROLL for (int t = 0; t < count; t++)                                                       \
        sums[r][t] = (vector){0} + (bias && r < rows ? bias[r] : 0);                               \
    for (long j = 0; j < inputs; j++, weight += DENSE_ROWS) {                                      \
      const float *from = x + where[j];                                                            \
      UNROLL for (int t = 0; t < count; t++) {                                                     \
        const vector read = *(const vector *)(from + (t == count - 1 ? last : t * LANES));         \
        UNROLL for (int r = 0; r < DENSE_ROWS; r++) sums[r][t] += weight[r] * read;                \
      }                                                                                            \
    }                                                                                              \
    UNROLL for (int r = 0; r < DENSE_ROWS; r++)                                                    \
      UNROLL for (int t = 0; t < count; t++) {                                                     \
        vector sum = sums[r][t];                                                                   \
        if (relu) sum = (vector)((mask_of_vector)sum & ~(mask_of_vector)(sum < (vector){0}));      \
        if (r < rows) *(vector *)(y + r * y_pitch + (t == count - 1 ? last : t * LANES)) = sum;    \
      }                                                                                            \
  }

DENSE(1)
DENSE(2)
#if LANES == 16
DENSE(3)
DENSE(4)
DENSE(5)
DENSE(6)
#endif
#undef DENSE

/* Up to DENSE_ROWS rows times `width` columns, at least LANES and at most DENSE_VECTORS of them. */
static void dense_tile(const int32_t *where, const float *weight, long inputs, const float *x,
                       long width, float *y, long y_pitch, long rows, const float *bias,
                       long relu) {
#define COUNT(count)                                                                               \
  case count: dense_##count(where, weight, inputs, x, width - LANES, y, y_pitch, rows, bias, relu); \
    break
  switch ((width + LANES - 1) / LANES) {
    COUNT(1);
    COUNT(2);
#if LANES == 16
    COUNT(3);
    COUNT(4);
    COUNT(5);
    COUNT(6);
#endif
  }
#undef COUNT
}

/* What a dense convolution is: output r sums weight[r / DENSE_ROWS][j][r % DENSE_ROWS] times
   x[where[j] + column]. */
struct dense {
  const int32_t *where;
  const float *weight, *bias;
  long inputs, rows, relu;
};

/* Some columns, LANES at least, of all rows; those of a tile stay near for all of them. */
INLINE void dense_columns(const struct dense *dense, const float *x, long width, float *y,
                          long y_pitch) {
  for (long r = 0; r < dense->rows; r += DENSE_ROWS) {
    const long left = dense->rows - r;
    dense_tile(dense->where, dense->weight + r * dense->inputs, dense->inputs, x, width,
               y + r * y_pitch, y_pitch, left < DENSE_ROWS ? left : DENSE_ROWS,
               dense->bias ? dense->bias + r : NULL, dense->relu);
  }
}

/* How wide tiles are that share `length` columns as evenly as vectors allow. */
INLINE long dense_width(long length) {
  const long vectors = (length + LANES - 1) / LANES;
  const long tiles = (vectors + DENSE_VECTORS - 1) / DENSE_VECTORS;
  const long width = (vectors + tiles - 1) / tiles * LANES;
  return width < length ? width : length;
}

/* Where a tile begins: the last ends with the line. */
INLINE long dense_begin(long tile, long width, long length) {
  return (tile + 1) * width < length ? tile * width : length - width;
}

/* A line of `length` columns, LANES at least. */
static void dense_line(const struct dense *dense, const float *x, long length, float *y,
                       long y_pitch) {
  const long width = dense_width(length);
  for (long done = 0; done < length; done += width) {
    const long first = dense_begin(done / width, width, length);
    dense_columns(dense, x + first, width, y + first, y_pitch);
  }
}

/* `runs` of `length` columns, LANES at least, `x_step` apart in x, one after the other in each plane
   of y. */
void sparsekit_dense_planes(const struct dense *dense, const float *x, long runs, long length,
                            long x_step, float *y, long y_pitch, long threads) {
  (void)threads;
  const long width = dense_width(length), tiles = (length + width - 1) / width;
  PARALLEL for (long piece = 0; piece < runs * tiles; piece++) {
    const long run = piece / tiles, first = dense_begin(piece % tiles, width, length);
    dense_columns(dense, x + run * x_step + first, width, y + run * length + first, y_pitch);
  }
}

#endif
