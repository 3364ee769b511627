"use strict";
// What the file of an image says of it before it is decoded: its size, its EXIF orientation, and whether it is complete.
//
// Browsers differ in the orientations that they apply, and lose the colours of transparent pixels. So both are taken out of
// the bytes, which are changed in place: the browser decodes them as they are stored and opaque, as pycam's images/read.py.

const MOST_SCANS = 100; // A progressive JPEG has about ten, and each takes time even if it is empty.

const KNOWN = [
  ["JPEG", /^\xff\xd8/, jpegHeader],
  ["PNG", /^\x89PNG\r\n\x1a\n/, pngHeader],
  ["GIF", /^GIF8[79]a/, gifHeader],
  ["WebP", /^RIFF[^]{4}WEBP/, webpHeader],
  ["BMP", /^BM/, bmpHeader],
];

const REFUSED = [
  ["a TIFF", /^(II\*\0|MM\0\*)/],
  ["an AVIF or HEIC image", /^[^]{4}ftyp(avi|hei|hev|mif)/],
  ["a video", /^[^]{4}ftyp/],
  ["a JPEG XL or JPEG 2000 image", /^(\xff\x0a|\0\0\0\x0cj)/i],
  ["an image in the form PPM", /^P[1-7]\s/],
  ["a PDF", /^%PDF/],
  ["an SVG drawing", /<svg/],
];

/**
 * Reads the header of an image: { format, width, height, orientation, ownPng, isTransparent, end }. `ownPng` says that
 * png.js decodes the file, and `isTransparent` that its alpha cannot be taken out; a JPEG's data end at `end`. Throws an
 * error for another file, a truncated one, or one with a damaged header.
 */
function readHeader(bytes) {
  const start = textOf(bytes, 0, 1024);
  const [format, , read] = KNOWN.find(([, signature]) => signature.test(start)) ?? [];
  if (!bytes.length) throw damaged("an empty file");
  if (!format) {
    const [kind] = REFUSED.find(([, signature]) => signature.test(start)) ?? ["not an image"];
    throw new Error(`${kind}: this page reads ${KNOWN.map(([name]) => name).join(", ")}; convert it to JPEG or PNG`);
  }
  try {
    return { format, orientation: 1, ownPng: false, isTransparent: false, ...read(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.length)) };
  } catch (error) {
    if (error instanceof RangeError) throw damaged(`a ${format} that ends after ${bytes.length} bytes`);
    throw error;
  }
}

/** A file that is not what it should be. */
class Damaged extends Error {}

function damaged(cause) {
  return new Damaged(`${cause}; get the file again`);
}

function textOf(bytes, start, end) {
  return String.fromCharCode(...bytes.subarray(start, end));
}

function jpegHeader(bytes, view) {
  const found = { width: 0, height: 0, orientation: 1 };
  let at = 2;
  for (let marker = 0; marker !== 0xda; ) {
    while (bytes[at] !== 0xff || bytes[at + 1] === 0xff || bytes[at + 1] === 0) if (++at >= bytes.length) throw new RangeError();
    marker = bytes[at + 1];
    at += 2;
    if (marker === 0xd9) throw damaged("a JPEG that ends before its image data");
    if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue; // They stand alone.
    const end = at + view.getUint16(at);
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      found.height = view.getUint16(at + 3);
      found.width = view.getUint16(at + 5);
    } else if (marker === 0xe1 && textOf(bytes, at + 2, at + 8) === "Exif\0\0") {
      found.orientation = takeOrientation(view, at + 8, end);
    }
    at = end;
  }
  let scans = 0;
  for (let place = bytes.indexOf(0xff, at); place >= 0; place = bytes.indexOf(0xff, place + 1)) {
    scans += bytes[place + 1] === 0xda;
    if (bytes[place + 1] === 0xd9) found.end ??= place;
  }
  if (scans > MOST_SCANS) throw damaged(`a JPEG with more than ${MOST_SCANS} scans, which would take minutes to decode`);
  if (!found.end) throw damaged(`a truncated JPEG, without an end marker in its ${bytes.length} bytes`);
  return found;
}

