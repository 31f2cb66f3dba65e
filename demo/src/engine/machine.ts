// What this browser can run, found by trying: each backend and build is asked to load the kitchen, and says itself why it
// cannot. In a worker of its own, which ends with the trial.
import type { BackendInfo } from "tureen";
import { createTureenWorker, type RemoteModel } from "tureen/worker";
import { type Kitchen, loadKitchenModel } from "./kitchen.ts";
import { hashBits, type WeightChoice } from "./parity.ts";

export interface Candidate {
  readonly id: string;
  readonly options: Readonly<Record<string, string>>;
  /** Whether it promises the same bits as Node. */
  readonly isExact: boolean;
}

export const CANDIDATES: readonly Candidate[] = [
  { id: "webgpu", options: { backend: "webgpu" }, isExact: false },
  ...["relaxed-threads", "baseline-threads", "relaxed", "baseline"].map((build) => ({
    id: `wasm ${build}`,
    options: { backend: "wasm", build },
    isExact: true,
  })),
];

export type Trial =
  | { readonly runs: true; readonly backend: BackendInfo }
  | { readonly runs: false; readonly problem: unknown };

export async function tryAll(
  kitchen: Kitchen,
  report: (id: string, trial: Trial) => void,
): Promise<void> {
  const worker = createTureenWorker();
  try {
    for (const { id, options } of CANDIDATES) {
      try {
        const model = await loadKitchenModel(worker, kitchen.files, options);
        report(id, { runs: true, backend: (await model.info).backend });
        await model.dispose();
      } catch (problem) {
        report(id, { runs: false, problem });
      }
    }
  } finally {
    worker.terminate();
  }
}

/** The same computation on every build that runs, in every weight type. */
export async function hashAll(
  kitchen: Kitchen,
  builds: readonly string[],
  types: readonly WeightChoice[],
  report: (id: string, type: WeightChoice, hash: string) => void,
): Promise<void> {
  const worker = createTureenWorker();
  try {
    for (const { id, options } of CANDIDATES) {
      if (!builds.includes(id)) continue;
      for (const quantize of types) {
        const model = await loadKitchenModel(worker, kitchen.files, { ...options, quantize });
        report(id, quantize, await hashBits(model, kitchen.learned));
        await model.dispose();
      }
    }
  } finally {
    worker.terminate();
  }
}

export interface Speed {
  readonly promptTokens: number;
  readonly prefill: number;
  readonly decode: number;
}

const OUTPUT_TOKENS = 48;
const ROUNDS = 5;

/** Tokens per second, medians of five, with both adapters in use if there are any. */
export async function measureSpeed(model: RemoteModel): Promise<Speed> {
  const [length, config, adapters] = await Promise.all([
    model.contextLength,
    model.config,
    model.adapters,
  ]);
  const promptTokens = Math.min(128, length - OUTPUT_TOKENS - 1);
  const ids = Array.from({ length: promptTokens }, (_, i) => (i * 7 + 11) % config.vocabSize);
  const soup = Object.fromEntries(adapters.map(({ name }) => [name, 1]));
  const prefill: number[] = [];
  const decode: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const session = await model.createSession();
    const options = {
      soup,
      session,
      maxTokens: OUTPUT_TOKENS,
      ignoreEos: true,
      speculation: false,
    };
    const { timings } = await model.generate(ids, options).result();
    await session.dispose();
    prefill.push(timings.prefillTokensPerSecond);
    decode.push(timings.decodeTokensPerSecond);
  }
  return { promptTokens, prefill: median(prefill), decode: median(decode) };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

export interface Memory {
  readonly weights: number;
  readonly adapters: number;
  readonly cache: number;
  /** Of the whole page with its workers, where the browser tells. */
  readonly page?: number;
}

export async function readMemory(model: RemoteModel): Promise<Memory> {
  const [info, adapters, session] = await Promise.all([
    model.info,
    model.adapters,
    model.createSession(),
  ]);
  const cache = await session.nBytes;
  await session.dispose();
  return {
    weights: info.weightBytes,
    adapters: adapters.reduce((sum, { nBytes }) => sum + nBytes, 0),
    cache,
  };
}

/** The browser waits for its next garbage collection before it answers. */
export async function readPageMemory(): Promise<number | undefined> {
  const { measureUserAgentSpecificMemory: measure } = performance as {
    measureUserAgentSpecificMemory?: () => Promise<{ bytes: number }>;
  };
  if (measure === undefined || !crossOriginIsolated) return undefined;
  return (await measure.call(performance).catch(() => undefined))?.bytes;
}
