"use strict";
// All that the reader sees stands in the address of the page.

PAGE = JSON.parse(document.getElementById("page-data").textContent);

let choice = "", followed = [], lastOffered = null;

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
