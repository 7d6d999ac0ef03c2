"use strict";
// What the figures of a page show: quality against sparsity or cost, layers, learning.

const AXES = {
  sparsity: { title: "sparsity (%)", scale: "kept" },
  training_flops: { title: "training FLOPs", scale: "log" },
  flops: { title: "FLOPs of one forward pass", scale: "log" },
  num_parameters_kept: { title: "parameters kept", scale: "log" },
};
const COMPARED = 1.3; // by which factor the weights kept may differ at "one" sparsity

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function deviation(values) {
  if (values.length < 2) return null;
  const middle = mean(values);
  return Math.sqrt(mean(values.map((v) => (v - middle) ** 2)) * values.length / (values.length - 1));
}

function grouped(items, key) {
  const groups = new Map();
  for (const item of items) {
    if (!groups.has(key(item))) groups.set(key(item), []);
    groups.get(key(item)).push(item);
  }
  return groups;
}

// Each label its look, sparse methods first: the same in all figures of a page.
function looksOf(points) {
  const sparse = points.filter((point) => point.sparsity > 0);
  const labels = [...new Set([...sparse, ...points].map((point) => point.label))];
  return new Map(labels.map((label, number) => [label, lookOf(number)]));
}

// The one dense network, as its mean; null if there are several of different methods.
function denseOf(points) {
  const sparse = new Set(points.filter((p) => p.sparsity > 0).map((p) => p.label));
  const dense = points.filter((p) => p.sparsity === 0 && p.value !== null);
  const alone = dense.filter((p) => !sparse.has(p.label));
  const chosen = alone.length ? alone : dense;
  const tickets = [...grouped(chosen, (p) => p.label).values()].map((group) =>
    group.map((p) => p.ticket).sort().join());
  return new Set(tickets).size === 1 ? mean([...grouped(chosen, (p) => p.ticket).values()]
    .map((group) => group[0].value)) : null;
}

function told(point, metric) {
  return [
    `${point.label} at ${percentage(point.sparsity)}`,
    `${metric.test}: ${readable(point.value)}`,
    `seed ${point.seed}, cycle ${point.cycle}`,
    point.ticket,
  ];
}

function qualitySeries(points, axis, metric) {
  const looks = looksOf(points);
  const sparse = new Set(points.filter((p) => p.sparsity > 0).map((p) => p.label));
  const isShown = (p) => p.value !== null && p[axis] !== null && p[axis] !== undefined
    && (axis === "sparsity" || p[axis] > 0);
  const groups = grouped(points.filter(isShown), (p) => p.label);
  return [...groups].filter(([label]) => sparse.has(label) || sparse.size === 0)
    .map(([label, own]) => ({
      label,
      look: looks.get(label),
      mean: [...grouped(own, (p) => p.sparsity.toFixed(2)).values()].map((group) => ({
        x: mean(group.map((p) => p[axis])),
        y: mean(group.map((p) => p.value)),
        deviation: deviation(group.map((p) => p.value)),
      })).sort((one, other) => one.x - other.x),
      dots: own.map((p) => ({ x: p[axis], y: p.value, lines: told(p, metric) })),
    }));
}

// What no other point is both cheaper and as good as.
function frontOf(series, direction) {
  const sign = direction === "max" ? 1 : -1;
  const points = series.flatMap((one) => one.mean);
  points.sort((one, other) => one.x - other.x || sign * (other.y - one.y));
  const kept = [];
  for (const point of points) {
    if (!kept.length || sign * point.y > sign * kept.at(-1).y) kept.push(point);
  }
  return kept;
}

function choice(name, options, change) {
  const select = element("select", { onchange: () => change(select.value) },
    options.map(([value, text]) => element("option", { value }, text)));
  return element("label", { class: "choice" }, `${name} `, select);
}

function qualityFigure(group) {
  const axes = Object.keys(AXES).filter((axis) =>
    axis === "sparsity" || group.points.some((p) => p[axis] > 0));
  const place = element("div");
  const show = (axis) => {
    const series = qualitySeries(group.points, axis, group.metric);
    if (series.length === 0) return place.replaceChildren("no result has a finite value");
    return place.replaceChildren(lineChart({
      series,
      x: { ...AXES[axis] },
      y: { title: group.metric.test, scale: "linear" },
      reference: denseOf(group.points),
      front: axis === "sparsity" ? null : frontOf(series, group.metric.direction),
    }));
  };
  show("sparsity");
  return element("div", {}, choice("against", axes.map((axis) => [axis, AXES[axis].title]), show),
    place, element("p", { class: "note" }, "Curves are means over seeds, bands one sample standard "
      + "deviation, small marks single seeds. Against a cost, the grey steps are the Pareto front. "
      + "Names hide their curves."));
}

