"use strict";
// The figures of the page: drawn when they come near, in the reader's theme, on the chosen axis.

const VIEW = { axis: "steps", step: null, theme: "light", training: true };
const CONFIG = { responsive: true, displayModeBar: false, displaylogo: false, plotlyServerURL: "",
  typesetMath: false };
const PRINTED_WIDTH = 660;
const paper = matchMedia("print");
const dark = matchMedia("(prefers-color-scheme: dark)");
const touched = matchMedia("(pointer: coarse)").matches;

const sources = new Map(); // of each holder, the function that brings its figure
const figures = new Map(); // of each holder, once it was brought
const coming = new Map(); // the promises of the same
const near = new Set(); // holders in sight, or a little beyond
const stale = new Set(); // holders that do not show what VIEW says
const drawnAs = new WeakMap(); // of each holder, the figure that it shows, and in which view but for the step
const onDrawn = []; // functions that receive a holder that was drawn, and whether for the first time
const onDisplay = []; // functions that may change what Plotly is given for a holder
const onView = []; // functions that are called after a change of VIEW

function themeNow() {
  if (paper.matches) return "light";
  return VIEW.chosenTheme || (dark.matches ? "dark" : "light");
}

// An element that is to hold a figure, which a function brings when it is needed.
function hold(holder, bring) {
  const isNew = !sources.has(holder);
  sources.set(holder, bring);
  coming.delete(holder);
  stale.add(holder);
  if (isNew) sight.observe(holder);
  else if (isInSight(holder)) draw(holder);
}

function letGo(holder) {
  sight.unobserve(holder);
  if (holder.dataset.drawn) Plotly.purge(holder);
  for (const of of [sources, figures, coming, near, stale]) of.delete(holder);
}

// A copy for Plotly to write into. It draws all again where an array of numbers or `meta` is another
// one than before, so that these are not copied.
function copied(part) {
  if (part === null || typeof part !== "object" || ArrayBuffer.isView(part)) return part;
  if (Array.isArray(part)) return part.some((one) => one && typeof one === "object") ? part.map(copied) : part;
  return Object.fromEntries(Object.entries(part).map(([name, one]) =>
    [name, ["meta", "template"].includes(name) ? one : copied(one)]));
}

// What Plotly is given for a figure: data and layout of its own, as Plotly writes into them.
function displayed(figure, view) {
  const theme = PAGE.themes[view.theme], meta = figure.layout.meta || {};
  const isOver = meta.over === "steps";
  const layout = copied(isOver ? onAxis(figure.layout, view.axis) : figure.layout);
  layout.template = theme.template;
  // A map's ground is what was not measured.
  if (layout.plot_bgcolor) layout.plot_bgcolor = theme.absent;
  for (const [name, scale] of Object.entries(meta.scales || {}))
    layout[name] = { ...layout[name], colorscale: theme[scale] };
  if (touched) layout.dragmode = false;
  // What the reader zoomed to stays on its axis, what was hidden by the legend on all of them.
  layout.uirevision = view.axis;
  layout.legend = { ...layout.legend, uirevision: "legend" };
  const data = figure.data.map((trace) => ({ ...(isOver ? placed(trace, view.axis) : trace) }));
  for (const trace of data)
    if (!view.training && (trace.legendgroup || "").startsWith("training")) trace.visible = false;
  if (isOver && view.step !== null) markStep(figure, data, layout, view);
  if (isOver && view.axis !== "steps" && !data.some(hasPlace)) sayWithout(layout, view.axis);
  return { data, layout };
}

function hasPlace(trace) {
  return trace.meta && trace.meta.key && trace.x.some((x) => x !== null);
}

function sayWithout(layout, axis) {
  const text = PAGE.seeds && axis === "loss" ? "seeds reach a loss at different steps: a band has none"
    : `the ${axis} at these steps is not known`;
  const place = { xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false };
  layout.annotations = [...(layout.annotations || []), { text, ...place }];
}

// Marks the slider's step: a line for each model, and the maps of one step.
function markStep(figure, data, layout, view) {
  const models = new Set(figure.data.map((trace) => (trace.meta || {}).model).filter(Boolean));
  const places = new Set([...models].map((model) => position(view.axis, model, view.step)));
  places.delete(null);
  const line = { color: PAGE.themes[view.theme].quiet, width: 1, dash: "dash" };
  const ends = (x) => ({ type: "line", xref: "x", yref: "y domain", x0: x, x1: x, y0: 0, y1: 1, line });
  layout.shapes = [...(layout.shapes || []), ...[...places].map(ends)];
  if (layout.meta.at) showStep(figure, data, layout, view.step);
}

