/* What slices leave to rows, LANES rows at once: each keeps `kept` weights, the k-th of row r at
   [k * LANES + r], of value 0 where a row has fewer. Macros as in product.h. */

/* Sums for one sample. By gathers where the CPU has them, or plain loads: which is faster differs
   from CPU to CPU. */
INLINE vector NAME(rest_of_one)(const INDEX *index, const VALUE *value, long kept, const float *x,
                                long gathers) {
  vector sum = {0};
#if LANES >= 8
  if (gathers) {
    for (long k = 0; k < kept; k++, index += LANES, value += LANES)
      sum += VALUES(value) * gathered(x, INDICES(index));
    return sum;
  }
#endif
  (void)gathers;
  for (long k = 0; k < kept; k++, index += LANES, value += LANES) {
    vector inputs;
    UNROLL for (int r = 0; r < LANES; r++) inputs[r] = x[index[r]];
    sum += VALUES(value) * inputs;
  }
  return sum;
}

/* Sums for eight samples, whose features lie side by side: added to sums[sample * LANES + row]. */
static void NAME(add_rest)(const INDEX *index, const VALUE *value, long kept, const float *packed,
                           long samples, float *sums) {
  vector8 found[LANES];
  UNROLL for (int r = 0; r < LANES; r++) found[r] = (vector8){0};
  for (long k = 0; k < kept; k++, index += LANES, value += LANES)
    UNROLL for (int r = 0; r < LANES; r++)
      found[r] += WIDE(value[r]) * *(const vector8 *)(packed + (size_t)index[r] * 8);
  for (long n = 0; n < samples; n++)
    UNROLL for (int r = 0; r < LANES; r++) sums[n * LANES + r] += found[r][n];
}
