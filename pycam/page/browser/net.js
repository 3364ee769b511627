"use strict";
// The worker: reads an image, prepares it as the protocol says, and runs the net on its crops with ONNX Runtime Web.

let session = null;
let facts = null;
let last = { key: null }; // The last image with its outputs: further classes of it need no further run.
let queue = Promise.resolve(); // The runtime runs the net once at a time.

const TASKS = {
  async load(given) {
    facts = given.facts;
    Object.assign(ort.env.wasm, { numThreads: given.threads, wasmBinary: await given.binary.arrayBuffer(), wasmPaths: { mjs: URL.createObjectURL(given.module) } });
    ort.env.logLevel = "error";
    const model = new Uint8Array(await given.model.arrayBuffer());
    session = await byRuntime(() => ort.InferenceSession.create(model, { executionProviders: [given.backend], logSeverityLevel: 3 }));
  },

  /** Returns the scores of pixels. */
  async check({ rgba, width, height }) {
    return (await outputsOf(rgba, width, height)).scores;
  },

  /** Returns the record of an image with its best classes, and a JPEG that shows the image. */
  async predict({ file, key }) {
    const { image, outputs } = await predicted(file, key);
    const record = imageRecord({ ...image, name: file.name, src: null }, outputs, facts.run, facts.classes, bestClasses(outputs.scores, facts.top));
    return { record, shown: image.shown };
  },

  /** Returns the record of any class of an image. */
  async find({ file, key, index }) {
    return classRecord(index, (await predicted(file, key)).outputs, facts.classes);
  },
};

async function predicted(file, key) {
  if (last.key !== key) {
    const { rgba, ...image } = await decodeImage(file, facts.input);
    last = { key, image, outputs: await outputsOf(rgba, image.width, image.height) };
  }
  return last;
}

/** Runs the net on each crop; returns the scores, averaged over the crops, and a function that returns the maps of a class. */
async function outputsOf(rgba, width, height) {
  const { input, scores, maps, classes, shape } = facts.net;
  const values = netInput(rgba, width, height, facts.input);
  const size = shape.reduce((product, side) => product * side);
  const crops = values.length / size;
  const scored = new Float32Array(crops * classes);
  const mapped = [];
  for (let crop = 0; crop < crops; crop++) {
    const tensor = new ort.Tensor("float32", values.slice(crop * size, (crop + 1) * size), [1, ...shape]);
    const outputs = await byRuntime(() => session.run({ [input]: tensor }));
    scored.set(outputs[scores].data, crop * classes);
    mapped.push({ values: outputs[maps].data.slice(), sides: outputs[maps].dims.slice(2) });
    for (const each of Object.values(outputs)) each.dispose();
  }
  return { scores: meanScores(scored, crops), mapsOf: (index) => mapsOf(mapped, index) };
}

/** Returns the maps of a class, one per crop, out of the maps of all classes of each crop. */
function mapsOf(mapped, index) {
  const [height, width] = mapped[0].sides;
  const area = height * width;
  const values = new Float32Array(mapped.length * area);
  mapped.forEach((crop, number) => values.set(crop.values.subarray(index * area, (index + 1) * area), number * area));
  return { shape: [mapped.length, height, width], values };
}

/** An error after which the net is lost. */
class Lost extends Error {}

const NO_MEMORY = "the browser gives the net too little memory: close other tabs, or use a device with more";

async function byRuntime(work) {
  try {
    return await work();
  } catch (error) {
    const [text] = String(error?.message ?? error).split("\n");
    throw new Lost(/memory|alloc/i.test(text) ? NO_MEMORY : `the net does not run in this browser (${text})`);
  }
}

addEventListener("message", ({ data }) => {
  queue = queue.then(() => answer(data));
});

async function answer({ number, task, content }) {
  try {
    postMessage({ number, value: await TASKS[task](content) });
  } catch (error) {
    // An array that is too large for the browser is a RangeError.
    const isLost = error instanceof Lost || error instanceof RangeError;
    postMessage({ number, error: error instanceof RangeError ? NO_MEMORY : error.message, lost: isLost });
  }
}
