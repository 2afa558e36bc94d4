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

// As if the reader had chosen it, before anything is drawn.
function chooseAxis(axis) {
  VIEW.axis = axis;
  document.querySelector(`input[name=axis][value=${axis}]`).checked = true;
}

for (const choice of document.querySelectorAll("input[name=axis]"))
  choice.addEventListener("change", () => change("axis", choice.value));

if (training) training.addEventListener("change", () => change("training", training.checked));

// Figures out of sight follow when the slider rests.
function goTo(index) {
  slider.value = index;
  VIEW.step = PAGE.steps[index];
  sayStep(VIEW.step);
  refresh();
}

function sayStep(step) {
  said.textContent = `step ${step.toLocaleString("en")}`;
  slider.setAttribute("aria-valuetext", said.textContent);
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
