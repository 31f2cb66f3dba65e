// All sections one after another, in Node 24; run.mjs starts it.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import { listLinears } from "../oracle/shape.mjs";
import { createContenders } from "./contenders.mjs";
import { GGUF_TYPES, prepareFiles, SHAPES } from "./files.mjs";
import { Notebook } from "./measure.mjs";
import { parseOptions } from "./options.mjs";
import { renderReport } from "./report.ts";
import { measureDownload } from "./sections/download.mjs";
import { measureContext, measureGeneration, measureLoad } from "./sections/generation.mjs";
import { measureKernels, measureProducts } from "./sections/products.mjs";
import { measureBatch, measureSoup } from "./sections/soups.mjs";

const SECTIONS = {
  generation: measureGeneration,
  context: measureContext,
  batch: measureBatch,
  kernels: measureKernels,
  products: measureProducts,
  soup: measureSoup,
  load: measureLoad,
  download: measureDownload,
};

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const options = parseOptions(process.argv.slice(2));

// The browsers' driver takes the signal and would let the rest go on.
process.on("SIGTERM", () => process.exit(143));

if (options.render === undefined) {
  await publish(await measure({ ...options, dist: resolve(options.dist ?? at("../../dist")) }));
} else {
  const files = await Promise.all(options.render.split(",").map((file) => readFile(file, "utf8")));
  await publish(merge(files.map((text) => JSON.parse(text))));
}

/** Between the shape's two marks in the document, or to standard output. */
async function publish(results) {
  const report = renderReport(results);
  if (!options.docs) return console.log(report);
  const file = at("../../docs/benchmarks.md");
  const text = await readFile(file, "utf8");
  const [begin, end] = ["measured", "end"].map(
    (mark) => `<!-- ${mark} ${results.options.shape} -->`,
  );
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${file} has no place for ${results.options.shape}`);
  const place = from + begin.length;
  await writeFile(file, `${text.slice(0, place)}\n\n${report}\n\n${text.slice(to)}`);
}

async function measure(options) {
  const file = resolve(options.json ?? at("build/results.json"));
  await mkdir(dirname(file), { recursive: true });
  const date = new Date().toISOString();
  const linears = listLinears(SHAPES[options.shape]);
  const linearWeights = linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const { shape, rounds, quick } = options;
  const toResults = ({ about, failures, rows }) => ({
    date,
    machine: describeMachine(),
    options: { shape, rounds, quick, linearWeights },
    about,
    failures,
    rows,
  });
  // After every case, since a run takes long and may be interrupted.
  const save = (pages) => writeFile(file, `${JSON.stringify(toResults(pages), null, 1)}\n`);
  const notebook = new Notebook(save);
  const types = options.types.filter((type) => type in GGUF_TYPES);
  const folder = await prepareFiles(options.shape, types, console.error);
  const all = createContenders(folder, options);
  const names = ["tureen", ...options.hosts, ...options.peers.filter((name) => name in all)];
  const contenders = names.map((name) => all[name]);
  for (const target of ["baseline", "relaxed"]) await compileCeilings(target);
  for (const section of options.sections) {
    try {
      await SECTIONS[section]({ options, notebook, contenders });
    } catch (error) {
      notebook.fail(section, "the whole section", error);
    }
  }
  await notebook.save();
  return toResults(notebook);
}

/** Several runs of the same shape, each of other sections, as one. */
function merge(runs) {
  const rows = runs.flatMap(({ rows }) => rows);
  const failures = runs.flatMap(({ failures }) => failures);
  return { ...runs[0], rows, failures };
}

async function compileCeilings(target) {
  const config = at("roofline/asconfig.json");
  const { error, stderr } = await asc.main(["--config", config, "--target", target]);
  if (error) throw new Error(`${stderr.toString()} ${error.message}`);
}

function describeMachine() {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model.trim(),
    cores: cpus().length,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
}
