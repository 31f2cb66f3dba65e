// Who is measured, and how each is started for a case: { shape, type, threads, contextLength }.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { DENO, NODE_24 } from "../hosts/binaries.ts";
import { ADAPTERS } from "../oracle/shape.mjs";
import { GGUF_TYPES } from "./files.mjs";
import { startPage } from "./hosts/start-page.mjs";
import { startProcess } from "./hosts/start-process.mjs";

/**
 * @typedef {object} Contender
 * @property {string} name
 * @property {boolean} adapters whether it is measured with adapters
 * @property {number} [rounds] at most so many
 * @property {boolean} [slow] short prompts only
 * @property {(testCase: object) => Promise<import("./hosts/start-process.mjs").Engine>} start rejects with the reason why not
 */

const QUANTIZE = { f32: "none", q8: "q8", q4: "q4" };
const module = (path) => new URL(path, import.meta.url).href;
/** @param {{ path: string } | { missing: string }} program */
const pathOf = (program) => {
  if (program.missing !== undefined) throw new Error(program.missing);
  return program.path;
};
const node = () => ({ path: pathOf(NODE_24), flags: ["--expose-gc"] });
const deno = () => ({ path: pathOf(DENO), flags: ["run", "--allow-all", "--no-check"] });

/** @param {string} folder of the shape's files @param {{ dist: string }} options */
export function createContenders(folder, options) {
  return {
    tureen: tureen("tureen", folder, options, node),
    baseline: { ...tureen("tureen, baseline build", folder, options, node, "baseline"), rounds: 3 },
    deno: { ...tureen("tureen, Deno", folder, options, deno), rounds: 3 },
    chromium: { ...tureenInChromium(folder, options), rounds: 3 },
    "llama.cpp": llamaCpp(folder),
    "wllama-2": wllama(2, folder, options),
    "wllama-3": wllama(3, folder, options),
  };
}

function tureenOptions({ type, threads, contextLength }, build = "relaxed") {
  return {
    adapters: ADAPTERS,
    quantize: QUANTIZE[type],
    threads,
    build: threads > 1 ? `${build}-threads` : build,
    contextLength,
  };
}

function tureen(name, folder, { dist }, program, build) {
  const sources = Object.fromEntries(ADAPTERS.map((it) => [it.name, join(folder, it.name)]));
  return {
    name,
    adapters: true,
    start: async (testCase) =>
      startProcess(
        module("peers/tureen.mjs"),
        {
          ...tureenOptions(testCase, build),
          tureen: pathToFileURL(join(dist, "index.js")).href,
          model: join(folder, "model"),
          adapterSources: sources,
        },
        program(),
      ),
  };
}

function tureenInChromium(folder, { dist }) {
  const path = pathInPage(folder);
  const sources = Object.fromEntries(ADAPTERS.map((it) => [it.name, `${path}/${it.name}`]));
  return {
    name: "tureen, Chromium",
    adapters: true,
    start: (testCase) =>
      startPage(
        "/peers/tureen.mjs",
        {
          ...tureenOptions(testCase),
          tureen: "/dist/tureen.js",
          model: `${path}/model`,
          adapterSources: sources,
        },
        { dist, isolated: testCase.threads > 1, worker: true },
      ),
  };
}

function llamaCpp(folder) {
  return {
    name: "llama.cpp",
    adapters: true,
    start: async ({ type, threads, contextLength }) =>
      startProcess(
        module("peers/llama-cpp.mjs"),
        { folder, type: GGUF_TYPES[type], threads, contextLength, adapters: ADAPTERS },
        node(),
      ),
  };
}

function wllama(version, folder, { dist }) {
  return {
    name: `wllama ${version}`,
    adapters: false,
    rounds: 2,
    slow: true,
    start: ({ type, threads, contextLength }) =>
      startPage(
        "/peers/wllama.mjs",
        {
          version,
          model: `${pathInPage(folder)}/model-${GGUF_TYPES[type]}.gguf`,
          threads,
          contextLength,
        },
        { dist, isolated: threads > 1, worker: false },
      ),
  };
}

/** @param {{ dist: string, threads: number, build?: "relaxed" | "baseline" }} options */
export async function startTureenProducts({ dist, threads, build = "relaxed" }) {
  const options = { dist: pathToFileURL(dist).href, threads };
  return startProcess(
    module("peers/tureen-products.mjs"),
    { ...options, build: threads > 1 ? `${build}-threads` : build },
    node(),
  );
}

export async function startOrtNode({ threads }) {
  return startProcess(
    module("peers/onnxruntime.mjs"),
    { package: "onnxruntime-node", threads },
    node(),
  );
}

export async function startOrtWeb({ dist, threads }) {
  return startPage(
    "/peers/onnxruntime.mjs",
    { package: "/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs", threads },
    { dist, isolated: threads > 1, worker: true },
  );
}

export async function startCeilings() {
  return startProcess(module("roofline/engine.mjs"), {}, node());
}

function pathInPage(folder) {
  return `/build/${folder.split(/[\\/]/).at(-1)}`;
}
