"use strict";
// Room around a figure for its legend and labels, given before it is drawn: where Plotly finds that
// they need more, it draws all of the figure again.

const LABELS = { left: 80, right: 32, second: 60 }; // pixels; `second`, where an axis is on the right
const ENTRY = 45, LINE = 29, BELOW_LEGEND = 12; // of a legend: beside a text; one line of it
const WIDE = 600; // narrower figures have no room to spare
const pen = document.createElement("canvas").getContext("2d");

function giveRoom(width, data, layout) {
  if (width < WIDE) return;
  const { margin, legend } = layout.template.layout;
  const has = { ...margin, ...layout.margin };
  const hasSecond = Object.values(layout).some((axis) => axis && axis.side === "right");
  const l = Math.max(has.l, LABELS.left), r = Math.max(has.r, hasSecond ? LABELS.second : LABELS.right);
  const lines = layout.showlegend ? linesOf(data, layout, width - l - r) : 0;
  // The legend stands above the lines, at a part of their height.
  const above = legend.y - 1;
  const t = Math.ceil((lines * LINE + BELOW_LEGEND + above * (layout.height - has.b)) / (1 + above)) + 1;
  layout.margin = { ...has, l, r, t: lines ? Math.max(has.t, t) : has.t };
}

// How many lines the entries of a legend take, one a group.
function linesOf(data, layout, width) {
  const { font, legend } = layout.template.layout;
  pen.font = `${legend.font.size}px ${font.family}`;
  const entries = new Map();
  for (const trace of data)
    if (trace.name && trace.showlegend !== false && trace.visible !== false)
      entries.set(trace.legendgroup || trace, ENTRY + pen.measureText(trace.name).width);
  let lines = entries.size ? 1 : 0, taken = 0;
  for (const needed of entries.values()) {
    if (taken && taken + needed > width) {
      lines += 1;
      taken = 0;
    }
    taken += needed;
  }
  return lines;
}
