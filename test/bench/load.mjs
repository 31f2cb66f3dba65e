// How long a model takes to load: packed anew, packed and kept, and read from what was kept (loadModel's `packedCache`). A process
// for each load, the three in turn; the files are in the system's cache. After `npm run build`:
//
//   node test/bench/load.mjs [--model DIR] [--threads N] [--repeat N]
//
// Without a model, random weights in the shape of SmolLM2-135M are written to a temporary folder.
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadModel } from "../../dist/index.js";

const { values } = parseArgs({
  options: {
    model: { type: "string" },
    threads: { type: "string", default: "1" },
    repeat: { type: "string", default: "7" },
    once: { type: "string" },
    kept: { type: "boolean", default: false },
  },
});

if (values.once !== undefined) console.log(JSON.stringify(await loadOnce()));
else await compare();

/** One load and one token, in this process. */
async function loadOnce() {
  const options = { backend: "wasm", threads: Number(values.threads), quantize: values.once };
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  const model = await loadModel(values.model, { ...options, packedCache: values.kept });
  const loadMs = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  await model.logits([1, 2, 3, 4, 5, 6, 7, 8]);
  const tokenMs = performance.now() - start;
  await model.dispose();
  // Not `maxRSS`, which begins with what the parent took.
  const status = existsSync("/proc/self/status") ? readFileSync("/proc/self/status", "utf8") : "";
  const peakMb = Number(/VmHWM:\s*(\d+)/.exec(status)?.[1]) / 1024;
  return { loadMs, cpuMs: (user + system) / 1000, tokenMs, peakMb };
}

async function compare() {
  const scratch = mkdtempSync(join(tmpdir(), "tureen-load-"));
  try {
    const model = values.model ?? (await writeModel(join(scratch, "model")));
    const rows = [];
    for (const type of ["q8", "q4"]) {
      const runs = { anew: [], keeping: [], kept: [] };
      for (let i = 0; i < Number(values.repeat); i++) {
        const own = join(scratch, "own");
        rmSync(own, { recursive: true, force: true });
        for (const way of Object.keys(runs)) runs[way].push(run(model, type, way !== "anew", own));
      }
      for (const [way, all] of Object.entries(runs)) rows.push({ type, way, ...medians(all) });
    }
    console.table(rows);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** What was read long ago may have left the system's cache. */
function touch(folder) {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder, { recursive: true })) {
    const path = join(folder, name);
    if (statSync(path).isFile()) readFileSync(path);
  }
}

function run(model, type, isKept, own) {
  touch(model);
  touch(own);
  const args = ["--once", type, "--model", model, "--threads", values.threads];
  const command = [...process.execArgv, fileURLToPath(import.meta.url), ...args];
  const env = { ...process.env, TUREEN_CACHE: own };
  return JSON.parse(
    execFileSync(process.execPath, [...command, ...(isKept ? ["--kept"] : [])], { env }),
  );
}

function medians(runs) {
  const middle = (key) => runs.map((one) => one[key]).sort((a, b) => a - b)[runs.length >> 1];
  return Object.fromEntries(Object.keys(runs[0]).map((key) => [key, Math.round(middle(key))]));
}

async function writeModel(folder) {
  const { createRandomModel } = await import("../../dist/cli/random-model.js");
  mkdirSync(folder);
  for (const [name, bytes] of Object.entries(await createRandomModel("smollm2-135m", 1))) {
    writeFileSync(join(folder, name), bytes);
  }
  return folder;
}
