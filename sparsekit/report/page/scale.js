"use strict";
// Axes: where values stand, from 0 to 1, and which of them are written.

const SPARSITIES = [0, 90, 99, 99.9, 99.99, 50, 95, 99.5, 80, 98, 99.8, 70, 85, 20];

// Sparsities stand as far apart as the weights that are kept, in equal factors.
function keptPlace(percent) {
  return 2 - Math.log10(100 - Math.min(percent, 99.9999));
}

function spread(low, high, margin) {
  const room = margin * (high - low) || 0.5 * Math.abs(low) || 0.5;
  return [low - room, high + room];
}

// As many of the ticks, the first ones first, as have `gap` between them.
function apart(ticks, place, gap) {
  const chosen = [];
  for (const tick of ticks) {
    const here = place(tick);
    const isFree = chosen.every((other) => Math.abs(place(other) - here) >= gap);
    if (here >= -1e-9 && here <= 1 + 1e-9 && isFree) chosen.push(tick);
  }
  return chosen;
}

function linearTicks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const ticks = [];
  for (let number = Math.ceil(low / step); number * step <= high; number += 1) {
    ticks.push(Number((number * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low, high) {
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) powers.push(power);
  const of = (factor) => powers.map((power) => factor * 10 ** power);
  return [...of(1), ...of(2), ...of(5)];
}

const SCALES = {
  linear: (values) => {
    const [low, high] = spread(Math.min(...values), Math.max(...values), 0.05);
    const place = (value) => (value - low) / (high - low);
    return { place, ticks: (gap) => apart(linearTicks(low, high), place, gap) };
  },
  places: (values) => {
    const last = Math.max(...values);
    const place = (value) => (value + 0.5) / (last + 1);
    const ticks = Array.from({ length: last + 1 }, (_, number) => number);
    return { place, ticks: (gap) => apart(ticks, place, gap) };
  },
  kept: (values) => {
    const places = values.map(keptPlace);
    const [low, high] = spread(Math.min(...places), Math.max(...places), 0.04);
    const place = (value) => (keptPlace(value) - low) / (high - low);
    return { place, ticks: (gap) => apart(SPARSITIES, place, gap) };
  },
  log: (values) => {
    const positive = values.filter((value) => value > 0);
    const [low, high] = spread(
      Math.log10(Math.min(...positive)), Math.log10(Math.max(...positive)), 0.05);
    const place = (value) => (Math.log10(value) - low) / (high - low);
    const ticks = logTicks(10 ** low, 10 ** high);
    return { place, ticks: (gap) => apart(ticks, place, gap) };
  },
};
