"use strict";
// From the file of an image to its pixels, as pycam's images/read.py reads them: as stored or upright, opaque, without
// conversions of colour. What cannot be read is an error whose message is a sentence for the reader.

const BAND = 1 << 22; // Pixels that a canvas gets at once: some browsers have no large ones.
const LARGEST_SHOWN = 1280; // Pixels of the longer side, as in report/viewer_data.py.

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
 * Decodes the file of an image: { rgba, width, height, note, shown }. `note` is what the reader must know of it, often
 * nothing. `shown` is a JPEG for the screen. `exif` and `limits` are those of an input_record of page/recipe.py.
 */
async function decodeImage(blob, { exif, limits }) {
  if (blob.size > limits.bytes) throw new Error(`the file has ${Math.round(blob.size / 1e6)} MB, more than any image that the page takes: give an image`);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const header = readHeader(bytes);
  const pixels = header.width * header.height;
  if (pixels > limits.pixels) throw new Error(`the image has ${Math.ceil(pixels / 1e6)} million pixels, and the page takes up to ${limits.pixels / 1e6}: make it smaller`);
  const bitmap = await bitmapOf([bytes], header);
  try {
    if (header.end && (await stopsEarly(bytes, header, bitmap))) throw damaged("a JPEG whose data end before the image is complete");
    const isTurned = exif === "apply" && header.orientation >= 5;
    const [width, height] = isTurned ? [bitmap.height, bitmap.width] : [bitmap.width, bitmap.height];
    const matrix = UPRIGHT[exif === "apply" ? header.orientation : 1](bitmap.width, bitmap.height);
    const rgba = pixelsOf(bitmap, matrix, width, height);
    const shown = await shownOf(bitmap, matrix, width, height);
    return { rgba, width, height, note: noteOf(header, exif, rgba), shown };
  } catch (error) {
    if (error instanceof Damaged) throw error;
    throw new Error(`the browser has no memory for an image of ${header.width} × ${header.height}: make it smaller, or close other tabs`, { cause: error });
  } finally {
    bitmap.close();
  }
}

/** Decodes a file, which is given in parts. */
async function bitmapOf(parts, { format, width, height, ownPng, isTransparent }) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  if (ownPng) return createImageBitmap(await decodePng(...parts), options);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob(parts, { type: `image/${format.toLowerCase()}` }), options);
  } catch {
    throw new Error(`the browser cannot decode a ${format} of ${width} × ${height}: the file is damaged, or there is no memory left`);
  }
  const opaque = isTransparent ? opaqueOf(bitmap) : null;
  if (!opaque) return bitmap;
  bitmap.close();
  return createImageBitmap(opaque, options);
}

/** Returns whether the decoder of a JPEG would use more data before the end marker: it fills what is missing with grey. */
async function stopsEarly(bytes, header, bitmap) {
  const { width, height } = bitmap;
  const [red, green, blue] = pixelsOf(bitmap, [1, 0, 0, 1, 1 - width, 1 - height], 1, 1);
  if (red !== 128 || green !== 128 || blue !== 128) return false;
  // The image may really be grey there. The first byte is 0 so that a 0xff before it stays data.
  const more = Uint8Array.from({ length: 64 }, (_, i) => i);
  const longer = [bytes.subarray(0, header.end), more, bytes.subarray(header.end)];
  const other = await bitmapOf(longer, header).catch(() => null);
  if (!other) return true;
  const [asIs, withMore] = [bitmap, other].map((each) => pixelsOf(each, UPRIGHT[1](), width, height));
  other.close();
  return asIs.some((value, at) => value !== withMore[at]);
}

/** Returns the colours of a bitmap without its alpha, with which a canvas multiplies them; null without WebGL. */
function opaqueOf(bitmap) {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext("webgl");
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return null;
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  const image = new ImageData(width, height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(image.data.buffer));
  if (gl.getError() !== gl.NO_ERROR) return null;
  for (let at = 3; at < image.data.length; at += 4) image.data[at] = 255;
  return image;
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

function shownOf(bitmap, matrix, width, height) {
  const scale = Math.min(1, LARGEST_SHOWN / Math.max(width, height));
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
