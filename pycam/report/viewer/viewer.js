"use strict";
// The viewer: an image, its classes as tabs, the map of the selected class over the image, and the box at the
// threshold. The only state of `<cam-viewer>` is its choices; show(image) takes the data of report/viewer_data.py. It
// needs no server: whoever shows an image may give a function that finds further classes of it.

const LARGEST_CANVAS = 1024; // Maps are smooth: a canvas of more pixels looks the same.
const THUMBNAIL = 96;
let tables = null;

/** Returns the colour maps by name, each as 256 pixels of a canvas. The page contains OpenCV's tables. */
function colourMaps() {
  const entries = () => Object.entries(JSON.parse(document.getElementById("colours").textContent));
  tables ??= Object.fromEntries(entries().map(([name, base64]) => [name, colourTable(base64)]));
  return tables;
}

class CamViewer extends HTMLElement {
  choices = { opacity: 0.5, threshold: null, colours: "JET", shown: ALL, box: true, truth: true };
  #panes = [];
  #columns = null;
  #controls = null;
  #shared = false;
  #press = (event) => this.press(event);

  // Keys work as soon as an image is visible, wherever the focus is.
  connectedCallback() {
    document.addEventListener("keydown", this.#press);
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.#press);
  }

  /**
   * Shows the predictions of an image, of one run or of several side by side; without runs, its ground truth.
   *
   * `search` lets the user add any class: { classes: [WordNet ID, label] of each class, find: index -> promise of one
   * item per run, null for a run that does not have it }.
   */
  show(image, search = null) {
    const refresh = () => this.refresh();
    this.#shared = image.shared;
    if (image.runs.length) {
      this.choices.threshold ??= image.runs[0].threshold;
      if (!image.runs.some((run) => run.label === this.choices.shown)) this.choices.shown = ALL;
      this.#panes = image.runs.map((run) => new Pane(image, run, this.choices, (pane, rank) => this.#select(pane, rank)));
      this.#controls = new Controls(image, this.choices, refresh);
    } else {
      this.#panes = [new TruthPane(image, this.choices)];
      this.#controls = new TruthControls(this.choices, refresh);
    }
    const found = search && new ClassSearch(search.classes, async (index) => this.#add(index, search));
    this.#columns = element("div", { class: "panes" }, this.#panes.map((pane) => pane.root));
    this.#controls.root.prepend(...(found ? [found.root] : []));
    this.replaceChildren(this.#columns, this.#controls.root);
    this.style.setProperty("--ratio", image.width / image.height);
    this.refresh();
  }

  refresh() {
    this.#controls.refresh();
    const { shown } = this.choices;
    const visible = this.#panes.filter((pane) => shown === ALL || pane.label === shown);
    for (const pane of this.#panes) pane.root.hidden = !visible.includes(pane);
    this.#columns.dataset.count = visible.length;
    for (const pane of visible) pane.refresh();
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping(event) || !this.checkVisibility()) return;
    const rank = Number.parseInt(event.key, 10) - 1;
    if (rank >= 0) for (const pane of this.#panes) pane.select(rank);
    else if (!this.#controls.press(event.key)) return;
    this.refresh();
    event.preventDefault();
  }

  /** Selects a class in a pane, or in all panes if they have the same classes. */
  #select(pane, rank) {
    for (const each of this.#shared ? this.#panes : [pane]) each.select(rank);
    this.refresh();
  }

  async #add(index, { classes, find }) {
    const [wnid, label] = classes[index];
    const panes = this.#panes;
    const items = await find(index);
    if (panes !== this.#panes) return; // Another image is shown now.
    // Variants have the same classes in the same order, runs have classes of their own.
    const ranks = panes.map((pane) => (this.#shared ? panes[0] : pane).rankOf(index));
    panes.forEach((pane, number) => {
      const isNew = ranks[number] < 0;
      if (isNew) pane.add(items[number] ?? { index, wnid, label, score: null, box: null, maps: null });
      pane.select(isNew ? pane.tabs.length - 1 : ranks[number]);
    });
    this.refresh();
    // Keys of the viewer would be letters in the field of the search. The image stays where it is.
    panes.find((pane) => !pane.root.hidden).focus({ preventScroll: true });
  }
}

const ALL = "all";

/** Returns whether a key goes into a field for text, or selects an option. */
function isTyping({ target }) {
  return target.matches?.("select, textarea, input:not([type=range], [type=radio], [type=checkbox])") ?? false;
}

/** The prediction of one run. */
class Pane {
  #image;
  #run;
  #choices;
  #onselect;
  #stage = `stage-${++Pane.count}`;
  #rank = 0;
  #map = null; // The map of the selected class at the image's size, with its class.
  #painted = ""; // The class and the colours of the map on the canvas.
  #thumbnails = ""; // The number and the colours of the painted thumbnails.
  #found = null; // The last box with what it depends on: large images take a while.
  #list;
  #answer = element("span", { role: "status" });

  /** `onselect` gets the pane and the rank of a class that the user selects in it. */
  constructor(image, run, choices, onselect) {
    this.#image = image;
    this.#run = { ...run, top: [...run.top] };
    this.#choices = choices;
    this.#onselect = onselect;
    this.label = run.label;
    const scale = Math.min(1, LARGEST_CANVAS / Math.max(image.width, image.height));
    const size = [image.width * scale, image.height * scale].map((side) => Math.max(1, Math.round(side)));
    this.canvas = element("canvas", { width: size[0], height: size[1], role: "img" });
    this.boxes = drawn("svg", { viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true" });
    this.figures = element("dl", { class: "figures" });
    this.tabs = run.top.map((item, rank) => this.#tab(item, rank));
    this.#list = element(
      "div",
      { class: "classes", role: "tablist", "aria-label": "Classes", "aria-orientation": "vertical", keydown: (event) => this.#move(event) },
      this.tabs,
    );
    this.root = element(
      "section",
      { class: "pane", "aria-label": run.label || "Prediction" },
      element(
        "figure",
        { class: "stage", role: "tabpanel", id: this.#stage, "aria-labelledby": this.tabs[0].id },
        run.label ? element("h3", {}, run.label) : null,
        frame(image, this.canvas, this.boxes, {
          pointermove: (event) => this.#point(event),
          pointerleave: () => this.#point(null),
        }),
        element("figcaption", {}, ...caption(image, run)),
      ),
      element(
        "div",
        { class: "side" },
        this.#list,
        element("div", { role: "status" }, this.figures),
        element(
          "div",
          { class: "actions" },
          element("button", { type: "button", click: () => this.#copyBox() }, "copy box"),
          element("button", { type: "button", click: () => this.#save() }, "save PNG"),
          this.#answer,
        ),
      ),
    );
  }

  static count = 0;

  select(rank) {
    if (rank < this.tabs.length) this.#rank = rank;
  }

  focus(options) {
    this.tabs[this.#rank].focus(options);
  }

  /** Returns the place of a class among the tabs, -1 if it is not there. */
  rankOf(index) {
    return this.#run.top.findIndex((item) => item.index === index);
  }

  /** Adds a class as the last tab. */
  add(item) {
    this.#run.top.push(item);
    this.tabs.push(this.#tab(item, this.tabs.length));
    this.#list.append(this.tabs.at(-1));
  }

  refresh() {
    const { opacity, colours } = this.#choices;
    const item = this.#run.top[this.#rank];
    const map = this.#placed(item);
    const table = colourMaps()[colours];
    const drawing = `${this.#rank} ${colours}`;
    if (map && this.#painted !== drawing) {
      paint(this.canvas, map, table, this.#run.placement.region, map.peak);
      this.#painted = drawing;
    }
    const thumbnails = `${this.tabs.length} ${colours}`;
    if (this.#thumbnails !== thumbnails) {
      this.tabs.forEach((tab, rank) => this.#paintThumbnail(tab, this.#run.top[rank], table));
      this.#thumbnails = thumbnails;
    }
    this.canvas.hidden = !map;
    this.#answer.textContent = "";
    this.root.style.setProperty("--opacity", opacity);
    this.canvas.setAttribute("aria-label", `${this.#run.method} of ${item.label}, drawn over ${this.#image.name}`);
    this.tabs.forEach((tab, rank) => {
      tab.setAttribute("aria-selected", String(rank === this.#rank));
      tab.tabIndex = rank === this.#rank ? 0 : -1;
    });
    this.root.querySelector(".stage").setAttribute("aria-labelledby", this.tabs[this.#rank].id);

    this.boxes.replaceChildren(...outlined(this.#shownBoxes()));
    this.figures.replaceChildren(...(map ? this.#figures(item, map) : []));
    for (const button of this.root.querySelectorAll(".actions button")) button.disabled = !map;
  }

  /** Returns the box of the selected class at the threshold, by the paper's rule; null without a map. */
  #box() {
    const map = this.#placed(this.#run.top[this.#rank]);
    if (!map) return null;
    const { threshold } = this.#choices;
    if (this.#found?.map !== map || this.#found.threshold !== threshold) {
      this.#found = { map, threshold, box: paperBox(map, threshold, map.peak) };
    }
    return this.#found.box;
  }

  #shownBoxes() {
    const { box, truth } = this.#choices;
    const own = this.#ownBox(this.#run.top[this.#rank]);
    const found = this.#box();
    return [
      ...(box && found ? [[found, "found"]] : []),
      ...(box && own ? [[own, "own"]] : []),
      ...(truth ? (this.#image.truth?.boxes ?? []).map((each) => [each, "truth"]) : []),
    ];
  }

  async #copyBox() {
    const text = this.#box().join(", ");
    await this.#tell(copyText(text), `copied ${text}`);
  }

  async #save() {
    const { width, height, name } = this.#image;
    const item = this.#run.top[this.#rank];
    const photo = this.root.querySelector(".stage img");
    const boxes = this.#shownBoxes().map(([box, kind]) => [box, BOX_STYLES[kind]]);
    const canvas = drawing(photo, this.canvas, this.#choices.opacity, [width, height], boxes);
    const parts = [name.replace(/\.[^.]*$/, ""), this.label, item.label.split(", ")[0] || `class ${item.index}`];
    await this.#tell(savePng(canvas, parts.filter(Boolean).join("_")), "saved");
  }

  async #tell(work, done) {
    this.#answer.textContent = await work.then(() => done, (error) => error.message);
  }

  /** Returns the box of a run with another box rule than the paper's. The slider does not change it. */
  #ownBox(item) {
    return this.#run.own_rule && item.box;
  }

  /** Returns the map of a class on the image; null for a class that the run does not have. */
  #placed(item) {
    if (!item.maps) return null;
    if (this.#map?.item !== item) {
      const { width, height } = this.#image;
      const map = placeOnImage(decodeMaps(item.maps), this.#run.placement, height, width);
      this.#map = { ...map, item, peak: largest(map.values) };
    }
    return this.#map;
  }

  #figures(item, map) {
    const box = this.#box();
    const truths = this.#image.truth?.boxes ?? [];
    const share = ((box[2] - box[0]) * (box[3] - box[1])) / (map.width * map.height);
    const figures = [
      ["Box", box.join(", "), "x0, y0, x1, y1 in pixels of the image, x1 and y1 exclusive"],
      ["Box size", `${box[2] - box[0]} × ${box[3] - box[1]}, ${percent(share)} of the image`],
    ];
    if (this.#ownBox(item)) figures.push(["Box of the run", item.box.join(", "), `by ${this.#run.own_rule}, which the slider does not change`]);
    if (truths.length) {
      const best = Math.max(...truths.map((truth) => iou(box, truth)));
      const outcome = best >= 0.5 ? "right (0.50 or more)" : "wrong (below 0.50)";
      figures.push(["IoU", best.toFixed(2), `with the ${truths.length > 1 ? "nearest ground-truth box" : "ground-truth box"}: ${outcome}`]);
    }
    figures.push(["Maximum", map.peak.toPrecision(4), "of this map, at the right end of the colour bar"]);
    return figures.map(([name, value, title]) => element("div", { title }, element("dt", {}, name), element("dd", {}, value)));
  }

  #tab(item, rank) {
    const [name, ...synonyms] = item.label.split(", ");
    const isTrue = item.index !== null && this.#image.truth?.index === item.index;
    const thumbnail = element("canvas", { ...thumbnailSize(this.#image), "aria-hidden": "true" });
    const tab = element(
      "button",
      { type: "button", role: "tab", id: `${this.#stage}-${rank}`, "aria-controls": this.#stage, title: [item.wnid, item.label].join(" ").trim(), click: () => this.#choose(rank) },
      frame(this.#image, thumbnail, null),
      element(
        "span",
        { class: "label" },
        element("b", {}, name || `class ${item.index}`),
        isTrue ? element("span", { class: "badge" }, "ground truth") : null,
        element("small", {}, item.maps ? synonyms.join(", ") || item.wnid : "no map by this model or method"),
      ),
      element("span", { class: "score" }, item.score === null ? "–" : item.score.toFixed(4)),
      element("meter", { min: 0, max: 1, value: item.score ?? 0, "aria-hidden": "true" }),
    );
    return tab;
  }

  #paintThumbnail(tab, item, table) {
    if (item.maps) paintThumbnail(tab.querySelector("canvas"), this.#image, this.#run, item.maps, table);
  }

  #choose(rank) {
    this.#onselect(this, rank);
    this.focus();
  }

  #move(event) {
    const last = this.tabs.length - 1;
    const ranks = { ArrowDown: this.#rank + 1, ArrowRight: this.#rank + 1, ArrowUp: this.#rank - 1, ArrowLeft: this.#rank - 1, Home: 0, End: last };
    if (!(event.key in ranks)) return;
    this.#choose((ranks[event.key] + last + 1) % (last + 1));
    event.preventDefault();
  }

  #point(event) {
    const readout = this.root.querySelector(".readout");
    readout.textContent = "";
    if (event === null || this.canvas.hidden) return;
    const place = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - place.left) / place.width) * this.#map.width);
    const y = Math.floor(((event.clientY - place.top) / place.height) * this.#map.height);
    const value = this.#map.values[y * this.#map.width + x];
    if (value !== undefined && this.#map.peak > 0) readout.textContent = `${x}, ${y}: ${percent(Math.max(0, value / this.#map.peak))} of the maximum`;
  }
}

/** The objects of an image: their boxes with labels, and a list of them. */
class TruthPane {
  #image;
  #choices;

  constructor(image, choices) {
    this.#image = image;
    this.#choices = choices;
    const { width, height, truth, note } = image;
    this.boxes = drawn("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    this.tags = element("span", { class: "tags", "aria-hidden": "true" }, truth.objects.map(([label, box]) => this.#tag(label, box)));
    const rows = truth.objects.map(([label, [x0, y0, x1, y1]]) =>
      element("div", {}, element("dt", {}, label), element("dd", { title: "x0, y0, x1, y1 in pixels of the image, x1 and y1 exclusive" }, [x0, y0, x1, y1].join(", "))),
    );
    this.root = element(
      "section",
      { class: "pane", "aria-label": "Ground truth" },
      element(
        "figure",
        { class: "stage" },
        frame(image, null, [this.boxes, this.tags]),
        element(
          "figcaption",
          {},
          element("span", { class: "name" }, image.name),
          element("span", {}, [`${width} × ${height}`, note].filter(Boolean).join(" · ")),
          element("span", { class: "line" }, "Class of the image: ", element("b", {}, truth.label)),
        ),
      ),
      element("div", { class: "side" }, element("dl", { class: "figures", "aria-label": "Objects" }, rows.length ? rows : element("div", {}, element("dt", {}, "no boxes"), element("dd", {}, "")))),
    );
  }

  select() {} // There are no classes to select.

  refresh() {
    const shown = this.#choices.truth;
    this.tags.hidden = !shown;
    this.boxes.replaceChildren(...outlined(shown ? truthBoxes(this.#image) : []));
  }

  /** Makes the label of a box, at its upper left corner: above the box, or inside it if there is no room. */
  #tag(label, [x0, y0]) {
    const { width, height } = this.#image;
    const tag = element("span", { class: y0 < height / 16 ? "inside" : null }, label.split(", ")[0]);
    tag.style.setProperty("left", percent(x0 / width, 2).replace(" ", ""));
    tag.style.setProperty("top", percent(y0 / height, 2).replace(" ", ""));
    tag.style.setProperty("max-width", percent(1 - x0 / width, 2).replace(" ", ""));
    return tag;
  }
}

/** The only switch of ground truth alone: its boxes. */
class TruthControls {
  #choices;

  constructor(choices, onchange) {
    this.#choices = choices;
    this.input = element("input", { type: "checkbox", name: "truth", change: () => ((choices.truth = this.input.checked), onchange()) });
    this.root = element(
      "form",
      { class: "controls", "aria-label": "Display options", submit: (event) => event.preventDefault() },
      element("fieldset", { class: "choice boxes" }, element("legend", {}, "Boxes"), element("label", {}, this.input, element("span", {}, "ground truth"))),
      element("p", { class: "keys" }, element("kbd", {}, "t"), " ground truth"),
    );
  }

  refresh() {
    this.input.checked = this.#choices.truth;
  }

  press(key) {
    if (key !== "t") return false;
    this.#choices.truth = !this.#choices.truth;
    return true;
  }
}

/** Returns the boxes of ground truth for `outlined`: of all objects if they are known, else of the image's class. */
function truthBoxes({ truth }) {
  const boxes = truth?.objects.length ? truth.objects.map(([, box]) => box) : truth?.boxes ?? [];
  return boxes.map((box) => [box, "truth"]);
}

/** Makes an image with a canvas for the map, and optionally boxes, on top of it. */
function frame(image, canvas, boxes, listeners = {}) {
  const photo = element("img", { src: image.src, alt: boxes ? image.name : "", decoding: "async", draggable: "false" });
  const made = element("span", { class: "frame", ...listeners }, photo, canvas, boxes);
  made.style.setProperty("--ratio", image.width / image.height);
  return made;
}

function caption(image, run) {
  const facts = [`${image.width} × ${image.height}`, run.model, `view ${run.view}`, run.protocol === "default" ? null : `protocol ${run.protocol}`, image.note];
  return [
    element("span", { class: "name" }, image.name),
    element("span", {}, facts.filter(Boolean).join(" · ")),
    element("span", { class: "readout", "aria-hidden": "true" }),
    image.truth ? element("span", { class: "line" }, "Ground truth: ", element("b", {}, image.truth.label)) : null,
  ];
}

/** How boxes look outside of the page: as rect of viewer.css. */
const BOX_STYLES = {
  found: { colour: "#fff", dash: [] },
  own: { colour: "#fff", dash: [2, 4] },
  truth: { colour: "#4cff9a", dash: [7, 5] },
};

/** Draws boxes with their kinds as lines with dark edges, visible on any colour. No edge covers the line of another box. */
function outlined(boxes) {
  return ["edge", "line"].flatMap((part) =>
    boxes.map(([[x0, y0, x1, y1], kind]) => drawn("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: `${kind} ${part}` })),
  );
}

function thumbnailSize({ width, height }, side = THUMBNAIL) {
  const scale = side / Math.max(width, height);
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** Paints encoded maps on a small canvas, at the size of the canvas. */
function paintThumbnail(canvas, image, run, maps, table) {
  const map = placeOnImage(decodeMaps(maps), run.placement, canvas.height, canvas.width);
  const [across, down] = [canvas.width / image.width, canvas.height / image.height];
  const [x0, y0, x1, y1] = run.placement.region;
  paint(canvas, map, table, [x0 * across, y0 * down, x1 * across, y1 * down].map(Math.round));
}

/** The sliders and switches, and the legend of the colours. */
class Controls {
  #choices;
  #onchange;
  #shown;

  constructor(image, choices, onchange) {
    this.#choices = choices;
    this.#onchange = onchange;
    this.#shown = image.runs.length > 1 ? [ALL, ...image.runs.map((run) => run.label)] : [];
    this.hasTruth = Boolean(image.truth?.boxes.length);
    const isCut = image.runs.some((run) => run.placement.region.join() !== `0,0,${image.width},${image.height}`);
    this.root = element(
      "form",
      { class: "controls", "aria-label": "Display options", submit: (event) => event.preventDefault() },
      element(
        "div",
        {},
        this.#slider("threshold", "Box threshold", { class: "ramp" }),
        element("p", { class: "legend" }, element("span", {}, "no evidence"), element("span", {}, "maximum of this map")),
      ),
      this.#slider("opacity", "Map opacity"),
      element(
        "div",
        { class: "switches" },
        choice("Colours", `colours-${++Controls.count}`, Object.keys(colourMaps()), choices.colours, (name) => this.#choose("colours", name)),
        this.#shown.length ? choice("Side by side", `shown-${Controls.count}`, this.#shown, choices.shown, (name) => this.#choose("shown", name)) : null,
        element(
          "fieldset",
          { class: "choice boxes" },
          element("legend", {}, "Boxes"),
          this.#switch("box", "predicted"),
          this.hasTruth ? this.#switch("truth", "ground truth") : null,
        ),
      ),
      element(
        "details",
        {},
        element("summary", {}, "Explanation"),
        element(
          "p",
          {},
          "A colour shows how strongly a place supports the selected class, from 0 or less to the maximum of this map. The same colour can mean different values in different maps. ",
          "The white box surrounds the largest connected region above the threshold, which is a fraction of the maximum. The paper uses 20 %. ",
          this.hasTruth ? "Dashed green boxes are the ground truth. " : "",
          isCut ? "Dark areas were outside of the input of the net. " : "",
        ),
        element("p", { class: "keys" }, this.#keys().flatMap(([key, what]) => [element("kbd", {}, key), ` ${what} `])),
      ),
    );
  }

  static count = 0;

  refresh() {
    const { threshold, colours, opacity } = this.#choices;
    this.root.style.setProperty("--ramp", ramp(colourMaps()[colours]));
    for (const [name, value] of Object.entries({ threshold, opacity })) {
      const input = this.root.elements[name];
      input.value = Math.round(100 * value);
      input.setAttribute("aria-valuetext", name === "threshold" ? `${percent(value)} of the maximum` : percent(value));
      input.previousElementSibling.querySelector("output").textContent = percent(value);
    }
  }

  /** Handles a key; returns whether the key has a function. */
  press(key) {
    const next = (names, name) => names[(names.indexOf(name) + 1) % names.length];
    const effects = {
      c: () => this.#check("colours", next(Object.keys(colourMaps()), this.#choices.colours)),
      m: () => this.#shown.length && this.#check("shown", next(this.#shown, this.#choices.shown)),
      b: () => this.#toggle("box"),
      t: () => this.hasTruth && this.#toggle("truth"),
    };
    effects[key]?.();
    return key in effects;
  }

  #keys() {
    const shown = this.#shown.length ? [["m", "all, or one of them"]] : [];
    const truth = this.hasTruth ? [["t", "ground truth"]] : [];
    return [["1 – 9", "class"], ["c", "colours"], ...shown, ["b", "box"], ...truth];
  }

  #choose(name, value) {
    this.#choices[name] = value;
    this.#onchange();
  }

  #check(name, value) {
    this.#choices[name] = value;
    for (const input of this.root.querySelectorAll(`input[name^="${name}-"]`)) input.checked = input.value === value;
  }

  #toggle(name) {
    this.#choices[name] = !this.#choices[name];
    this.root.elements[name].checked = this.#choices[name];
  }

  #slider(name, label, attributes = {}) {
    const oninput = (event) => this.#choose(name, event.target.valueAsNumber / 100);
    return element(
      "label",
      { class: "slider" },
      element("span", {}, label, element("output", {})),
      element("input", { type: "range", name, min: 0, max: 100, step: 1, input: oninput, ...attributes }),
    );
  }

  #switch(name, label) {
    const onchange = (event) => this.#choose(name, event.target.checked);
    return element("label", {}, element("input", { type: "checkbox", name, checked: this.#choices[name], change: onchange }), element("span", {}, label));
  }
}

/** Returns a colour map as a CSS gradient. */
function ramp(table) {
  const stops = Array.from({ length: 18 }, (_, i) => table[15 * i]);
  const colours = stops.map((pixel) => `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255})`);
  return `linear-gradient(to right, ${colours.join(", ")})`;
}

customElements.define("cam-viewer", CamViewer);