// Fills a map of one step from the map over steps; of several rows of a head the first counts.
function showStep(figure, data, layout, step) {
  const [shown, over] = layout.meta.at;
  const source = figure.data[over];
  const column = lastUpTo(source.meta.steps, step);
  const z = figure.data[shown].z.map((row) => Array(row.length).fill(null));
  source.meta.rows.forEach(({ layer, head }, row) => {
    const value = source.z[row][column];
    if (z[head][layer] === null && isNumber(value)) z[head][layer] = value;
  });
  data[shown].z = z;
  const text = `at step ${source.meta.steps[column].toLocaleString("en")}`;
  for (const one of layout.annotations || []) if (one.name === "at step") one.text = text;
}

function isNumber(value) {
  return typeof value === "number" && !Number.isNaN(value);
}

// The index of the last of some steps that is not after another; the first where all are.
function lastUpTo(steps, step) {
  const after = steps.findIndex((one) => one > step);
  return after < 0 ? steps.length - 1 : Math.max(after - 1, 0);
}

function brought(holder) {
  if (!coming.has(holder)) {
    const promise = sources.get(holder)().then((figure) => {
      // Another one may have been asked for since.
      if (coming.get(holder) === promise) figures.set(holder, figure);
      return figure;
    });
    coming.set(holder, promise);
  }
  return coming.get(holder);
}

async function draw(holder) {
  try {
    await brought(holder);
    redraw(holder);
  } catch (error) {
    holder.textContent = `This browser cannot draw the figure: ${error.message}`;
    holder.classList.add("undrawn");
  }
  stale.delete(holder);
}

function redraw(holder) {
  if (!figures.has(holder)) return;
  const { data, layout } = displayed(figures.get(holder), VIEW);
  if (paper.matches) layout.width = PRINTED_WIDTH;
  for (const change of onDisplay) change(data, layout, holder);
  giveRoom(layout.width || holder.clientWidth, data, layout);
  const isFirst = !holder.dataset.drawn;
  const as = [VIEW.theme, VIEW.axis, VIEW.training, paper.matches, layout.width].join();
  const before = drawnAs.get(holder);
  const isMoved = layout.meta?.at && before && before.figure === figures.get(holder) && before.as === as;
  if (!isMoved || !moveStep(holder, data, layout)) Plotly.react(holder, data, layout, CONFIG);
  drawnAs.set(holder, { figure: figures.get(holder), as });
  if (holder.dataset.printed && !paper.matches) Plotly.Plots.resize(holder);
  holder.dataset.printed = paper.matches ? "yes" : "";
  holder.dataset.drawn = VIEW.theme;
  stale.delete(holder);
  for (const say of onDrawn) say(holder, isFirst);
}

// After a change of VIEW: what is in sight at once, the others while nothing else is to do.
function refresh() {
  for (const holder of sources.keys()) stale.add(holder);
  for (const holder of near) if (isInSight(holder)) redraw(holder);
  for (const say of onView) say();
}

function isInSight(holder) {
  const { top, bottom } = holder.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

// When nothing else is to do, or soon: a browser may see no idle time for long.
function idle() {
  return new Promise((resolve) => {
    if (window.requestIdleCallback) requestIdleCallback(resolve, { timeout: 100 });
    else setTimeout(resolve);
  });
}

let isResting = false;

async function drawRest() {
  document.documentElement.dataset.ready = "";
  if (isResting) return;
  isResting = true;
  while (stale.size) {
    await idle();
    const next = [...stale].find((holder) => near.has(holder)) || stale.values().next().value;
    if (next) await draw(next);
  }
  isResting = false;
  document.documentElement.dataset.ready = "all";
}

function changeTheme() {
  VIEW.theme = themeNow();
  refresh();
  // What is printed is taken at once.
  for (const holder of [...stale]) redraw(holder);
  drawRest();
}

const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) near.add(target); else near.delete(target);
    if (isIntersecting && stale.has(target) && isInSight(target)) draw(target);
  }
  drawRest();
}, { rootMargin: "400px" });

function start() {
  VIEW.theme = themeNow();
  dark.addEventListener("change", changeTheme);
  paper.addEventListener("change", changeTheme);
  if (document.readyState === "complete") drawRest();
  else addEventListener("load", drawRest);
}
