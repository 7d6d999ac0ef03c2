/* Every k-th position of a line, where `n` samples of a position lie side by side. */
#ifndef SPARSEKIT_EVERY_H
#define SPARSEKIT_EVERY_H

#include "vectors.h"

/* The greater of two, and what is not a number, as PyTorch has it. */
INLINE float greater(float a, float b) { return a > b || a != a ? a : b; }

/* What `name` does where the samples of a position are one vector; else it goes on. */
#define BY_SAMPLES(name)                                                                           \
  switch (n) {                                                                                     \
    case 2: name(vector2); return;                                                                 \
    case 4: name(vector4); return;                                                                 \
    case 8: name(vector8); return;                                                                 \
    case 16: name(vector16); return;                                                               \
  }

static void copy_every(const float *from, long step, long count, long n, float *to) {
#define COPY(type)                                                                                 \
  for (long j = 0; j < count; j++) *(type *)(to + j * n) = *(const type *)(from + j * step * n)
  BY_SAMPLES(COPY)
#undef COPY
  if (n > 1)
    for (long j = 0; j < count; j++) memcpy(to + j * n, from + j * step * n, sizeof(float) * n);
  else if (step == 2)
    for (long j = 0; j < count; j++) to[j] = from[2 * j];
  else
    for (long j = 0; j < count; j++) to[j] = from[j * step];
}

static void raise_every(const float *from, long step, long count, long n, float *to) {
#define RAISE(type)                                                                                \
  for (long j = 0; j < count; j++) {                                                               \
    const type a = *(const type *)(from + j * step * n), b = *(const type *)(to + j * n);          \
    const mask_of_##type ours = (a > b) | (a != a);                                                \
    *(type *)(to + j * n) = (type)(((mask_of_##type)a & ours) | ((mask_of_##type)b & ~ours));      \
  }
  BY_SAMPLES(RAISE)
#undef RAISE
  if (n > 1)
    for (long j = 0; j < count; j++)
      for (long k = 0; k < n; k++) to[j * n + k] = greater(from[j * step * n + k], to[j * n + k]);
  else if (step == 2)
    for (long j = 0; j < count; j++) to[j] = greater(from[2 * j], to[j]);
  else
    for (long j = 0; j < count; j++) to[j] = greater(from[j * step], to[j]);
}
#undef BY_SAMPLES

#endif
