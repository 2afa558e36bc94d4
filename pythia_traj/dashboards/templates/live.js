"use strict";
// A live page: shows what the server sends, and keeps what the reader sees in the address.

PAGE = JSON.parse(document.getElementById("page-data").textContent);

const MOST_COLUMNS = 4, MOST_HEADS = 12, MOST_DECIMALS = 9; // of the table of heads
const REST = 150; // milliseconds until the server hears of a step
let choice = "", followed = [], lastOffered = null;

// --- the address --------------------------------------------------------------------------------

const asked = new URLSearchParams(location.search);
let wantedStep = /^[0-9]+$/.test(asked.get("step")) ? Number(asked.get("step")) : null;
if (["tokens", "loss"].includes(asked.get("axis"))) chooseAxis(asked.get("axis"));
if (["light", "dark"].includes(asked.get("theme"))) setTheme(asked.get("theme"));
if (asked.get("training") === "no") VIEW.training = training.checked = false;
VIEW.zoom = Object.fromEntries(asked.getAll("zoom").map(zoomOf).filter(Boolean));
followed = asked.getAll("followed").filter((head) => /^L\d{1,4}H\d{1,4}$/.test(head));
VIEW.hidden = new Set(asked.getAll("hidden")); // lines that were hidden by a legend, as `name:line`

// `name:x0:x1:y0:y1`, as an address holds what a figure was zoomed to.
function zoomOf(text) {
  const [name, ...ends] = text.split(":");
  const numbers = ends.map(Number);
  return numbers.length === 4 && numbers.every(Number.isFinite) ? [name, numbers] : null;
}

// All that is shown, as the part of an address after its question mark.
function query() {
  const found = new URLSearchParams(choice);
  found.delete("followed");
  for (const head of followed) found.append("followed", head);
  if (VIEW.axis !== "steps") found.set("axis", VIEW.axis);
  // Until the steps are known, the address keeps the one that was asked for.
  const step = VIEW.step === null && !PAGE.steps.length ? wantedStep : VIEW.step;
  if (step !== null) found.set("step", step);
  if (VIEW.chosenTheme) found.set("theme", VIEW.chosenTheme);
  if (!VIEW.training) found.set("training", "no");
  for (const [name, ends] of Object.entries(VIEW.zoom)) found.append("zoom", [name, ...ends].join(":"));
  for (const line of VIEW.hidden) found.append("hidden", line);
  return found.toString();
}

function writeAddress() {
  const now = query(), link = document.getElementById("save-view");
  history.replaceState(null, "", now ? `?${now}` : location.pathname);
  link.href = `${link.href.split("?")[0]}?${now}`;
}

// --- Dash -----------------------------------------------------------------------------------------

let wanted = location.search, dashComes = null;

// Dash takes as long as a figure to arrive, and a figure needs nothing of it.
function bringDash() {
  dashComes = dashComes || (async () => {
    const scripts = [...document.getElementById("dash-scripts").content.querySelectorAll("script")];
    // In their order; the last one, which starts Dash, is written in the page.
    await Promise.all(scripts.filter((one) => one.src).map(run));
    scripts.filter((one) => !one.src).forEach(run);
  })();
  return dashComes;
}

function run(found) {
  return new Promise((resolve) => {
    const script = made("script", { async: false, onload: resolve, onerror: resolve });
    if (found.src) script.src = found.src; else script.textContent = found.textContent;
    document.body.append(script);
  });
}

// What is said before Dash is there is asked by it as it starts.
function tell(id, data) {
  if (dash_clientside.set_props) dash_clientside.set_props(id, { data });
}

// --- what is chosen -----------------------------------------------------------------------------

const form = document.getElementById("choices");

// What the reader asks for, as an address has it.
function askFor() {
  const found = new URLSearchParams();
  for (const name of ["experiment", "metric", "variant", "layers", "heads"])
    if (form.elements[name].value.trim()) found.set(name, form.elements[name].value.trim());
  for (const name of ["models", "labels"])
    for (const box of form.querySelectorAll(`input[name=${name}]:checked`)) found.append(name, box.value);
  if (!form.elements.controls.checked) found.set("controls", "no");
  if (form.elements.several.value !== "lines") found.set("several", form.elements.several.value);
  wanted = found.toString();
  tell("asked", wanted);
}

form.addEventListener("change", askFor);
form.addEventListener("submit", (event) => event.preventDefault());

