/* What is called from outside, for every type of value and index; macros as in product.h. */

/* Work is split into pieces: a tile of columns, and some of the rows where tiles are few. */
#define PIECES(tiles, rows, threads)                                                               \
  const long chunks = (tiles) >= 2 * (threads) || (rows) < 16 * (threads) ? 1 : (threads);         \
  const long pieces = (tiles) * chunks;

/* Up to eight samples times one slice of rows; `packed` has their features side by side if they are
   more than one. */
INLINE void NAME(slice_of)(const struct sliced *weight, long slice, const float *x, long samples,
                           const float *packed, float *y, const struct epilogue *after) {
  const int32_t *line = weight->lines + weight->firsts[slice];
  const long kept = weight->kept[slice];
  float sums[8 * LANES];
#if LANES >= 8
  const long slots = weight->slots[slice];
  if (slots)
    line = OF_VALUE(slice)(slots, line, weight->inputs, x, weight->features, samples, sums);
  else
#endif
    UNROLL for (int n = 0; n < 8; n++) *(vector *)(sums + n * LANES) = (vector){0};
  const INDEX *index = (const INDEX *)line;
  const VALUE *value = (const VALUE *)(line + (kept * (long)sizeof(INDEX) + 3) / 4 * LANES);
  if (samples == 1)
    *(vector *)sums += NAME(rest_of_one)(index, value, kept, x, weight->gathers);
  else
    NAME(add_rest)(index, value, kept, packed, samples, sums);
  put_rows(sums, samples, slice * LANES, weight, y, after);
}

/* Slices `from` to `to` of sparsekit_few. */
static long NAME(slices_of)(const struct sliced *weight, long from, long to, const float *x,
                            long batch, float *y, const float *bias, const float *residual) {
  for (long first = 0; first < batch; first += 8) {
    const long samples = batch - first < 8 ? batch - first : 8, at = first * weight->rows;
    const struct epilogue after = {bias, residual ? residual + at : NULL, 0, weight->relu};
    const float *input = x + first * weight->features;
    float *packed = samples > 1 ? scratch(weight->features * 8) : NULL;
    if (samples > 1 && !packed) return 1;
    if (packed) pack(input, weight->features, 1, weight->features, samples, packed, 8);
    for (long slice = from; slice < to; slice++)
      NAME(slice_of)(weight, slice, input, samples, packed, y + at, &after);
  }
  return 0;
}

/* x[b * features + f] for batch samples -> y[b * rows + r]; residual lies as y does. Returns 1 where
   memory runs out. */
long NAME(sparsekit_few)(const struct sliced *weight, const float *x, float *y, const float *bias,
                         const float *residual, int batch, int threads) {
  const long slices = (weight->rows + LANES - 1) / LANES;
  /* A team of one thread costs as much as a tenth of a small layer. */
  if (threads == 1) return NAME(slices_of)(weight, 0, slices, x, batch, y, bias, residual);
  long failed = 0;
  PARALLEL for (int piece = 0; piece < threads; piece++) {
    const long from = first_slice(weight, slices, piece, threads);
    const long to = first_slice(weight, slices, piece + 1, threads);
    if (NAME(slices_of)(weight, from, to, x, batch, y, bias, residual)) failed = 1;
  }
  return failed;
}

/* One band of rows times a tile of columns, block of inputs by block, into out. The outputs of
   `group` rows are fetched ahead, none if these are all. */
INLINE void NAME(band)(const INDEX *index, const VALUE *value, const int32_t *starts,
                       const int32_t *order, long rows, long blocks, const float *x, long pitch,
                       long width, float *out, long out_pitch, const struct epilogue *after,
                       long group) {
  for (long block = 0; block < blocks; block++, starts += rows, order += rows) {
    const struct epilogue here = {block ? NULL : after->bias, block ? out : after->residual,
                                  block ? out_pitch : after->residual_pitch,
                                  after->relu && block == blocks - 1};
    const long step = block ? rows : group;
    for (long row = 0; row < rows; row += step) {
      const long stop = row + step < rows ? row + step : rows, next = stop + step;
      fetch(order, stop, next < rows ? next : rows, out, out_pitch, &here, width);
      NAME(tile)(index, value, starts, order, row, stop, x, pitch, width, out, out_pitch, &here);
    }
  }
}

