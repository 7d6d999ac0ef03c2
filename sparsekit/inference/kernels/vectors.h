/* Vectors as wide as the level this is compiled for: vector extensions of GCC, no intrinsics. */
#ifndef SPARSEKIT_VECTORS_H
#define SPARSEKIT_VECTORS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

/* Columns are computed in tiles of eight vectors; a last tile may be one vector wider. */
#define TILE (LANES * 8)
#define WIDEST (TILE + LANES)
/* Bytes of inputs that a tile may read again and again, if narrower tiles make that possible. */
#define NEAR (512 * 1024)
/* No tile has fewer columns. */
#define NARROWEST 8
/* Bytes of a cache line, and so many bytes ahead of their use weights for few samples are fetched:
   what comes from memory is on its way while what came before is multiplied. */
#define CACHE_LINE 64
#define WEIGHTS_AHEAD 4096

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float vector2 __attribute__((vector_size(8), aligned(4), may_alias));
typedef float vector4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef float vector8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float vector16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t mask_of_vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t mask_of_vector2 __attribute__((vector_size(8), aligned(4), may_alias));
typedef int32_t mask_of_vector4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t mask_of_vector8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t mask_of_vector16 __attribute__((vector_size(64), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE void fetch_weights(const void *from) {
  __builtin_prefetch((const char *)from + WEIGHTS_AHEAD);
}

typedef uint16_t bfloat16;

INLINE float as_float(float value) { return value; }

INLINE float widened(bfloat16 value) {
  union { uint32_t bits; float value; } both = {.bits = (uint32_t)value << 16};
  return both.value;
}

/* What is done with a sum before it is stored. */
struct epilogue {
  const float *bias;     /* of each row, or NULL */
  const float *residual; /* added to each output, or NULL */
  long residual_pitch;   /* from row to row */
  long relu;
};

INLINE float finished(float sum, long relu) { return relu && sum < 0 ? 0 : sum; }

#endif
