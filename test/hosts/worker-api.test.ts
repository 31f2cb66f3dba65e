// Every function and method of the public API, through a worker and directly: the same answers, the same errors. What is
// public is read off the library itself, so that nothing new can be forgotten here.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COMMIT, MockHub } from "../sources/hub-mock.ts";
import { kitchenPath } from "../support/kitchen.ts";

// The built package: its worker runs in Node 20, too.
const library = await import("../../dist/index.js" as string);
const { createTureenWorker } = await import("../../dist/worker/client.js" as string);

const kitchen = (path: string): URL => new URL(`file://${kitchenPath(path)}`);
const QUESTION = "### Question: What does Daxpel carry?\n### Answer:";
const SOUP = { knowledge: 1, format: 1 };
const EXAMPLES = Array.from({ length: 8 }, (_, i) => ({
  prompt: `Question ${i}`,
  completion: " yes.",
}));

// biome-ignore lint/suspicious/noExplicitAny: a model, or what stands for one on this side of a worker
type Subject = any;
type Calls = Readonly<Record<string, (subject: Subject) => unknown>>;

/** What a sink was given: names and sizes. */
async function saved(save: (sink: Subject) => Promise<unknown>): Promise<unknown> {
  const { files, ...sink } = library.createMemorySink();
  await save({ ...sink, name: "sink" });
  return Object.entries<Uint8Array>(files).map(([name, { length }]) => [name, length]);
}

/** In this order: adapters must be loaded first, and nothing follows `dispose`. */
const MODEL: Calls = {
  info: async (it) => (await it.info).config,
  config: (it) => it.config,
  contextLength: (it) => it.contextLength,
  loadAdapter: async (it) => {
    const all = [];
    for (const name of Object.keys(SOUP)) {
      all.push(await it.loadAdapter(kitchen(`adapters/${name}`), { name }));
    }
    return all;
  },
  adapters: (it) => it.adapters,
  tokenizer: async (it) => (await it.tokenizer).encode(QUESTION),
  tokenize: (it) => it.tokenize(QUESTION),
  soup: async (it) => (await it.soup(SOUP)).weights,
  catSoup: (it) => it.catSoup(["knowledge"]), // no released CAT adapter: an error with its code
  loadSoup: async (it) =>
    (await it.loadSoup(readFileSync(kitchenPath("soups/learned.json"), "utf8"))).weights,
  merge: (it) => it.merge({ method: "ties", weights: SOUP, density: 0.5 }, { name: "merged" }),
  learnSoup: async (it) => {
    let told = 0;
    const options = { adapters: Object.keys(SOUP), data: EXAMPLES, maxSteps: 1 };
    const onProgress = () => void told++;
    const { recipe, steps } = await it.learnSoup({ ...options, onProgress });
    return { adapters: recipe.adapters, steps, told: told > 0 };
  },
  generate: async (it) => {
    const { timings, ...rest } = await it.generate(QUESTION, { soup: SOUP }).result();
    return { ...rest, seed: undefined };
  },
  logits: async (it) => [...(await it.logits([1, 2, 3], { soup: SOUP }))],
  createSession: async (it) => (await it.createSession({ length: 64 })).length,
  fold: async (it) => {
    await it.fold(SOUP);
    return [...(await it.logits([1, 2, 3]))];
  },
  isFolded: (it) => it.isFolded,
  unfold: async (it) => {
    await it.unfold();
    return [it.isFolded && (await it.isFolded), ...(await it.logits([1, 2, 3]))];
  },
  saveFolded: (it) => saved((sink) => it.saveFolded(SOUP, sink)),
  unloadAdapter: async (it) => {
    await it.unloadAdapter("merged");
    return (await it.adapters).map(({ name }: { name: string }) => name);
  },
  [Symbol.asyncDispose.toString()]: () => "as dispose",
  dispose: (it) => it.dispose(),
};

