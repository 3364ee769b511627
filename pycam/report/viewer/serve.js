"use strict";
// The page of `pycam serve`: images are dropped, pasted or chosen, and predicted one after the other.

const server = JSON.parse(document.getElementById("server").textContent);
const PATIENCE = 60; // Seconds during which an image is sent again while the server is busy.

class Page {
  #viewer = element("cam-viewer", { hidden: true });
  #strip = element("ol", { class: "strip", "aria-label": "Images" });
  #status = element("p", { class: "status", role: "status" });
  #problems = element("div", { class: "problems", role: "alert" });
  #models = element("select", { name: "model", change: () => this.#again() }, server.models.map((name) => element("option", {}, name)));
  #input = element("input", { type: "file", accept: "image/*", multiple: true, change: (event) => this.take(event.target.files) });
  #shown = null;
  #queue = Promise.resolve();

  constructor() {
    const limits = `up to ${server.upload / 1e6} MB and ${server.pixels / 1e6} million pixels`;
    this.root = element(
      "main",
      { class: "desk" },
      element("header", {}, element("h1", {}, "pycam"), element("label", {}, "Model ", this.#models)),
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
    try {
      const image = await predicted(file, this.#models.value);
      this.#put(file, image);
    } catch (error) {
      this.#problems.append(element("p", {}, `${file.name}: ${error.message}`));
    }
    this.#status.textContent = "";
  }

  #put(file, image) {
    const thumbnail = element("canvas", { ...thumbnailSize(image), "aria-hidden": "true" });
    const [run] = image.runs;
    paintThumbnail(thumbnail, image, run, Object.values(run.top[0].maps)[0], colourMaps().JET);
    const button = element("button", { type: "button", title: image.name, click: () => this.#show(entry) }, frame(image, thumbnail, null), element("span", {}, image.name));
    const entry = { file, image, button };
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
    this.#viewer.show(entry.image);
  }

  /** Predicts the shown image with another model. */
  #again() {
    if (this.#shown) this.take([this.#shown.file]);
  }
}

async function predicted(file, model) {
  const address = `predict?${new URLSearchParams({ model, name: file.name })}`;
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
