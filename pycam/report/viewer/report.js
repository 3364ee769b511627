"use strict";
// The report: a summary of the runs, then one card per image. A card opens the viewer.

const report = JSON.parse(document.getElementById("report").textContent);
const scripts = new Map(); // Promises of the requested scripts, and the functions that resolve them.
const awaited = new Map();
const OUTCOMES = new Map(report.outcomes.map((outcome) => [outcome.name, outcome]));
const NO_IOU = 0xffff;
const HAS_RUNS = report.runs.length > 0; // Without runs, the page shows ground truth alone.
const ARRANGE_AFTER = 400; // Milliseconds after the last change of the threshold.
const SORTS = {
  [report.runs.length > 1 ? "most changed first" : "worst first"]: (a, b) => b.severity - a.severity,
  "lowest IoU first": (a, b) => (a.runs.at(-1).iou ?? 2) - (b.runs.at(-1).iou ?? 2),
  "most confident first": (a, b) => (b.runs.at(-1).score ?? -1) - (a.runs.at(-1).score ?? -1),
  "least confident first": (a, b) => (a.runs.at(-1).score ?? 2) - (b.runs.at(-1).score ?? 2),
  "by name": (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
};
const TRUTH_SORTS = { "as listed": () => 0, "by name": SORTS["by name"], "by class": (a, b) => a.truth.localeCompare(b.truth, "en") };

/** Returns the data of an image for the viewer, from this page or from its folder. */
async function detail(number) {
  if (!report.chunk) return JSON.parse(document.getElementById(`image-${number}`).textContent);
  return (await loaded(`data/${Math.floor(number / report.chunk)}.js`))[number % report.chunk];
}

/** Returns what the search needs to add any class to an image; null for a page with the best classes only. */
function search(number) {
  if (!report.classes.length) return null;
  const find = async (index) => {
    const every = report.chunk
      ? await loaded(`classes/${String(number + 1).padStart(6, "0")}.js`)
      : JSON.parse(document.getElementById(`classes-${number}`).textContent);
    const found = await Promise.all(every.map((each) => each && classOfEvery(each, index)));
    const [wnid, label] = report.classes[index];
    return found.map((each) => each && { index, wnid, label, box: null, ...each });
  };
  return { classes: report.classes, find };
}

// A page on a disk may not fetch data, but it may load scripts: each script calls `arrive`.
function loaded(address) {
  if (!scripts.has(address)) {
    scripts.set(address, new Promise((resolve, reject) => {
      awaited.set(address, resolve);
      const error = () => reject(new Error(`${address} is missing; keep all files of the report's folder`));
      document.head.append(element("script", { src: address, error }));
    }));
  }
  return scripts.get(address);
}

function arrive(address, values) {
  awaited.get(address)(values);
}

/** Decodes what a run makes of an image at each threshold, packed by report/outcomes.py: outcome and IoU. */
function decodeOutcomes(packed) {
  if (!packed) return null;
  const bytes = decodeBytes(packed);
  const count = report.thresholds.length;
  const view = new DataView(bytes.buffer);
  return Array.from({ length: count }, (_, level) => {
    const iou = view.getUint16(count + 2 * level, true);
    return { outcome: report.outcomes[bytes[level]].name, iou: iou === NO_IOU ? null : iou / 10000 };
  });
}

/** Decodes the boxes of the best class at each threshold; null without. */
function decodeBoxes(packed) {
  if (!packed) return null;
  const sides = new Int32Array(decodeBytes(packed).buffer);
  return Array.from({ length: sides.length / 4 }, (_, level) => Array.from(sides.subarray(4 * level, 4 * level + 4)));
}

function isRight({ outcome }) {
  return outcome.startsWith("right");
}

function severity({ outcome, iou }, score) {
  if (outcome === "wrong class") return 1 + Math.max(score, 0);
  if (iou !== null) return 1 - iou;
  return isRight({ outcome }) ? 0 : 1;
}

/** Returns the group and the severity of an image from its outcomes, as group_of of report/outcomes.py. */
function groupOf(runs) {
  const severities = runs.map((run) => severity(run, run.score));
  const [first, ...later] = runs;
  if (later.length === 0) return { group: first.outcome, severity: severities[0] };
  const changed = later.some((run) => isRight(run) !== isRight(first));
  const same = isRight(first) || later.every((run) => run.outcome === first.outcome);
  const group = changed ? (isRight(first) ? "regressed" : "fixed") : same ? "unchanged" : "wrong in another way";
  return { group, severity: Math.max(...severities.slice(1).map((each) => Math.abs(severities[0] - each))) };
}

class Gallery {
  #order = report.images.map((_, number) => number);
  #cards = report.images.map((image, number) => this.#card(image, number));
  #filter = { text: "", groups: new Set(), sort: null };
  #list = element("ol", { class: "cards" });
  #count = element("p", { class: "count", role: "status" });
  #chips = element("div", { role: "group", "aria-label": "Show only" });
  #rescored = report.images.map(({ runs }) => runs.map((run) => ({ ...run, levels: decodeOutcomes(run.rescored) })));
  #drawn = new Map(); // Number of a drawn card -> what its boxes are made of.
  #level = null; // Position of the threshold of all images; null for that of the runs.
  #watcher = new IntersectionObserver((entries) => this.#fill(entries), { rootMargin: "800px" });

  constructor(onopen) {
    this.onopen = onopen;
    const known = HAS_RUNS ? SORTS : TRUTH_SORTS;
    const sorts = Object.keys(known).filter((name) => !HAS_RUNS || report.judged || !/changed|worst|IoU/.test(name));
    this.#filter.sort = known[sorts[0]];
    this.root = element(
      "section",
      { class: "gallery", "aria-labelledby": "images", "data-runs": Math.max(1, report.runs.length) },
      element("h2", { id: "images" }, "Images"),
      this.#chips,
      element(
        "div",
        { class: "tools", role: "search" },
        element("input", { type: "search", placeholder: "Name or class", "aria-label": "Name or class", input: (event) => this.#update({ text: event.target.value.toLowerCase() }) }),
        element(
          "select",
          { "aria-label": "Order", change: (event) => this.#update({ sort: known[event.target.value] }) },
          sorts.map((name) => element("option", {}, name)),
        ),
        this.#count,
      ),
      this.#list,
    );
    for (const card of this.#cards) this.#watcher.observe(card);
    this.#countGroups();
    this.#update({});
  }

  /** Returns the image `step` places after this one in the shown order; null after the last. */
  neighbour(number, step) {
    return this.#order[this.#order.indexOf(number) + step] ?? null;
  }

  place(number) {
    return `${this.#order.indexOf(number) + 1} of ${this.#order.length}`;
  }

  focus(number) {
    this.#cards[number].querySelector("button").focus();
  }

  /** Applies the threshold at a position to all images, or that of the runs: outcomes, counts and boxes. */
  rescore(level) {
    this.#level = level;
    this.#rescored.forEach((runs, number) => {
      const card = report.images[number];
      const lines = this.#cards[number].querySelectorAll(".outcome");
      runs.forEach((run, index) => {
        const { outcome, iou } = (level !== null && run.levels?.[level]) || run;
        const shown = card.runs[index];
        if (shown.outcome === outcome && shown.iou === iou) return;
        Object.assign(shown, { outcome, iou });
        lines[index].replaceWith(outcomeLine(shown));
      });
      if (card.group) Object.assign(card, groupOf(card.runs));
    });
    this.#countGroups();
    for (const number of this.#drawn.keys()) this.#outline(number);
  }

  /** Sorts and filters the images by their new outcomes. */
  arrange() {
    this.#update({});
  }

  #update(changes) {
    Object.assign(this.#filter, changes);
    const { text, groups, sort } = this.#filter;
    const fits = ({ name, truth, runs, group }) =>
      (groups.size === 0 || groups.has(group)) &&
      [name, truth ?? "", ...runs.map((run) => run.label)].some((value) => value.toLowerCase().includes(text));
    const images = report.images;
    this.#order = [...images.keys()].filter((number) => fits(images[number])).sort((a, b) => sort(images[a], images[b]) || a - b);
    this.#list.replaceChildren(...this.#order.map((number) => this.#cards[number]));
    const shown = this.#order.length;
    this.#count.textContent = shown === images.length ? `${shown} images` : `${shown} of ${images.length} images`;
  }

  #countGroups() {
    const counts = new Map();
    for (const { group } of report.images) counts.set(group, (counts.get(group) ?? 0) + 1);
    const groups = report.groups.filter(({ name }) => counts.has(name));
    for (const name of this.#filter.groups) if (!counts.has(name)) this.#filter.groups.delete(name);
    if (groups.length === 0) return;
    const bar = element("div", { class: "bar", "aria-hidden": "true" }, groups.map(({ name, tone }) => {
      const part = element("span", { "data-tone": tone, title: name });
      part.style.setProperty("flex-grow", counts.get(name));
      return part;
    }));
    const chips = groups.map(({ name, tone, text }) =>
      element(
        "button",
        { type: "button", class: "chip", "data-tone": tone, title: text, "aria-pressed": String(this.#filter.groups.has(name)), click: (event) => this.#toggle(name, event.currentTarget) },
        name,
        element("span", {}, String(counts.get(name))),
      ),
    );
    this.#chips.replaceChildren(bar, element("div", { class: "chips" }, chips));
  }

  #toggle(name, chip) {
    const { groups } = this.#filter;
    if (!groups.delete(name)) groups.add(name);
    chip.setAttribute("aria-pressed", String(groups.has(name)));
    this.#update({ groups });
  }

  #card(image, number) {
    const size = thumbnailSize({ width: image.size[0], height: image.size[1] }, 180);
    const runs = image.runs.map((run) => {
      const boxes = drawn("svg", { viewBox: `0 0 ${image.size.join(" ")}`, "aria-hidden": "true" });
      return element(
        "span",
        { class: "run" },
        element("span", { class: "frame" }, element("canvas", { ...size, "aria-hidden": "true" }), boxes),
        element("b", { title: run.label }, run.label.split(", ")[0]),
        element("span", { class: "score" }, run.score === null ? "–" : run.score.toFixed(2)),
        run.outcome && outcomeLine(run),
      );
    });
    if (!HAS_RUNS) {
      const boxes = drawn("svg", { viewBox: `0 0 ${image.size.join(" ")}`, "aria-hidden": "true" });
      runs.push(element("span", { class: "run" }, element("span", { class: "frame" }, boxes), element("b", { title: image.truth }, image.truth.split(", ")[0])));
    }
    const isMissed = image.truth && image.runs.some((run) => run.label !== image.truth);
    return element(
      "li",
      { class: "card", "data-number": number },
      element(
        "button",
        { type: "button", click: () => this.onopen(number) },
        element("span", { class: "runs" }, runs),
        isMissed ? element("span", { class: "missed" }, `ground truth: ${image.truth.split(", ")[0]}`) : null,
        element("small", {}, image.name),
      ),
    );
  }

  /** Draws the cards near the window. */
  #fill(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.#watcher.unobserve(target);
      this.#draw(target).catch((error) => target.append(error.message));
    }
  }

  async #draw(card) {
    const image = await detail(Number(card.dataset.number));
    const frames = card.querySelectorAll(".frame");
    for (const each of frames) each.prepend(element("img", { src: image.src, alt: "", decoding: "async" }));
    image.runs.forEach((run, index) => {
      const [best] = run.top;
      const canvas = frames[index].querySelector("canvas");
      if (best.maps) paintThumbnail(canvas, image, run, best.maps, colourMaps().JET);
    });
    const truths = truthBoxes(image);
    const found = HAS_RUNS ? image.runs.map(({ top: [{ box }], boxes }) => ({ box, levels: decodeBoxes(boxes) })) : [{}];
    const runs = found.map((each, index) => ({ ...each, outline: frames[index].querySelector("svg") }));
    this.#drawn.set(Number(card.dataset.number), { runs, truths });
    this.#outline(Number(card.dataset.number));
  }

  #outline(number) {
    const { runs, truths } = this.#drawn.get(number);
    for (const { box, levels, outline } of runs) {
      const found = (this.#level !== null && levels?.[this.#level]) || box;
      outline.replaceChildren(...outlined([...(found ? [[found, "found"]] : []), ...truths]));
    }
  }
}

function outcomeLine({ outcome, iou }) {
  const { tone, text } = OUTCOMES.get(outcome);
  const found = iou === null ? "" : ` · IoU ${iou.toFixed(2)}`;
  return element("span", { class: "outcome", "data-tone": tone, title: text }, outcome + found);
}

/** Returns an image with the boxes that its runs find at a threshold; only those of the best classes are known. */
function boxesAt(image, level) {
  const runs = image.runs.map((run) => {
    const levels = decodeBoxes(run.boxes);
    return levels ? { ...run, top: run.top.map((item, rank) => ({ ...item, box: rank ? null : levels[level] })) } : run;
  });
  return { ...image, runs };
}

/** Returns the image that the address names, as in #20; null without. */
function linked() {
  const number = /^#[1-9]\d*$/.test(location.hash) ? Number(location.hash.slice(1)) - 1 : -1;
  return number in report.images ? number : null;
}

/**
 * The viewer in a dialog, with buttons for the previous and the next image. The address names the open image: Back
 * closes it, and a changed address shows another one.
 */
class ImageDialog {
  #viewer = element("cam-viewer");
  #title = element("h2", { id: "dialog-title" });
  #place = element("span", { class: "place" });
  #answer = element("span", { role: "status" });
  #number = null;
  #level = null;

  constructor(gallery) {
    this.gallery = gallery;
    this.previous = element("button", { type: "button", click: () => this.#step(-1) }, "Previous");
    this.next = element("button", { type: "button", click: () => this.#step(1) }, "Next");
    this.root = element(
      "dialog",
      { class: "image-dialog", "aria-labelledby": "dialog-title", close: () => this.#closed() },
      element(
        "header",
        {},
        this.#title,
        this.#place,
        this.previous,
        this.next,
        element("button", { type: "button", click: () => this.#copyLink() }, "copy link"),
        element("button", { type: "button", click: () => this.root.close() }, "Close"),
        this.#answer,
      ),
      this.#viewer,
      element("p", { class: "keys" }, element("kbd", {}, "n"), " next ", element("kbd", {}, "p"), " previous ", element("kbd", {}, "Esc"), " close"),
    );
    document.addEventListener("keydown", (event) => this.#press(event));
    addEventListener("hashchange", () => this.follow());
  }

  /** Applies the threshold at a position to the images that are opened from now on; null for that of the runs. */
  rescore(level) {
    this.#level = level;
    this.#viewer.choices.threshold = level === null ? report.threshold : report.thresholds[level];
  }

  /** Opens an image with an address of its own, so that Back closes it. */
  open(number) {
    if (this.root.open) history.replaceState(history.state, "", `#${number + 1}`);
    else history.pushState({ opened: true }, "", `#${number + 1}`);
    return this.#show(number);
  }

  /** Shows the image that the address names, or closes the dialog. */
  follow() {
    const number = linked();
    if (number !== null && (number !== this.#number || !this.root.open)) this.#show(number);
    else if (number === null && this.root.open) this.root.close();
  }

  async #show(number) {
    this.#number = number;
    const image = await detail(number);
    if (this.#number !== number) return; // The user was faster than the disk.
    this.#title.textContent = image.name;
    this.#place.textContent = this.gallery.place(number);
    this.#answer.textContent = "";
    this.previous.disabled = this.gallery.neighbour(number, -1) === null;
    this.next.disabled = this.gallery.neighbour(number, 1) === null;
    // A disabled button that keeps the focus would swallow the keys.
    if (document.activeElement.disabled) this.root.querySelector("header button:enabled").focus();
    if (!this.root.open) this.root.showModal();
    this.#viewer.show(this.#level === null ? image : boxesAt(image, this.#level), search(number));
    this.root.scrollTop = 0;
  }

  #step(step) {
    const number = this.gallery.neighbour(this.#number, step);
    if (number !== null) this.open(number);
  }

  #press(event) {
    const step = { n: 1, p: -1 }[event.key];
    if (step && this.root.open && !event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event)) this.#step(step);
  }

  async #copyLink() {
    this.#answer.textContent = await copyText(location.href).then(() => "copied the link", (error) => error.message);
  }

  #closed() {
    if (linked() !== null) {
      if (history.state?.opened) history.back();
      else history.replaceState(null, "", location.pathname + location.search);
    }
    this.gallery.focus(this.#number);
    this.#number = null;
  }
}

/** The threshold of all images: a slider and a number, in percent of the maximum of each map. */
class Threshold {
  #inputs;
  #reset;
  #wait;

  constructor(onchange) {
    this.onchange = onchange;
    const own = Math.round(100 * report.threshold);
    const most = report.thresholds.length - 1;
    const input = (attributes) => element("input", { min: 0, max: most, step: 1, value: own, input: (event) => this.#apply(event.target), ...attributes });
    this.#inputs = [
      input({ type: "range", name: "all-threshold", "aria-label": "Box threshold of all images, in percent" }),
      input({ type: "number", name: "all-threshold-number", "aria-label": "Box threshold of all images, in percent", inputmode: "numeric" }),
    ];
    this.#reset = element("button", { type: "button", disabled: true, click: () => this.#restore(own) }, report.runs.length > 1 ? "as in the runs" : "as in the run");
    this.root = element(
      "form",
      { class: "all-threshold", "aria-label": "Box threshold", submit: (event) => event.preventDefault() },
      element("span", { class: "name" }, "Box threshold of all images"),
      this.#inputs[0],
      element("span", {}, this.#inputs[1], " %"),
      this.#reset,
    );
  }

  #apply(input) {
    const level = input.valueAsNumber;
    if (!(level >= 0 && level < report.thresholds.length) || level !== Math.round(level)) return;
    for (const other of this.#inputs) if (other !== input) other.value = level;
    this.#reset.disabled = false;
    this.#change(level);
  }

  #restore(own) {
    for (const input of this.#inputs) input.value = own;
    this.#reset.disabled = true;
    this.#change(null);
  }

  #change(level) {
    this.onchange.rescore(level);
    // Cards that move at every step of the slider could not be followed, and those that move under a click are missed.
    clearTimeout(this.#wait);
    this.#wait = setTimeout(() => this.onchange.arrange(), ARRANGE_AFTER);
  }
}

function header() {
  return element(
    "header",
    { class: "title" },
    element("h1", {}, report.title),
    report.runs.map((run) => element("p", {}, run.label ? element("b", {}, `${run.label} `) : null, run.facts.join(" · "))),
    report.notes.map((note) => element("p", { class: "note" }, note)),
  );
}

const COLOURS = 6; // Lines of further runs have the same colours again.

const SHOWN_ROWS = 20; // A longer table shows the others after a click.

/** Makes a table. Where it has no room, each cell stands on a line of its own, after the name of its column. */
function table({ title, columns, rows, note }) {
  const isNumber = (column) => rows.every((row) => row[column] === "" || /^[–+-]?\d/.test(row[column]));
  const numeric = columns.map((_, column) => column > 0 && isNumber(column));
  const head = (text, column) => element("th", { class: numeric[column] ? "number" : null, scope: "col", role: "columnheader" }, text);
  const cell = (text, column) =>
    element("td", { class: numeric[column] ? "number" : null, role: "cell" }, columns[column] ? element("span", { class: "column", "aria-hidden": "true" }, columns[column]) : null, element("span", {}, text));
  const lines = rows.map((row, number) => element("tr", { role: "row", class: number < SHOWN_ROWS ? null : "later" }, row.map(cell)));
  const made = element(
    "table",
    { role: "table" },
    element("caption", {}, title),
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, columns.map(head))),
    element("tbody", { role: "rowgroup" }, lines),
  );
  const more = element("button", { type: "button", click: () => (figure.classList.add("whole"), more.remove()) }, `show all ${rows.length} rows`);
  const figure = element("figure", { class: "table" }, made, rows.length > SHOWN_ROWS ? more : null, note ? element("figcaption", {}, note) : null);
  return figure;
}

const PRINTED = 640; // Room on a sheet of paper, in pixels.

/** Stacks the cells of the tables that are too wide for the window, or for paper. */
function fitTables() {
  for (const figure of document.querySelectorAll("figure.table")) {
    figure.classList.remove("stacked", "stacked-in-print");
    const made = figure.querySelector("table");
    made.style.width = "min-content";
    const width = made.getBoundingClientRect().width;
    made.style.width = "";
    figure.classList.toggle("stacked", width > figure.parentElement.clientWidth);
    figure.classList.toggle("stacked-in-print", width > PRINTED);
  }
}

/** Shows a table at the threshold at a position, or as it was. */
function showAt(figure, { title, rows, live }, level) {
  const at = level === null ? "" : ` at a threshold of ${percent(report.thresholds[level])}`;
  figure.querySelector("caption").textContent = title + at;
  const lines = figure.querySelectorAll("tbody tr");
  for (const { row, column, texts } of live) lines[row].children[column].lastChild.textContent = level === null ? rows[row][column] : texts[level];
}

/** Makes a line chart; both axes go from 0 to 1. */
function chart({ title, x, y, series, diagonal, marks, note }) {
  const [width, height, left, bottom] = [360, 240, 40, 36];
  const across = (value) => left + value * (width - left - 12);
  const up = (value) => height - bottom - value * (height - bottom - 10);
  const path = (points) => points.map(([px, py], i) => `${i ? "L" : "M"}${across(px).toFixed(1)} ${up(py).toFixed(1)}`).join("");
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const plot = drawn(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${series.map((line) => line.summary).join(" ")}` },
    ticks.map((value) => drawn("path", { class: "grid", d: path([[0, value], [1, value]]) })),
    ticks.map((value) => drawn("text", { x: left - 6, y: up(value) + 4, "text-anchor": "end" }, percent(value))),
    ticks.map((value) => drawn("text", { x: across(value), y: height - bottom + 15, "text-anchor": "middle" }, percent(value))),
    diagonal ? drawn("path", { class: "diagonal", d: path([[0, 0], [1, 1]]) }) : null,
    (marks ?? []).map((value) => drawn("path", { class: "diagonal", d: path([[value, 0], [value, 1]]) })),
    series.map((line, index) => [
      drawn("path", { class: `series series-${index % COLOURS}`, d: path(line.points) }),
      line.dots ? line.points.map(([px, py], i) => drawn("circle", { class: `dot series-${index % COLOURS}`, cx: across(px), cy: up(py), r: line.dots[i] })) : [],
    ]).flat(2),
    drawn("text", { class: "axis", x: across(0.5), y: height - 3, "text-anchor": "middle" }, x),
  );
  return element(
    "figure",
    { class: "chart" },
    element("figcaption", {}, element("b", {}, title), element("span", {}, y)),
    plot,
    element("ul", { class: "key" }, series.map((line, index) => element("li", { class: `series-${index % COLOURS}` }, line.summary))),
    note ? element("p", { class: "note" }, note) : null,
  );
}

const gallery = new Gallery((number) => dialog.open(number));
const dialog = new ImageDialog(gallery);
const sections = report.sections.map((section) => (section.series ? chart(section) : table(section)));

/** Applies a threshold to everything that follows it: the cards, the counts, the errors, and the viewer. */
function rescore(level) {
  gallery.rescore(level);
  report.sections.forEach((section, index) => section.live && showAt(sections[index], section, level));
  dialog.rescore(level);
}

const threshold = report.threshold === null ? null : new Threshold({ rescore, arrange: () => gallery.arrange() });
document.body.append(
  header(),
  element("main", {}, threshold?.root, sections.length ? element("section", { class: "summary", "aria-label": "Summary" }, sections) : null, gallery.root),
  dialog.root,
);
fitTables();
addEventListener("resize", fitTables);
dialog.follow();
