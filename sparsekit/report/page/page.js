"use strict";
// The sections of a page, from the data in it.

function section(id, title, ...children) {
  const shown = children.flat(Infinity).filter((child) => child !== null);
  return shown.length === 0 ? null
    : element("section", { id }, element("h2", {}, title), shown);
}

function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== "");
  return element("dl", {}, known.map(([name, value]) => [
    element("dt", {}, name), element("dd", {}, value)]));
}

function code(text) {
  return element("pre", { tabindex: "0" }, element("code", {}, text));
}

function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function heading(content) {
  const of = (status) => content.runs.filter((run) => run.status === status).length;
  const failed = content.failures.length;
  const waiting = content.runs.length - of("done") - of("failed");
  const tiles = [
    [counted(of("done"), "run"), "done", null],
    [String(failed), "failed", failed ? "#failures" : null],
    [String(Math.max(0, waiting)), "not done", waiting > 0 ? "#unfinished" : null],
    [counted(Object.keys(content.tickets).length, "network"), "measured", "#results"],
    [duration(content.seconds), "of training", null],
  ];
  return element("header", {},
    element("h1", {}, content.title),
    element("p", { class: "note" }, `sparsekit, ${date(content.made)}; store: `
      + `${content.stores.join(", ") || "no result yet"}`),
    element("div", { class: "tiles" }, tiles.map(([value, what, link]) =>
      element(link ? "a" : "div", { class: what === "failed" && failed ? "tile bad" : "tile",
        href: link }, element("strong", {}, value), element("span", {}, what)))));
}

function contents(sections) {
  return element("nav", { "aria-label": "sections" }, sections.map((one) =>
    element("a", { href: `#${one.id}` }, one.querySelector("h2").textContent)));
}

function sweepFacts(sweep) {
  const states = new Map([...grouped(sweep.runs, (run) => run.state || "not begun")]);
  const changed = sweep.changed ? " with changes that are not committed" : "";
  return element("article", {}, element("h3", {}, sweep.name), code(sweep.command), facts([
    ["started", `${date(sweep.created)}${sweep.user ? ` by ${sweep.user}` : ""}`],
    ["runs", [...states].map(([state, runs]) => `${runs.length} ${state}`).join(", ")],
    ["code", `commit ${sweep.commit}${changed}`],
    ["ran on", `${sweep.nodes.join(", ") || "unknown"} (cluster: ${sweep.cluster})`],
  ]));
}

function whatWasRun(content) {
  if (content.sweeps.length === 0) {
    return section("what", "What was run", element("p", {},
      "The store no longer knows which commands asked for these runs; "
      + "the configuration of each stands with the run."));
  }
  return section("what", "What was run", content.sweeps.map(sweepFacts));
}

function results(content) {
  return section("results", "Results", content.groups.flatMap(({ metric, table }) => [
    content.groups.length > 1 ? element("h3", {}, metric.test) : null,
    sortableTable(table.headers, table.rows, { filter: "rows", notes: table.notes }),
  ]));
}

// Every claim looks the same, whatever became of it: the verdict is a word before it.
function claims(content) {
  if (!content.claims) return null;
  const { stated, title, headers, rows, notes } = content.claims;
  return section("claims", "Claims",
    element("dl", { class: "claims" }, stated.map(({ says, verdict }) => [
      element("dt", {}, verdict), element("dd", {}, says)])),
    element("h3", {}, title), sortableTable(headers, rows, { notes }));
}

function figures(content) {
  return section("figures", "Figures", content.groups.flatMap((group) => {
    const layers = layerFigure(group, content.tickets);
    return [
      element("h3", {}, group.metric.test), qualityFigure(group),
      layers ? element("h3", {}, "weights kept of each layer") : null, layers,
    ];
  }));
}

function cyclesTable(run, content, metric) {
  const rows = run.cycles.map((row) => {
    const ticket = content.tickets[row.ticket], factor = metric.percent ? 100 : 1;
    const shown = (split) => {
      const value = ticket.metrics[`${split}_${metric.name}`];
      return value === null || value === undefined ? "" : readable(factor * value);
    };
    return [row.cycle, (100 * row.sparsity).toFixed(2), shown("test"), shown("val"),
      ticket.seconds.toFixed(1), row.ticket];
  });
  return sortableTable(
    ["cycle", "sparsity (%)", metric.test, metric.validation, "seconds", "key"], rows);
}