function pngHeader(bytes, view) {
  const [depth, colours] = [bytes[24], bytes[25]];
  const found = { width: view.getUint32(16), height: view.getUint32(20), orientation: 1 };
  let isTransparent = (colours & 4) !== 0;
  let isAnimated = false;
  for (const [type, start, end] of pngChunks(bytes, view)) {
    if (type === "tRNS") isTransparent = true;
    else if (type === "acTL") isAnimated = true; // Its image may be none of the frames.
    else if (type === "eXIf") found.orientation = takeOrientation(view, start, end);
  }
  return { ...found, ownPng: isTransparent || isAnimated || depth === 16 || found.orientation !== 1 };
}

/** Returns the type, the start and the end of the data of each chunk. */
function pngChunks(bytes, view) {
  const chunks = [];
  for (let at = 8, type = ""; type !== "IEND"; ) {
    const end = at + 8 + view.getUint32(at);
    view.getUint32(end); // The checksum, which is there if the chunk is complete.
    type = textOf(bytes, at + 4, at + 8);
    chunks.push([type, at + 8, end]);
    at = end + 4;
  }
  return chunks;
}

function gifHeader(bytes, view) {
  const tableSize = (flags) => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);
  let at = 13 + tableSize(bytes[10]);
  while (view.getUint8(at) === 0x21) {
    const isControl = bytes[at + 1] === 0xf9;
    if (isControl) bytes[at + 3] &= 0xfe; // No transparent colour.
    for (at += 2; view.getUint8(at) !== 0; at += 1 + bytes[at]);
    at++;
  }
  return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
}

function webpHeader(bytes, view) {
  const found = { orientation: 1 };
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [type, start] = [textOf(bytes, at, at + 4), at + 8];
    const size = view.getUint32(at + 4, true);
    if (type === "VP8X") {
      found.width = 1 + (view.getUint32(start + 3, true) >>> 8);
      found.height = 1 + (view.getUint32(start + 6, true) >>> 8);
      const isAnimated = (bytes[start] & 2) !== 0; // Its frames have alpha of their own.
      if (isAnimated) found.isTransparent = (bytes[start] & 0x10) !== 0;
      else bytes[start] &= 0xef; // No alpha.
    } else if (type === "VP8 ") {
      found.width ??= view.getUint16(start + 6, true) & 0x3fff;
      found.height ??= view.getUint16(start + 8, true) & 0x3fff;
    } else if (type === "VP8L") {
      const sides = view.getUint32(start + 1, true);
      found.width ??= 1 + (sides & 0x3fff);
      found.height ??= 1 + ((sides >>> 14) & 0x3fff);
      found.isTransparent = ((sides >>> 28) & 1) === 1;
    } else if (type === "ALPH") {
      bytes[at] = 0x58; // A type that no decoder knows.
    } else if (type === "EXIF") {
      const tiff = start + (textOf(bytes, start, start + 6) === "Exif\0\0" ? 6 : 0);
      found.orientation = takeOrientation(view, tiff, Math.min(start + size, bytes.length));
    }
    at = start + size + (size % 2);
  }
  if (!found.width) throw new RangeError();
  return found;
}

function bmpHeader(bytes, view) {
  if (view.getUint32(14, true) === 12) return { width: view.getUint16(18, true), height: view.getUint16(20, true) };
  return { width: view.getInt32(18, true), height: Math.abs(view.getInt32(22, true)) };
}

/** Returns the orientation, 1 to 8, of the first directory of EXIF data, and sets it to 1 there. */
function takeOrientation(view, start, end) {
  const exif = new DataView(view.buffer, view.byteOffset + start, Math.max(0, Math.min(end, view.byteLength) - start));
  try {
    const little = exif.getUint16(0) === 0x4949;
    const directory = exif.getUint32(4, little);
    const count = exif.getUint16(directory, little);
    for (let entry = directory + 2; entry < directory + 2 + 12 * count; entry += 12) {
      if (exif.getUint16(entry, little) !== 0x0112) continue;
      const value = exif.getUint16(entry + 8, little);
      exif.setUint16(entry + 8, 1, little);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // The directory leads out of the data.
  }
  return 1;
}
