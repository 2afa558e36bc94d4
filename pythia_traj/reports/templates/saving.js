"use strict";
// A figure as SVG or PNG, always on white, and its data as CSV.

// A row for each point or cell with a value, as pythia_traj.figures.data_of has them.
function dataOf(figure) {
  const rows = figure.data.filter((trace) => trace.meta && trace.meta.key)
    .flatMap((trace) => (trace.type === "heatmap" ? cellsOf(trace) : pointsOf(trace)));
  // What a figure draws twice, as a line of its own and among others, is one row.
  const once = new Map(rows.map((row) => [JSON.stringify(PAGE.columns.map((name) => row[name])), row]));
  return [...once.values()];
}

function cellsOf(trace) {
  const meta = trace.meta, found = [];
  const tokens = (j) => (meta.tokens ? meta.tokens[j] : null);
  const columns = meta.columns || meta.steps.map((step, j) => ({ step, tokens: tokens(j) }));
  const values = meta.value ? trace[meta.value] : trace.z;
  trace.z.forEach((row, i) => row.forEach((colour, j) => {
    const value = values[i][j];
    if (isNumber(colour) && isNumber(value)) found.push({ ...meta.key, ...meta.rows[i], ...columns[j], value });
  }));
  return found;
}

function pointsOf(trace) {
  const meta = trace.meta, found = [];
  trace.y.forEach((value, i) => {
    if (!isNumber(value)) return;
    const row = { ...meta.key, step: meta.steps[i], value };
    for (const [name, values] of Object.entries(meta.varying || {})) row[name] = values[i];
    PAGE.numbers.forEach((name, j) => { row[name] = trace.customdata[i][j + 1]; });
    found.push(row);
  });
  return found;
}

function asCsv(rows) {
  const isThere = (value) => value !== undefined && value !== null && !Number.isNaN(value);
  const columns = PAGE.columns.filter((name) => rows.some((row) => isThere(row[name])));
  const cell = (value) => {
    const text = isThere(value) ? String(value) : "";
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows.map((row) => columns.map((name) => row[name]))]
    .map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function saveFigure(holder, format) {
  const figure = await brought(holder), name = holder.dataset.name;
  if (format === "csv") return save(`${name}.csv`, "text/csv", asCsv(dataOf(figure)));
  const shown = displayed(figure, { ...VIEW, theme: "light" });
  const size = { width: 900, height: figure.layout.height, scale: format === "png" ? 2 : 1 };
  return Plotly.downloadImage({ ...shown, config: CONFIG }, { format, filename: name, ...size });
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button[data-save]");
  if (button) saveFigure(document.getElementById(button.dataset.of), button.dataset.save);
});
