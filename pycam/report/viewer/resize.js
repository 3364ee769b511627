"use strict";
// Resizes maps and images, with the same arithmetic as pycam's images/resize.py and images/matlab.py. An array is
// {height, width, channels, step, values}: the value of a channel is values[(y * width + x) * step + channel]. Without
// them, `channels` is 1, and `step` is `channels`.

/** Resizes like OpenCV's INTER_LINEAR on float32, with the same rounding; one channel. */
function resizeFloats({ height: oldHeight, width: oldWidth, values: old }, height, width) {
  const across = neighbours(oldWidth, width);
  const down = neighbours(oldHeight, height);
  const rowOf = lastTwo(Float32Array, width, (row, y) => {
    for (let x = 0; x < width; x++) {
      const start = old[y * oldWidth + across.first[x]];
      const end = old[y * oldWidth + across.second[x]];
      row[x] = start + Math.fround(end - start) * across.fraction[x];
    }
  });
  const values = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const upper = rowOf(down.first[y]);
    const lower = rowOf(down.second[y]);
    const fraction = down.fraction[y];
    for (let x = 0; x < width; x++) values[y * width + x] = upper[x] + Math.fround(lower[x] - upper[x]) * fraction;
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

/** Returns a function that returns a row, which `fill` computes; it remembers two rows that follow each other. */
function lastTwo(Values, length, fill) {
  const rows = [new Values(length), new Values(length)];
  const held = [-1, -1];
  return (y) => {
    const slot = y % 2;
    if (held[slot] !== y) fill(rows[slot], y);
    held[slot] = y;
    return rows[slot];
  };
}

/** Resizes 8 bits like OpenCV's INTER_LINEAR: weights in parts of 2048, and shifts that truncate. */
function resizeBytes({ height: oldHeight, width: oldWidth, channels = 1, step = channels, values: old }, height, width) {
  const across = byteNeighbours(oldWidth, width);
  const down = byteNeighbours(oldHeight, height);
  const length = width * channels;
  const rowOf = lastTwo(Int32Array, length, (row, y) => {
    for (let x = 0, place = 0; x < width; x++) {
      const first = (y * oldWidth + across.first[x]) * step;
      const second = (y * oldWidth + across.second[x]) * step;
      // Beyond the ends, a column is copied, and a row below is the sum of two parts of it, each of which is truncated.
      const weight = first === second ? 0 : across.weight[x];
      for (let channel = 0; channel < channels; channel++, place++) {
        row[place] = old[first + channel] * (2048 - weight) + old[second + channel] * weight;
      }
    }
  });
  const values = new Uint8Array(height * length);
  for (let y = 0; y < height; y++) {
    const upper = rowOf(down.first[y]);
    const lower = rowOf(down.second[y]);
    const weight = down.weight[y];
    for (let x = 0; x < length; x++) {
      values[y * length + x] = ((((2048 - weight) * (upper[x] >> 4)) >> 16) + ((weight * (lower[x] >> 4)) >> 16) + 2) >> 2;
    }
  }
  return { height, width, channels, values };
}

function byteNeighbours(from, to) {
  const first = new Uint32Array(to);
  const second = new Uint32Array(to);
  const weight = new Int32Array(to);
  const inside = (position) => Math.min(Math.max(position, 0), from - 1);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * (from / to) - 0.5;
    const floor = Math.floor(Math.fround(centre));
    first[i] = inside(floor);
    second[i] = inside(floor + 1);
    weight[i] = roundedToEven(Math.fround(Math.fround(centre) - floor) * 2048);
  }
  return { first, second, weight };
}

/** Rounds halves to the even number. */
function roundedToEven(value) {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + Math.abs(below % 2) : Math.round(value);
}

/** Resizes by taps; returns float64. `keep` rounds the sums of each pass. */
function resampled(array, height, width, tapsOf, keep = (sum) => sum) {
  const rows = (old) => weightedRows(old, tapsOf(old.height, height), keep);
  const columns = (old) => weightedColumns(old, tapsOf(old.width, width), keep);
  // The dimension that grows least goes first, rows on a tie: sums of floats depend on their order.
  return width / array.width < height / array.height ? rows(columns(array)) : columns(rows(array));
}

