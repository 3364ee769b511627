"use strict";
// The page of `pycam page`: the reader's browser predicts the images on the desk.

const facts = JSON.parse(document.getElementById("page").textContent);

const bar = element("progress", { max: 1, "aria-labelledby": "loading-text" });
const loadingText = element("span", { id: "loading-text" });
const loading = element("div", { class: "loading", hidden: true }, loadingText, bar);
const failure = element("div", { class: "problems", role: "alert" });
const engine = element("p", { class: "engine", role: "status" });
let isAsking = false; // The browser asks for the camera, and the page stays usable meanwhile.

const runner = new Runner((text, share) => {
  loadingText.textContent = text;
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
});

const desk = new Desk({
  header: element("header", {}, element("h1", {}, facts.title), element("p", { class: "about" }, facts.about.join(" · "))),
  limits: "Images stay in this browser: the net runs here, and nothing is uploaded",
  tools: [element("div", { class: "tools" }, ...examples(), element("button", { type: "button", click: photograph }, "Take a photograph")), loading, failure, engine],
  async predict(file) {
    await loaded();
    const image = await runner.predict(file);
    return { image, search: { classes: facts.classes, find: async (index) => [await runner.find(file, index)] } };
  },
});

/** Makes a button for each example. */
function examples() {
  return facts.examples.map(({ name, file, thumbnail, type }) => {
    const take = async () => {
      try {
        desk.take([new File([await fileNamed(file)], name, { type })]);
      } catch (error) {
        desk.complain(error.message);
      }
    };
    return element("button", { type: "button", class: "example", click: take }, element("img", { src: thumbnail, alt: "" }), element("span", {}, name));
  });
}

async function photograph() {
  if (isAsking) return;
  isAsking = true;
  try {
    await takePhotograph((file) => desk.take([file]));
  } catch (error) {
    desk.complain(error.message);
  } finally {
    isAsking = false;
  }
}

async function load() {
  failure.replaceChildren();
  try {
    await loaded();
  } catch (error) {
    const again = element("button", { type: "button", click: load }, "Try again");
    failure.replaceChildren(element("p", {}, `The net does not load: ${error.message}. `, again));
  }
}

/** Loads the net unless it is loaded, and shows how far it is. */
async function loaded() {
  loading.hidden = false;
  try {
    await runner.ready();
  } finally {
    loading.hidden = true;
  }
  failure.replaceChildren();
  const text = `The net is ready: ${runner.description}.`;
  if (engine.textContent.startsWith(text)) return;
  engine.textContent = text;
  keepForLater();
}

/** Lets the browser keep the page, so that it works without a network from now on. */
async function keepForLater() {
  if (!facts.worker || !navigator.serviceWorker || !location.protocol.startsWith("http")) return;
  try {
    const isFirst = !navigator.serviceWorker.controller;
    await navigator.serviceWorker.register(facts.worker);
    await navigator.serviceWorker.ready;
    // What came before the service worker was there comes through it now, from the browser's own cache.
    if (isFirst) for (const name of runner.used) await fetch(name);
    engine.textContent += " The page works offline.";
  } catch {
    // Private windows keep nothing; the page works as well without it.
  }
}

document.body.append(desk.root, element("footer", {}, ...facts.footer.map((line) => element("p", {}, line)), licences()));
load();

function licences() {
  return element("details", {}, element("summary", {}, "Licences"), element("pre", { tabindex: 0 }, facts.licence));
}
