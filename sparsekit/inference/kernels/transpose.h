/* Transposed copies, eight by eight. */
#ifndef SPARSEKIT_TRANSPOSE_H
#define SPARSEKIT_TRANSPOSE_H

#include "vectors.h"

#define LOWS(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGHS(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define EVENS(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define ODDS(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define LEFTS(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define RIGHTS(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)

/* out[k] = the k-th elements of a[0], a[1], ... */
INLINE void transposed8(vector8 a[8], vector8 out[8]) {
  vector8 b[8];
  UNROLL for (int i = 0; i < 8; i += 2) {
    b[i] = LOWS(a[i], a[i + 1]);
    b[i + 1] = HIGHS(a[i], a[i + 1]);
  }
  UNROLL for (int i = 0; i < 8; i += 4) {
    UNROLL for (int h = 0; h < 2; h++) {
      a[i + 2 * h] = EVENS(b[i + h], b[i + 2 + h]);
      a[i + 2 * h + 1] = ODDS(b[i + h], b[i + 2 + h]);
    }
  }
  UNROLL for (int i = 0; i < 4; i++) {
    out[i] = LEFTS(a[i], a[i + 4]);
    out[i + 4] = RIGHTS(a[i], a[i + 4]);
  }
}

/* y[j * 8 + i] = x[i * pitch + j] for i < rows, 0 for the others of eight. */
static void transpose_few(const float *x, long pitch, long rows, long columns, float *y) {
  long j = 0;
  for (; j + 8 <= columns; j += 8) {
    vector8 lines[8], block[8];
    UNROLL for (int i = 0; i < 8; i++)
      lines[i] = i < rows ? *(const vector8 *)(x + i * pitch + j) : (vector8){0};
    transposed8(lines, block);
    UNROLL for (int k = 0; k < 8; k++) *(vector8 *)(y + (j + k) * 8) = block[k];
  }
  for (; j < columns; j++)
    for (long i = 0; i < 8; i++) y[j * 8 + i] = i < rows ? x[i * pitch + j] : 0;
}

/* y[j * y_pitch + i] = x[i * pitch + j] for i < rows, j < columns. Whole lines of x are read at once,
   and lines of y are filled one after the other. */
static void transpose(const float *x, long pitch, long rows, long columns, float *y, long y_pitch) {
  for (long line = 0; line < columns; line += 16)
    for (long i = 0; i < rows; i += 8)
      for (long j = line; j < columns && j < line + 16; j += 8) {
        if (i + 8 <= rows && j + 8 <= columns) {
          vector8 lines[8], block[8];
          UNROLL for (int k = 0; k < 8; k++) lines[k] = *(const vector8 *)(x + (i + k) * pitch + j);
          transposed8(lines, block);
          UNROLL for (int k = 0; k < 8; k++) *(vector8 *)(y + (j + k) * y_pitch + i) = block[k];
          continue;
        }
        for (long k = i; k < rows && k < i + 8; k++)
          for (long l = j; l < columns && l < j + 8; l++) y[l * y_pitch + k] = x[k * pitch + l];
      }
}

#endif