/* x[b * x_sample + f * x_feature] for batch samples -> y[b * y_sample + r * y_feature]; one of each
   pair is 1. residual, if any, lies as y does. Bands of rows come one after the other, in each the
   blocks of inputs, in each its rows: order[i] is which of the band. `activation`: 0 none, 1 ReLU, 2
   GELU, which is not for sums with a residual. Returns 1 where memory runs out. */
long NAME(sparsekit_linear)(const INDEX *index, const VALUE *value, const int32_t *starts, long rows,
                            const int32_t *order, long blocks, long features, const float *x,
                            long x_sample, long x_feature, long batch, float *y, long y_sample,
                            long y_feature, const float *bias, const float *residual,
                            long activation, long threads) {
  const long relu = activation == 1;
  const struct epilogue after = {bias, residual, 0, relu};
  const long tile = blocks > 1 ? TILE / 2 : fitting_tile(features), tiles = tile_count(batch, tile);
  const long bands = (rows + CHUNK - 1) / CHUNK;
  const long chunks = tiles >= 2 * threads ? 1 : threads < bands ? threads : bands;
  long failed = 0;
  PARALLEL for (long piece = 0; piece < tiles * chunks; piece++) {
    const long chunk = piece % chunks, first = piece / chunks * tile;
    const long columns = tile_width(piece / chunks, batch, tile), pitch = (columns + 15) / 16 * 16;
    /* Sums of several blocks are added up in `block`: no column may be computed twice. */
    const long width = columns < NARROWEST ? NARROWEST : blocks > 1 ? pitch : columns;
    const long direct = x_sample == 1 && batch >= NARROWEST && x_feature % 256 && columns == width;
    float *packed = scratch(features * pitch * !direct + CHUNK * pitch);
    if (!packed) { failed = 1; continue; }
    float *block = packed + features * pitch * !direct;
    if (!direct && columns < width) memset(packed, 0, sizeof(float) * features * pitch);
    if (!direct) pack(x + first * x_sample, x_sample, x_feature, features, columns, packed, pitch);
    for (long band = bands * chunk / chunks; band < bands * (chunk + 1) / chunks; band++) {
      const long row = band * CHUNK, count = rows - row < CHUNK ? rows - row : CHUNK;
      const struct epilogue here = {bias ? bias + row : NULL, NULL, 0, relu && !residual};
      NAME(band)(index, value, starts + row * blocks, order + row * blocks, count, blocks,
                 direct ? x + first : packed, direct ? x_feature : pitch, width, block, pitch,
                 &here, count);
      if (activation == 2) gelu_rows(block, pitch, count, columns);
      unpack(block, pitch, count, columns, y + first * y_sample + row * y_feature, y_sample,
             y_feature, &after, first * y_sample + row * y_feature);
    }
  }
  return failed;
}

/* Planes of an image, in x at index * x_pitch, in y apart by y_pitch; each output sums `inputs` at
   most. Row r of the weight is row order[r] of y. There are `runs` of `length` columns, `x_step`
   apart in x; of each `stride` columns (one stride a run unless runs are flattened) the first
   `segment` are kept, one after the other in y. Several blocks of inputs, only for runs that are
   kept whole, lie as in sparsekit_linear. Returns 1 where memory runs out. */
