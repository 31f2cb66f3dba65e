// The built `tureen` command with GGUF files, wherever it takes a model or an adapter.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { GGUF_CONFIG, makeAdapters, makeGgufModel } from "../support/gguf-models.ts";
import { expectClose } from "../support/values.ts";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const IDS = "1,17,250,3,99";

let scratch: string;
let model: string;
let adapter: string;
beforeAll(() => {
  if (!existsSync(MAIN)) throw new Error("dist/ is missing: run `npm run build` first");
  scratch = mkdtempSync(join(tmpdir(), "tureen-cli-gguf-"));
  model = join(scratch, "tiny-q4_k_m.gguf");
  adapter = join(scratch, "lora.gguf");
  writeFileSync(model, makeGgufModel((name) => (name.includes("v_proj") ? "Q6_K" : "Q4_K")).file);
  writeFileSync(adapter, makeAdapters(GGUF_CONFIG).gguf);
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function tureenJson(...args: string[]) {
  const options = { maxBuffer: 1 << 26, timeout: 50_000 };
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [MAIN, ...args, "--json"],
    options,
  );
  return JSON.parse(stdout);
}

const logitsOf = async (...args: string[]): Promise<number[]> => {
  const running = ["--backend", "wasm", "--threads", "1", "--ids", IDS];
  return (await tureenJson("logits", ...args, ...running)).logits;
};

test("inspect says what a model and an adapter are, and whether they fit", async () => {
  const [base] = await tureenJson("inspect", model);
  expect(base).toMatchObject({ kind: "model", supported: true });
  expect(base.facts).toMatchObject({
    architecture: "llama",
    types: "Q4_K × 14, F32 × 5, Q6_K × 2",
  });
  const [lora] = await tureenJson("inspect", adapter, "--model", model);
  expect(lora).toMatchObject({ kind: "adapter", supported: true });
  expect(lora.facts).toMatchObject({ r: 4, lora_alpha: 6, "linear layers changed": 14 });
});

test("fold and merge --full write whole models that are the soup", async () => {
  const soup = ["--model", model, "--adapter", `a=${adapter}`];
  const live = await logitsOf(...soup, "--soup", "a=0.5", "--quantize", "none");
  const largest = live.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const folded = join(scratch, "folded");
  await tureenJson("fold", ...soup, "--soup", "a=0.5", "--out", folded);
  // W + m B A in one matrix, or as two products: f32 sums in another order
  expectClose(await logitsOf("--model", folded), live, 1e-4 * largest);
  const merged = join(scratch, "merged");
  const method = ["--weights", "a=0.5", "--method", "svd", "--full", "--dtype", "float16"];
  await tureenJson("merge", ...soup, ...method, "--out", merged);
  expect(readdirSync(merged)).toContain("config.json");
  expectClose(await logitsOf("--model", merged), live, 0.02 * largest);
});

test("an adapter exports to PEFT, beside a GGUF base", async () => {
  const soup = ["--model", model, "--adapter", `a=${adapter}`];
  const out = join(scratch, "peft");
  await tureenJson("merge", ...soup, "--weights", "a=0.5", "--method", "cat", "--out", out);
  const live = await logitsOf(...soup, "--soup", "a=0.5", "--quantize", "none");
  const again = ["--model", model, "--adapter", `b=${out}`, "--soup", "b=1", "--quantize", "none"];
  const largest = live.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expectClose(await logitsOf(...again), live, 1e-4 * largest);
});
