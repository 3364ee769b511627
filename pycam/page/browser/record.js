"use strict";
// From the outputs of the net to the record of an image that the viewer shows, as in report/viewer_data.py.

/**
 * Makes the record of an image.
 *
 * `image` is { name, src, width, height, note }. `outputs` is { scores: one per class, mapsOf }: `mapsOf` returns the maps of
 * a class, one per crop, { shape: [crops, height, width], values }. `run` is an output_record of page/recipe.py, `classes`
 * has the WordNet ID and the label of each class, and `indices` are the classes to show.
 */
function imageRecord({ name, src, width, height, note }, outputs, run, classes, indices) {
  const placement = { ...run.placement, region: regionOf(run.placement, height, width) };
  const top = indices.map((index) => classRecord(index, outputs, classes));
  return { name, src, width, height, note, truth: null, shared: false, runs: [{ ...run, placement, top, boxes: null }] };
}

/** Makes the record of a class. The viewer computes its box, which depends on the threshold. */
function classRecord(index, { scores, mapsOf }, classes) {
  const [wnid, label] = classes[index];
  return { index, wnid, label, score: scores[index], box: null, maps: mapsOf(index) };
}

/** Returns the mean over the crops of scores, crops × classes, in single precision. */
function meanScores(values, crops) {
  const count = values.length / crops;
  const means = new Float32Array(count);
  for (let crop = 0; crop < crops; crop++) for (let index = 0; index < count; index++) means[index] += values[crop * count + index];
  for (let index = 0; index < count; index++) means[index] /= crops;
  if (!means.every(Number.isFinite)) throw new Error("the net computed scores that are not finite: its weights do not fit, or the browser's arithmetic fails");
  return means;
}

/** Returns the indices of the largest scores, largest first; equal scores in falling order of their indices. */
function bestClasses(scores, top) {
  return Array.from(scores.keys()).sort((one, other) => scores[other] - scores[one] || other - one).slice(0, top);
}

/** Returns the part of an image that the maps cover, as Placement.region does. */
function regionOf({ view, placement, canvas, size, crops }, height, width) {
  if (placement === "stretched" || view !== "center") return [0, 0, width, height];
  const [[x, y]] = crops;
  // A pixel of the image belongs to the region if the center of the pixel does.
  const [y0, y1] = [y, y + size[0]].map((row) => roundedToEven((row * height) / canvas[0]));
  const [x0, x1] = [x, x + size[1]].map((column) => roundedToEven((column * width) / canvas[1]));
  return [x0, y0, Math.max(x1, x0 + 1), Math.max(y1, y0 + 1)];
}