long NAME(sparsekit_planes)(const INDEX *index, const VALUE *value, const int32_t *starts, long rows,
                            const int32_t *order, long blocks, long inputs, const float *x,
                            long x_pitch, long runs, long length, long x_step, long segment,
                            long stride, float *y, long y_pitch, const float *bias,
                            const float *residual, long residual_pitch, long relu, long threads) {
  const long tile = blocks > 1 ? TILE : fitting_tile(inputs), tiles = tile_count(length, tile);
  /* Threads share the rows of no band: they are in it in another order in each block. */
  const long unit = blocks > 1 ? CHUNK : 1, units = (rows + unit - 1) / unit;
  const long whole = segment == stride || segment == length;
  const long group = rows * y_pitch * (long)sizeof(float) > FAR ? AHEAD : rows;
  PIECES(runs * tiles, rows, threads)
  long failed = 0;
  PARALLEL for (long piece = 0; piece < pieces; piece++) {
    const long chunk = piece % chunks, run = piece / chunks / tiles, number = piece / chunks % tiles;
    const long from = units * chunk / chunks * unit, end = units * (chunk + 1) / chunks * unit;
    const long to = end < rows ? end : rows, first = number * tile;
    const long columns = tile_width(number, length, tile);
    const float *input = x + run * x_step + first;
    if (whole && columns >= NARROWEST) {
      const long at = run * length + first, step = blocks > 1 ? CHUNK : to - from;
      for (long row = from; row < to; row += step) {
        /* The only block has one order for all rows, which `order` gives as rows of y. */
        const long top = blocks > 1 ? row : 0, count = row + step < to ? step : to - row;
        const struct epilogue here = {
            bias ? bias + top : NULL, residual ? residual + at + top * residual_pitch : NULL,
            residual_pitch, relu};
        NAME(band)(index, value, starts + row * blocks, order + row * blocks, count, blocks, input,
                   x_pitch, columns, y + at + top * y_pitch, y_pitch, &here, group);
      }
      continue;
    }
    const long width = columns < NARROWEST ? NARROWEST : columns;
    const struct epilogue plain = {NULL, NULL, 0, 0};
    float *block = scratch(CHUNK * WIDEST);
    if (!block) { failed = 1; continue; }
    for (long row = from; row < to; row += CHUNK) {
      const long stop = row + CHUNK < to ? row + CHUNK : to;
      NAME(tile)(index, value, starts + row, NULL, 0, stop - row, input, x_pitch, width, block,
                 WIDEST, &plain);
      for (long r = row; r < stop; r++)
        keep_segments(block + (r - row) * WIDEST, first, columns, segment, stride,
                      y + run * length + order[r] * y_pitch, bias ? bias[order[r]] : 0,
                      residual ? residual + run * length + order[r] * residual_pitch : NULL, relu);
    }
  }
  return failed;
}
#undef PIECES

/* One stage for a tile of columns, from y on; `near` is what the stage before left. */
static void NAME(stage)(const struct stage *stage, long run, long first, long columns,
                        const float *near, float *y, long y_pitch) {
  const float *residual = stage->residual;
  const long apart = stage->y ? y_pitch : residual ? stage->residual_pitch : 0;
  const long far = stage->rows * apart * (long)sizeof(float) > FAR;
  if (residual) residual += run * stage->residual_step + first;
  for (long row = 0; row < stage->rows; row += CHUNK, y += CHUNK * y_pitch) {
    const long rows = stage->rows - row < CHUNK ? stage->rows - row : CHUNK;
    for (long p = 0; p < stage->num_parts; p++) {
      const struct part *part = stage->parts + p;
      const float *x = part->x ? part->x + run * part->x_step + first : near;
      const long at = row * part->blocks, pitch = part->x ? part->x_pitch : WIDEST;
      struct epilogue here = {stage->bias ? stage->bias + row : NULL,
                              residual ? residual + row * stage->residual_pitch : NULL,
                              stage->residual_pitch, stage->relu && p == stage->num_parts - 1};
      if (p) here = (struct epilogue){NULL, y, y_pitch, here.relu};
      NAME(band)(part->index, part->value, part->starts + at, part->order + at, rows, part->blocks,
                 x, pitch, columns, y, y_pitch, &here, far && !p ? AHEAD : rows);
    }
  }
}

/* `count` stages one after the other for each tile of columns, so that each finds in near caches what
   the one before has written; `runs` of `length` columns, NARROWEST at least, as are LANES. Runs are
   the lines of places, tiles whole positions of them. Returns 1 where memory runs out. */
long NAME(sparsekit_joined)(const struct stage *stages, long count, long runs, long length,
                            long threads) {
  const long tiles = tile_count(length, TILE);
  long failed = 0, near_rows = 0;
  (void)threads;
  for (long s = 0; s < count; s++) near_rows += stages[s].y ? 0 : stages[s].rows;
  PARALLEL for (long piece = 0; piece < runs * tiles; piece++) {
    const long run = piece / tiles, first = piece % tiles * TILE;
    const long columns = tile_width(piece % tiles, length, TILE);
    float *near = scratch(near_rows * WIDEST), *left = NULL;
    if (near_rows && !near) { failed = 1; continue; }
    for (const struct stage *stage = stages; stage < stages + count; stage++) {
      float *y = stage->y ? stage->y + run * stage->y_step + first : near;
      NAME(stage)(stage, run, first, columns, left, y, stage->y ? stage->y_pitch : WIDEST);
      if (stage->places.out) put(&stage->places, y, WIDEST, stage->rows, run, first, columns);
      left = y;
      if (!stage->y) near += stage->rows * WIDEST;
    }
    end_of_streams();
  }
  return failed;
}
