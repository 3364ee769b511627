"use strict";
// From the pixels of an image to the input of the net, with the same arithmetic as pycam's images/views.py.

/**
 * Makes the input of a net: resizes the image to the canvas, cuts crops, subtracts the mean, scales.
 *
 * `rgba` has the bytes of height × width pixels; alpha is dropped. `recipe` is an input_record of page/recipe.py.
 * Returns float32, crops × channels × height × width.
 */
function netInput(rgba, width, height, recipe) {
  const { view, resizer, channels, mean, scale } = recipe;
  const image = channels === "grey" ? greyOf(rgba, width, height) : { height, width, channels: 3, step: 4, values: rgba };
  const canvas = IMAGE_RESIZERS[resizer](image, ...view.canvas);
  const means = Array.isArray(mean) ? Float32Array.from(mean) : decodeFloats(mean.values);
  const planes = image.channels;
  const step = canvas.step ?? planes;
  const [rows, columns] = view.size;
  const [tall, wide] = view.canvas;
  const input = new Float32Array(view.crops.length * planes * rows * columns);
  let place = 0;
  for (const [left, top, mirrored] of view.crops) {
    for (let plane = 0; plane < planes; plane++) {
      const factor = Math.fround(scale[plane]);
      for (let y = top; y < top + rows; y++) {
        for (let x = 0; x < columns; x++) {
          const at = y * wide + left + (mirrored ? columns - 1 - x : x);
          const less = means.length === planes ? means[plane] : means[plane * tall * wide + at];
          // The planes are BGR.
          const value = Math.fround(canvas.values[at * step + planes - 1 - plane]);
          input[place++] = Math.fround(value - less) * factor;
        }
      }
    }
  }
  return input;
}

/** Converts pixels to grey like OpenCV's cvtColor. */
function greyOf(rgba, width, height) {
  const values = new Uint8Array(width * height);
  for (let i = 0, at = 0; i < values.length; i++, at += 4) {
    values[i] = (9798 * rgba[at] + 19235 * rgba[at + 1] + 3735 * rgba[at + 2] + 16384) >> 15;
  }
  return { height, width, channels: 1, values };
}
