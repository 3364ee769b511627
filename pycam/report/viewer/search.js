"use strict";
// Finds a class by its index, its WordNet ID, its label or a synonym, as Labels.find of zoo/labels.py.

function folded(name) {
  return name.toLowerCase().replace(/[_/]/g, " ").split(/\s+/).filter(Boolean).join(" ");
}

/** Returns the indices of the classes that have a name; `classes` are [WordNet ID, label]. */
function classesNamed(query, classes) {
  const text = query.trim();
  if (/^\d+$/.test(text)) return Number(text) < classes.length ? [Number(text)] : [];
  const names = (wnid, label) => [wnid, label, ...label.split(",")].map(folded);
  return [...classes.keys()].filter((index) => text && names(...classes[index]).includes(folded(text)));
}

/** A field to search any class; `onfound` gets its index. */
class ClassSearch {
  #classes;
  #answer = element("span", { role: "status" });

  constructor(classes, onfound) {
    this.#classes = classes;
    const list = `classes-${++ClassSearch.count}`;
    this.input = element("input", { type: "search", list, name: "class", placeholder: "index, WordNet ID or label", autocomplete: "off", "aria-label": "Show another class" });
    const find = () => this.#find(onfound);
    this.root = element(
      "div",
      { class: "class-search", role: "search", keydown: (event) => event.key === "Enter" && (event.preventDefault(), find()) },
      element("label", {}, element("span", {}, "Show another class"), this.input),
      element("button", { type: "button", click: find }, "Show"),
      element("datalist", { id: list }, classes.map(([wnid, label], index) => element("option", { value: label, label: `${index} ${wnid}`.trim() }))),
      this.#answer,
    );
  }

  static count = 0;

  async #find(onfound) {
    const found = classesNamed(this.input.value, this.#classes);
    this.#answer.textContent = "";
    try {
      if (found.length !== 1) throw new Error(this.#problem(found));
      await onfound(found[0]);
      this.input.value = "";
    } catch (error) {
      this.#answer.textContent = error.message;
    }
  }

  #problem(found) {
    if (found.length) return `several classes have this name: give an index, ${found.map((index) => `${index} ${this.#classes[index][1]}`).join("; ")}`;
    const text = folded(this.input.value);
    const near = [...this.#classes.keys()].filter((index) => text && folded(this.#classes[index][1]).includes(text)).slice(0, 5);
    const similar = near.length ? `; similar: ${near.map((index) => `${index} ${this.#classes[index][1]}`).join("; ")}` : "";
    return `no class has this name; indices are 0 to ${this.#classes.length - 1}${similar}`;
  }
}
