// The embedded model, opened through the public API, and the random micro model of its goldens.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { LoadModelOptions, Model } from "../../src/index.ts";
import { loadModel } from "../../src/index.ts";

const root = new URL("../../", import.meta.url);

export function kitchenPath(path: string): string {
  return fileURLToPath(new URL(`demo/kitchen/${path}`, root));
}

export function goldenPath(path: string): string {
  return fileURLToPath(new URL(`test/golden/kitchen/${path}`, root));
}

// biome-ignore lint/suspicious/noExplicitAny: the tests know their own files
export function readGolden(path: string): any {
  return JSON.parse(readFileSync(goldenPath(path), "utf8"));
}

/** Backends that the API is tested on. One thread: what threads compute is test/model's subject. */
export const BACKENDS: readonly LoadModelOptions[] = [
  { backend: "reference" },
  { backend: "wasm", threads: 1 },
];

/** The kitchen's base with both adapters. */
export async function loadKitchen(
  options: LoadModelOptions = { backend: "reference" },
): Promise<Model> {
  const model = await loadModel(kitchenPath("base"), options);
  for (const name of ["knowledge", "format"]) {
    await model.loadAdapter(kitchenPath(`adapters/${name}`), { name });
  }
  return model;
}

/** The micro model with adapters `a` (rank 4) and `b` (rank 6). It has no tokenizer and an untied head. */
export async function loadMicro(
  options: LoadModelOptions = { backend: "reference" },
): Promise<Model> {
  const model = await loadModel(goldenPath("micro"), options);
  for (const name of ["a", "b"]) {
    await model.loadAdapter(goldenPath(`micro/adapter_${name}`), { name });
  }
  return model;
}

export const QUESTION = "### Question: What does Daxpel carry?\n### Answer:";
