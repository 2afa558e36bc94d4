"use strict";
// The live page: shows what the server sends.

const REST = 150; // milliseconds until the server hears of a step

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
  // Drawn after a move of the slider, it finds the table made already.
  if ((figures.get(holder).layout.meta || {}).at && isFirst) showHeads();
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