function weightedRows({ height: oldHeight, width, channels = 1, step = channels, values }, { first, size, weights }, keep) {
  const height = first.length;
  const length = width * step;
  const old = bytesOrDoubles(values);
  const sums = new Float64Array(length);
  const kept = new Float64Array(height * length);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    let tap = 0;
    for (; tap + 4 <= size; tap += 4) {
      const [a, b, c, d] = weights.subarray(y * size + tap);
      const row = (first[y] + tap) * length;
      for (let x = 0, at = row; x < length; x++, at++) {
        sums[x] = sums[x] + a * old[at] + b * old[at + length] + c * old[at + 2 * length] + d * old[at + 3 * length];
      }
    }
    for (; tap < size; tap++) {
      const weight = weights[y * size + tap];
      for (let x = 0, at = (first[y] + tap) * length; x < length; x++, at++) sums[x] += weight * old[at];
    }
    for (let x = 0; x < length; x++) kept[y * length + x] = keep(sums[x]);
  }
  return { height, width, channels, step, values: kept };
}

function weightedColumns({ height, width: oldWidth, channels = 1, step = channels, values }, { first, size, weights }, keep) {
  const width = first.length;
  const old = bytesOrDoubles(values);
  const kept = new Float64Array(height * width * channels);
  let place = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const start = (y * oldWidth + first[x]) * step;
      if (channels === 3) {
        // Three sums at once: each addition waits for the one before it.
        let one = 0;
        let two = 0;
        let three = 0;
        for (let tap = x * size, at = start; tap < (x + 1) * size; tap++, at += step) {
          const weight = weights[tap];
          one += weight * old[at];
          two += weight * old[at + 1];
          three += weight * old[at + 2];
        }
        kept[place++] = keep(one);
        kept[place++] = keep(two);
        kept[place++] = keep(three);
        continue;
      }
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let tap = 0; tap < size; tap++) sum += weights[x * size + tap] * old[start + tap * step + channel];
        kept[place++] = keep(sum);
      }
    }
  }
  return { height, width, channels, values: kept };
}

/** Returns bytes or float64: loops that meet more kinds of arrays are several times as slow. */
function bytesOrDoubles(values) {
  if (values instanceof Uint8ClampedArray) return new Uint8Array(values.buffer, values.byteOffset, values.length);
  return values instanceof Uint8Array || values instanceof Float64Array ? values : new Float64Array(values);
}

/**
 * Makes the taps of a resized axis: each new position is computed from `size` old ones, from `first` on, with weights.
 * `listOf` returns the old positions and their weights for a new position; weights of the same position are added.
 */
function makeTaps(from, to, listOf) {
  const lists = Array.from({ length: to }, (_, i) => listOf(i));
  const least = lists.map((list) => list.reduce((found, [position]) => Math.min(found, position), from));
  const size = lists.reduce((found, list, i) => list.reduce((most, [position]) => Math.max(most, position - least[i] + 1), found), 0);
  const first = Uint32Array.from(least, (position) => Math.min(position, from - size));
  const weights = new Float64Array(to * size);
  lists.forEach((list, i) => {
    for (const [position, weight] of list) weights[i * size + position - first[i]] += weight;
  });
  return { first, size, weights };
}

const matlabTaps = (from, to) => matlabTapsOf(from, to, (distance) => cubic(distance, -0.5), 4);

/** MATLAB's imresize with antialiasing: `kernel` gets distances, and `support` is its width. Positions outside of the axis are mirrored. */
function matlabTapsOf(from, to, kernel, support) {
  const scale = to / from;
  const stretch = Math.min(scale, 1);
  const width = support / stretch;
  return makeTaps(from, to, (i) => {
    const centre = (i + 1) / scale + 0.5 * (1 - 1 / scale);
    const first = Math.floor(centre - width / 2);
    const weights = Array.from({ length: Math.ceil(width) + 2 }, (_, tap) => kernel(Math.abs(stretch * (centre - (first + tap)))));
    const total = pairwiseSum(weights);
    return weights.flatMap((weight, tap) => {
      const period = (((first + tap - 1) % (2 * from)) + 2 * from) % (2 * from);
      return weight === 0 ? [] : [[Math.min(period, 2 * from - 1 - period), weight / total]];
    });
  });
}

/** Sums in NumPy's order: what rounds differently may fall on the other side of a half. */
function pairwiseSum(values) {
  const { length } = values;
  if (length > 128) {
    const half = Math.floor(length / 16) * 8;
    return pairwiseSum(values.slice(0, half)) + pairwiseSum(values.slice(half));
  }
  if (length < 8) return values.reduce((sum, value) => sum + value, 0);
  const sums = values.slice(0, 8);
  const whole = length - (length % 8);
  for (let i = 8; i < whole; i++) sums[i % 8] += values[i];
  const [a, b, c, d, e, f, g, h] = sums;
  return values.slice(whole).reduce((sum, value) => sum + value, a + b + (c + d) + (e + f + (g + h)));
}

/** OpenCV's INTER_CUBIC, without antialiasing; positions outside of the axis repeat its last sample. */
function openCvTaps(from, to) {
  return makeTaps(from, to, (i) => {
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
  return makeTaps(from, to, (i) => {
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
