"use strict";
// The page of `pycam serve`: the server predicts the images on the desk.

const server = JSON.parse(document.getElementById("server").textContent);
const PATIENCE = 60; // Seconds during which an image is sent again while the server is busy.

const models = server.models.map((name, number) => element("input", { type: "checkbox", name: "model", value: name, checked: number === 0, change: (event) => choose(event.target) }));
const desk = new Desk({
  header: element(
    "header",
    {},
    element("h1", {}, "pycam"),
    element("fieldset", { class: "choice" }, element("legend", {}, "Models"), models.map((input) => element("label", {}, input, element("span", {}, input.value)))),
  ),
  limits: `up to ${server.upload / 1e6} MB and ${server.pixels / 1e6} million pixels; images stay on this machine`,
  async predict(file) {
    const names = chosen();
    const image = await predicted(file, names);
    const find = async (index) => (await predicted(file, names, [index])).runs.map(({ top: [item] }) => item);
    return { image, search: { classes: image.classes, find } };
  },
});

function chosen() {
  return models.filter((input) => input.checked).map((input) => input.value);
}

/** Predicts the shown image with other models. One is always chosen. */
function choose(changed) {
  if (!chosen().length) changed.checked = true;
  else if (desk.shown) desk.take([desk.shown]);
}

/** Asks the server for the prediction of an image by models, of the best classes or of those with some indices. */
async function predicted(file, models, classes = []) {
  const names = [...models.map((name) => ["model", name]), ...classes.map((index) => ["class", index]), ["name", file.name]];
  const address = `predict?${new URLSearchParams(names)}`;
  const request = { method: "POST", headers: { "Content-Type": file.type || "application/octet-stream" }, body: file };
  for (let second = 0; ; second++) {
    const response = await fetch(address, request).catch(() => {
      throw new Error("the server does not answer: see whether `pycam serve` still runs in its terminal");
    });
    const answer = await response.json();
    if (response.ok) return answer;
    if (response.status !== 429 || second === PATIENCE) throw new Error(answer.error);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

document.body.append(desk.root);
