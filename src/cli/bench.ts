// tureen bench: tokens per second, by build, threads, weight type, number of adapters and of sequences in a batch.
import { type LoadModelOptions, loadModel } from "../api/load-model.ts";
import type { Model } from "../api/model.ts";
import { BUILDS, type Build, hasThreads, supportedBuilds } from "../backend/wasm/builds.ts";
import { hostThreads } from "../backend/wasm/host-threads.ts";
import { Random } from "../math/random.ts";
import type { SoupWeights } from "../soup/weights.ts";
import type { FileSetInput } from "../sources/open.ts";
import type { Command } from "./command.ts";
import { formatTable, note, print, printJson, round } from "./output.ts";
import { createRandomAdapter, createRandomModel, SHAPES } from "./random-model.ts";
import {
  choiceFlag,
  type Flags,
  integerFlag,
  parseInteger,
  textFlag,
  UsageError,
} from "./usage.ts";

const RANK = 16;

export const benchCommand: Command = {
  name: "bench",
  summary: "measure prefill and decode speed on this machine",
  help: `Usage: tureen bench [--model DIR | --shape NAME] [options]
Measures with 0, 1 and 2 random adapters of rank 16 on all linear layers. Medians; nothing else should be running.

  --model DIR             a model of yours
  --shape NAME            ${Object.keys(SHAPES).join(", ")} with random weights (default smollm2-135m)
  --builds A,B            of ${BUILDS.join(", ")}, reference (default: all wasm builds that run here)
  --backend webgpu        measure on the GPU instead
  --plan                  with --backend webgpu: measure nothing, count dispatches and bytes per token; needs no GPU
  --threads 1,2           thread counts of the threaded builds (default: the number of processors)
  --quantize none,q8,q4   weight types (default: all three)
  --adapters 0,1,2        how many adapters (default: 0,1,2)
  --batch 1,8             sequences that are decoded at once (default: 1); decode is the sum of their speeds
  --soups N               different soups of the adapters among them (default: 1)
  --prompt-tokens N       default 128
  --decode-tokens N       default 32
  --repeat N              repetitions to take the median of, after one that is not counted (default 5)
  --seed N                of weights and prompts (default 1)
  --json                  print { shape, rows: [...] }`,
  flags: {
    model: { type: "string" },
    shape: { type: "string" },
    builds: { type: "string" },
    backend: { type: "string" },
    plan: { type: "boolean" },
    threads: { type: "string" },
    quantize: { type: "string" },
    adapters: { type: "string" },
    batch: { type: "string" },
    soups: { type: "string" },
    "prompt-tokens": { type: "string" },
    "decode-tokens": { type: "string" },
    repeat: { type: "string" },
    seed: { type: "string" },
    json: { type: "boolean" },
  },

  async run(flags) {
    const backend = choiceFlag(flags, "backend", ["wasm", "webgpu"]) ?? "wasm";
    if (flags.plan === true) {
      if (backend !== "webgpu") throw new UsageError("--plan is for --backend webgpu");
      const { printPlans } = await import("./webgpu-plan-table.ts");
      await printPlans(flags.json === true);
      return;
    }
    const plan = await readPlan(flags);
    const source = plan.model ?? (await createRandomModel(plan.shape, plan.seed));
    const rows: Row[] = [];
    for (const variant of plan.variants) {
      for (const row of await measureVariant(source, variant, plan)) rows.push(row);
    }
    if (flags.json === true) printJson({ shape: plan.model ?? plan.shape, rows });
    else printTable(rows, plan);
  },
};

/** One way to run the model. */
interface Variant {
  readonly build: Build | "reference" | "webgpu";
  readonly threads: number;
  readonly quantize: "none" | "q8" | "q4";
}

interface Plan {
  readonly model: string | undefined;
  readonly shape: string;
  readonly variants: readonly Variant[];
  readonly adapters: readonly number[];
  readonly batch: readonly number[];
  readonly soups: number;
  readonly promptTokens: number;
  readonly decodeTokens: number;
  readonly repeat: number;
  readonly seed: number;
}

interface Row {
  readonly build: string;
  readonly threads: number;
  readonly weights: string;
  readonly adapters: number;
  /** Sequences decoded at once. */
  readonly batch: number;
  /** Tokens per second, medians. */
  readonly prefill: number;
  readonly decode: number;
  readonly loadMs: number;
  readonly weightBytes: number;
}

async function readPlan(flags: Flags): Promise<Plan> {
  const list = <T extends string>(
    name: string,
    choices: readonly T[],
    fallback: readonly T[],
  ): T[] =>
    (textFlag(flags, name)?.split(",") ?? [...fallback]).map(
      (item) => choiceFlag({ [name]: item }, name, choices)!,
    );
  const numbers = (name: string, min: number, fallback: readonly number[]): number[] =>
    textFlag(flags, name)
      ?.split(",")
      .map((item) => parseInteger(item, `--${name}`, min)) ?? [...fallback];
  const shape = choiceFlag(flags, "shape", Object.keys(SHAPES)) ?? "smollm2-135m";
  const model = textFlag(flags, "model");
  if (model !== undefined && flags.shape !== undefined) {
    throw new UsageError("give --model or --shape, not both");
  }
  const onGpu = flags.backend === "webgpu";
  if (onGpu && flags.builds !== undefined) {
    throw new UsageError("give --backend webgpu or --builds, not both");
  }
  const wasmBuilds = list("builds", [...BUILDS, "reference"] as const, supportedBuilds());
  const builds = onGpu ? (["webgpu"] as const) : wasmBuilds;
  const quantize = list("quantize", ["none", "q8", "q4"] as const, ["none", "q8", "q4"]);
  const threads = numbers("threads", 1, [await hostThreads()]);
  const variants = builds.flatMap((build) =>
    (build !== "reference" && build !== "webgpu" && hasThreads(build) ? threads : [1]).flatMap(
      (count) => quantize.map((type) => ({ build, threads: count, quantize: type })),
    ),
  );
  return {
    model,
    shape,
    variants,
    adapters: numbers("adapters", 0, [0, 1, 2]),
    batch: numbers("batch", 1, [1]),
    soups: integerFlag(flags, "soups", 1) ?? 1,
    promptTokens: integerFlag(flags, "prompt-tokens", 1) ?? 128,
    decodeTokens: integerFlag(flags, "decode-tokens", 2) ?? 32,
    repeat: integerFlag(flags, "repeat", 1) ?? 5,
    seed: integerFlag(flags, "seed", 0) ?? 1,
  };
}

