"use strict";
// The controls of all figures: the axis, and a step that a slider moves or that runs by itself.

const slider = document.getElementById("step"), said = document.getElementById("step-said");
const playing = document.getElementById("play"), training = document.getElementById("training");
const STEPS_PER_SECOND = 4;
let timer = null;

function change(name, value) {
  VIEW[name] = value;
  refresh();
  drawRest();
}

for (const choice of document.querySelectorAll("input[name=axis]"))
  choice.addEventListener("change", () => change("axis", choice.value));

if (training) training.addEventListener("change", () => change("training", training.checked));

// Figures out of sight follow when the slider rests.
function goTo(index) {
  slider.value = index;
  VIEW.step = PAGE.steps[index];
  const text = `step ${VIEW.step.toLocaleString("en")}`;
  said.textContent = text;
  slider.setAttribute("aria-valuetext", text);
  refresh();
}

function stop() {
  clearInterval(timer);
  timer = null;
  playing.textContent = "Play";
  drawRest();
}

function play() {
  if (timer !== null) return stop();
  if (Number(slider.value) === PAGE.steps.length - 1) goTo(0);
  playing.textContent = "Pause";
  timer = setInterval(() => {
    const next = Number(slider.value) + 1;
    if (next >= PAGE.steps.length) return stop();
    return goTo(next);
  }, 1000 / STEPS_PER_SECOND);
  return undefined;
}

if (slider) {
  slider.addEventListener("input", () => goTo(Number(slider.value)));
  slider.addEventListener("change", drawRest);
  playing.addEventListener("click", play);
}

// Where the contents are not beside the page, its first screen is for what was found.
if (matchMedia("(max-width: 64rem)").matches) document.querySelector("nav.contents details").open = false;
start();
