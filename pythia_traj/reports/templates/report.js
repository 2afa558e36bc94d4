"use strict";
// A report: all that it shows is in its own file.

PAGE = JSON.parse(document.getElementById("page-data").textContent);
if (PAGE.view.axis) chooseAxis(PAGE.view.axis);
if ("step" in PAGE.view && slider) goTo(PAGE.steps.indexOf(PAGE.view.step));
for (const holder of document.querySelectorAll("[data-figure]"))
  hold(holder, () => unpack(holder.dataset.figure));

// Where the contents are not beside the page, its first screen is for what was found.
if (matchMedia("(max-width: 64rem)").matches) document.querySelector("nav.contents details").open = false;
start();
