"use strict";
// Decodes a PNG to opaque 8-bit pixels: alpha is dropped, and of 16 bits the upper eight are kept, as in pycam's
// images/read.py. A browser would multiply the colours with their alpha, which loses them.

const SAMPLES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // Of a pixel, by the type of its colours.
const WHOLE = [[0, 0, 1, 1]];
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

/** Returns the pixels of a PNG as ImageData, with an alpha of 255. */
async function decodePng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const [depth, colours, interlaced] = [bytes[24], bytes[25], bytes[28]];
  if (!(colours in SAMPLES) || ![1, 2, 4, 8, 16].includes(depth) || interlaced > 1) throw damaged("a PNG with a damaged header");
  const chunks = pngChunks(bytes, view);
  const [, from, to] = chunks.find(([type]) => type === "PLTE") ?? ["", 0, 0];
  const paletteOf = bytes.subarray(from, to);
  const passes = (interlaced ? ADAM7 : WHOLE)
    .map(([left, top, across, down]) => ({ left, top, across, down, columns: Math.ceil((width - left) / across), rows: Math.ceil((height - top) / down) }))
    .filter(({ columns, rows }) => columns > 0 && rows > 0);
  const bits = SAMPLES[colours] * depth;
  const lengths = passes.map(({ columns, rows }) => rows * (1 + Math.ceil((columns * bits) / 8)));
  const data = await inflated(chunks.filter(([type]) => type === "IDAT").map(([, start, end]) => bytes.subarray(start, end)), lengths.reduce((sum, length) => sum + length));

  const image = new ImageData(width, height);
  const pixels = image.data;
  const put = pixelWriter(pixels, depth, colours, paletteOf);
  let at = 0;
  for (const { left, top, across, down, columns, rows } of passes) {
    const length = Math.ceil((columns * bits) / 8);
    let above = new Uint8Array(length);
    for (let row = 0; row < rows; row++, at += 1 + length) {
      const line = data.subarray(at + 1, at + 1 + length);
      unfilter(data[at], line, above, Math.max(1, bits / 8));
      const start = ((top + row * down) * width + left) * 4;
      for (let x = 0; x < columns; x++) put(line, x, start + x * across * 4);
      above = line;
    }
  }
  return image;
}

/** Decompresses parts of zlib data to a length. */
async function inflated(parts, length) {
  const data = new Uint8Array(length);
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let filled = 0;
  try {
    for (let { done, value } = await reader.read(); !done && filled + value.length <= length; { done, value } = await reader.read()) {
      data.set(value, filled);
      filled += value.length;
    }
  } catch {
    throw damaged("a PNG with damaged image data");
  }
  if (filled !== length) throw damaged("a PNG whose data are not those of an image of its size");
  return data;
}

/** Adds the prediction of its filter to a line, whose pixels are `size` bytes apart. */
function unfilter(filter, line, above, size) {
  const { length } = line;
  if (filter > 4) throw damaged("a PNG with damaged image data");
  if (filter === 1) for (let i = size; i < length; i++) line[i] += line[i - size];
  if (filter === 2) for (let i = 0; i < length; i++) line[i] += above[i];
  if (filter === 3) for (let i = 0; i < length; i++) line[i] += ((i < size ? 0 : line[i - size]) + above[i]) >> 1;
  if (filter !== 4) return;
  for (let i = 0; i < length; i++) {
    const left = i < size ? 0 : line[i - size];
    const corner = i < size ? 0 : above[i - size];
    const up = above[i];
    const toLeft = Math.abs(up - corner);
    const toUp = Math.abs(left - corner);
    const toCorner = Math.abs(left + up - 2 * corner);
    line[i] += toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
  }
}

/** Returns a function that writes pixel `x` of a line at a place among the RGBA bytes. */
function pixelWriter(pixels, depth, colours, palette) {
  const count = SAMPLES[colours];
  const size = depth === 16 ? 2 : 1;
  const sample = depth < 8 ? (line, x) => (line[(x * depth) >> 3] >> (8 - depth - ((x * depth) & 7))) & ((1 << depth) - 1) : (line, x, channel) => line[(x * count + channel) * size];
  const scale = depth < 8 ? 255 / ((1 << depth) - 1) : 1;
  return (line, x, place) => {
    if (colours === 3) {
      const entry = 3 * sample(line, x, 0);
      for (let channel = 0; channel < 3; channel++) pixels[place + channel] = palette[entry + channel] ?? 0;
    } else if (count < 3) {
      pixels.fill(sample(line, x, 0) * scale, place, place + 3);
    } else {
      for (let channel = 0; channel < 3; channel++) pixels[place + channel] = sample(line, x, channel);
    }
    pixels[place + 3] = 255;
  };
}