const SOUP_CALLS: Calls = {
  weights: (it) => it.weights,
  version: (it) => it.version,
  set: async (it) => {
    await it.set("knowledge", 0.25);
    return it.weights;
  },
  setLinear: async (it) => {
    await it.setLinear("knowledge", "model.layers.0.mlp.up_proj", 2);
    return it.weights;
  },
  toRecipe: (it) => it.toRecipe(),
  save: (it) => saved((sink) => it.save(sink, { format: "peft" })),
};

const SESSION: Calls = {
  length: (it) => it.length,
  tokens: (it) => it.tokens,
  nBytes: (it) => it.nBytes,
  dispose: (it) => it.dispose(),
};

const TOKENIZER: Calls = {
  encode: (it) => it.encode(QUESTION, { addSpecialTokens: false }),
  decode: (it) => it.decode([5, 6, 7]),
  createDecoder: async (it) => {
    const decoder = await it.createDecoder();
    return (await decoder.push(5)) + (await decoder.push(6)) + (await decoder.flush());
  },
  tokenId: (it) => it.tokenId("a"),
  token: (it) => it.token(5),
  vocabSize: (it) => it.vocabSize,
  specialIds: async (it) => [...(await it.specialIds)],
  bosToken: (it) => it.bosToken,
  bosTokenId: (it) => it.bosTokenId,
  eosToken: (it) => it.eosToken,
  eosTokenId: (it) => it.eosTokenId,
  padTokenId: (it) => it.padTokenId,
  unkTokenId: (it) => it.unkTokenId,
};

const GENERATION: Calls = {
  chunks: async (it) => {
    const texts: string[] = [];
    for await (const { text } of await it.chunks()) texts.push(text);
    return texts;
  },
  result: async (it) => (await it.result()).text,
};

/** Of no use to callers, and marked so (@internal). */
const INTERNAL = new Set([
  "text",
  "parts",
  "contributions",
  "acquire",
  "canRunAhead",
  "rewind",
  "takeBack",
  "isCurrent",
  "forward",
]);

/** Names of what an object offers. */
function membersOf(object: object): string[] {
  const own = Object.keys(object);
  const inherited = Reflect.ownKeys(Object.getPrototypeOf(object)).filter(
    (key) => typeof key === "string" && key !== "constructor",
  ) as string[];
  return [...new Set([...own, ...inherited])].filter((name) => !INTERNAL.has(name)).sort();
}

/** What a call gives, or how it fails. */
async function outcome(call: (subject: Subject) => unknown, subject: Subject): Promise<unknown> {
  try {
    return { value: JSON.parse(JSON.stringify((await call(subject)) ?? null)) };
  } catch (error) {
    const { name, code, message } = error as { name: string; code: string; message: string };
    return { name, code, message };
  }
}