function layerTable(ticket) {
  const rows = ticket.layers.map(([name, size, kept, neurons, active, least, most]) => [
    name, size.toLocaleString("en"), size ? (100 * kept / size).toFixed(2) : "",
    neurons === null ? "" : `${active} of ${neurons}`,
    least === null ? "" : least === most ? String(least) : `${least} to ${most}`,
  ]);
  return sortableTable(["layer", "weights", "kept (%)", "active neurons", "fan-in"], rows);
}

function layersOf(run, content) {
  const place = element("div");
  const show = (ticket) => place.replaceChildren(layerTable(content.tickets[ticket]));
  const cycles = [...run.cycles].reverse();
  show(cycles[0].ticket);
  const options = cycles.map((row) => [row.ticket, `${percentage(100 * row.sparsity)}, `
    + `cycle ${row.cycle}`]);
  return [element("h4", {}, "layers"), choice("at", options, show), place];
}

function metricOf(run, content) {
  const tickets = new Set(run.cycles.map((row) => row.ticket));
  const own = content.groups.find((group) => group.points.some((p) => tickets.has(p.ticket)));
  return own ? own.metric : null;
}

function runBody(run, content) {
  const metric = metricOf(run, content);
  const learning = metric && learningFigure(run.cycles, content.tickets, metric);
  const warnings = run.cycles.flatMap((row) => content.tickets[row.ticket].warnings);
  return [
    facts([["record", `named/${run.experiment}/${run.name}.json`],
      ["asked for", run.overrides.join(" ")]]),
    [...new Set(warnings)].map((text) => element("p", { class: "note" }, `warning: ${text}`)),
    metric ? cyclesTable(run, content, metric) : null,
    learning ? [element("h4", {}, "learning curves"), learning] : null,
    run.cycles.length ? layersOf(run, content) : null,
    run.cycles.length ? [element("h4", {}, "how the last cycle was made"),
      facts(Object.entries(content.tickets[run.cycles.at(-1).ticket].made))] : null,
    element("h4", {}, "configuration"), code(JSON.stringify(run.config, null, 2)),
  ].flat(Infinity).filter((child) => child !== null);
}

function runDetails(run, content) {
  const last = run.cycles.at(-1);
  const sparsity = last ? percentage(100 * last.sparsity) : "no result";
  const summary = element("summary", {}, element("b", {}, run.label), ` ${sparsity}, seed ${run.seed}`,
    run.status === "done" ? null : element("em", {}, ` ${run.status}`));
  const details = element("details", { class: "run", "data-text":
    [run.label, sparsity, `seed ${run.seed}`, run.status, run.name, ...run.overrides,
      ...run.cycles.map((row) => row.ticket)].join(" ") }, summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...runBody(run, content));
  });
  return details;
}

function runs(content) {
  const list = content.runs.map((run) => runDetails(run, content));
  return section("runs", "Runs", list.length ? [filterBox("runs", () => list), list] : []);
}

function studies(content) {
  if (!content.studies) return null;
  const { headers, rows, notes } = content.studies;
  return section("studies", "Studies", sortableTable(headers, rows, { filter: "studies", notes }));
}

function failures(content) {
  return section("failures", "Failures", content.failures.map((one) => element("article", {},
    element("h3", {}, `${one.experiment}/${one.run}`),
    facts([["reason", one.reason], ["ran on", one.node], ["log", one.log]]),
    one.error ? code(one.error) : element("p", {}, "no traceback was recorded"))));
}

function list(id, title, lines) {
  return section(id, title, lines.length
    ? element("ul", {}, lines.map((line) => element("li", {}, line))) : null);
}

function buildPage(content) {
  const sections = [
    failures(content), whatWasRun(content), claims(content), results(content), figures(content),
    studies(content),
    runs(content), list("unfinished", "Not done", content.unfinished),
    list("damaged", "Damaged, left out", content.damaged),
  ].filter((one) => one !== null);
  document.getElementById("page").append(heading(content), contents(sections), ...sections);
}
