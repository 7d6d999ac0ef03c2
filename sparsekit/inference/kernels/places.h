/* Results that are written to far memory from near memory, where they were computed. */
#ifndef SPARSEKIT_PLACES_H
#define SPARSEKIT_PLACES_H

#include "every.h"

#if LANES >= 8
#include <immintrin.h>
#endif

/* Whether whole vectors of `count` floats, from which all are that far, can be written to `to`
   without reading what lies there. */
INLINE long streams(const float *to, long count) {
  return LANES >= 8 && (uintptr_t)to % (4 * LANES) == 0 && count % LANES == 0;
}

/* Copy `count` floats, for which `streams` holds. Caches are left alone: memory is written once, not
   read first. */
INLINE void stream(float *to, const float *from, long count) {
#if LANES == 16
  for (long i = 0; i < count; i += LANES) _mm512_stream_ps(to + i, _mm512_loadu_ps(from + i));
#elif LANES == 8
  for (long i = 0; i < count; i += LANES) _mm256_stream_ps(to + i, _mm256_loadu_ps(from + i));
#else
  memcpy(to, from, sizeof(float) * count);
#endif
}

/* Let other threads see what was streamed before they see what is written after. */
INLINE void end_of_streams(void) {
#if LANES >= 8
  _mm_sfence();
#endif
}

INLINE void copy_far(float *to, const float *from, long count) {
  if (streams(to, count))
    stream(to, from, count);
  else
    memcpy(to, from, sizeof(float) * count);
}

/* Places of a copy with borders, laid out as by sparsekit_halo. */
struct places {
  float *out;
  long pitch, n, top, left, step_rows, step_columns, phase_rows, phase_columns, rows, columns;
};

/* Every step-th position of a line, where n samples of a position lie side by side. */
INLINE void put_every(const float *from, long step, long count, long n, float *to, long pitch) {
  if (streams(to, n)) {
    for (long c = 0; c < count; c++) stream(to + c * n, from + c * step * n, n);
    return;
  }
  for (long c = 0; c < count * n; c += 16) __builtin_prefetch(to + AHEAD * pitch + c, 1);
  copy_every(from, step, count, n, to);
}

/* Some columns of a line from near memory to their places: `near_pitch` is from row to row. With
   gaps between places columns are whole positions of n. */
static void put(const struct places *to, const float *near, long near_pitch, long rows, long line,
                long first, long columns) {
  const long n = to->n, step = to->step_columns, row = to->columns * n, phase = to->rows * row;
  const long i = line + to->top, phase_row = i % to->step_rows;
  if (phase_row >= to->phase_rows) return;
  float *out = to->out + phase_row * to->phase_columns * phase + i / to->step_rows * row;
  if (step == 1) {
    out += to->left * n + first;
    for (long r = 0; r < rows; r++) copy_far(out + r * to->pitch, near + r * near_pitch, columns);
    return;
  }
  const long j = first / n + to->left, count = columns / n;
  for (long r = 0; r < rows; r++, out += to->pitch, near += near_pitch)
    for (long p = 0; p < to->phase_columns; p++) {
      const long skip = (p - j % step + step) % step;
      if (skip < count)
        put_every(near + skip * n, step, (count - skip + step - 1) / step, n,
                  out + p * phase + (j + skip) / step * n, to->pitch);
    }
}

#endif
