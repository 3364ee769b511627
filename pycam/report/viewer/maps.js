"use strict";
// Places the output of the net as a map on the image, and computes its box and colours, with the same arithmetic as
// pycam's maps/placement.py, maps/cam.py and maps/boxes.py. A map is an array of resize.js with one channel; a box is
// [x0, y0, x1, y1] in image pixels, 0-based, half-open.

/** Decodes maps of report/viewer_data.py, one per crop: values are float32, or base64 of them, little-endian. */
function decodeMaps({ shape: [count, height, width], values }) {
  const floats = decodeFloats(values);
  return Array.from({ length: count }, (_, crop) => ({
    height,
    width,
    values: floats.subarray(crop * height * width, (crop + 1) * height * width),
  }));
}

/** Decodes base64 of float32, little-endian; returns float32 as they are. */
function decodeFloats(values) {
  return typeof values === "string" ? new Float32Array(decodeBytes(values).buffer) : values;
}

function decodeBytes(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Decodes base64 of float32 that zlib has compressed. */
async function inflate(base64) {
  const stream = new Blob([decodeBytes(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Float32Array(await new Response(stream).arrayBuffer());
}

/** Takes a class from the maps of every class of report/viewer_data.py; null if the model does not have it. */
async function classOfEvery({ scores, shape: [count, classes, height, width], maps }, index) {
  const score = (await inflate(scores))[index];
  if (Number.isNaN(score)) return null;
  const all = await inflate(maps);
  const size = height * width;
  const values = new Float32Array(count * size);
  for (let crop = 0; crop < count; crop++) values.set(all.subarray((crop * classes + index) * size, (crop * classes + index + 1) * size), crop * size);
  return { score, maps: { shape: [count, height, width], values } };
}

/** Places the maps of a view's crops on an image, as Placement.on_image does. */
function placeOnImage(maps, placement, height, width) {
  const resize = RESIZERS[placement.map_resizer];
  if (placement.view === "full") return resize(maps[0], height, width);
  return resize(placeOnCanvas(maps, placement, resize), height, width);
}

function placeOnCanvas(maps, placement, resize) {
  const { canvas, size, crops, merge } = placement;
  if (merge !== "single") return mergeTenCrops(maps, placement);
  const [height, width] = canvas;
  if (placement.placement === "stretched") return resize(maps[0], height, width);
  const [[x, y]] = crops;
  const [rows, columns] = size;
  const crop = resize(maps[0], rows, columns);
  const values = new Float32Array(height * width);
  for (let row = 0; row < rows; row++) {
    values.set(crop.values.subarray(row * columns, (row + 1) * columns), (y + row) * width + x);
  }
  return { height, width, values };
}

const CHANNELS = 3; // The release sums a crop's map once for each of three equal colour channels.

function mergeTenCrops(maps, { canvas, size, crops, merge }) {
  const isAbsolute = merge.startsWith("absolute");
  const [height, width] = canvas;
  const [rows, columns] = size;
  const sum = new Float64Array(height * width);
  const coverage = new Uint8Array(height * width);
  crops.forEach(([left, top, mirrored], crop) => {
    const resized = resampled(maps[crop], rows, columns, matlabTaps).values;
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const value = resized[y * columns + (mirrored ? columns - 1 - x : x)];
        const place = (top + y) * width + left + x;
        sum[place] += isAbsolute ? Math.abs(value) : value;
        coverage[place]++;
      }
    }
  });
  const factor = (place) => (merge.endsWith("mean") ? 1 / Math.max(coverage[place], 1) : CHANNELS);
  return { height, width, values: Float32Array.from(sum, (value, place) => value * factor(place)) };
}

/** Scales a map to 8 bits, and resizes it to 256×256 and then to its size, like OpenCV's INTER_LINEAR on 8 bits. */
function resizeLevels(map, height, width) {
  const peak = largest(map.values);
  const bottom = -largest(map.values.map((value) => -value));
  const range = Math.fround(peak - bottom);
  const level = (value) => (range > 0 ? Math.trunc(Math.fround(Math.fround(Math.fround(value - bottom) / range) * 255)) : 0);
  const resized = resizeBytes(resizeBytes({ ...map, values: map.values.map(level) }, 256, 256), height, width);
  return { height, width, values: new Float32Array(resized.values) };
}

/** The resizers of maps, by their names in protocols: images/resize.py. */
const RESIZERS = {
  opencv_bilinear: resizeFloats,
  opencv_cubic: resizerOf(openCvTaps),
  matlab_bicubic: resizerOf(matlabTaps),
  tf_corner: resizerOf(cornerTaps),
  levels_256: resizeLevels,
};

/** Makes a resizer: float32 in and out, float64 in between. `tapsOf` returns the taps of an axis. */
function resizerOf(tapsOf) {
  return (map, height, width) => ({ height, width, values: new Float32Array(resampled(map, height, width, tapsOf).values) });
}

function largest(values) {
  let peak = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i] > peak) peak = values[i];
  return peak;
}

