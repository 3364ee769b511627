"use strict";
// The desk of a page that predicts images: they are dropped, pasted or chosen, predicted one after the other, and kept
// in a strip. What is wrong with an image stands in a sentence above the strip.

class Desk {
  #predict;
  #viewer = element("cam-viewer", { hidden: true });
  #strip = element("ol", { class: "strip", "aria-label": "Images" });
  #status = element("p", { class: "status", role: "status" });
  #problems = element("div", { class: "problems", role: "alert" });
  #input = element("input", { type: "file", accept: "image/*", multiple: true, change: (event) => this.take(event.target.files) });
  #shown = null;
  #queue = Promise.resolve();

  /**
   * `predict` takes a file and returns a promise of { image, search }, the arguments of the viewer's `show`. `header`
   * stands above the field for images, `limits` in it, and `tools` below it.
   */
  constructor({ header, limits, tools = [], predict }) {
    this.#predict = predict;
    this.root = element(
      "main",
      { class: "desk" },
      header,
      element("label", { class: "drop" }, this.#input, element("b", {}, "Choose images, drop them anywhere, or paste one"), element("span", {}, limits)),
      tools,
      this.#status,
      this.#problems,
      this.#strip,
      this.#viewer,
    );
    document.addEventListener("paste", ({ clipboardData: { files } }) => files.length && this.take(files)); // It may be a text.
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("over");
    });
    document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("over");
      this.take(event.dataTransfer.files);
    });
  }

  /** The file of the shown image; undefined before the first one. */
  get shown() {
    return this.#shown?.file;
  }

  /** Predicts files, one after the other. */
  take(files) {
    this.#problems.replaceChildren();
    for (const file of files) this.#queue = this.#queue.then(() => this.#add(file));
    this.#input.value = "";
  }

  /** Says in a sentence what is wrong. */
  complain(sentence) {
    this.#problems.append(element("p", {}, sentence));
  }

  async #add(file) {
    this.#status.textContent = `Predicting ${file.name} …`;
    try {
      await file.slice(0, 1).arrayBuffer().catch(() => {
        throw new Error("the browser cannot read it: give the file of an image, and no folder");
      });
      this.#put({ file, ...(await this.#predict(file)) });
    } catch (error) {
      this.complain(`${file.name}: ${error.message}`);
    }
    this.#status.textContent = "";
  }

  #put(entry) {
    const { image } = entry;
    const thumbnail = element("canvas", { ...thumbnailSize(image), "aria-hidden": "true" });
    const [run] = image.runs;
    paintThumbnail(thumbnail, image, run, run.top[0].maps, colourMaps().JET);
    entry.button = element("button", { type: "button", title: image.name, click: () => this.#show(entry) }, frame(image, thumbnail, null), element("span", {}, image.name));
    this.#strip.append(element("li", {}, entry.button));
    this.#show(entry);
    this.#viewer.querySelector('[role="tab"]').focus({ preventScroll: true });
  }

  #show(entry) {
    this.#shown?.button.removeAttribute("aria-current");
    entry.button.setAttribute("aria-current", "true");
    this.#shown = entry;
    this.#viewer.hidden = false;
    document.body.dataset.busy = "";
    this.#viewer.show(entry.image, entry.search);
  }
}