function offerOne(name, words, chosen, none = form.elements[name].dataset.none) {
  const select = form.elements[name];
  const options = [...(none ? [made("option", { value: "", textContent: none })] : []),
    ...words.map((word) => made("option", { value: word, textContent: word }))];
  const now = options.map((option) => option.textContent).join("\n");
  // A list that is open stays so where it is the same.
  if (select.dataset.words !== now) select.replaceChildren(...options);
  select.dataset.words = now;
  select.value = chosen;
}

// A box for each; none chosen is all of them.
function offerSeveral(name, words, chosen) {
  const group = form.querySelector(`[data-several=${name}]`), now = words.join("\n");
  if (group.dataset.words !== now)
    group.replaceChildren(group.firstElementChild, ...words.map((word) => made("label", {},
      made("input", { type: "checkbox", name, value: word }), ` ${word}`)));
  group.dataset.words = now;
  group.hidden = words.length < 2;
  for (const box of group.querySelectorAll("input"))
    box.checked = chosen.length === 0 || chosen.includes(box.value);
}

function offer(offered) {
  const { choice: chosen } = offered;
  setSeeds(chosen);
  offerOne("experiment", offered.experiments, chosen.experiment);
  offerOne("metric", offered.metrics, chosen.metric);
  // One metric is drawn by the rules for any, not by the report's.
  const none = chosen.metric ? form.elements.variant.dataset.ofMetric : undefined;
  offerOne("variant", offered.variants, chosen.variant, none);
  offerSeveral("models", offered.models, chosen.models);
  offerSeveral("labels", offered.labels, chosen.labels);
  for (const name of ["layers", "heads"])
    if (document.activeElement !== form.elements[name]) form.elements[name].value = chosen[name];
  form.elements.controls.checked = chosen.controls;
  form.elements.several.value = chosen.several;
}

// Where seeds are as a band, which is no model that the page knows: at the tokens of all of them.
function setSeeds(chosen) {
  const isBand = chosen.several === "band";
  const names = chosen.models.length ? chosen.models : Object.keys(PAGE.training);
  const seeds = isBand ? names.map((name) => PAGE.training[name]).filter(Boolean) : [];
  const steps = [...new Set(seeds.flatMap((one) => one.steps))].sort((a, b) => a - b);
  const tokens = steps.map((step) => {
    const found = new Set(seeds.filter((one) => one.steps.includes(step))
      .map((one) => one.tokens[one.steps.indexOf(step)]));
    return found.size === 1 ? [...found][0] : null;
  });
  PAGE.seeds = isBand ? { steps, tokens, loss: steps.map(() => null) } : null;
}

// --- figures ------------------------------------------------------------------------------------

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// --- drawings, which the server is asked for when their places come near -------------------------

// Plotly arrives while the server is asked what there is to draw.
const plotlyIsThere = new Promise((resolve) => {
  if (window.Plotly) resolve();
  else document.getElementById("plotly").addEventListener("load", resolve);
});
const BASE = document.getElementById("save-view").href.split("view.html")[0];
const staleSlots = new Set(); // those that do not show what they are for

// The places below an element: one for each drawing that is to come.
function setSlots(list, count) {
  while (list.children.length > count) dropSlot(list.lastElementChild);
  while (list.children.length < count) {
    const slot = made("div", { id: `${list.id}-${list.children.length}`, className: "slot" });
    list.append(slot);
  }
  return [...list.children];
}

function dropSlot(slot) {
  empty(slot);
  delete slot.dataset.address;
  staleSlots.delete(slot);
  slot.remove();
}

function empty(slot) {
  for (const holder of slot.querySelectorAll(".plot")) letGo(holder);
  slot.replaceChildren();
  delete slot.dataset.form;
}

// The texts of a chart stand at once; what was drawn before it is paler until the chart comes.
function setChart(slot, chart, address) {
  if (slot.dataset.address === address) return;
  say(slot, chart);
  slot.dataset.address = address;
  slot.ariaBusy = "true";
  staleSlots.add(slot);
}

async function load(slot) {
  const { address } = slot.dataset;
  staleSlots.delete(slot);
  try {
    const [drawing] = await drawingsAt(address);
    // Another one may have been asked for since.
    if (slot.dataset.address !== address) return;
    if (drawing) showDrawing(slot, drawing); else empty(slot);
    for (const holder of slot.querySelectorAll(".plot")) if (isInSight(holder)) await draw(holder);
  } catch (error) {
    if (slot.dataset.address !== address) return;
    // It is asked for again when the page hears of new rows.
    slot.dataset.address = "";
    const { textContent: heading } = slot.querySelector("h3") || { textContent: "" };
    say(slot, { heading, caption: `Not drawn: ${error.message}.` });
  }
  slot.ariaBusy = "false";
}

async function drawingsAt(address) {
  const answer = await fetch(BASE + address);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return JSON.parse(await answer.text(), (_, value) => plain(value));
}

