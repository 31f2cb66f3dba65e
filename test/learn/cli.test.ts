// `tureen learn` as a person uses it: what it writes, interrupting, resuming, and a full disk's cousin.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { learnCommand } from "../../src/cli/learn.ts";
import { openSoup } from "../../src/cli/options.ts";
import type { Flags } from "../../src/cli/usage.ts";
import { parseRecipe } from "../../src/soup/recipe.ts";
import { tinyAdapterFiles, tinyData, tinyModelFiles } from "./tiny-model.ts";

let folder: string;
let flags: Flags;
let notes: string;

async function writeFolder(name: string, files: Record<string, Uint8Array>): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), content);
  return path;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tureen-learn-"));
  const model = await writeFolder("model", await tinyModelFiles());
  const a = await writeFolder("a", await tinyAdapterFiles(["q_proj", "v_proj"], 1));
  const b = await writeFolder("b", await tinyAdapterFiles(["q_proj", "down_proj"], 2));
  writeFileSync(join(folder, "data.jsonl"), tinyData(40));
  flags = {
    model,
    adapter: [`a=${a}`, `b=${b}`],
    data: [join(folder, "data.jsonl")],
    backend: "reference",
    "learning-rate": "0.1",
    patience: "100",
  };
});
afterAll(() => rmSync(folder, { recursive: true }));

beforeEach(() => {
  notes = "";
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    notes += text;
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

test("writes soup.json and nothing else", async () => {
  const out = join(folder, "plain", "soup.json");
  await learnCommand.run({ ...flags, out }, []);
  const recipe = parseRecipe(readFileSync(out, "utf8"));
  expect(Object.keys(recipe.weights)).toEqual(["a", "b"]);
  expect(recipe.learned).toMatchObject({ learningRate: 0.1, steps: 6, stopReason: "done" });
  expect(readdirSync(join(folder, "plain"))).toEqual(["soup.json"]);
  expect(notes).toMatch(/6 steps\nvalidation loss .* → .*\nwrote .*soup\.json/);
});

test("an interrupt keeps the best; resuming ends as if nothing had happened", async () => {
  const whole = join(folder, "whole.json");
  await learnCommand.run({ ...flags, epochs: "4", out: whole }, []);

  const out = join(folder, "resumed.json");
  const running = learnCommand.run({ ...flags, epochs: "4", out }, []);
  while (!existsSync(`${out}.progress`)) await new Promise((resolve) => setTimeout(resolve, 1));
  process.emit("SIGINT");
  await running;
  expect(notes).toMatch(/interrupted \(--resume goes on\)/);
  const { learned } = parseRecipe(readFileSync(out, "utf8"));
  expect(learned).toMatchObject({ stopReason: "aborted" });
  expect(learned!.steps).toBeLessThan(24);
  expect(existsSync(`${out}.progress`)).toBe(true);

  await expect(learnCommand.run({ ...flags, epochs: "5", out, resume: true }, [])).rejects.toThrow(
    /belongs to another run/,
  );
  await learnCommand.run({ ...flags, epochs: "4", out, resume: true }, []);
  expect(readFileSync(out, "utf8")).toBe(readFileSync(whole, "utf8"));
  expect(existsSync(`${out}.progress`)).toBe(false);
});

test("resuming without a checkpoint begins anew, and says so", async () => {
  const out = join(folder, "fresh.json");
  await learnCommand.run({ ...flags, out, resume: true }, []);
  expect(notes).toMatch(/nothing to resume/);
});

test("an output that cannot be written fails at the first step", async () => {
  const out = join(folder, "data.jsonl", "soup.json");
  const failing = learnCommand.run({ ...flags, epochs: "100", out }, []);
  await expect(failing).rejects.toMatchObject({ code: "SOURCE_WRITE_FAILED" });
});

test("--soup cat takes the weights that released adapters carry", async () => {
  const own = async (name: string, value: number): Promise<string> => {
    const logit = (): { name: string; values: number[] } => ({
      name: "lora_learnable_weights",
      values: [value],
    });
    return `${name}=${await writeFolder(name, await tinyAdapterFiles(["q_proj"], 5, { logit }))}`;
  };
  const adapter = [await own("x", 1), await own("y", 0)];
  const { workbench, soup } = await openSoup({ model: flags.model, adapter, soup: "cat" });
  const weight = 1 / (1 + Math.exp(-1));
  expect(soup.weights.x).toBeCloseTo(weight, 12);
  expect(soup.weights.y).toBeCloseTo(1 - weight, 12);
  await workbench.close();
});

test("refuses a single adapter", async () => {
  const [adapter] = flags.adapter as string[];
  const out = join(folder, "refused.json");
  const failing = learnCommand.run({ ...flags, adapter: [adapter!], out }, []);
  await expect(failing).rejects.toThrow(/leave nothing to learn.*alone/);
});

test.each<[string, Record<string, string | string[]>, RegExp]>([
  ["no data", { data: [] }, /--data FILE is missing/],
  ["a missing file", { data: ["/nowhere/x.jsonl"] }, /cannot read the examples.*x\.jsonl/],
  ["no adapters", { adapter: [] }, /names of adapters/],
  ["an unknown choice", { granularity: "head" }, /--granularity: expected linear, layer/],
  ["a bad number", { "learning-rate": "fast" }, /--learning-rate: expected a number/],
])("refuses %s", async (_, change, pattern) => {
  const out = join(folder, "refused.json");
  await expect(learnCommand.run({ ...flags, out, ...change }, [])).rejects.toThrow(pattern);
  expect(existsSync(out)).toBe(false);
});
