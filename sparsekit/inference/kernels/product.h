/* Rows of a sparse matrix times columns that lie side by side:

     y[r][p] = bias[r] + sum_j values[j] x[where(j) + p] (+ residual[r][p]), perhaps max(0, .)

   where(j) is index[j] * pitch: whatever a convolution reads for column p lies at a constant distance
   from p. Included once for every type of value and index, which define VALUE, WIDE(value), INDEX
   and NAME(name). */

/* One row times `count` vectors of columns. The last vector begins at `last`, so that columns which
   fill no vector are computed twice instead of read past the end. `sets` of sums hide latencies. */
#define ROW(count, sets, type)                                                                     \
  INLINE void NAME(row_##count##_##type)(const INDEX *index, const VALUE *value, long kept,        \
                                         const float *x, long pitch, long last, float *y,          \
                                         float bias, const float *residual, long relu) {           \
    const long lanes = sizeof(type) / 4;                                                           \
    const float *end = x + last;                                                                   \
    type sums[sets][count];                                                                        \
    UNROLL for (int s = 0; s < sets; s++)                                                          \
      UNROLL for (int t = 0; t < count; t++) sums[s][t] = (type){0} + (s ? 0 : bias);              \
    long j = 0;                                                                                    \
    for (; j + sets <= kept; j += sets)                                                            \
      UNROLL for (int s = 0; s < sets; s++) {                                                      \
        const size_t where = (size_t)index[j + s] * pitch;                                        \
        const float weight = WIDE(value[j + s]);                                                   \
        UNROLL for (int t = 0; t < count - 1; t++)                                                 \
          sums[s][t] += weight * *(const type *)(x + where + t * lanes);                           \
        sums[s][count - 1] += weight * *(const type *)(end + where);                               \
      }                                                                                            \
    for (; sets > 1 && j < kept; j++) {                                                            \
      const size_t where = (size_t)index[j] * pitch;                                              \
      const float weight = WIDE(value[j]);                                                         \
      UNROLL for (int t = 0; t < count - 1; t++)                                                   \
        sums[0][t] += weight * *(const type *)(x + where + t * lanes);                             \
      sums[0][count - 1] += weight * *(const type *)(end + where);                                 \
    }                                                                                              \
    UNROLL for (int s = 1; s < sets; s++)                                                          \
      UNROLL for (int t = 0; t < count; t++) sums[0][t] += sums[s][t];                             \
    /* The residual may be y itself, where two vectors may overlap: all of it is read first. */      \
    UNROLL for (int t = 0; residual && t < count; t++)                                             \
      sums[0][t] += *(const type *)(residual + (t == count - 1 ? last : t * lanes));               \
    UNROLL for (int t = 0; t < count; t++) {                                                       \
      const long at = t == count - 1 ? last : t * lanes;                                           \
      type sum = sums[0][t];                                                                       \
      if (relu) sum = (type)((mask_of_##type)sum & ~(mask_of_##type)(sum < (type){0}));            \
      *(type *)(y + at) = sum;                                                                     \
    }                                                                                              \
  }

#if LANES == 16
ROW(1, 4, vector8)
ROW(2, 4, vector8)
#endif
ROW(1, 4, vector)
ROW(2, 2, vector)
ROW(3, 2, vector)
ROW(4, 2, vector)
ROW(5, 1, vector)
ROW(6, 1, vector)
ROW(7, 1, vector)
ROW(8, 1, vector)
ROW(9, 1, vector)
#undef ROW

/* Rows `from` to `to` times a tile of `width` columns, NARROWEST <= width <= WIDEST. Outputs of row r
   go to row order[r] of y, or r without an order. */
static void NAME(tile)(const INDEX *index, const VALUE *value, const int32_t *starts,
                       const int32_t *order, long from, long to, const float *x, long pitch,
                       long width, float *y, long y_pitch, const struct epilogue *after) {
#define ROWS(count, type)                                                                          \
  for (long r = from; r < to; r++) {                                                               \
    const long to_row = order ? order[r] : r;                                                      \
    NAME(row_##count##_##type)(index + starts[r], value + starts[r], starts[r + 1] - starts[r], x, \
                               pitch, width - (long)sizeof(type) / 4, y + to_row * y_pitch,        \
                               after->bias ? after->bias[to_row] : 0,                              \
                               after->residual ? after->residual + to_row * after->residual_pitch  \
                                               : NULL,                                             \
                               after->relu);                                                       \
  }                                                                                                \
  return
#if LANES == 16
  if (width == 8) { ROWS(1, vector8); }
  if (width < 16) { ROWS(2, vector8); }
#endif
  switch ((width + LANES - 1) / LANES) {
    case 1: ROWS(1, vector);
    case 2: ROWS(2, vector);
    case 3: ROWS(3, vector);
    case 4: ROWS(4, vector);
    case 5: ROWS(5, vector);
    case 6: ROWS(6, vector);
    case 7: ROWS(7, vector);
    case 8: ROWS(8, vector);
    case 9: ROWS(9, vector);
  }
#undef ROWS
}
