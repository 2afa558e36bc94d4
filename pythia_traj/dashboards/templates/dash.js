"use strict";
// Dash, which carries what is chosen and said; figures are fetched beside it.

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
