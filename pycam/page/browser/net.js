"use strict";
// The worker: reads an image, prepares it as the protocol says, and runs the net on its crops with ONNX Runtime Web.

let session = null;
let settings = null;
let last = { file: null }; // The last image with its outputs: further classes of it need no further run.

const TASKS = {
  async load({ backend, threads, binary, module, model, facts }) {
    settings = facts;
    Object.assign(ort.env.wasm, { numThreads: threads, wasmBinary: await binary.arrayBuffer(), wasmPaths: { mjs: URL.createObjectURL(module) } });
    ort.env.logLevel = "error";
    session = await ort.InferenceSession.create(new Uint8Array(await model.arrayBuffer()), { executionProviders: [backend], logSeverityLevel: 3 });
  },

  async check({ rgba, width, height }) {
    return { scores: (await outputsOf(rgba, width, height)).scores };
  },

  async predict({ file, classes }) {
    if (last.file !== file) {
      const image = await decodeImage(file, settings.input.exif);
      last = { file, image, ...(await outputsOf(image.rgba, image.width, image.height)) };
      delete image.rgba;
    }
    const { image, scores, maps } = last;
    const chosen = classes ?? bestClasses(scores, settings.top);
    return { ...image, top: chosen.map((index) => ({ index, score: scores[index], maps: mapsOf(maps, index) })) };
  },
};

/** Returns the scores, averaged over the crops, and for each crop the maps of all classes. */
async function outputsOf(rgba, width, height) {
  const { input, scores: scored, maps: mapped, classes, shape } = settings.net;
  const values = netInput(rgba, width, height, settings.input);
  const size = shape.reduce((product, side) => product * side);
  const sums = new Float64Array(classes);
  const maps = [];
  for (let start = 0; start < values.length; start += size) {
    const outputs = await session.run({ [input]: new ort.Tensor("float32", values.slice(start, start + size), [1, ...shape]) });
    outputs[scored].data.forEach((score, index) => (sums[index] += score));
    maps.push({ values: outputs[mapped].data.slice(), size: outputs[mapped].dims.slice(2) });
    for (const each of Object.values(outputs)) each.dispose();
  }
  const scores = Float32Array.from(sums, (sum) => sum / maps.length);
  if (!scores.every(Number.isFinite)) throw new Error("the net gives scores that are not finite");
  return { scores, maps };
}

/** Returns the maps of a class, one per crop, as decodeMaps of the viewer takes them. */
function mapsOf(maps, index) {
  const [height, width] = maps[0].size;
  const area = height * width;
  const values = new Float32Array(maps.length * area);
  maps.forEach((crop, number) => values.set(crop.values.subarray(index * area, (index + 1) * area), number * area));
  return { shape: [maps.length, height, width], values };
}

/** Returns the indices of the largest scores, largest first; equal scores in falling order of their indices, as `best` of predict.py. */
function bestClasses(scores, count) {
  return [...scores.keys()].sort((a, b) => scores[b] - scores[a] || b - a).slice(0, count);
}

addEventListener("message", async ({ data: { number, task, content } }) => {
  try {
    postMessage({ number, value: await TASKS[task](content) });
  } catch (error) {
    postMessage({ number, ...sentenceOf(error) });
  }
});

/** Says an error in a sentence, and whether the net is lost with it. */
function sentenceOf(error) {
  const text = String(error?.message ?? error).split("\n")[0];
  if (error instanceof UnreadImage) return { error: text };
  if (error instanceof RangeError || /memory|alloc/i.test(text)) return { error: "the browser gives the net too little memory: close other tabs, or use a device with more", fatal: true };
  return { error: `the net does not run in this browser (${text})`, fatal: true };
}
