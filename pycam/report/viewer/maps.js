"use strict";
// Places the output of the net as a map on the image, and computes its box and colours, with the same arithmetic as
// pycam's maps/placement.py, maps/cam.py, maps/boxes.py, images/resize.py and images/matlab.py. A map is
// {height, width, values}, row-major; a box is [x0, y0, x1, y1] in image pixels, 0-based, half-open.

/** Decodes maps of report/viewer_data.py, one per crop: values are float32, or base64 of them, little-endian. */
function decodeMaps({ shape: [count, height, width], values }) {
  const floats = typeof values === "string" ? new Float32Array(decodeBytes(values).buffer) : values;
  return Array.from({ length: count }, (_, crop) => ({
    height,
    width,
    values: floats.subarray(crop * height * width, (crop + 1) * height * width),
  }));
}

function decodeBytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
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

/** Resizes like OpenCV's INTER_LINEAR on float32, with the same rounding. */
function resizeOpenCv(map, height, width) {
  const across = neighbours(map.width, width);
  const down = neighbours(map.height, height);
  const rows = new Float32Array(map.height * width);
  for (let y = 0; y < map.height; y++) {
    for (let x = 0; x < width; x++) {
      const start = map.values[y * map.width + across.first[x]];
      const end = map.values[y * map.width + across.second[x]];
      rows[y * width + x] = start + Math.fround(end - start) * across.fraction[x];
    }
  }
  const values = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const upper = down.first[y] * width;
    const lower = down.second[y] * width;
    const fraction = down.fraction[y];
    for (let x = 0; x < width; x++) {
      const start = rows[upper + x];
      values[y * width + x] = start + Math.fround(rows[lower + x] - start) * fraction;
    }
  }
  return { height, width, values };
}

/** Returns for each position of a resized axis the two old positions around it, and the weight of the second. */
function neighbours(from, to) {
  const first = new Uint32Array(to);
  const second = new Uint32Array(to);
  const fraction = new Float32Array(to);
  for (let i = 0; i < to; i++) {
    const centre = Math.min(Math.max((i + 0.5) * (from / to) - 0.5, 0), from - 1);
    first[i] = Math.floor(centre);
    second[i] = Math.min(first[i] + 1, from - 1);
    fraction[i] = centre - first[i];
  }
  return { first, second, fraction };
}

/** Scales a map to 8 bits, and resizes it to 256×256 and then to its size, like OpenCV's INTER_LINEAR on 8 bits. */
function resizeLevels(map, height, width) {
  const peak = largest(map.values);
  const bottom = -largest(map.values.map((value) => -value));
  const range = Math.fround(peak - bottom);
  const level = (value) => (range > 0 ? Math.trunc(Math.fround(Math.fround(Math.fround(value - bottom) / range) * 255)) : 0);
  return resizeBytes(resizeBytes({ ...map, values: map.values.map(level) }, 256, 256), height, width);
}

/** OpenCV's arithmetic: weights in parts of 2048, and shifts that truncate. */
function resizeBytes(map, height, width) {
  const across = byteTaps(map.width, width);
  const down = byteTaps(map.height, height);
  const rows = new Int32Array(map.height * width);
  for (let y = 0; y < map.height; y++) {
    for (let x = 0; x < width; x++) {
      const { first, second, weight, outside } = across[x];
      const start = map.values[y * map.width + first];
      // Beyond the ends, a column is copied, and a row below is the sum of two parts of it, each of which is truncated.
      rows[y * width + x] = outside ? start * 2048 : start * (2048 - weight) + map.values[y * map.width + second] * weight;
    }
  }
  const values = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const { first, second, weight } = down[y];
    for (let x = 0; x < width; x++) {
      const upper = ((2048 - weight) * (rows[first * width + x] >> 4)) >> 16;
      const lower = (weight * (rows[second * width + x] >> 4)) >> 16;
      values[y * width + x] = (upper + lower + 2) >> 2;
    }
  }
  return { height, width, values };
}

