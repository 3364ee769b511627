"use strict";
// From the file of an image to its pixels, as pycam's images/read.py reads them: as stored or upright, opaque, without
// conversions of colour. What cannot be read is an error whose message is a sentence for the reader.

const BAND = 1 << 22; // Pixels that a canvas gets at once: some browsers have no large ones.
const LARGEST_PREVIEW = 1280; // Pixels of the longer side, as in report/viewer_data.py.

/** From the stored to the upright image, as the matrix of a canvas: EXIF orientation -> function of its width and height. */
const UPRIGHT = {
  1: () => [1, 0, 0, 1, 0, 0],
  2: (width) => [-1, 0, 0, 1, width, 0],
  3: (width, height) => [-1, 0, 0, -1, width, height],
  4: (width, height) => [1, 0, 0, -1, 0, height],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (width, height) => [0, 1, -1, 0, height, 0],
  7: (width, height) => [0, -1, -1, 0, height, width],
  8: (width) => [0, -1, 1, 0, 0, width],
};

/**
 * Decodes the file of an image: { rgba, width, height, note, preview }. `note` is what the reader must know of it, often
 * nothing. `preview` is a JPEG for the screen. `recipe` is an input_record of page/recipe.py.
 */
async function decoded(blob, { exif, limits }) {
  if (blob.size > limits.bytes) throw new Error(`a file of ${blob.size / 1e6} MB, which is not an image: give an image`);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const header = readHeader(bytes);
  const sides = `${header.width} × ${header.height}`;
  if (header.width * header.height > limits.pixels) throw new Error(`an image of ${sides}, more than ${limits.pixels / 1e6} million pixels: make it smaller`);
  const bitmap = await bitmapOf(bytes, header);
  try {
    const isTurned = exif === "apply" && header.orientation >= 5;
    const [width, height] = isTurned ? [bitmap.height, bitmap.width] : [bitmap.width, bitmap.height];
    const matrix = UPRIGHT[exif === "apply" ? header.orientation : 1](bitmap.width, bitmap.height);
    const rgba = pixelsOf(bitmap, matrix, width, height);
    const preview = await previewOf(bitmap, matrix, width, height);
    return { rgba, width, height, note: noteOf(header, exif, rgba), preview };
  } catch (error) {
    throw new Error(`an image of ${sides}, for which the browser has no memory: make it smaller, or close other tabs`, { cause: error });
  } finally {
    bitmap.close();
  }
}

async function bitmapOf(bytes, { format, ownPng, width, height }) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  if (ownPng) return createImageBitmap(await decodePng(bytes), options);
  try {
    return await createImageBitmap(new Blob([bytes], { type: `image/${format.toLowerCase()}` }), options);
  } catch {
    throw new Error(`a ${format} of ${width} × ${height} that the browser cannot decode: the file is damaged, or the browser has no memory left`);
  }
}

/** Reads the pixels of a bitmap under a matrix, band by band. */
function pixelsOf(bitmap, [a, b, c, d, e, f], width, height) {
  const rgba = new Uint8ClampedArray(width * height * 4);
  const most = Math.min(height, Math.max(1, Math.floor(BAND / width)));
  const context = new OffscreenCanvas(width, most).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.globalCompositeOperation = "copy";
  for (let top = 0; top < height; top += most) {
    const rows = Math.min(most, height - top);
    context.setTransform(a, b, c, d, e, f - top);
    context.drawImage(bitmap, 0, 0);
    rgba.set(context.getImageData(0, 0, width, rows).data, top * width * 4);
  }
  return rgba;
}

async function previewOf(bitmap, matrix, width, height) {
  const scale = Math.min(1, LARGEST_PREVIEW / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.scale(canvas.width / width, canvas.height / height);
  context.transform(...matrix);
  context.drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.88 });
}

function noteOf({ orientation }, exif, rgba) {
  const notes = [];
  if (orientation !== 1) notes.push(`EXIF orientation ${orientation} ${exif === "apply" ? "applied" : "not applied"}`);
  let alpha = 255;
  for (let at = 3; at < rgba.length; at += 4) alpha &= rgba[at];
  if (alpha !== 255) notes.push("the colours of its transparent parts are the browser's");
  return notes.join(" · ");
}
