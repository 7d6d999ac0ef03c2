/* Maxima of windows, by themselves or of what a dense convolution computes. */
#ifndef SPARSEKIT_POOLS_H
#define SPARSEKIT_POOLS_H

#include <math.h>

#include "dense.h"
#include "every.h"
#include "places.h"

/* Windows of planes: their size, from one to the next, and how far the first lies outside. */
struct windows {
  long rows, columns, step_rows, step_columns, top, left;
};

/* Columns, borders among them, that the maxima of a line's columns take. */
INLINE long bordered(const struct windows *windows, long width) {
  return width + windows->columns + 2 * windows->left;
}

/* One line of maxima: of lines `from` to `to` of x, which lie in turns in `ring` places. Outside of
   x nothing counts; `tallest` is memory for `bordered` columns. */
static void pool_line(const float *x, long ring, long from, long to, long width, long n,
                      const struct windows *windows, long columns, float *tallest, float *out) {
  const long step = windows->step_columns;
  float *column = tallest + windows->left * n;
  for (long j = 0; j < bordered(windows, width) * n; j++) tallest[j] = -INFINITY;
  for (long line = from; line < to; line++) {
    const float *in = x + line % ring * width * n;
    for (long j = 0; j < width * n; j++) column[j] = greater(in[j], column[j]);
  }
  copy_every(tallest, step, columns, n, out);
  for (long k = 1; k < windows->columns; k++) raise_every(tallest + k * n, step, columns, n, out);
}

INLINE long at_least(long a, long b) { return a > b ? a : b; }
INLINE long at_most(long a, long b) { return a < b ? a : b; }

/* Maxima of windows of planes [channel][height][width][n]; outside of them nothing counts. */
void sparsekit_max_pool(const float *x, long channels, long height, long width, long n, long x_pitch,
                        const struct windows *windows, long rows, long columns, float *y,
                        long y_pitch, long threads) {
  (void)threads;
  PARALLEL for (long c = 0; c < channels; c++) {
    float *tallest = scratch(bordered(windows, width) * n);
    for (long i = 0; i < rows && tallest; i++) {
      const long from = i * windows->step_rows - windows->top, to = from + windows->rows;
      pool_line(x + c * x_pitch, height, at_least(from, 0), at_most(to, height), width, n, windows,
                columns, tallest, y + c * y_pitch + i * columns * n);
    }
  }
}

/* Maxima of windows of what sparsekit_dense_planes would compute: of its lines, `width` columns of `n`
   samples, only those that windows still need are kept, in near memory. Threads compute `rows` lines
   of maxima in bands. Returns 1 where memory runs out. */
long sparsekit_dense_pooled(const struct dense *dense, const float *x, long lines, long width, long n,
                            long x_step, const struct windows *windows, long rows, long columns,
                            float *y, long y_pitch, long threads) {
  const long bands = at_most(threads, rows), length = width * n, plane = windows->rows * length;
  long failed = 0;
  PARALLEL for (long band = 0; band < bands; band++) {
    const long memory = dense->rows * plane + (bordered(windows, width) + columns) * n;
    float *ring = scratch(memory), *tallest = ring + dense->rows * plane;
    if (!ring) { failed = 1; continue; }
    float *maxima = ring + memory - columns * n;
    long next = 0;
    for (long i = rows * band / bands; i < rows * (band + 1) / bands; i++) {
      const long above = i * windows->step_rows - windows->top, top = at_least(above, 0);
      const long bottom = at_most(above + windows->rows, lines);
      for (next = at_least(next, top); next < bottom; next++)
        dense_line(dense, x + next * x_step, length, ring + next % windows->rows * length, plane);
      for (long c = 0; c < dense->rows; c++) {
        pool_line(ring + c * plane, windows->rows, top, bottom, width, n, windows, columns, tallest,
                  maxima);
        copy_far(y + c * y_pitch + i * columns * n, maxima, columns * n);
      }
    }
    end_of_streams();
  }
  return failed;
}

#endif