let loading = 0;

// One by one, what is in sight first; the others when nothing else is to do, as the table of heads
// needs them all. A later call takes over.
async function loadSlots() {
  const own = ++loading;
  document.documentElement.dataset.loaded = "";
  while (staleSlots.size && own === loading) {
    const next = () => [...staleSlots].find(isInSight);
    if (!next()) await idle();
    const slot = next() || [...staleSlots][0];
    if (slot) await load(slot);
    bringDash();
  }
  await bringDash();
  if (own !== loading) return;
  document.documentElement.dataset.loaded = "all";
  showHeads();
  drawRest();
}

// Drawings of which it is not known how many there are, in the order of the last question.
async function showList(id, address) {
  const list = document.getElementById(id);
  if (list.dataset.address === address) return 0;
  list.dataset.address = address;
  const drawings = address ? await drawingsAt(address) : [];
  if (list.dataset.address !== address) return list.children.length;
  setSlots(list, drawings.length).forEach((slot, i) => showDrawing(slot, drawings[i]));
  drawRest();
  return drawings.length;
}

function showCharts() {
  const { query: of, at, charts, why } = lastOffered;
  document.getElementById("why-not").textContent = why;
  const slots = setSlots(document.getElementById("figures"), charts.length);
  slots.forEach((slot, i) => setChart(slot, charts[i], `drawings/chart?${of}&place=${i}&at=${at}`));
  loadSlots();
}

async function showFollowed() {
  if (!lastOffered) return;
  const { query: of, at } = lastOffered;
  const heads = followed.map((head) => `&followed=${head}`).join("");
  const step = VIEW.step === null ? "" : `&step=${VIEW.step}`;
  const now = `${of}${heads}`;
  await showList("followed-figures", heads && `drawings/followed?${now}&at=${at}`);
  const last = PAGE.steps.at(-1);
  await showList("patterns-figures", heads && `drawings/patterns?${now}${step}&last=${last}`);
  document.getElementById("patterns-section").hidden = !document.getElementById("patterns-figures").children.length;
}

// Heading and caption; another heading's panels go.
function say(slot, { heading, caption }) {
  if ((slot.querySelector("h3") || {}).textContent !== heading) empty(slot);
  if (!slot.firstElementChild) slot.replaceChildren(frameOf(slot.id));
  slot.querySelector("h3").textContent = heading;
  slot.querySelector("figcaption p").textContent = caption;
}

// One drawing in a slot: its panels stay as they are, so that what was zoomed or focused does too.
function showDrawing(slot, drawing) {
  const { panels } = drawing;
  const shape = panels.map((panel) => `${panel.of}|${Boolean(panel.figure)}|${panel.reason}`).join("\n");
  say(slot, drawing);
  if (slot.dataset.form !== shape) {
    for (const holder of slot.querySelectorAll(".plot")) letGo(holder);
    slot.querySelector(".beside").replaceChildren(...panels.map((panel, i) => panelOf(`${slot.id}-panel-${i}`, panel)));
    slot.dataset.form = shape;
  }
  panels.filter((panel) => panel.figure).forEach((panel, i) => {
    const holder = slot.querySelectorAll(".plot")[i];
    holder.dataset.name = panel.name;
    holder.style.minHeight = `${panel.height}px`;
    hold(holder, async () => {
      await plotlyIsThere;
      return panel.figure;
    });
  });
}

function frameOf(id) {
  const heading = made("h3", { id: `${id}-name` });
  const figure = made("figure", {}, made("figcaption", {}, heading, made("p")), made("div", { className: "beside" }));
  figure.setAttribute("aria-labelledby", heading.id);
  return figure;
}

function panelOf(id, panel) {
  const parts = panel.of ? [made("h4", { textContent: panel.of })] : [];
  if (!panel.figure)
    return made("div", { className: "panel" }, ...parts,
      made("p", { className: "undrawn", textContent: `Not drawn. ${panel.reason}` }));
  const holder = made("div", { className: "plot", id, role: "group", ariaLabel: panel.described });
  const saving = made("div", { className: "saving", role: "group", ariaLabel: `Save: ${panel.described}` }, "Save");
  for (const format of ["SVG", "PNG", "CSV"]) {
    const button = made("button", { type: "button", textContent: format });
    Object.assign(button.dataset, { save: format.toLowerCase(), of: id });
    saving.append(" ", button);
  }
  return made("div", { className: "panel" }, ...parts, holder, saving);
}

