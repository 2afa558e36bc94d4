"use strict";
// Figures as the page carries them: base64 of gzip of JSON, whose arrays are base64 again.

const ARRAYS = { f8: Float64Array, f4: Float32Array, i4: Int32Array, i2: Int16Array, i1: Int8Array,
  u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

async function unpack(id) {
  const bytes = bytesOf(document.getElementById(id).textContent);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text(), (_, value) => plain(value));
}

// An array of numbers, of rows of numbers where it has two dimensions.
function plain(value) {
  if (value === null || typeof value !== "object" || !("bdata" in value)) return value;
  const flat = new ARRAYS[value.dtype](bytesOf(value.bdata).buffer);
  if (!value.shape) return flat;
  const width = Number(String(value.shape).split(",").at(-1));
  if (!width) return [];
  const rows = [];
  for (let i = 0; i < flat.length; i += width) rows.push(flat.subarray(i, i + width));
  return rows;
}
