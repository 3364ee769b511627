"use strict";
// The page of `pycam serve`: images are dropped, pasted or chosen, and predicted one after the other.

const server = JSON.parse(document.getElementById("server").textContent);
const PATIENCE = 60; // Seconds during which an image is sent again while the server is busy.

class Page {
  #viewer = element("cam-viewer", { hidden: true });
  #strip = element("ol", { class: "strip", "aria-label": "Images" });
  #status = element("p", { class: "status", role: "status" });
  #problems = element("div", { class: "problems", role: "alert" });
  #models = server.models.map((name, number) => element("input", { type: "checkbox", name: "model", value: name, checked: number === 0, change: (event) => this.#choose(event.target) }));
  #input = element("input", { type: "file", accept: "image/*", multiple: true, change: (event) => this.take(event.target.files) });
  #shown = null;
  #queue = Promise.resolve();

  constructor() {
    const limits = `up to ${server.upload / 1e6} MB and ${server.pixels / 1e6} million pixels`;
    this.root = element(
      "main",
      { class: "desk" },
      element(
        "header",
        {},
        element("h1", {}, "pycam"),
        element("fieldset", { class: "choice" }, element("legend", {}, "Models"), this.#models.map((input) => element("label", {}, input, element("span", {}, input.value)))),
      ),
      element(
        "label",
        { class: "drop" },
        this.#input,
        element("b", {}, "Choose images, drop them anywhere, or paste one"),
        element("span", {}, `${limits}; images stay on this machine`),
      ),
      this.#status,
      this.#problems,
      this.#strip,
      this.#viewer,
    );
  }

  /** Predicts files, one after the other. */
  take(files) {
    this.#problems.replaceChildren();
    for (const file of files) this.#queue = this.#queue.then(() => this.#predict(file));
    this.#input.value = "";
  }

  async #predict(file) {
    this.#status.textContent = `Predicting ${file.name} …`;
    const models = this.#chosen();
    try {
      this.#put(file, models, await predicted(file, models));
    } catch (error) {
      this.#problems.append(element("p", {}, `${file.name}: ${error.message}`));
    }
    this.#status.textContent = "";
  }

  #put(file, models, image) {
    const thumbnail = element("canvas", { ...thumbnailSize(image), "aria-hidden": "true" });
    const [run] = image.runs;
    paintThumbnail(thumbnail, image, run, run.top[0].maps, colourMaps().JET);
    const button = element("button", { type: "button", title: image.name, click: () => this.#show(entry) }, frame(image, thumbnail, null), element("span", {}, image.name));
    const entry = { file, image, button, models };
    this.#strip.append(element("li", {}, button));
    this.#show(entry);
    this.#viewer.querySelector('[role="tab"]').focus({ preventScroll: true });
  }

  #show(entry) {
    this.#shown?.button.removeAttribute("aria-current");
    entry.button.setAttribute("aria-current", "true");
    this.#shown = entry;
    this.#viewer.hidden = false;
    document.body.dataset.busy = "";
    const { file, image, models } = entry;
    const find = async (index) => (await predicted(file, models, [index])).runs.map(({ top: [item] }) => item);
    this.#viewer.show(image, { classes: image.classes, find });
  }

  #chosen() {
    return this.#models.filter((input) => input.checked).map((input) => input.value);
  }

  /** Predicts the shown image with other models. One is always chosen. */
  #choose(changed) {
    if (!this.#chosen().length) changed.checked = true;
    else if (this.#shown) this.take([this.#shown.file]);
  }
}

/** Asks the server for the prediction of an image by models, of the best classes or of those with some indices. */
async function predicted(file, models, classes = []) {
  const names = [...models.map((name) => ["model", name]), ...classes.map((index) => ["class", index]), ["name", file.name]];
  const address = `predict?${new URLSearchParams(names)}`;
  const request = { method: "POST", headers: { "Content-Type": file.type || "application/octet-stream" }, body: file };
  for (let second = 0; ; second++) {
    const response = await fetch(address, request);
    const answer = await response.json();
    if (response.ok) return answer;
    if (response.status !== 429 || second === PATIENCE) throw new Error(answer.error);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

const page = new Page();
document.body.append(page.root);
document.addEventListener("paste", (event) => page.take(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  page.take(event.dataTransfer.files);
});
