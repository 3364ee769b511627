// Keeps the files of the page, so that it works without a network after the first visit. PAGE has the version of the
// page and the addresses of its files; pycam writes it above.

const PREFIX = `pycam-page ${self.registration.scope} `;
const CACHE = PREFIX + PAGE.version;
const START = new URL("./", self.registration.scope).href;
const FILES = new Set(PAGE.files.map((name) => new URL(name, self.registration.scope).href));

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll([START, ...PAGE.first].map(fresh))));
});

/** Asks for a file as the server has it now: what the browser still has may belong to an older version. */
function fresh(address) {
  return new Request(address, { cache: "no-cache" });
}

self.addEventListener("activate", (event) => {
  event.waitUntil(clear().then(() => self.clients.claim()));
});

/** Deletes what older versions of this page kept; other pages of the same host have caches of their own. */
async function clear() {
  for (const name of await caches.keys()) if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
}

self.addEventListener("fetch", (event) => {
  const [address] = event.request.url.split(/[?#]/);
  const isStart = event.request.mode === "navigate" && [START, `${START}index.html`].includes(address);
  if (event.request.method === "GET" && (isStart || FILES.has(address))) event.respondWith(answer(isStart ? START : address, isStart));
});

async function answer(address, isStart) {
  const cache = await caches.open(CACHE);
  let response = await cache.match(address);
  if (!response) {
    response = await fetch(fresh(address));
    // A browser without room for the file keeps none of it; it is there all the same.
    if (response.ok) await cache.put(address, response.clone()).catch(() => {});
  }
  if (!isStart) return response;
  // With these headers, which most hosts of files cannot send, the browser gives the net several threads.
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, headers });
}
