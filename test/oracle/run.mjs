// Compares Tureen with llama.cpp on random weights of SmolLM2-135M's shape, of a small Qwen3 and of a small SmolLM3, prints tables,
// and fails if they disagree by more than the bounds below. README.md says what the figures mean.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { compareLogits } from "./compare.mjs";
import { RANDOM_BLOCKS } from "./random-blocks.mjs";
import {
  CONFIG,
  GEMMA3_CONFIG,
  GGUF_CONFIG,
  QWEN3_CONFIG,
  randomSequences,
  SMOLLM3_CONFIG,
} from "./shape.mjs";

const SEQUENCES = 4;
const LENGTH = 24;
/** Thrice its window, and more than the 64 keys of a block. */
const GEMMA3_LENGTH = 80;
// Two orders of summing up to 1536 f32 terms, 30 layers deep, differ by some 1e-5. A single rounding to f16 (llama.cpp's own
// cache of f16 against one of f32) already gives 8e-3.
const F32_BOUNDS = { correlation: 0.99999, max: 1e-3, tie: 1e-3 };
// llama.cpp takes gelu from a table, by an argument of f16 and to a result of f16: as much.
const GEMMA3_BOUNDS = { correlation: 0.999999, max: 2e-2, tie: 2e-2 };
// 8-bit activations are chaotic: a change far below one step moves some value over a rounding border, that moves more in the
// next layer, and after 30 layers two correct engines are as far apart as they can get. How far, llama.cpp tells itself:
// rounding only its cache to f16 sets it apart from itself by `rms`. Tureen may differ a quarter more. A different top
// token is a near tie within 4 standard deviations of the difference of two such errors.
const q8Bounds = (rms) => ({ correlation: 0.999, rms: 1.25 * rms, tie: 4 * Math.SQRT2 * rms });
// Adapters that change nothing would agree as well.
const SOUP_MUST_DIFFER = { correlation: 0.9 };

const CASES = [
  { title: "f32", weights: "F32", soup: false },
  { title: "f32, soup of two adapters", weights: "F32", soup: true },
  { title: "q8", weights: "Q8_0", soup: false },
  { title: "q8, soup of two adapters", weights: "Q8_0", soup: true },
  { title: "llama.cpp's F32 files, soup", weights: "F32", soup: true, gguf: true },
  { title: "llama.cpp's Q8_0 file", weights: "Q8_0", soup: false, gguf: true },
];

// llama.cpp looks embeddings up as f32, from whatever type: with every other tensor in F32, only sums differ.
const TYPES = ["Q4_0", "Q8_0", ...Object.keys(RANDOM_BLOCKS)];
/** As llama.cpp mixes types, and more. */
const MIX = {
  token_embd: "Q6_K",
  output: "Q6_K",
  attn_q: "Q4_K",
  attn_k: "Q5_0",
  attn_v: "Q6_K",
  attn_output: "Q5_K",
  ffn_gate: "Q4_K",
  ffn_up: "Q4_1",
  ffn_down: "Q8_0",
};
// llama.cpp rounds what it multiplies quantized weights with to 8 bits in any case; Tureen does not where weights are f32.
const MIX_BOUNDS = { correlation: 0.995, rms: 0.06 };

installLlamaCpp();
const { evaluateWithLlamaCpp, evaluateWithTureen, startLlamaCpp } = await import("./engines.mjs");
const { writeFiles, writeTypes } = await import("./write-files.mjs");

const directory = await mkdtemp(join(tmpdir(), "tureen-oracle-"));
try {
  const llama = await startLlamaCpp();
  const failures = [
    ...(await compareModel(llama, "SmolLM2-135M", CONFIG)),
    ...(await compareModel(llama, "Qwen3", QWEN3_CONFIG)),
    ...(await compareModel(llama, "SmolLM3", SMOLLM3_CONFIG)),
    ...(await compareModel(llama, "Gemma 3", GEMMA3_CONFIG, GEMMA3_LENGTH, GEMMA3_BOUNDS)),
    ...(await compareTypes(llama)),
  ];
  await llama.dispose();
  for (const failure of failures) note(`FAILED ${failure}`);
  if (failures.length > 0) process.exitCode = 1;
} finally {
  await rm(directory, { recursive: true });
}