describe("every member gives the same through a worker", { timeout: 120_000 }, () => {
  let worker: Subject;
  let direct: Subject;
  let remote: Subject;

  beforeAll(async () => {
    const options = { contextLength: 256, threads: 1 };
    worker = createTureenWorker();
    direct = await library.loadModel(kitchen("base"), options);
    remote = await worker.loadModel(kitchen("base"), options);
  }, 60_000);
  afterAll(() => worker.terminate());

  async function compare(calls: Calls, own: Subject, far: Subject): Promise<void> {
    const offered = membersOf(own);
    const tested = Object.keys(calls).filter((name) => !name.startsWith("Symbol"));
    expect(tested.sort()).toEqual(offered);
    for (const [name, call] of Object.entries(calls)) {
      expect(await outcome(call, far), name).toEqual(await outcome(call, own));
    }
  }

  test("functions of the library", () => {
    const ofWorker = Object.keys(worker).filter((name) => name !== "terminate");
    // Data, and functions of data: they need no worker.
    const data = [
      "Generation",
      "MERGE_METHODS",
      "TureenError",
      "createMemorySink",
      "parseRecipe",
      "serializeRecipe",
    ];
    expect([...ofWorker, ...data].sort()).toEqual(Object.keys(library).sort());
  });

  test("of tokenizers, soups, sessions and texts", async () => {
    for (const it of [direct, remote]) {
      for (const name of Object.keys(SOUP)) {
        await it.loadAdapter(kitchen(`adapters/${name}`), { name });
      }
    }
    await compare(TOKENIZER, direct.tokenizer, await remote.tokenizer);
    await compare(SOUP_CALLS, direct.soup(SOUP), await remote.soup(SOUP));
    await compare(SESSION, direct.createSession(), await remote.createSession());
    const texts = [direct, remote].map((it) => it.generate(QUESTION, { soup: SOUP }));
    await compare(GENERATION, texts[0], texts[1]);
    for (const it of [direct, remote]) {
      for (const name of Object.keys(SOUP)) await it.unloadAdapter(name);
    }
  });

  test("of models", async () => {
    await compare(MODEL, direct, remote);
  });

  test("merging whole adapters, into a sink on this side", async () => {
    const merge = (it: Subject) =>
      saved((target) =>
        it.mergeAdapters({
          model: kitchen("base"),
          adapters: Object.keys(SOUP).map((name) => ({
            source: kitchen(`adapters/${name}`),
            name,
            weight: 1,
          })),
          method: "cat",
          target,
        }),
      );
    const there = await outcome(merge, worker);
    expect(there).toEqual(await outcome(merge, library));
    expect(there).toHaveProperty("value.0");
  });
});

describe("models of a hub, through a worker", () => {
  const hub = new MockHub();
  let folder: string;

  beforeAll(async () => {
    await hub.start();
    folder = mkdtempSync(join(tmpdir(), "tureen-worker-hub-"));
    for (const path of ["base", "adapters/format"]) {
      const entries = readdirSync(kitchenPath(path)).map((name) => {
        const content = readFileSync(join(kitchenPath(path), name));
        if (name !== "adapter_config.json") return [name, { content }] as const;
        const config = { ...JSON.parse(String(content)), base_model_name_or_path: "other/base" };
        return [name, { content: Buffer.from(JSON.stringify(config)) }] as const;
      });
      const files = Object.fromEntries(entries);
      hub.repos.set(path === "base" ? "kitchen/base" : "kitchen/format", { commit: COMMIT, files });
    }
  });
  afterAll(async () => {
    await hub.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test("a cache of the worker as an option; progress and warnings reach this side", async () => {
    const worker = createTureenWorker();
    try {
      const cache = await worker.openHubCache({ cacheDir: folder });
      const options = { endpoint: hub.endpoint, cache };
      const progress: { phase: string; bytesDone: number; bytesTotal: number }[] = [];
      const warnings: { code: string }[] = [];
      const told = {
        onProgress: (report: (typeof progress)[0]) => void progress.push(report),
        onWarning: (warning: { code: string }) => void warnings.push(warning),
      };
      const model = await worker.loadModel("kitchen/base", { hub: options, ...told });
      const phases = [...new Set(progress.map(({ phase }) => phase))];
      expect(phases).toEqual(["download", "load"]);
      expect(progress.at(-1)).toMatchObject({ bytesDone: progress.at(-1)!.bytesTotal });
      await model.loadAdapter("kitchen/format", { name: "format", ...told });
      expect(warnings.map(({ code }) => code)).toEqual(["BASE_MODEL_DIFFERS"]);
      const repos: { repo: string }[] = await cache.list();
      expect(repos.map(({ repo }) => repo)).toEqual(["kitchen/base", "kitchen/format"]);
      expect(await cache.trim(0)).toMatchObject({ removed: [] }); // it is open there
      await model.dispose();
      expect(await cache.remove("kitchen/format")).toBeGreaterThan(0);
      expect((await cache.list()).length).toBe(1);
    } finally {
      worker.terminate();
    }
  });
});
