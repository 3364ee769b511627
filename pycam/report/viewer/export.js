"use strict";
// Takes what the viewer shows out of the browser: texts to the clipboard, drawings to PNG files.

/** Copies a text to the clipboard. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The clipboard is only for secure pages that have the permission.
    const area = element("textarea", { "aria-hidden": "true" });
    area.value = text;
    const place = document.querySelector("dialog[open]") ?? document.body; // Outside of an open dialog, nothing is selected.
    const focused = document.activeElement;
    place.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    if (!done) throw new Error("the browser does not let the page use the clipboard");
  }
}

/**
 * Draws an image, the map over it and boxes, at the size of the image as the page has it.
 *
 * `boxes` are [[x0, y0, x1, y1], { colour, dash }] in pixels of the original image, which has `size`, [width, height].
 */
function drawing(photo, map, opacity, size, boxes) {
  const canvas = element("canvas", { width: photo.naturalWidth, height: photo.naturalHeight });
  const pen = canvas.getContext("2d");
  pen.drawImage(photo, 0, 0);
  if (map) {
    pen.globalAlpha = opacity;
    pen.drawImage(map, 0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 1;
  }
  const [across, down] = [canvas.width / size[0], canvas.height / size[1]];
  const unit = Math.max(1, Math.min(canvas.width, canvas.height) / 300);
  for (const [colourOf, width] of [[() => "rgb(0 0 0 / 0.65)", 4.5], [({ colour }) => colour, 2]]) {
    for (const [[x0, y0, x1, y1], style] of boxes) {
      pen.strokeStyle = colourOf(style);
      pen.lineWidth = width * unit;
      pen.setLineDash(width === 2 ? style.dash.map((length) => length * unit) : []);
      pen.strokeRect(x0 * across, y0 * down, (x1 - x0) * across, (y1 - y0) * down);
    }
  }
  return canvas;
}

/** Lets the browser save a canvas as a PNG file. */
async function savePng(canvas, name) {
  const blob = await new Promise((resolve, reject) => {
    try {
      canvas.toBlob(resolve, "image/png");
    } catch {
      // A page on a disk may show the images of its folder, but it may not read them.
      reject(new Error("a page in a folder on a disk cannot save its images: make the page as one .html file"));
    }
  });
  const link = element("a", { href: URL.createObjectURL(blob), download: `${name.replace(/[^\p{L}\p{N}._-]+/gu, "_")}.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
