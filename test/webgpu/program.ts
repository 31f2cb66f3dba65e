// What every host with WebGPU runs: the cases of the conformance suite, backward pass included, against the reference, and golden prompts of the kitchen
// against wasm. Bundled to one file (bundle.ts), so that Node, Deno and browsers run the same bytes.
import { loadModel } from "../../src/api/load-model.ts";
import type { Model } from "../../src/api/model.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { createWebGpuBackend } from "../../src/backend/webgpu/create.ts";
import { cases } from "../backend/cases.ts";
import { gradientCases } from "../backend/gradient-cases.ts";
import { expectClose, maxDifference } from "../support/values.ts";

export interface WebGpuReport {
  /** Of the device. */
  readonly build: string;
  /** Cases that ran. */
  readonly cases: number;
  readonly failures: readonly { readonly name: string; readonly message: string }[];
  /** Greedy tokens by weight type, and how far the prompt's logits are from wasm's, of their largest. */
  readonly greedy: Readonly<Record<string, { webgpu: number[]; wasm: number[]; distance: number }>>;
  readonly failure?: string;
}

const QUANTIZE = ["none", "q8", "q4"] as const;
const TOKENS = 6;

/**
 * @param kitchen folder or URL of demo/kitchen
 * @param stride runs every so manieth case
 */
export async function runWebGpu(
  kitchen: string,
  prompt: readonly number[],
  stride = 1,
): Promise<WebGpuReport> {
  const backend = await createWebGpuBackend();
  const reference = createReferenceBackend();
  const failures: { name: string; message: string }[] = [];
  const chosen = [...cases, ...gradientCases].filter((_, i) => i % stride === 0);
  for (const one of chosen) {
    const expected = await one.run(reference);
    const bound = one.gpuBound ?? one.bound;
    try {
      const actual = await one.run(backend);
      expectClose(actual, expected, typeof bound === "number" ? bound : bound(expected));
    } catch (error) {
      failures.push({ name: one.name, message: String(error) });
    }
  }
  const { build } = backend;
  await backend.dispose();
  const greedy: Record<string, { webgpu: number[]; wasm: number[]; distance: number }> = {};
  for (const quantize of QUANTIZE) {
    const [gpu, cpu] = [
      await load(kitchen, "webgpu", quantize),
      await load(kitchen, "wasm", quantize),
    ];
    const soup = { knowledge: 0.6, format: 0.6 };
    const [a, b] = [await gpu.logits(prompt, { soup }), await cpu.logits(prompt, { soup })];
    greedy[quantize] = {
      webgpu: await continueGreedily(gpu, prompt),
      wasm: await continueGreedily(cpu, prompt),
      distance: maxDifference(a, b) / b.reduce((max, x) => Math.max(max, Math.abs(x)), 0),
    };
    await gpu.dispose();
    await cpu.dispose();
  }
  return { build, cases: chosen.length, failures, greedy };
}

/** A text on the GPU of which every token is told; `fallback` lets it go on on wasm. */
export async function generateText(
  kitchen: string,
  prompt: readonly number[],
  options: { readonly fallback: boolean; readonly maxTokens: number },
  tell: (tokens: readonly number[]) => void,
): Promise<{ tokens: readonly number[]; backend: string }> {
  const { fallback, maxTokens } = options;
  const model = await loadModel(`${kitchen}/base`, { backend: "webgpu", quantize: "q8", fallback });
  const tokens: number[] = [];
  const text = model.generate([...prompt], { temperature: 0, maxTokens, ignoreEos: true });
  for await (const { tokenIds } of text.chunks()) {
    tokens.push(...tokenIds);
    tell(tokens);
  }
  const backend = model.info.backend.name;
  await model.dispose();
  return { tokens, backend };
}

async function load(
  kitchen: string,
  backend: "webgpu" | "wasm",
  quantize: (typeof QUANTIZE)[number],
): Promise<Model> {
  const one = backend === "wasm" ? { threads: 1 } : {};
  const model = await loadModel(`${kitchen}/base`, {
    backend,
    quantize,
    ...one,
    contextLength: 128,
  });
  for (const name of ["knowledge", "format"]) {
    await model.loadAdapter(`${kitchen}/adapters/${name}`, { name });
  }
  return model;
}

async function continueGreedily(model: Model, prompt: readonly number[]): Promise<number[]> {
  const options = { temperature: 0, maxTokens: TOKENS, soup: { knowledge: 0.6, format: 0.6 } };
  const { tokenIds } = await model.generate([...prompt], options).result();
  return [...tokenIds];
}
