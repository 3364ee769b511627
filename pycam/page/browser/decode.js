"use strict";
// Reads an image file in the worker: its pixels without any change of colours, and a small copy to show.

const LARGEST_SIDE = 1280; // Pixels of the longer side of a shown image, as in report/viewer_data.py.

/** An image that cannot be read; the message says why, in words. */
class UnreadImage extends Error {}

/** Returns the RGBA pixels of an image file, its width and height, a note on its orientation, and a JPEG to show. */
async function decodeImage(file, exif) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const orientation = orientationIn(bytes);
  if (isCut(bytes)) throw new UnreadImage("the image is incomplete: get the file again");
  if (orientation && exif === "ignore") bytes[orientation.place] = 1;
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type: file.type }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new UnreadImage("the browser cannot read this as an image: convert it to JPEG or PNG");
  }
  const { width, height } = bitmap;
  const rgba = pixelsOf(bitmap, width, height);
  const scale = Math.min(1, LARGEST_SIDE / Math.max(width, height));
  const size = [width * scale, height * scale].map((side) => Math.max(1, Math.round(side)));
  const shown = canvasOf(bitmap, ...size).convertToBlob({ type: "image/jpeg", quality: 0.9 });
  const note = orientation ? `EXIF orientation ${orientation.value} ${exif === "ignore" ? "not applied" : "applied"}` : "";
  return { rgba, width, height, note, shown: await shown };
}

function pixelsOf(bitmap, width, height) {
  const context = canvasOf(bitmap, width, height).getContext("2d");
  let rgba;
  try {
    rgba = context.getImageData(0, 0, width, height).data;
  } catch {
    throw new UnreadImage("the browser gives the image too little memory: make it smaller");
  }
  for (let alpha = 3; alpha < rgba.length; alpha += 4) if (rgba[alpha] !== 255) return pixelsBelowAlpha(bitmap, width, height) ?? rgba;
  return rgba;
}

/** Returns pixels with the colours that they have in the file, however transparent they are: a 2D canvas rounds or loses them. Null if there is no WebGL. */
function pixelsBelowAlpha(bitmap, width, height) {
  const gl = new OffscreenCanvas(1, 1).getContext("webgl");
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return null;
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const rgba = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
  return gl.getError() === gl.NO_ERROR ? rgba : null;
}

function canvasOf(bitmap, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return canvas;
}

const [START, END, APP1, SCAN] = [0xffd8, 0xffd9, 0xffe1, 0xffda];

/** Returns whether a JPEG has no end marker: browsers fill what is missing with grey. */
function isCut(bytes) {
  if (bytes[0] << 8 !== (START & 0xff00) || bytes[1] !== (START & 0xff)) return false;
  for (let place = bytes.length - 2; place > 1; place--) if (((bytes[place] << 8) | bytes[place + 1]) === END) return false;
  return true;
}

/** Returns the EXIF orientation of a JPEG, if it turns the image, and the place of its byte in the file; or null. */
function orientationIn(bytes) {
  const file = new DataView(bytes.buffer);
  if (bytes.length < 4 || file.getUint16(0) !== START) return null;
  for (let place = 2; place + 4 <= bytes.length; place += 2 + file.getUint16(place + 2)) {
    const marker = file.getUint16(place);
    if (marker < 0xff00 || marker === SCAN) return null;
    if (marker === APP1 && place + 18 <= bytes.length && file.getUint32(place + 4) === 0x45786966) return orientationAt(file, place + 10);
  }
  return null;
}

const ORIENTATION = 0x0112;

/** Reads the orientation from a TIFF header; see `orientationIn`. */
function orientationAt(file, start) {
  const little = file.getUint16(start) === 0x4949;
  const directory = start + file.getUint32(start + 4, little);
  if (directory + 2 > file.byteLength) return null;
  const count = file.getUint16(directory, little);
  for (let entry = directory + 2; entry < directory + 2 + 12 * count && entry + 12 <= file.byteLength; entry += 12) {
    if (file.getUint16(entry, little) !== ORIENTATION) continue;
    const value = file.getUint16(entry + 8, little);
    return value > 1 && value <= 8 ? { value, place: entry + (little ? 8 : 9) } : null;
  }
  return null;
}