/**
 * Returns the box of the largest region of a map at or above a fraction of its maximum, like pycam.paper_box: regions are
 * 8-connected, the first in raster order wins a tie, and the box is the whole image if the maximum is not positive.
 */
function paperBox(map, threshold, peak = largest(map.values)) {
  const { height, width, values } = map;
  if (!(peak > 0)) return [0, 0, width, height];
  const level = Math.fround(Math.fround(threshold) * peak);
  const regions = []; // Each run of foreground in a row begins as its own region, and joined regions are a tree whose root is the first run.
  const rootOf = (index) => {
    while (regions[index].parent !== index) {
      regions[index].parent = regions[regions[index].parent].parent;
      index = regions[index].parent;
    }
    return index;
  };
  const join = (one, other) => {
    const [root, child] = [rootOf(one), rootOf(other)].sort((a, b) => a - b);
    regions[child].parent = root;
  };
  let above = 0; // The first run of the row above.
  for (let y = 0; y < height; y++) {
    const first = regions.length;
    let candidate = above;
    const line = y * width;
    for (let x = 0; x < width; x++) {
      if (values[line + x] < level) continue;
      const x0 = x;
      while (x < width && values[line + x] >= level) x++;
      const run = regions.push({ parent: regions.length, x0, y0: y, x1: x, y1: y + 1, area: x - x0 }) - 1;
      // Corners touch as well: 8-connected.
      while (candidate < first && regions[candidate].x1 < x0) candidate++;
      for (let near = candidate; near < first && regions[near].x0 <= x; near++) join(run, near);
    }
    above = first;
  }
  let best = null;
  for (let index = regions.length - 1; index >= 0; index--) {
    const region = regions[index];
    if (region.parent === index) {
      if (best === null || region.area >= best.area) best = region;
      continue;
    }
    const parent = regions[region.parent];
    parent.x0 = Math.min(parent.x0, region.x0);
    parent.y0 = Math.min(parent.y0, region.y0);
    parent.x1 = Math.max(parent.x1, region.x1);
    parent.y1 = Math.max(parent.y1, region.y1);
    parent.area += region.area;
  }
  return [best.x0, best.y0, best.x1, best.y1];
}

/** Returns the intersection over union of two boxes. */
function iou(a, b) {
  const area = ([x0, y0, x1, y1]) => Math.max(0, x1 - x0) * Math.max(0, y1 - y0);
  const shared = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  return shared / (area(a) + area(b) - shared);
}

/**
 * Paints a map on a canvas element: 0 and below get the first colour, the maximum the last. Pixels outside of `region`,
 * where the map has no values, are black. The canvas keeps its size: the map is sampled.
 */
function paint(canvas, map, colours, region, peak = largest(map.values)) {
  const { width, height } = canvas;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const scale = peak > 0 ? 255 / peak : 0;
  const columns = Uint32Array.from({ length: width }, (_, x) => ((x + 0.5) * map.width) / width);
  for (let y = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * map.height) / height);
    const inside = row >= region[1] && row < region[3];
    for (let x = 0; x < width; x++) {
      const column = columns[x];
      const covered = inside && column >= region[0] && column < region[2];
      const level = Math.max(0, Math.round(map.values[row * map.width + column] * scale));
      pixels[y * width + x] = covered ? colours[level] : BLACK;
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const BLACK = 0xff000000;

/** Turns base64 of 256 RGB triples into the 32-bit pixels of a canvas. */
function colourTable(base64) {
  const bytes = decodeBytes(base64);
  const channel = (i, shift) => bytes[3 * i + shift / 8] << shift; // little-endian: red is the lowest byte
  return Uint32Array.from({ length: 256 }, (_, i) => BLACK | channel(i, 0) | channel(i, 8) | channel(i, 16));
}