// What the reader zoomed to, and hid by a legend, is in the address, by the name of the figure.
onDisplay.push((data, layout, holder) => {
  const name = holder.dataset.name, ends = VIEW.zoom[name];
  if (ends) {
    layout.xaxis = { ...layout.xaxis, range: ends.slice(0, 2), autorange: false };
    layout.yaxis = { ...layout.yaxis, range: ends.slice(2), autorange: false };
  }
  for (const trace of data) if (VIEW.hidden.has(lineOf(name, trace))) trace.visible = "legendonly";
});

function lineOf(name, trace) {
  return `${name}:${trace.legendgroup || trace.name}`;
}

function onHidden(holder) {
  for (const trace of holder.data) {
    const line = lineOf(holder.dataset.name, trace);
    if (trace.visible === "legendonly") VIEW.hidden.add(line); else VIEW.hidden.delete(line);
  }
  writeAddress();
}

function onZoom(holder, change) {
  const name = holder.dataset.name;
  if (Object.keys(change).some((key) => /^[xy]axis\.autorange$/.test(key))) delete VIEW.zoom[name];
  else if (Object.keys(change).some((key) => /^[xy]axis\.range/.test(key))) {
    const { xaxis, yaxis } = holder._fullLayout;
    VIEW.zoom[name] = [...xaxis.range, ...yaxis.range].map((end) => Number(end.toPrecision(6)));
  } else return;
  writeAddress();
}

// --- heads --------------------------------------------------------------------------------------

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

// --- the view -----------------------------------------------------------------------------------

function setTheme(theme) {
  VIEW.chosenTheme = theme;
  document.documentElement.dataset.theme = theme;
  document.querySelector(`input[name=theme][value="${theme}"]`).checked = true;
}

// The steps may have become more: the slider stays at its step, or at the last where none is chosen.
function setSteps() {
  slider.max = Math.max(PAGE.steps.length - 1, 0);
  if (wantedStep !== null && PAGE.steps.includes(wantedStep)) VIEW.step = wantedStep;
  if (VIEW.step !== null) wantedStep = null;
  const index = VIEW.step === null ? PAGE.steps.length - 1 : lastUpTo(PAGE.steps, VIEW.step);
  slider.value = index;
  if (PAGE.steps.length) sayStep(PAGE.steps[index]);
  else said.textContent = "no step yet";
}

function setAxes() {
  for (const input of document.querySelectorAll("input[name=axis]"))
    input.disabled = !Object.values(PAGE.training).some((one) => one[input.value].some((x) => x !== null));
}

let resting = null;

let zoomedOn = VIEW.axis;

onView.push(() => {
  // A zoom is of the axis that it was made on.
  if (VIEW.axis !== zoomedOn) VIEW.zoom = {};
  zoomedOn = VIEW.axis;
  writeAddress();
  showHeads();
  clearTimeout(resting);
  resting = setTimeout(() => {
    tell("at-step", VIEW.step);
    showFollowed();
  }, REST);
});

onDrawn.push((holder, isFirst) => {
  if (isFirst) {
    holder.on("plotly_click", ({ points }) => {
      const head = headOf(points[0]);
      if (head) follow(head);
    });
    holder.on("plotly_relayout", (change) => onZoom(holder, change));
    holder.on("plotly_restyle", () => onHidden(holder));
  }
  if ((figures.get(holder).layout.meta || {}).at) showHeads();
});

for (const input of document.querySelectorAll("input[name=theme]"))
  input.addEventListener("change", () => {
    setTheme(input.value);
    VIEW.theme = themeNow();
    refresh();
    drawRest();
    writeAddress();
  });

document.getElementById("copy-link").addEventListener("click", async ({ target }) => {
  try {
    await navigator.clipboard.writeText(location.href);
    target.textContent = "Copied";
  } catch {
    target.textContent = "The address has it";
  }
  setTimeout(() => { target.textContent = "Copy link"; }, 2000);
});

function showOffered(offered) {
  lastOffered = offered;
  choice = offered.query;
  offer(offered);
  writeAddress();
  showCharts();
  showFollowed();
}

let knownAs = ""; // what the server says of training and steps, as it said it

function know(page) {
  const now = JSON.stringify(page);
  if (knownAs === now) return;
  knownAs = now;
  PAGE = page;
  if (lastOffered) setSeeds(lastOffered.choice);
  setSteps();
  setAxes();
  refresh();
  drawRest();
}

// What Dash calls with what the server sent.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.live = {
  asked: () => wanted,
  offer: (offered) => { if (offered) showOffered(offered); },
  know: (page) => { if (page) know(page); },
};
start();
const first = JSON.parse(document.getElementById("first-answer").textContent);
if (first) {
  know(first.page);
  showOffered(first.offered);
} else bringDash();
