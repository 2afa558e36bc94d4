"use strict";
// The figures of the page: drawn when they come near, in the reader's theme, on the chosen axis.

const VIEW = { axis: "steps", step: null, theme: "light", training: true };
const CONFIG = { responsive: true, displayModeBar: false, displaylogo: false, plotlyServerURL: "",
  typesetMath: false };
const figures = new Map(); // the figure of each holder that was unpacked
const near = new Set(); // holders in sight
const paper = matchMedia("print");
const dark = matchMedia("(prefers-color-scheme: dark)");
const touched = matchMedia("(pointer: coarse)").matches;

function themeNow() {
  return dark.matches && !paper.matches ? "dark" : "light";
}

// What Plotly is given for a figure.
function displayed(figure, view) {
  const theme = PAGE.themes[view.theme];
  let layout = { ...onAxis(figure.layout, view.axis), template: theme.template };
  // A map's ground is what was not measured.
  if (layout.plot_bgcolor) layout.plot_bgcolor = theme.absent;
  for (const [name, scale] of Object.entries((layout.meta || {}).scales || {}))
    layout[name] = { ...layout[name], colorscale: theme[scale] };
  if (touched) layout.dragmode = false;
  const kept = (trace) => view.training || !(trace.legendgroup || "").startsWith("training");
  let data = figure.data.map((trace) => ({ ...placed(trace, view.axis), visible: kept(trace) }));
  if (view.step !== null) ({ data, layout } = atStep(figure, data, layout, view));
  return { data, layout };
}

// The same at the slider's step: a line there, and the maps of one step.
function atStep(figure, data, layout, view) {
  const meta = layout.meta || {};
  if (meta.over !== "steps") return { data, layout };
  const model = (figure.data.find((trace) => trace.meta && trace.meta.model) || { meta: {} }).meta.model;
  const x = position(view.axis, model, view.step);
  const line = { color: PAGE.themes[view.theme].quiet, width: 1, dash: "dash" };
  const shapes = x === null ? [] : [{ type: "line", xref: "x", yref: "y domain", x0: x, x1: x, y0: 0, y1: 1, line }];
  layout = { ...layout, shapes: [...(layout.shapes || []), ...shapes] };
  if (!meta.at) return { data, layout };
  const [shown, over] = meta.at;
  const source = figure.data[over];
  const column = lastUpTo(source.meta.steps, view.step);
  const z = figure.data[shown].z.map((row) => Array(row.length).fill(null));
  source.meta.rows.forEach(({ layer, head }, row) => {
    const value = source.z[row][column];
    if (z[head][layer] === null && !Number.isNaN(value)) z[head][layer] = value;
  });
  data = data.map((trace, i) => (i === shown ? { ...trace, z } : trace));
  const text = `at step ${source.meta.steps[column].toLocaleString("en")}`;
  const annotations = (layout.annotations || []).map((one) => (one.name === "at step" ? { ...one, text } : one));
  return { data, layout: { ...layout, annotations } };
}

// The index of the last of some steps that is not after another; the first where all are.
function lastUpTo(steps, step) {
  const after = steps.findIndex((one) => one > step);
  return after < 0 ? steps.length - 1 : Math.max(after - 1, 0);
}

async function draw(holder) {
  if (!figures.has(holder)) {
    figures.set(holder, null);
    figures.set(holder, await unpack(holder.dataset.figure));
  }
  redraw(holder);
}

function redraw(holder) {
  const figure = figures.get(holder);
  if (!figure) return;
  const { data, layout } = displayed(figure, VIEW);
  if (paper.matches) layout.width = 660;
  Plotly.react(holder, data, layout, CONFIG);
  holder.dataset.drawn = VIEW.theme;
}

// Everything that has been drawn, what is in sight first.
function redrawAll() {
  const others = [...figures.keys()].filter((holder) => !near.has(holder));
  for (const holder of [...near, ...others]) redraw(holder);
}

function changeTheme() {
  VIEW.theme = themeNow();
  redrawAll();
}

const holders = [...document.querySelectorAll("[data-figure]")];
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) near.add(target); else near.delete(target);
    if (isIntersecting) draw(target);
  }
}, { rootMargin: "400px" });

// The others while nothing else is to do: a printed page has them all.
async function drawRest() {
  for (const holder of holders) {
    if (figures.has(holder)) continue;
    await new Promise((resolve) => (window.requestIdleCallback || setTimeout)(resolve));
    await draw(holder);
  }
  document.documentElement.dataset.ready = "all";
}

function start() {
  VIEW.theme = themeNow();
  for (const holder of holders) sight.observe(holder);
  dark.addEventListener("change", changeTheme);
  paper.addEventListener("change", changeTheme);
  if (document.readyState === "complete") drawRest();
  else addEventListener("load", drawRest);
}
