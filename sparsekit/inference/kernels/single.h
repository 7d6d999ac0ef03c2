/* Rows of a sparse matrix times one column; macros as in product.h.

   Gathers of eight where the CPU has them, or plain loads: which is faster differs from CPU to CPU.
   Arrays of values and indices are readable eight entries past their ends. */

static float NAME(loaded)(const INDEX *index, const VALUE *value, long kept, const float *x) {
  float sums[8] = {0};
  long j = 0;
  for (; j + 8 <= kept; j += 8)
    UNROLL for (int k = 0; k < 8; k++) sums[k] += WIDE(value[j + k]) * x[index[j + k]];
  for (; j < kept; j++) sums[j & 7] += WIDE(value[j]) * x[index[j]];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

#ifdef __AVX2__
INLINE __m256 NAME(term)(const INDEX *index, const VALUE *value, const float *x, __m256 sum) {
  return _mm256_fmadd_ps(VALUES(value), _mm256_i32gather_ps(x, INDICES(index), 4), sum);
}

static float NAME(gathered)(const INDEX *index, const VALUE *value, long kept, const float *x) {
  __m256 sums[4];
  UNROLL for (int s = 0; s < 4; s++) sums[s] = _mm256_setzero_ps();
  long j = 0;
  for (; j + 32 <= kept; j += 32)
    UNROLL for (int s = 0; s < 4; s++)
      sums[s] = NAME(term)(index + j + 8 * s, value + j + 8 * s, x, sums[s]);
  for (; j + 8 <= kept; j += 8) sums[0] = NAME(term)(index + j, value + j, x, sums[0]);
  if (j < kept) { /* the rest of the eight belongs to the next row */
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 ours = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(kept - j), lanes));
    const __m256 inputs = _mm256_and_ps(ours, _mm256_i32gather_ps(x, INDICES(index + j), 4));
    sums[1] = _mm256_fmadd_ps(_mm256_and_ps(ours, VALUES(value + j)), inputs, sums[1]);
  }
  const __m256 sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}
#endif

static void NAME(single)(const INDEX *index, const VALUE *value, const int32_t *starts, long from,
                         long to, const float *x, float *y, const struct epilogue *after,
                         long gathers) {
  (void)gathers;
  for (long r = from; r < to; r++) {
    const long start = starts[r], kept = starts[r + 1] - start;
    float sum = after->bias ? after->bias[r] : 0;
#ifdef __AVX2__
    if (gathers) {
      sum += NAME(gathered)(index + start, value + start, kept, x);
    } else
#endif
      sum += NAME(loaded)(index + start, value + start, kept, x);
    if (after->residual) sum += after->residual[r * after->residual_pitch];
    y[r] = finished(sum, after->relu);
  }
}
