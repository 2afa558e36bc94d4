"use strict";
// The table of heads, and those that are followed.

const MOST_COLUMNS = 4, MOST_HEADS = 12, MOST_DECIMALS = 9; // of the table

function headOf(point) {
  const rows = (point.data.meta || {}).rows;
  if (point.data.xaxis === "x3") return `L${point.x}H${point.y}`;
  if (!rows || point.data.type !== "heatmap") return null;
  const row = rows[point.pointNumber[0]];
  return row && "head" in row && "layer" in row ? `L${row.layer}H${row.head}` : null;
}

function follow(head) {
  followed = followed.includes(head) ? followed.filter((one) => one !== head) : [...followed, head];
  writeAddress();
  showHeads();
  showFollowed();
}

// The maps of heads that are shown: for each the heads' values at the step of the slider.
function columnsOfHeads() {
  const found = [];
  for (const holder of document.querySelectorAll("#figures .plot")) {
    const figure = figures.get(holder), at = figure && (figure.layout.meta || {}).at;
    if (!at || found.length === MOST_COLUMNS) continue;
    const over = figure.data[at[1]], steps = over.meta.steps;
    const column = VIEW.step === null ? steps.length - 1 : lastUpTo(steps, VIEW.step);
    const values = new Map();
    over.meta.rows.forEach(({ layer, head }, row) => {
      const value = over.z[row][column], name = `L${layer}H${head}`;
      if (!values.has(name) && isNumber(value)) values.set(name, value);
    });
    found.push({ heading: holder.getAttribute("aria-label"), values, decimals: decimalsOf(values) });
  }
  return found;
}

// As many decimals as show two digits of a column's largest value: effects of heads can be tiny.
function decimalsOf(values) {
  const largest = Math.max(...[...values.values()].map(Math.abs));
  return largest > 0 ? Math.min(Math.max(3, 1 - Math.floor(Math.log10(largest))), MOST_DECIMALS) : 3;
}

function showHeads() {
  const columns = columnsOfHeads(), section = document.getElementById("heads-section");
  if (!section) return;
  section.hidden = columns.length === 0;
  if (section.hidden) return;
  const first = [...columns[0].values].sort((a, b) => b[1] - a[1]).map(([head]) => head);
  const shown = [...followed.filter((head) => first.includes(head)),
    ...first.filter((head) => !followed.includes(head)).slice(0, MOST_HEADS)];
  const cell = (value, decimals) =>
    made("td", { textContent: value === undefined ? "–" : value.toFixed(decimals) });
  const rows = shown.map((head) => made("tr", {}, made("th", { scope: "row", textContent: head }),
    ...columns.map(({ values, decimals }) => cell(values.get(head), decimals)), made("td", {}, followButton(head))));
  const names = ["head", ...columns.map(({ heading }) => heading), ""];
  const table = made("table", {}, made("thead", {}, made("tr", {},
    ...names.map((name) => (name ? made("th", { scope: "col", textContent: name }) : made("td"))))),
  made("tbody", {}, ...rows));
  const focused = document.activeElement && document.activeElement.dataset.head;
  document.getElementById("heads-table").replaceChildren(table);
  if (focused) table.querySelector(`button[data-head="${focused}"]`)?.focus();
}

function followButton(head) {
  const is = followed.includes(head);
  const button = made("button", { type: "button", textContent: is ? "Following" : "Follow",
    ariaLabel: `Follow ${head}`, ariaPressed: String(is) });
  button.dataset.head = head;
  button.addEventListener("click", () => follow(head));
  return button;
}
