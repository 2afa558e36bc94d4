"use strict";
// Drawings, which the server is asked for when their places come near.

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

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