function byteTaps(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * (from / to) - 0.5;
    const floor = Math.floor(centre);
    const inside = (position) => Math.min(Math.max(position, 0), from - 1);
    const exact = Math.fround(Math.fround(centre) - floor) * 2048;
    const below = Math.floor(exact);
    // Halves are rounded to the even number.
    const weight = exact - below === 0.5 ? below + (below % 2) : Math.round(exact);
    return { first: inside(floor), second: inside(floor + 1), weight, outside: floor < 0 || floor >= from - 1 };
  });
}

/** The resizers of maps, by their names in protocols: images/resize.py. */
const RESIZERS = {
  opencv_bilinear: resizeOpenCv,
  opencv_cubic: resizerOf(openCvTaps),
  matlab_bicubic: resizerOf(matlabTaps),
  tf_corner: resizerOf(cornerTaps),
  levels_256: resizeLevels,
};

/** Makes a resizer: float32 in and out, float64 in between. `tapsOf` returns the taps of an axis. */
function resizerOf(tapsOf) {
  return (map, height, width) => ({ height, width, values: Float32Array.from(resampled(map, height, width, tapsOf).values) });
}

function resampled(map, height, width, tapsOf) {
  const rows = (old) => weightedRows(old, tapsOf(old.height, height));
  const columns = (old) => transposed(weightedRows(transposed(old), tapsOf(old.width, width)));
  // The dimension that grows least goes first, rows on a tie: sums of floats depend on their order.
  return width / map.width < height / map.height ? rows(columns(map)) : columns(rows(map));
}

function weightedRows({ width, values: old }, tapsOfRows) {
  const values = new Float64Array(tapsOfRows.length * width);
  tapsOfRows.forEach((taps, y) => {
    for (const [row, weight] of taps) {
      for (let x = 0; x < width; x++) values[y * width + x] += weight * old[row * width + x];
    }
  });
  return { height: tapsOfRows.length, width, values };
}

function transposed({ height, width, values }) {
  const turned = new Float64Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) turned[x * height + y] = values[y * width + x];
  }
  return { height: width, width: height, values: turned };
}

// Taps: for each position of a resized axis, the old positions that it is computed from, with weights that sum to 1.

/** MATLAB's bicubic imresize with antialiasing; positions outside of the axis are mirrored. */
function matlabTaps(from, to) {
  const scale = to / from;
  const stretch = Math.min(scale, 1);
  const support = 4 / stretch;
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 1) / scale + 0.5 * (1 - 1 / scale);
    const first = Math.floor(centre - support / 2);
    const taps = [];
    let total = 0;
    for (let position = first; position < first + Math.ceil(support) + 2; position++) {
      const weight = cubic(stretch * Math.abs(centre - position), -0.5);
      if (weight === 0) continue;
      total += weight;
      const period = (((position - 1) % (2 * from)) + 2 * from) % (2 * from);
      taps.push([Math.min(period, 2 * from - 1 - period), weight]);
    }
    return taps.map(([row, weight]) => [row, weight / total]);
  });
}

/** OpenCV's INTER_CUBIC, without antialiasing; positions outside of the axis repeat its last sample. */
function openCvTaps(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * (from / to) - 0.5;
    const first = Math.floor(centre);
    return [-1, 0, 1, 2].map((step) => {
      const row = Math.min(Math.max(first + step, 0), from - 1);
      return [row, cubic(Math.abs(centre - first - step), -0.75)];
    });
  });
}

/** TensorFlow 1's resize_bilinear, which aligns the first samples. */
function cornerTaps(from, to) {
  return Array.from({ length: to }, (_, i) => {
    const position = Math.min(i * (from / to), from - 1);
    const first = Math.floor(position);
    return [[first, 1 - (position - first)], [Math.min(first + 1, from - 1), position - first]];
  });
}

/** Returns the cubic kernel at a distance t, with slope a at 1. */
function cubic(t, a) {
  if (t <= 1) return ((a + 2) * t - (a + 3)) * (t * t) + 1;
  return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
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
