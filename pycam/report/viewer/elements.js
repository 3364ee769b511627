"use strict";

/**
 * Makes an element. A function becomes a listener, true an attribute without a value; false, null and undefined omit an
 * attribute. Children are elements or texts; a text is never parsed as HTML.
 */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Makes an SVG element in the same way. */
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

/** Makes a group of options, one of which is selected. */
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
