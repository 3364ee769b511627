"use strict";

/**
 * Makes an element. Attributes by name; functions become listeners, true a bare attribute; false, null and undefined
 * leave one out. Children are elements or texts: a text is never read as HTML.
 */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for a drawing. */
function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A line of choices, of which one holds. */
function choice(legend, name, options, chosen, onchange) {
  return element(
    "fieldset",
    { class: "choice" },
    element("legend", {}, legend),
    options.map((option) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name, value: option, checked: option === chosen, change: () => onchange(option) }),
        element("span", {}, option),
      ),
    ),
  );
}

function percent(fraction, digits = 0) {
  return `${(100 * fraction).toFixed(digits)} %`;
}
