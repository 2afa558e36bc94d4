"use strict";
// The map of one step follows the slider: Plotly would paint the map over steps again with it, which
// takes most of the time and shows the same.

// Whether it could be done; else the figure is to be drawn as a whole.
function moveStep(holder, data, layout) {
  const [index] = layout.meta.at, { z } = data[index], trace = holder._fullData[index];
  const image = holder.querySelector(`.${trace.xaxis + trace.yaxis} .heatmaplayer image`);
  const shown = holder.calcdata?.[index]?.[0];
  if (!image || !shown) return false;
  // Where arrays are those that it knows, Plotly draws the mark of the step alone.
  data[index].z = trace.z;
  Plotly.react(holder, data, layout, CONFIG);
  data[index].z = z;
  shown.z = z.map((row) => row.map((value) => (isNumber(value) ? value : undefined)));
  image.href.baseVal = painted(shown.z, holder, trace);
  return true;
}

// A pixel for each cell, as Plotly paints maps whose cells are of one size.
function painted(z, holder, trace) {
  const { colorscale, cmin, cmax } = holder._fullLayout[trace.coloraxis];
  const yaxis = holder._fullLayout[trace.yaxis.replace("y", "yaxis")];
  const isUpward = yaxis.range[0] < yaxis.range[1];
  const canvas = Object.assign(document.createElement("canvas"), { width: z[0].length, height: z.length });
  const context = canvas.getContext("2d");
  z.forEach((row, i) => row.forEach((value, j) => {
    if (value === undefined) return;
    context.fillStyle = colourAt(colorscale, (value - cmin) / (cmax - cmin));
    context.fillRect(j, isUpward ? z.length - 1 - i : i, 1, 1);
  }));
  return canvas.toDataURL("image/png");
}

// A colour of a scale of `#rrggbb` at a share of it; beyond its ends, those.
function colourAt(scale, share) {
  const after = Math.max(scale.findIndex(([end]) => end >= share), share > 1 ? scale.length - 1 : 1);
  const [[start, first], [end, last]] = [scale[after - 1], scale[after]];
  const part = Math.min(Math.max((share - start) / (end - start), 0), 1);
  const mixed = [1, 3, 5].map((i) => {
    const [from, to] = [first, last].map((colour) => parseInt(colour.slice(i, i + 2), 16));
    return Math.round(from + part * (to - from));
  });
  return `rgb(${mixed.join()})`;
}
