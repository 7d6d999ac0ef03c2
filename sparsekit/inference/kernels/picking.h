/* Which inputs the rows of a slice read: of a block of inputs in registers, each row picks one. */
#ifndef SPARSEKIT_PICKING_H
#define SPARSEKIT_PICKING_H

#include "vectors.h"

/* A weight for few samples, in slices of LANES rows. Each begins with slots (see sliced.h); then
   come the indices of the rest (see ellpack.h), filled up to whole lines, and its values. */
struct sliced {
  long rows, features;
  const int32_t *order;  /* which output each row is */
  const int32_t *lines;
  const int64_t *firsts; /* where each slice begins in them, and where the last one ends */
  const int32_t *slots;  /* of each slice in each block of inputs, or 0 */
  const int32_t *kept;   /* of each row of a slice in the rest */
  long inputs;           /* that slots may cover; they cover whole steps */
  long gathers, relu;
};

typedef uint32_t line_of_integers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t half_a_line __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

#if LANES == 16
#define BLOCK 32
#define BITS 5
#elif LANES == 8
#define BLOCK 8
#define BITS 3
#else
#define BLOCK 0
#define BITS 0
#endif

#if LANES >= 8
#include <immintrin.h>
/* Positions that one line holds for each row. */
#define PER_LINE (32 / BITS)
#define BLOCKS_OF_STEP(slots) ((slots) > PER_LINE ? 1 : PER_LINE / (slots))
#define SLOTS_OF_STEP(slots) (BLOCKS_OF_STEP(slots) * (slots))
#define LINES_OF_STEP(slots, bytes)                                                                \
  ((SLOTS_OF_STEP(slots) + PER_LINE - 1) / PER_LINE + (SLOTS_OF_STEP(slots) * (long)(bytes) + 3) / 4)
#if LANES == 16
struct block { __m512 low, high; };
INLINE struct block block_at(const float *x) {
  return (struct block){_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16)};
}
INLINE vector picked(struct block inputs, line_of_integers places) {
  return (vector)_mm512_permutex2var_ps(inputs.low, (__m512i)places, inputs.high);
}
INLINE vector gathered(const float *x, line_of_integers index) {
  return (vector)_mm512_i32gather_ps((__m512i)index, x, 4);
}
#else
struct block { __m256 all; };
INLINE struct block block_at(const float *x) { return (struct block){_mm256_loadu_ps(x)}; }
INLINE vector picked(struct block inputs, line_of_integers places) {
  return (vector)_mm256_permutevar8x32_ps(inputs.all, (__m256i)places);
}
INLINE vector gathered(const float *x, line_of_integers index) {
  return (vector)_mm256_i32gather_ps(x, (__m256i)index, 4);
}
#endif

INLINE vector weights_float32(const int32_t *from, int slot) {
  (void)slot;
  return *(const vector *)from;
}

/* Two slots share a line: the even one has the lower halves. */
INLINE vector weights_bfloat16(const int32_t *from, int slot) {
  const line_of_integers both = *(const line_of_integers *)from;
  return slot % 2 ? (vector)(both & 0xffff0000u) : (vector)(both << 16);
}
#endif
#endif
