"use strict";
// What is chosen, and what there is to choose.

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