async function measureVariant(source: FileSetInput, variant: Variant, plan: Plan): Promise<Row[]> {
  const { build, threads, quantize } = variant;
  const backend: LoadModelOptions =
    build === "reference" || build === "webgpu"
      ? { backend: build }
      : { backend: "wasm", build, threads };
  const contextLength = plan.promptTokens + plan.decodeTokens;
  const start = performance.now();
  const model = await loadModel(source, { ...backend, quantize, contextLength });
  const loadMs = performance.now() - start;
  try {
    const rows: Row[] = [];
    for (const count of [...plan.adapters].sort((a, b) => a - b)) {
      const names = await loadRandomAdapters(model, count, plan.seed);
      const { weightType: weights, weightBytes } = model.info;
      for (const batch of plan.batch) {
        note(`measuring ${build} × ${threads}, ${quantize}, ${count} adapters, batch ${batch} …`);
        const speed = await measure(model, names, batch, plan);
        const info = { build, threads, weights, adapters: count, batch };
        rows.push({ ...info, ...speed, loadMs: round(loadMs), weightBytes });
      }
    }
    return rows;
  } finally {
    await model.dispose();
  }
}

/** @returns the first `count` adapters' names */
async function loadRandomAdapters(model: Model, count: number, seed: number): Promise<string[]> {
  for (let i = model.adapters.length; i < count; i++) {
    const files = await createRandomAdapter(model.config, RANK, seed + 1 + i);
    await model.loadAdapter(files, { name: `adapter${i}` });
  }
  return model.adapters.slice(0, count).map(({ name }) => name);
}

/** Prompts one after another, then all sequences' answers at once. */
async function measure(
  model: Model,
  adapters: readonly string[],
  batch: number,
  { soups, promptTokens, decodeTokens, repeat, seed }: Plan,
): Promise<{ prefill: number; decode: number }> {
  const random = new Random(seed);
  const prefill: number[] = [];
  const decode: number[] = [];
  for (let i = 0; i <= repeat; i++) {
    const sequences = Array.from({ length: batch }, (_, b) => ({
      prompt: Array.from(
        { length: promptTokens },
        () => random.nextUint32() % model.config.vocabSize,
      ),
      options: {
        soup: createSoup(adapters, b % soups),
        session: model.createSession(),
        ignoreEos: true,
        speculation: false, // a pass for every token
      },
    }));
    for (const { prompt, options } of sequences) {
      const { timings } = await model.generate(prompt, { ...options, maxTokens: 1 }).result();
      if (i > 0) prefill.push(timings.prefillTokensPerSecond); // the first time warms up
    }
    const start = performance.now();
    await Promise.all(
      sequences.map(({ prompt, options }) =>
        model.generate(prompt, { ...options, maxTokens: decodeTokens }).result(),
      ),
    );
    const seconds = (performance.now() - start) / 1000;
    if (i > 0) decode.push((batch * decodeTokens) / seconds);
    for (const { options } of sequences) options.session.dispose();
  }
  return { prefill: round(median(prefill)), decode: round(median(decode)) };
}

/** Soup `index` of the adapters: 0.5 of each, the others a little apart. */
function createSoup(adapters: readonly string[], index: number): SoupWeights {
  return Object.fromEntries(adapters.map((name, i) => [name, 0.5 + 0.01 * index * (i + 1)]));
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return (sorted[Math.ceil(half) - 1]! + sorted[Math.floor(half)]!) / 2;
}

function printTable(rows: readonly Row[], plan: Plan): void {
  const head = ["build", "threads", "weights", "adapters", "batch"];
  const figures = ["prefill tok/s", "decode tok/s", "cost", "gain"];
  const cells = rows.map((row) => {
    const { build, threads, weights, adapters, batch, prefill, decode } = row;
    const other = (change: Partial<Row>): Row | undefined => {
      const { build, threads, weights, adapters, batch } = { ...row, ...change };
      const wanted = { build, threads, weights, adapters, batch };
      const keys = Object.keys(wanted) as (keyof typeof wanted)[];
      return rows.find((one) => keys.every((key) => one[key] === wanted[key]));
    };
    const bare = other({ adapters: 0 });
    const one = other({ batch: 1 });
    const cost = bare === undefined || adapters === 0 ? "" : percent(1 - decode / bare.decode);
    const gain = one === undefined || batch === 1 ? "" : `${(decode / one.decode).toFixed(2)} x`;
    const speeds = [prefill.toFixed(0), decode.toFixed(1), cost, gain];
    return [build, threads, weights, adapters, batch, ...speeds];
  });
  print(formatTable([...head, ...figures], cells));
  const soups = plan.soups > 1 ? ` under ${plan.soups} soups` : "";
  print(
    `${plan.model ?? `${plan.shape}, random weights`}: prompt of ${plan.promptTokens} tokens, then ${plan.decodeTokens}${soups}; ` +
      `median of ${plan.repeat}. cost: of the adapters, gain: of the batch, in decoding.`,
  );
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
