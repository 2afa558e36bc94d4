"use strict";
// Where steps lie: on log2(step + 1), at the tokens seen, or at the loss reached.

// What the page knows beside its figures; it is set before anything is drawn.
let PAGE = null;

function axisTitle(axis) {
  return axis === "tokens" ? "training tokens"
    : `lowest loss on text until then (${PAGE.loss_labels.join(", ")}; nats per token)`;
}

function position(axis, model, step) {
  if (axis === "steps") return Math.log2(step + 1);
  const training = PAGE.training[model] || PAGE.seeds;
  if (!training) return null;
  return between(training.steps, training[axis], step);
}

// The value at a step, linear between those measured; null outside them or beside a missing one.
function between(steps, values, step) {
  const after = steps.findIndex((one) => one >= step);
  if (after < 0) return null;
  if (steps[after] === step) return values[after];
  if (after === 0 || values[after] === null || values[after - 1] === null) return null;
  const share = (step - steps[after - 1]) / (steps[after] - steps[after - 1]);
  return values[after - 1] + share * (values[after] - values[after - 1]);
}

const places = { of: null, on: "", found: new WeakMap() }; // traces at their places, on one axis

// A trace of a figure over steps with its points at their places on an axis; the same one again
// until the axis or the page changes.
function placed(trace, axis) {
  if (axis === "steps" || !trace.meta || !trace.meta.steps) return trace;
  if (places.of !== PAGE || places.on !== axis) Object.assign(places, { of: PAGE, on: axis, found: new WeakMap() });
  if (!places.found.has(trace)) places.found.set(trace, moved(trace, axis));
  return places.found.get(trace);
}

function moved(trace, axis) {
  const { meta } = trace;
  const x = meta.steps.map((step) => position(axis, meta.model, step));
  if (trace.type !== "heatmap") return { ...trace, x };
  // The columns of a map stand in the order of the axis; of those at one place the last counts.
  const kept = [...x.keys()].filter((i) => x[i] !== null && !x.includes(x[i], i + 1))
    .sort((a, b) => x[a] - x[b]);
  const pick = (row) => kept.map((i) => row[i]);
  const found = { ...trace, x: pick(x) };
  for (const name of ["z", "customdata", "text"])
    if (Array.isArray(trace[name])) found[name] = trace[name].map(pick);
  return found;
}

// The layout of a figure over steps on another axis.
function onAxis(layout, axis) {
  if (axis === "steps") return layout;
  const { tickmode, tickvals, ticktext, minor, range, ...rest } = layout.xaxis;
  const xaxis = { ...rest, title: { text: axisTitle(axis) }, nticks: 7 };
  if (axis === "loss") xaxis.autorange = "reversed";
  return { ...layout, xaxis, xaxis2: { ...layout.xaxis2, visible: false } };
}
