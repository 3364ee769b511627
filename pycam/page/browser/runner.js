"use strict";
// Runs the net in a worker, on the graphics processor if the browser has WebGPU, else in WebAssembly. What a browser
// computes is checked before it is shown: on a small image, for which the page has pycam's scores.

const BACKENDS = {
  webgpu: { title: "WebGPU", script: "ort.webgpu.min.js", module: "ort-wasm-simd-threaded.asyncify.mjs", binary: "ort-wasm-simd-threaded.asyncify.wasm" },
  wasm: { title: "WebAssembly", script: "ort.wasm.min.js", module: "ort-wasm-simd-threaded.mjs", binary: "ort-wasm-simd-threaded.wasm" },
};
const TOLERANCE = 1e-3; // The largest difference of a score from pycam's, as a fraction of the largest score, at least of 1.
const MOST_THREADS = 8;

class Runner {
  /** How the net runs, in words, once it is ready. */
  description = "";
  /** The files that it has needed. */
  used = [];
  #worker = null;
  #ready = null;
  #isLoaded = false;
  #calls = new Map();
  #count = 0;
  #keys = new WeakMap(); // Numbers of files: the worker gets another copy of a file with each message.
  #onprogress;

  /** `onprogress` gets what is being done, in words, and how much of it is done, from 0 to 1; null if nobody knows. */
  constructor(onprogress) {
    this.#onprogress = onprogress;
  }

  /** Loads the net unless it is loaded. After a failure, the next call tries again. */
  ready() {
    this.#ready ??= this.#start().catch((error) => {
      this.#ready = null;
      throw error;
    });
    return this.#ready;
  }

  /** Returns the record of an image file for the viewer, with its best classes. */
  async predict(file) {
    await this.ready();
    const { record, shown } = await this.#call("predict", this.#given(file));
    return { ...record, src: URL.createObjectURL(shown) };
  }

  /** Returns the record of any class of an image file. */
  async find(file, index) {
    await this.ready();
    return this.#call("find", { ...this.#given(file), index });
  }

  #given(file) {
    if (!this.#keys.has(file)) this.#keys.set(file, ++this.#count);
    return { file, key: this.#keys.get(file) };
  }

  async #start() {
    if (typeof WebAssembly !== "object") throw new Error("this browser has no WebAssembly, or it is switched off: the net cannot run in it");
    const failures = [];
    for (const backend of (await hasWebGpu()) ? ["webgpu", "wasm"] : ["wasm"]) {
      try {
        await this.#startOn(backend);
        this.#isLoaded = true;
        return;
      } catch (error) {
        failures.push(error);
        this.#stop(error);
      }
    }
    throw failures.at(-1);
  }

  async #startOn(backend) {
    const { title, script, module, binary } = BACKENDS[backend];
    const names = [script, module, binary].map((name) => `runtime/${name}.gz`);
    const [code, importable, wasm, model] = await this.#load([...names, facts.model]);
    this.#onprogress("Preparing the net", null);
    const own = document.getElementById("worker").textContent;
    const address = URL.createObjectURL(new Blob([code, "\n", JSON.parse(own)], { type: "text/javascript" }));
    this.#worker = new Worker(address);
    this.#worker.addEventListener("message", ({ data }) => this.#settle(data));
    this.#worker.addEventListener("error", (event) => this.#stop(new Error(`the net stopped: ${event.message || "the browser ended it, perhaps for its memory"}`)));
    const threads = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
    const settings = { backend, threads, binary: wasm, module: new Blob([importable], { type: "text/javascript" }), model, facts };
    await this.#call("load", settings).finally(() => URL.revokeObjectURL(address));
    const { rgba, scores: expected, ...size } = { ...facts.check, scores: decodeFloats(facts.check.scores) };
    const scores = await this.#call("check", { rgba: decodeBytes(rgba), ...size });
    const difference = Math.max(...scores.map((score, index) => Math.abs(score - expected[index])));
    // Not ">": NaN is no agreement.
    if (!(difference <= TOLERANCE * Math.max(1, ...expected.map(Math.abs)))) {
      throw new Error(`${title} computes other scores in this browser than pycam, by ${difference.toPrecision(2)}: use another browser`);
    }
    const parts = backend === "wasm" ? `, ${threads} ${threads === 1 ? "thread" : "threads"}` : "";
    this.description = `${title}${parts}; scores agree with pycam's within ${difference.toExponential(0)}`;
    this.used = names;
  }

  async #load(names) {
    const total = names.reduce((sum, name) => sum + facts.files[name].bytes, 0);
    const loaded = new Map();
    const show = (name, count) => {
      loaded.set(name, Math.min(count, facts.files[name].bytes));
      const done = [...loaded.values()].reduce((sum, each) => sum + each, 0);
      this.#onprogress(`Loading the net: ${(done / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`, done / total);
    };
    return Promise.all(names.map((name) => fileNamed(name, (count) => show(name, count))));
  }

  #call(task, content) {
    const number = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#calls.set(number, { resolve, reject });
      this.#worker.postMessage({ number, task, content });
    });
  }

  #settle({ number, value, error, lost }) {
    const call = this.#calls.get(number);
    this.#calls.delete(number);
    if (error === undefined) call.resolve(value);
    else call.reject(new Error(error));
    if (lost) this.#stop(new Error(error));
  }

  /** Ends the worker; what waits for it fails with an error. The next image starts another one. */
  #stop(error) {
    this.#worker?.terminate();
    this.#worker = null;
    if (this.#isLoaded) this.#ready = null; // While it loads, #start goes on, and must not be started twice.
    this.#isLoaded = false;
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
  }
}

/** Returns whether there is a graphics processor; one in software is slower than WebAssembly. */
async function hasWebGpu() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  } catch {
    return false;
  }
}
