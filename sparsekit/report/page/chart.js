"use strict";
// Curves with bands and points that say what they are: by pointer, touch and arrow keys.

const MARGIN = { left: 56, right: 16, top: 12, bottom: 44 };
const NUM_COLOURS = 7;
const DASHES = ["", "8 3", "2 3", "8 3 2 3"];
const NEAR = 28; // pixels from a point at which it answers
const MARKERS = ["circle", "square", "diamond", "up", "down", "cross"];
const SHAPES = {
  circle: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
  square: "M-3.5,-3.5h7v7h-7z",
  diamond: "M0,-5l5,5l-5,5l-5,-5z",
  up: "M0,-5l5,8.5h-10z",
  down: "M0,5l5,-8.5h-10z",
  cross: "M-4,-1.5h2.5v-2.5h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5z",
};

// Curves differ in colour, dashes and marker: none of them is needed to tell them apart.
function lookOf(number) {
  return {
    colour: `var(--curve-${number % NUM_COLOURS})`,
    dashes: DASHES[number % DASHES.length],
    marker: SHAPES[MARKERS[number % MARKERS.length]],
  };
}

function marker(look, x, y, size = 1, attributes = {}) {
  const place = `translate(${x.toFixed(1)},${y.toFixed(1)}) scale(${size})`;
  return drawn("path", { d: look.marker, transform: place, fill: look.colour, ...attributes });
}

function polyline(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
}

function legend(series, redraw) {
  return element("div", { class: "legend" }, series.map((one) => {
    const sample = drawn("svg", { width: 34, height: 14, "aria-hidden": "true" },
      drawn("path", { d: "M1,7H33", stroke: one.look.colour, "stroke-dasharray": one.look.dashes,
        "stroke-width": 2 }),
      marker(one.look, 17, 7));
    const button = element("button", { type: "button", "aria-pressed": "true" }, sample, one.label);
    button.addEventListener("click", () => {
      one.hidden = !one.hidden;
      button.setAttribute("aria-pressed", String(!one.hidden));
      redraw();
    });
    return button;
  }));
}

function showTooltip(lines, x, y) {
  const box = document.getElementById("tooltip");
  box.replaceChildren(...lines.map((line) => element("div", {}, line)));
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const room = document.documentElement.clientWidth;
  box.style.left = `${Math.max(4, Math.min(x + 14, room - width - 4))}px`;
  box.style.top = `${y - height - 12 < 4 ? y + 16 : y - height - 12}px`;
}

function hideTooltip() {
  document.getElementById("tooltip").hidden = true;
}

function axes(frame, x, y, spec) {
  const { left, top, width, height } = frame;
  const nodes = [];
  for (const tick of y.scale.ticks(24 / height)) {
    const place = top + height * (1 - y.scale.place(tick));
    nodes.push(drawn("line", { x1: left, x2: left + width, y1: place, y2: place, class: "grid" }),
      drawn("text", { x: left - 6, y: place + 4, "text-anchor": "end" }, readable(tick)));
  }
  for (const tick of x.scale.ticks(Math.max(0.08, 46 / width))) {
    const place = left + width * x.scale.place(tick);
    const name = spec.x.names ? spec.x.names[tick] ?? "" : readable(tick);
    nodes.push(
      drawn("line", { x1: place, x2: place, y1: top, y2: top + height, class: "grid" }),
      drawn("text", { x: place, y: top + height + 16, "text-anchor": "middle" }, name));
  }
  const middle = top + height / 2;
  nodes.push(
    drawn("text", { x: left + width / 2, y: top + height + 36, "text-anchor": "middle",
      class: "title" }, spec.x.title),
    drawn("text", { x: 12, y: middle, transform: `rotate(-90,12,${middle})`,
      "text-anchor": "middle", class: "title" }, spec.y.title));
  return nodes;
}

function band(one, at) {
  const wide = one.mean.filter((point) => point.deviation > 0);
  if (wide.length < 2) {
    return wide.map((p) => drawn("path", { d: polyline([at(p.x, p.y - p.deviation),
      at(p.x, p.y + p.deviation)]), stroke: one.look.colour, "stroke-width": 1.5 }));
  }
  const low = one.mean.map((p) => at(p.x, p.y - (p.deviation || 0)));
  const high = one.mean.map((p) => at(p.x, p.y + (p.deviation || 0))).reverse();
  return [drawn("path", { d: `${polyline([...low, ...high])}Z`, fill: one.look.colour,
    class: "band" })];
}

