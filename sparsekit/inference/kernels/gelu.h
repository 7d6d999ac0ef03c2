/* GELU (Hendrycks and Gimpel 2016): x times the share of a standard normal distribution below x. */
#ifndef SPARSEKIT_GELU_H
#define SPARSEKIT_GELU_H

#include "vectors.h"

INLINE vector chosen(mask_of_vector which, vector yes, vector no) {
  return (vector)(((mask_of_vector)yes & which) | ((mask_of_vector)no & ~which));
}

/* erf(x): up to 4 a rational function with the coefficients of Eigen's, from there on 1. */
INLINE vector erf_of(vector x) {
  const vector one = (vector){0} + 1, sign = chosen(x < (vector){0}, -one, one), s = x * x;
  vector over = one * -2.72614225801306e-10f, under = one * -1.45660718464996e-05f;
  over = over * s + 2.77068142495902e-08f;
  over = over * s - 2.10102402082508e-06f;
  over = over * s - 5.69250639462346e-05f;
  over = over * s - 7.34990630326855e-04f;
  over = over * s - 2.95459980854025e-03f;
  over = over * s - 1.60960333262415e-02f;
  under = under * s - 2.13374055278905e-04f;
  under = under * s - 1.68282697438203e-03f;
  under = under * s - 7.37332916720468e-03f;
  under = under * s - 1.42647390514189e-02f;
  return chosen(x * sign > one * 4, sign, x * over / under);
}

/* GELU of some rows in their places; whole vectors of columns are computed, which `pitch` allows. */
static void gelu_rows(float *y, long pitch, long rows, long columns) {
  for (long r = 0; r < rows; r++)
    for (long c = 0; c < columns; c += LANES) {
      vector *at = (vector *)(y + r * pitch + c);
      *at = *at * 0.5f * (1 + erf_of(*at * 0.70710678f));
    }
}

#endif
