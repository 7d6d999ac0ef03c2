"use strict";
// Tables that are sorted by their headers and filtered by a text.

const BY_NUMBER = new Intl.Collator("en", { numeric: true });
const LONG = 40; // characters of a cell that may break into lines

// What a cell is sorted by: the number it begins with, or its text. What is empty comes last.
function sortValue(text) {
  const number = /^[+-]?[\d,]*\.?\d+(e[+-]?\d+)?(?![\w.])/.exec(text);
  return number ? Number(number[0].replaceAll(",", "")) : text.toLowerCase();
}

function compareCells(one, other) {
  if (one === other) return 0;
  if (one === "" || other === "") return one === "" ? Infinity : -Infinity;
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return typeof one === "number" ? one - other : BY_NUMBER.compare(one, other);
}

function sortRows(body, column, descending) {
  const sign = descending ? -1 : 1;
  const value = (row) => sortValue(row.cells[column].textContent);
  const rows = [...body.rows].map((row) => [value(row), row]);
  rows.sort(([one], [other]) => {
    const order = compareCells(one, other);
    return Number.isFinite(order) ? sign * order : order;
  });
  body.append(...rows.map(([, row]) => row));
}

function sortButton(table, body, header, column) {
  const button = element("button", { type: "button" }, header);
  button.addEventListener("click", () => {
    const cell = table.tHead.rows[0].cells[column];
    const descending = cell.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sortRows(body, column, descending);
  });
  return button;
}

// A box that hides what does not contain all of its words, and says how much is left.
function filterBox(what, nodes) {
  const told = element("span", { class: "told", "aria-live": "polite" });
  const box = element("input", { type: "search", placeholder: `filter ${what}`,
    "aria-label": `filter ${what}` });
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const node of nodes()) {
      const text = (node.dataset.text ?? node.textContent).toLowerCase();
      node.hidden = !words.every((word) => text.includes(word));
      shown += !node.hidden;
    }
    told.textContent = words.length ? `${shown} of ${nodes().length}` : "";
  });
  return element("p", { class: "filter" }, box, told);
}

function textOf(cell) {
  return cell === null || cell === undefined ? "" : String(cell);
}

function isNumeric(rows, column) {
  const cells = rows.map((row) => textOf(row[column])).filter((text) => text !== "");
  return cells.length > 0 && cells.every((text) => typeof sortValue(text) === "number");
}

// `filter` names what the rows are; without it there is no box.
function sortableTable(headers, rows, { filter = null, notes = [] } = {}) {
  const body = element("tbody");
  const table = element("table");
  const classes = headers.map((_, column) => (isNumeric(rows, column) ? "number" : null));
  const cells = headers.map((header, column) =>
    element("th", { scope: "col", class: classes[column] },
      sortButton(table, body, header, column)));
  table.append(element("thead", {}, element("tr", {}, cells)), body);
  for (const row of rows) {
    const line = row.map((cell, column) => element("td",
      { class: classes[column] ?? (textOf(cell).length > LONG ? "long" : null) }, textOf(cell)));
    body.append(element("tr", {}, line));
  }
  return element("div", {},
    filter ? filterBox(filter, () => [...body.rows]) : null,
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "table" }, table),
    notes.map((note) => element("p", { class: "note" }, note)));
}
