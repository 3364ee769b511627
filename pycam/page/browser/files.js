"use strict";
// The files of the page: the net, what computes it, and examples. A page of one file has them inside, as base64; a page
// in a folder fetches them from there.

const CHARACTERS = 1 << 22; // Decoded at once, a multiple of 4: in between, the page can show how far it is.

/** Returns the content of a file as a Blob; `onbytes` gets how many of its bytes have come so far. */
async function fileNamed(name, onbytes = () => {}) {
  const { packed, size, sha256 } = facts.files[name];
  const inside = document.getElementById(`file-${name}`);
  const parts = [];
  let count = 0;
  for await (const part of inside ? decoded(inside.textContent) : fetched(name)) {
    parts.push(part);
    count += part.length;
    onbytes(count);
  }
  let blob = new Blob(parts);
  // A server may have unpacked it already.
  if (packed && (await startsLikeGzip(blob))) blob = await new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).blob();
  if (blob.size !== size || !(await hasDigest(blob, sha256))) {
    throw new Error(`${name} is not the file that belongs to this page (${blob.size} bytes, expected ${size}): reload the page; if that does not help, its folder must be copied to the server again, as a whole`);
  }
  return blob;
}

async function* decoded(base64) {
  for (let start = 0; start < base64.length; start += CHARACTERS) {
    yield decodeBytes(base64.slice(start, start + CHARACTERS));
    await new Promise((resolve) => setTimeout(resolve));
  }
}

async function* fetched(name) {
  if (location.protocol === "file:") throw new Error("a page in a folder works on a web server only, because browsers do not let files read others: open it there, or make it as one file, with --single-file");
  let response;
  try {
    // What the browser still has from an older page is asked for again, unless the server says that it is the same.
    response = await fetch(name, { cache: "no-cache" });
  } catch {
    throw new Error(`${name} did not arrive: check the network, then try again`);
  }
  if (!response.ok) throw new Error(`the server has no ${name} (${response.status}): the folder of the page must be there as a whole`);
  const reader = response.body.getReader();
  try {
    for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) yield value;
  } catch {
    throw new Error(`only a part of ${name} arrived: check the network, then try again`);
  }
}

async function startsLikeGzip(blob) {
  const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  return first === 0x1f && second === 0x8b;
}

/** Returns whether a file has its SHA-256. Pages without encryption cannot compute it; the size must do. */
async function hasDigest(blob, sha256) {
  if (!globalThis.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}
