"use strict";
// The resizers of images, by their names in protocols, with the same arithmetic as OpenCV, Pillow, MATLAB and Caffe in
// pycam's images/resize.py. Arrays are those of resize.js: 8 bits in, one or three channels.

const IMAGE_RESIZERS = {
  opencv_bilinear: resizeBytes,
  opencv_cubic: resizeCubic,
  pillow_bilinear: pillowResizer((distance) => Math.max(0, 1 - distance), 1),
  pillow_bicubic: pillowResizer((distance) => cubic(distance, -0.5), 2),
  pillow_nearest: resizeNearest,
  matlab_bicubic: (image, height, width) => resampled(image, height, width, matlabTaps, matlabByte),
  matlab_bilinear: (image, height, width) => resampled(image, height, width, matlabTriangleTaps),
  caffe_bilinear: resizeCaffe,
};

const exactly = (sum) => sum;

/** OpenCV's INTER_CUBIC as Intel's library in it computes it; on other processors, a value may be one level away. */
function resizeCubic(image, height, width) {
  const columns = weightedColumns(image, openCvTaps(image.width, width), exactly);
  return weightedRows(columns, openCvTaps(image.height, height), (sum) => byte(roundedToEven(sum)));
}

/** Makes a resizer of Pillow's with antialiasing: weights in parts of 2 ** 22, and 8 bits after each pass. */
function pillowResizer(kernel, support) {
  const level = (sum) => byte((sum + (1 << 21)) >> 22);
  return (image, height, width) => {
    const columns = (old) => weightedColumns(old, pillowTaps(old.width, width, kernel, support), level);
    const rows = (old) => weightedRows(old, pillowTaps(old.height, height, kernel, support), level);
    // Pillow 13 and newer choose the order by the lines that each pass takes away; before, columns always went first.
    const lost = image.height - height;
    return lost > Math.max(0, 2 * (image.width - width)) ? columns(rows(image)) : rows(columns(image));
  };
}

function pillowTaps(from, to, kernel, support) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return makeTaps(from, to, (i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support * stretch + 0.5));
    const end = Math.min(from, Math.trunc(centre + support * stretch + 0.5));
    const weights = Array.from({ length: end - first }, (_, tap) => kernel(Math.abs((tap + first - centre + 0.5) * (1 / stretch))));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight, tap) => {
      const share = (weight / total) * (1 << 22);
      return [first + tap, Math.trunc(share < 0 ? share - 0.5 : share + 0.5)];
    });
  });
}

/** Pillow's NEAREST. */
function resizeNearest({ height: oldHeight, width: oldWidth, channels, step = channels, values: old }, height, width) {
  const rows = nearest(oldHeight, height);
  const columns = nearest(oldWidth, width);
  const values = new Uint8Array(height * width * channels);
  let place = 0;
  for (const row of rows) {
    for (const column of columns) {
      const start = (row * oldWidth + column) * step;
      for (let channel = 0; channel < channels; channel++) values[place++] = old[start + channel];
    }
  }
  return { height, width, channels, values };
}

function nearest(from, to) {
  const scale = from / to;
  const positions = new Uint32Array(to);
  // Pillow adds the steps up, with their rounding errors.
  for (let i = 0, position = scale * 0.5; i < to; i++, position += scale) positions[i] = Math.min(Math.floor(position), from - 1);
  return positions;
}

/** Rounds halves up. */
function matlabByte(sum) {
  return Math.floor(byte(sum) + 0.49999999999999994); // The number below a half, because 0.49999999999999994 + 0.5 is 1.
}

function byte(value) {
  return Math.min(Math.max(value, 0), 255);
}

function matlabTriangleTaps(from, to) {
  return matlabTapsOf(from, to, (distance) => Math.max(0, 1 - distance), 2);
}

/** Caffe's resize: nothing is smoothed, samples outside of the image have its minimum, and no value leaves its range. */
function resizeCaffe(image, height, width) {
  const [low, high] = limits(image);
  const across = caffeTaps(image.width, width);
  const down = caffeTaps(image.height, height);
  const { channels, values: sums } = weightedRows(weightedColumns(image, across, exactly), down, exactly);
  const [inColumns, inRows] = [across, down].map(({ first, size, weights }) =>
    Array.from(first, (_, i) => weights.subarray(i * size, (i + 1) * size).reduce((sum, weight) => sum + weight, 0)),
  );
  const values = Float32Array.from(sums, (sum, place) => {
    const x = Math.floor(place / channels) % width;
    const y = Math.floor(place / channels / width);
    return Math.min(Math.max(sum + low * (1 - inColumns[x] * inRows[y]), low), high);
  });
  return { height, width, channels, values };
}

function caffeTaps(from, to) {
  return makeTaps(from, to, (i) => {
    const position = Math.round(((i + 0.5) * (from / to) - 0.5) * 1e12) / 1e12;
    const first = Math.floor(position);
    const pair = [[first, 1 - (position - first)], [first + 1, position - first]];
    return pair.filter(([place]) => place >= 0 && place < from);
  });
}

/** Returns the least and the greatest value. */
function limits({ channels, step = channels, values }) {
  let low = 255;
  let high = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let at = channel; at < values.length; at += step) {
      const value = values[at];
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return [low, high];
}