/** @returns {Promise<string[]>} what is out of bounds */
async function compareModel(llama, shape, config, length = LENGTH, f32Bounds = F32_BOUNDS) {
  const { vocab_size: vocabulary } = config;
  note(`${shape}: writing random weights, which are removed afterwards`);
  const folder = join(directory, shape);
  await writeFiles(folder, { config });
  const sequences = randomSequences(SEQUENCES, length, vocabulary);
  const table = createTable();
  const failures = [];
  let base;
  let builds;
  for (const { title, ...one } of CASES) {
    note(title);
    const testCase = { ...one, vocabulary };
    const evaluate = (cache) => evaluateWithLlamaCpp(llama, folder, testCase, sequences, cache);
    const expected = await evaluate("F32");
    const { logits, build } = await evaluateWithTureen(folder, testCase, sequences);
    const found = compareLogits(logits, expected);
    table.push(toRow(title, found));
    let bounds = f32Bounds;
    if (testCase.weights === "Q8_0") {
      const control = compareLogits(await evaluate("F16"), expected);
      table.push(toRow("  llama.cpp's cache in f16", control));
      bounds = q8Bounds(control.rms);
    }
    failures.push(...exceeded(`${shape}, ${title}`, found, bounds));
    if (!testCase.soup) base = expected;
    else if (compareLogits(expected, base).correlation > SOUP_MUST_DIFFER.correlation) {
      failures.push(`${shape}, ${title}: the adapters hardly change llama.cpp's logits`);
    }
    builds = `Tureen's wasm build "${build}"`;
  }
  await rm(folder, { recursive: true });
  const { release } = llama.llamaCppRelease;
  console.log(`${shape}: ${builds} against llama.cpp ${release}, ${SEQUENCES * length} positions`);
  console.log(table.toString());
  return failures;
}

/** Types of GGUF's tensors, each as the embedding, then several in one model. @returns {Promise<string[]>} what is out of bounds */
async function compareTypes(llama) {
  const sequences = randomSequences(SEQUENCES, LENGTH, GGUF_CONFIG.vocab_size);
  const table = createTable();
  const failures = [];
  const compare = async (title, weights, quantize, bounds) => {
    note(title);
    const { vocab_size: vocabulary } = GGUF_CONFIG;
    const testCase = { weights, soup: false, gguf: true, quantize, vocabulary };
    const expected = await evaluateWithLlamaCpp(llama, directory, testCase, sequences, "F32");
    const { logits } = await evaluateWithTureen(directory, testCase, sequences);
    const found = compareLogits(logits, expected);
    table.push(toRow(title, found));
    failures.push(...exceeded(title, found, bounds));
  };
  for (const type of TYPES) {
    await writeTypes(join(directory, `model-${type}-rows.gguf`), (name) =>
      name === "token_embd.weight" ? type : "F32",
    );
    await compare(`embedding in ${type}`, `${type}-rows`, "none", F32_BOUNDS);
    await rm(join(directory, `model-${type}-rows.gguf`));
  }
  await writeTypes(
    join(directory, "model-mix.gguf"),
    (name) => MIX[name.split(".").at(-2)] ?? "F32",
  );
  await compare("matrices of six types, as f32", "mix", "none", MIX_BOUNDS);
  await compare("matrices of six types, as they are", "mix", "stored", MIX_BOUNDS);
  console.log(table.toString());
  return failures;
}

function createTable() {
  return new Table({
    head: ["case", "same top-1", "worst tie", "1 - correlation", "rms Δ log p", "max |Δ log p|"],
    style: { head: [], border: [] },
  });
}

/** Bounds are written so that NaN exceeds them. */
function exceeded(title, found, { correlation, max = Infinity, rms = Infinity, tie = Infinity }) {
  return [
    [found.correlation > correlation, `correlation ${found.correlation}, bound ${correlation}`],
    [found.max <= max, `max |Δ log p| ${found.max}, bound ${max}`],
    [found.rms <= rms, `rms Δ log p ${found.rms}, bound ${rms}`],
    [found.worstTie <= tie, `top-1 differs by ${found.worstTie}, near tie within ${tie}`],
  ].flatMap(([holds, text]) => (holds ? [] : [`${title}: ${text}`]));
}

function toRow(title, { positions, sameTop, worstTie, correlation, rms, max }) {
  return [
    title,
    `${sameTop} / ${positions}`,
    worstTie === 0 ? "-" : worstTie.toFixed(3),
    ...[1 - correlation, rms, max].map((value) => value.toExponential(1)),
  ];
}

/** Only from the npm registry: no install script may build or download anything. */
function installLlamaCpp() {
  const here = fileURLToPath(new URL(".", import.meta.url));
  if (existsSync(join(here, "node_modules/node-llama-cpp/package.json"))) return;
  note("installing node-llama-cpp (120 MB)");
  const args = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status } = spawnSync("npm", args, {
    cwd: here,
    stdio: ["ignore", process.stderr.fd, process.stderr.fd],
    shell: process.platform === "win32",
  });
  if (status !== 0) throw new Error("npm could not install node-llama-cpp");
}

function note(text) {
  console.error(text);
}