function curve(one, at, dots) {
  const mean = one.mean.map((p) => at(p.x, p.y));
  const nodes = [...band(one, at), drawn("path", { d: polyline(mean), fill: "none",
    stroke: one.look.colour, "stroke-width": 2, "stroke-dasharray": one.look.dashes })];
  for (const [x, y] of mean) nodes.push(marker(one.look, x, y));
  for (const dot of one.dots) {
    const [x, y] = at(dot.x, dot.y);
    dots.push({ x, y, lines: dot.lines });
    nodes.push(marker(one.look, x, y, 0.6, { class: "seed" }));
  }
  return nodes;
}

function reference(spec, frame, at) {
  if (spec.reference === null) return [];
  const [, y] = at(spec.x.values[0], spec.reference);
  return [
    drawn("line", { x1: frame.left, x2: frame.left + frame.width, y1: y, y2: y, class: "dense" }),
    drawn("text", { x: frame.left + frame.width, y: y - 5, "text-anchor": "end" }, "dense"),
  ];
}

function front(spec, at) {
  if (!spec.front || spec.front.length === 0) return [];
  const steps = [];
  for (const point of spec.front) {
    const [x, y] = at(point.x, point.y);
    if (steps.length) steps.push([x, steps.at(-1)[1]]);
    steps.push([x, y]);
  }
  return [drawn("path", { d: polyline(steps), class: "front" })];
}

function answer(picture, dots) {
  let chosen = -1;
  const ring = drawn("circle", { r: 8, class: "ring", visibility: "hidden" });
  picture.append(ring);
  const show = (number) => {
    chosen = number;
    ring.setAttribute("visibility", number < 0 ? "hidden" : "visible");
    if (number < 0) return hideTooltip();
    const dot = dots[number], box = picture.getBoundingClientRect();
    ring.setAttribute("cx", dot.x);
    ring.setAttribute("cy", dot.y);
    return showTooltip(dot.lines, box.left + dot.x, box.top + dot.y);
  };
  const near = (event) => {
    const box = picture.getBoundingClientRect();
    const distances = dots.map((dot) =>
      Math.hypot(dot.x - event.clientX + box.left, dot.y - event.clientY + box.top));
    const least = Math.min(...distances);
    show(least <= NEAR ? distances.indexOf(least) : -1);
  };
  picture.addEventListener("pointermove", near);
  picture.addEventListener("pointerdown", near);
  picture.addEventListener("pointerleave", () => show(-1));
  picture.addEventListener("blur", () => show(-1));
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") show(-1);
    if (!step || dots.length === 0) return;
    event.preventDefault();
    show((chosen + step + dots.length) % dots.length);
  });
}

function draw(spec, width) {
  const height = Math.round(Math.min(420, Math.max(260, 0.6 * width)));
  const frame = { left: MARGIN.left, top: MARGIN.top,
    width: Math.max(80, width - MARGIN.left - MARGIN.right),
    height: height - MARGIN.top - MARGIN.bottom };
  const picture = drawn("svg", { width, height, tabindex: "0", role: "img",
    "aria-label": `${spec.y.title} against ${spec.x.title}; arrow keys go from point to point` });
  const shown = spec.series.filter((one) => !one.hidden);
  const of = (axis) => shown.flatMap((one) => [...one.mean, ...one.dots].map((p) => p[axis]));
  if (shown.length === 0) return picture;
  spec.x.values = of("x");
  const deviating = shown.flatMap((one) => one.mean.flatMap((p) =>
    p.deviation ? [p.y - p.deviation, p.y + p.deviation] : []));
  const ys = [...of("y"), ...deviating, ...(spec.reference === null ? [] : [spec.reference])];
  const x = { scale: SCALES[spec.x.scale](spec.x.values) };
  const y = { scale: SCALES[spec.y.scale](ys.filter((v) => spec.y.scale !== "log" || v > 0)) };
  const at = (a, b) => [frame.left + frame.width * x.scale.place(a),
    frame.top + frame.height * (1 - y.scale.place(b))];
  const dots = [];
  picture.append(...axes(frame, x, y, spec), ...front(spec, at), ...reference(spec, frame, at),
    ...shown.flatMap((one) => curve(one, at, dots)));
  answer(picture, dots);
  return picture;
}

// `spec`: series of {label, look, mean: [{x, y, deviation}], dots: [{x, y, lines}]}, the axes
// x and y as {title, scale}, a `reference` across or null, and the Pareto `front` or nothing.
function lineChart(spec) {
  const place = element("div", { class: "picture" });
  let width = 0;
  const redraw = () => {
    hideTooltip();
    if (width > 0) place.replaceChildren(draw(spec, width));
  };
  new ResizeObserver(() => {
    const now = Math.floor(place.clientWidth);
    if (now === width) return;
    width = now;
    requestAnimationFrame(redraw);
  }).observe(place);
  return element("figure", { class: "chart" }, place, legend(spec.series, redraw));
}
