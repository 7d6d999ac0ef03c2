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

/* `runs` of `length` columns, `x_step` apart in x, one after the other in each plane of y. Output r
   sums weight[r / DENSE_ROWS][j][r % DENSE_ROWS] times x[where[j] + column]; length >= LANES. */
void sparsekit_dense_planes(const int32_t *where, const float *weight, long inputs, long rows,
                            const float *x, long runs, long length, long x_step, float *y,
                            long y_pitch, const float *bias, long relu, long threads) {
  (void)threads;
  const long vectors = (length + LANES - 1) / LANES;
  const long tiles = (vectors + DENSE_VECTORS - 1) / DENSE_VECTORS;
  const long tile = (vectors + tiles - 1) / tiles * LANES;
  PARALLEL for (long piece = 0; piece < runs * tiles; piece++) {
    const long run = piece / tiles, rest = length - tile;
    const long first = piece % tiles * tile < rest ? piece % tiles * tile : rest < 0 ? 0 : rest;
    const float *input = x + run * x_step + first;
    float *output = y + run * length + first;
    for (long r = 0; r < rows; r += DENSE_ROWS)
      dense_tile(where, weight + r * inputs, inputs, input, tile < length ? tile : length,
                 output + r * y_pitch, y_pitch, rows - r < DENSE_ROWS ? rows - r : DENSE_ROWS,
                 bias ? bias + r : NULL, relu);
  }
}

#endif
