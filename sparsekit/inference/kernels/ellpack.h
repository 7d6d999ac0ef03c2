/* What slices leave to rows, LANES rows at once: each keeps `kept` weights, the k-th of row r at
   [k * LANES + r], of value 0 where a row has fewer. Macros as in product.h. */

/* Weights of a row whose indices, with those of the other rows, fill a cache line. */
#define LINE_OF_INDICES (CACHE_LINE / (LANES * (long)sizeof(INDEX)))

INLINE void NAME(fetch_rest)(const INDEX *index, const VALUE *value) {
  const long step = CACHE_LINE / sizeof(VALUE);
  fetch_weights(index);
  for (long i = 0; i < LINE_OF_INDICES * LANES; i += step) fetch_weights(value + i);
}

/* Sums for one sample. By gathers where the CPU has them, or plain loads: which is faster differs
   from CPU to CPU. */
INLINE vector NAME(rest_of_one)(const INDEX *index, const VALUE *value, long kept, const float *x,
                                long gathers) {
  vector sum = {0};
  for (; kept > 0; kept -= LINE_OF_INDICES) {
    const long count = kept < LINE_OF_INDICES ? kept : LINE_OF_INDICES;
    NAME(fetch_rest)(index, value);
#if LANES >= 8
    if (gathers) {
      for (long k = 0; k < count; k++, index += LANES, value += LANES)
        sum += VALUES(value) * gathered(x, INDICES(index));
      continue;
    }
#endif
    for (long k = 0; k < count; k++, index += LANES, value += LANES) {
      vector inputs;
      UNROLL for (int r = 0; r < LANES; r++) inputs[r] = x[index[r]];
      sum += VALUES(value) * inputs;
    }
  }
  (void)gathers;
  return sum;
}

/* Sums for eight samples, whose features lie side by side: added to sums[sample * LANES + row]. */
static void NAME(add_rest)(const INDEX *index, const VALUE *value, long kept, const float *packed,
                           long samples, float *sums) {
  vector8 found[LANES];
  UNROLL for (int r = 0; r < LANES; r++) found[r] = (vector8){0};
  for (long k = 0; k < kept; k++, index += LANES, value += LANES) {
    if (k % LINE_OF_INDICES == 0) NAME(fetch_rest)(index, value);
    UNROLL for (int r = 0; r < LANES; r++)
      found[r] += WIDE(value[r]) * *(const vector8 *)(packed + (size_t)index[r] * 8);
  }
  for (long n = 0; n < samples; n++)
    UNROLL for (int r = 0; r < LANES; r++) sums[n * LANES + r] += found[r][n];
}
#undef LINE_OF_INDICES
