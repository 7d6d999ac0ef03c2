/* Sums over the weights that have slots, for LANES rows at once: sliced ELLPACK (Monakov et al. 2010)
   in blocks of inputs so small that a permutation of registers picks from them.

   Included once for every type of value, with VALUE and OF_VALUE(name) defined. */
#if LANES >= 8

/* Products of `samples` inputs, added to sums[sample * sets + set]; returns where the lines end. A
   slice is one step after the other, a step is some blocks with so many slots for every row: lines of
   positions, PER_LINE slots in each, then lines of values. A slot without a weight has the value 0. */
INLINE const int32_t *OF_VALUE(add_slots)(const int slots, const int samples, const int sets,
                                          const int32_t *line, long steps, const float *x,
                                          long x_sample, vector *sums) {
  const int blocks = BLOCKS_OF_STEP(slots), all = blocks * slots;
  const int32_t *values = line + (all + PER_LINE - 1) / PER_LINE * LANES;
  const long length = LINES_OF_STEP(slots, sizeof(VALUE)) * LANES;
  for (; steps; steps--, line += length, values += length, x += blocks * BLOCK) {
    line_of_integers places = {0};
    UNROLL for (int b = 0; b < blocks; b++) {
      struct block inputs[8];
      UNROLL for (int n = 0; n < samples; n++) inputs[n] = block_at(x + n * x_sample + b * BLOCK);
      UNROLL for (int s = 0; s < slots; s++) {
        const int slot = b * slots + s;
        if (slot % PER_LINE) {
          places >>= BITS;
        } else {
          places = *(const line_of_integers *)(line + slot / PER_LINE * LANES);
          fetch_weights(line + slot / PER_LINE * LANES);
        }
        const int32_t *from = values + slot * (long)sizeof(VALUE) / 4 * LANES;
        if (slot * LANES * sizeof(VALUE) % CACHE_LINE == 0) fetch_weights(from);
        const vector weights = OF_VALUE(weights)(from, slot);
        UNROLL for (int n = 0; n < samples; n++)
          sums[n * sets + slot % sets] += weights * picked(inputs[n], places);
      }
    }
  }
  return line;
}

/* Sums of one slice for `count` samples: out[sample * LANES + row]. */
#define SLOTS(slots)                                                                               \
  case slots:                                                                                      \
    end = OF_VALUE(add_slots)(slots, samples, sets, line,                                          \
                              inputs / (BLOCKS_OF_STEP(slots) * BLOCK), x, x_sample, sums);        \
    break;
#define SLICE(count, of_each)                                                                      \
  static const int32_t *OF_VALUE(slice_##count)(long slots, const int32_t *line, long inputs,      \
                                                const float *x, long x_sample, float *out) {       \
    const int32_t *end = line;                                                                     \
    enum { samples = count, sets = of_each };                                                      \
    vector sums[samples * sets];                                                                   \
    UNROLL for (int s = 0; s < samples * sets; s++) sums[s] = (vector){0};                         \
    switch (slots) {                                                                               \
      SLOTS(1) SLOTS(2) SLOTS(3) SLOTS(4) SLOTS(5) SLOTS(6) SLOTS(7) SLOTS(8)                      \
    }                                                                                              \
    UNROLL for (int n = 0; n < samples; n++) {                                                     \
      UNROLL for (int s = 1; s < sets; s++) sums[n * sets] += sums[n * sets + s];                  \
      *(vector *)(out + n * LANES) = sums[n * sets];                                               \
    }                                                                                              \
    return end;                                                                                    \
  }
SLICE(1, 4)
SLICE(2, 2)
SLICE(4, 1)
#if LANES == 16
SLICE(8, 1)
#endif
#undef SLICE
#undef SLOTS

static const int32_t *OF_VALUE(slice)(long slots, const int32_t *line, long inputs, const float *x,
                                      long x_sample, long samples, float *sums) {
  const int32_t *end = line;
#define SOME(count)                                                                                \
  for (; samples >= count; samples -= count, x += count * x_sample, sums += count * LANES)         \
    end = OF_VALUE(slice_##count)(slots, line, inputs, x, x_sample, sums);
#if LANES == 16
  SOME(8)
#endif
  SOME(4)
  SOME(2)
  SOME(1)
#undef SOME
  return end;
}
#endif