function nearest(points, sparsity) {
  const kept = 100 - sparsity;
  const distance = (p) => Math.abs(Math.log((100 - p.sparsity) / kept));
  return [...grouped(points.filter((p) => p.sparsity > 0 && p.sparsity < 100), (p) => p.label)]
    .map(([label, own]) => {
      const best = own.reduce((one, other) => (distance(other) < distance(one) ? other : one));
      const same = own.filter((p) => Math.abs(p.sparsity - best.sparsity) < 0.01);
      return [label, distance(best) <= Math.log(COMPARED) ? same : []];
    }).filter(([, own]) => own.length);
}

function layerSeries(points, tickets, sparsity, names) {
  const looks = looksOf(points);
  return nearest(points, sparsity).map(([label, own]) => {
    const layers = own.map((p) => new Map(tickets[p.ticket].layers.map((one) => [one[0], one])));
    const shares = (name) => layers.filter((of) => of.has(name) && of.get(name)[2] > 0)
      .map((of) => 100 * of.get(name)[2] / of.get(name)[1]);
    const known = names.map((name, x) => ({ name, x, values: shares(name) }))
      .filter((one) => one.values.length);
    return {
      label: `${label} at ${percentage(own[0].sparsity)}`,
      look: looks.get(label),
      mean: known.map(({ x, values }) => ({ x, y: mean(values), deviation: null })),
      dots: known.map(({ name, x, values }) => ({ x, y: mean(values), lines: [label, name,
        `keeps ${readable(mean(values))} %, mean of ${values.length} seeds`] })),
    };
  });
}

function layerFigure(group, tickets) {
  const sparse = group.points.filter((p) => p.sparsity > 0 && tickets[p.ticket].layers.length);
  const levels = [...new Set(sparse.map((p) => p.sparsity.toFixed(2)))].sort((a, b) => b - a);
  if (levels.length === 0) return null;
  const names = [...new Set(sparse.flatMap((p) => tickets[p.ticket].layers.map((one) => one[0])))]
    .sort(BY_NUMBER.compare);
  const place = element("div");
  const show = (level) => place.replaceChildren(lineChart({
    series: layerSeries(group.points, tickets, Number(level), names),
    x: { title: "layer", scale: "places", names },
    y: { title: "weights kept (%)", scale: "log" },
    reference: null,
  }));
  show(levels[0]);
  return element("div", {}, choice("at", levels.map((one) => [one, `${Number(one)} %`]), show), place,
    element("p", { class: "note" }, "What each layer keeps, mean over seeds; layers that keep "
      + "nothing are left out. Methods whose sparsity is near are shown as well."));
}

function learningFigure(cycles, tickets, metric) {
  const series = cycles.map((row, number) => ({
    label: `cycle ${row.cycle}, ${percentage(100 * row.sparsity)}`,
    look: lookOf(number),
    fits: tickets[row.ticket].fits.filter((fit) => fit.validation.some((v) => v !== null)),
  })).filter((one) => one.fits.length).flatMap((one) => one.fits.map((fit, index) => {
    const known = fit.epochs.map((epoch, i) => ({ x: epoch, y: fit.validation[i], i }))
      .filter((p) => p.y !== null);
    const label = one.fits.length > 1 ? `${one.label}, particle ${index}` : one.label;
    return { label, look: one.look, mean: known, dots: known.map(({ x, y, i }) => ({ x, y, lines: [
      label, `epoch ${readable(x)}`, `${metric.validation}: ${readable(y)}`,
      `training loss ${readable(fit.train_loss[i])}, validation loss ${readable(fit.val_loss[i])}`,
    ] })) };
  }));
  return series.length === 0 ? null : lineChart({
    series,
    x: { title: "epochs", scale: "linear" },
    y: { title: metric.validation, scale: "linear" },
    reference: null,
  });
}
