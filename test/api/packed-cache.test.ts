// Packed weights kept from one load to the next: the same bits, nothing of the weights read again, and never anything stale.
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { BUILDS, hasThreads, supportedBuilds } from "../../src/backend/wasm/builds.ts";
import {
  createMemorySink,
  type FileSet,
  type LoadModelOptions,
  loadModel,
  type Model,
  openHubCache,
} from "../../src/index.ts";
import type { Warning } from "../../src/sources/hub-options.ts";
import { openFileSet } from "../../src/sources/open.ts";
import { hub, useHub } from "../sources/hub-fixture.ts";
import { COMMIT, type MockFile, type MockRepo, OTHER_COMMIT } from "../sources/hub-mock.ts";
import { goldenPath, kitchenPath } from "../support/kitchen.ts";

useHub();

let root: string;
/** A copy of the kitchen's base. */
let folder: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tureen-packed-"));
  folder = join(root, "base");
  cpSync(kitchenPath("base"), folder, { recursive: true });
  vi.stubEnv("TUREEN_CACHE", join(root, "own"));
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  vi.stubEnv("HF_HUB_CACHE", join(root, "hub"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const IDS = [1, 5, 99, 200, 17, 3];

const BASE: LoadModelOptions = { backend: "wasm", build: "baseline", threads: 1, quantize: "q8" };

/** The folder, and what was read of its weights. */
async function countReads(): Promise<{ files: FileSet; take(): number }> {
  const files = await openFileSet(folder);
  let bytes = 0;
  const counting: FileSet = {
    ...files,
    async open(path, options) {
      const source = await files.open(path, options);
      if (source === undefined || !path.endsWith(".safetensors")) return source;
      return {
        ...source,
        read(offset, nBytes, options) {
          bytes += nBytes;
          return source.read(offset, nBytes, options);
        },
      };
    },
  };
  const take = () => {
    const taken = bytes;
    bytes = 0;
    return taken;
  };
  return { files: counting, take };
}

/** Loads, computes, and lets go. */
async function logits(
  source: Parameters<typeof loadModel>[0],
  options: LoadModelOptions = {},
): Promise<Float32Array> {
  await using model: Model = await loadModel(source, { ...BASE, ...options });
  return await model.logits(IDS, { all: true });
}

const copies = (): string[] => {
  const packed = join(root, "own/packed");
  return existsSync(packed) ? readdirSync(packed) : [];
};

/** Reads of a first load and a second one, header included. */
const HEADER = 60_000;

const VARIANTS = BUILDS.flatMap((build) =>
  (["q8", "q4"] as const).map((quantize) => ({
    build,
    quantize,
    threads: hasThreads(build) ? 2 : 1,
  })),
);

describe.each(VARIANTS)("$build × $threads, $quantize", (variant) => {
  const missing = supportedBuilds().includes(variant.build) ? "" : "needs what this host lacks: ";
  test.skipIf(missing !== "")(`${missing}the same bits, and no weights are read`, async () => {
    const expected = await logits(folder, variant);
    const { files, take } = await countReads();
    expect(await logits(files, { ...variant, packedCache: true })).toEqual(expected);
    const first = take();
    expect(copies()).toHaveLength(1);
    expect(await logits(files, { ...variant, packedCache: true })).toEqual(expected);
    const second = take();
    expect(first).toBeGreaterThan(1_000_000);
    expect(second).toBeLessThan(HEADER);
    // One thread or several: the same copy.
    if (hasThreads(variant.build)) {
      const one = { ...variant, threads: 1, packedCache: true };
      expect(await logits(files, one)).toEqual(expected);
      expect(take()).toBe(second);
    }
  });
});

test("progress ends at the whole, in both", async () => {
  for (const _ of ["packed anew", "read packed"]) {
    const reports: (readonly [number, number])[] = [];
    await logits(folder, {
      packedCache: true,
      onProgress: ({ bytesDone, bytesTotal }) => reports.push([bytesDone, bytesTotal]),
    });
    const [done, total] = reports.at(-1)!;
    expect(done).toBe(total);
    expect(reports.map(([at]) => at)).toEqual(reports.map(([at]) => at).toSorted((a, b) => a - b));
  }
});

test("relaxed and baseline builds, q8 and q4: a copy each", async () => {
  const { files, take } = await countReads();
  const seen: Record<string, boolean> = {};
  for (const { build, quantize } of VARIANTS) {
    if (!supportedBuilds().includes(build)) continue;
    await logits(files, { build, threads: 1, quantize, packedCache: true });
    seen[`${build} ${quantize}`] = take() < HEADER;
  }
  const expected = {
    "baseline q8": false,
    "baseline q4": false,
    "relaxed q8": true, // the same bytes in both
    "relaxed q4": false,
    "baseline-threads q8": true,
    "baseline-threads q4": true,
    "relaxed-threads q8": true,
    "relaxed-threads q4": true,
  };
  const supported = Object.entries(expected).filter(([key]) => key in seen);
  expect(seen).toEqual(Object.fromEntries(supported));
});

test("an adapter, fold and unfold after a load from the cache", async () => {
  const run = async (): Promise<Float32Array[]> => {
    await using model = await loadModel(folder, { ...BASE, packedCache: true });
    await model.loadAdapter(kitchenPath("adapters/format"), { name: "format" });
    const live = await model.logits(IDS, { soup: { format: 1 } });
    await model.fold({ format: 1 });
    const folded = await model.logits(IDS);
    await model.unfold();
    const sink = createMemorySink();
    await model.saveFolded({ format: 1 }, sink);
    expect("model.safetensors" in sink.files).toBe(true);
    return [live, folded, await model.logits(IDS)];
  };
  const first = await run();
  expect(await run()).toEqual(first);
  expect(first[0]).not.toEqual(first[2]);
});

test("an untied head, and norms from F32", async () => {
  const micro = goldenPath("micro");
  const expected = await logits(micro, { quantize: "q4" });
  for (const _ of ["written", "read"]) {
    expect(await logits(micro, { quantize: "q4", packedCache: true })).toEqual(expected);
  }
  expect(copies()).toHaveLength(1);
});

describe("never stale", () => {
  const file = () => join(folder, "model.safetensors");
  const load = (files: FileSet) => logits(files, { packedCache: true });

  test.each<[string, () => void]>([
    [
      "another content of the same size",
      () => {
        const bytes = readFileSync(file());
        bytes[bytes.length - 1]! ^= 0x80; // the last number's sign
        writeFileSync(file(), bytes);
      },
    ],
    [
      "another file in its place, as old and as large",
      () => {
        cpSync(file(), `${file()}.copy`, { preserveTimestamps: true });
        rmSync(file());
        cpSync(`${file()}.copy`, file(), { preserveTimestamps: true });
      },
    ],
    [
      "a config that reads the same weights in another way",
      () => {
        const path = join(folder, "config.json");
        const config = JSON.parse(readFileSync(path, "utf8"));
        writeFileSync(path, JSON.stringify({ ...config, rope_theta: config.rope_theta * 2 }));
      },
    ],
  ])("%s", async (what, change) => {
    const { files, take } = await countReads();
    const before = await load(files);
    take();
    change();
    const expected = await logits(folder);
    expect(await load(files)).toEqual(expected);
    // What config.json says of positions does not change what is packed.
    expect(take() > HEADER).toBe(!what.startsWith("a config"));
    if (!what.startsWith("another file")) expect(expected).not.toEqual(before);
    expect(await load(files)).toEqual(expected);
    expect(take()).toBeLessThan(HEADER);
    expect(copies()).toHaveLength(1);
  });

  test.each<[string, string, (path: string) => void]>([
    ["cut", "0", (path) => writeFileSync(path, readFileSync(path).subarray(0, 1000))],
    ["longer", "0", (path) => appendFileSync(path, "x")],
    ["gone", "0", (path) => rmSync(path)],
    ["no mark", "complete", (path) => writeFileSync(path, "{")],
    [
      "changed",
      "0",
      (path) => {
        const bytes = readFileSync(path);
        bytes[bytes.length >> 1]! ^= 1;
        writeFileSync(path, bytes);
      },
    ],
  ])("a copy that is damaged is made anew: %s", async (_, piece, change) => {
    const { files, take } = await countReads();
    const expected = await load(files);
    const [copy] = copies();
    const path = join(root, "own/packed", copy!, piece);
    take();
    change(path);
    expect(await load(files)).toEqual(expected);
    expect(take()).toBeGreaterThan(HEADER);
    expect(await load(files)).toEqual(expected);
    expect(take()).toBeLessThan(HEADER);
  });

  test("of a load that fails or is aborted nothing is kept", async () => {
    const stop = new AbortController();
    const onProgress = ({ bytesDone }: { bytesDone: number }): void => {
      if (bytesDone > 100_000) stop.abort();
    };
    const options = { ...BASE, packedCache: true };
    const aborted = loadModel(folder, { ...options, signal: stop.signal, onProgress });
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    expect(copies()).toEqual([]);
    const bytes = readFileSync(file());
    bytes.fill(0xff, bytes.length - 64); // not finite
    writeFileSync(file(), bytes);
    const failed = loadModel(folder, options);
    await expect(failed).rejects.toMatchObject({ code: "WEIGHTS_NOT_FINITE" });
    expect(copies()).toEqual([]);
  });
});

describe("which models", () => {
  const repo = (commit = COMMIT): MockRepo => {
    const names = readdirSync(folder).filter((name) => /\.(json|safetensors)$/.test(name));
    const files = names.map((name): [string, MockFile] => {
      const content = new Uint8Array(readFileSync(join(folder, name)));
      return [name, { content, lfs: name.endsWith(".safetensors") }];
    });
    return { commit, files: Object.fromEntries(files) };
  };

  test("of a hub, by themselves; another commit has its own; gone with the model", async () => {
    hub.repos.set("kitchen/base", repo());
    const expected = await logits(folder);
    expect(await logits("kitchen/base")).toEqual(expected);
    expect(copies()).toHaveLength(1);
    // Without the blob, whatever reads weights would have to fetch them.
    hub.take();
    const cache = (await openHubCache())!;
    const open = vi.spyOn(Object.getPrototypeOf(cache), "open");
    expect(await logits("kitchen/base", { hub: { cache } })).toEqual(expected);
    expect(hub.take().filter((line) => line.startsWith("cdn"))).toEqual([]);
    open.mockRestore();
    hub.repos.set("kitchen/base", repo(OTHER_COMMIT));
    expect(await logits("kitchen/base")).toEqual(expected);
    expect(copies()).toHaveLength(2);
    const [listed] = await cache.list();
    expect(listed!.packedBytes).toBeGreaterThan(100_000);
    await cache.remove("kitchen/base", COMMIT);
    expect(copies()).toHaveLength(1);
    await cache.remove("kitchen/base");
    expect(copies()).toEqual([]);
  });

  test("a download that turns out to be another file: no copy", async () => {
    const promised = repo();
    hub.repos.set("kitchen/base", promised);
    const { content } = promised.files["model.safetensors"]!;
    hub.intercept = ({ host, range }, response) => {
      if (host !== "cdn") return false;
      const [start = 0, end = 0] = (/(\d+)-(\d+)/.exec(range!) ?? []).slice(1).map(Number);
      const part = content.slice(start, end + 1);
      if (end + 1 >= content.length) part[part.length - 1]! ^= 0x80;
      response.writeHead(206, {
        "content-range": `bytes ${start}-${end}/${content.length}`,
        "content-length": part.length,
      });
      response.end(part);
      return true;
    };
    const failed = loadModel("kitchen/base", BASE);
    await expect(failed).rejects.toThrow("the content is not what the hub promised");
    expect(copies()).toEqual([]);
    hub.intercept = () => false;
    expect(await logits("kitchen/base")).toEqual(await logits(folder));
    expect(copies()).toHaveLength(1);
  });

  const asked = { packedCache: true };
  test.each<[string, () => Parameters<typeof loadModel>[0], LoadModelOptions]>([
    ["a folder that nobody asked for", () => folder, {}],
    ["a hub's, if it is not wanted", () => "kitchen/base", { packedCache: false }],
    ["a hub's without a cache", () => "kitchen/base", { hub: { cache: "none" } }],
    ["a hub's of which nothing is to be kept", () => "kitchen/base", { hub: { keep: false } }],
    ["a hub's in f32", () => "kitchen/base", { quantize: "none" }],
    ["a folder's in f32", () => folder, { ...asked, quantize: "none" }],
    [
      "a hub's on the reference backend",
      () => "kitchen/base",
      { backend: "reference", build: undefined, threads: undefined },
    ],
  ])("not: %s", async (_, source, options) => {
    hub.repos.set("kitchen/base", repo());
    const warnings: Warning[] = [];
    const onWarning = (warning: Warning): void => void warnings.push(warning);
    await logits(source(), { ...options, onWarning });
    expect(copies()).toEqual([]);
    expect(warnings).toEqual([]);
  });

  test.each<[string, () => Parameters<typeof loadModel>[0], LoadModelOptions, string]>([
    [
      "files in memory",
      () => {
        const names = readdirSync(folder).filter((name) => /\.(json|safetensors)$/.test(name));
        return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))]));
      },
      {},
      "nothing tells whether their files have changed",
    ],
    ["without a cache", () => folder, { hub: { cache: "none" } }, "there is no cache"],
    [
      "another backend",
      () => folder,
      { backend: "reference", build: undefined, threads: undefined },
      "the reference backend packs them anew",
    ],
  ])("asked for and not possible, with a warning: %s", async (_, source, options, why) => {
    const warnings: Warning[] = [];
    const onWarning = (warning: Warning): void => void warnings.push(warning);
    await logits(source(), { packedCache: true, ...options, onWarning });
    const message = `packed weights are not kept: ${why}`;
    expect(warnings).toEqual([{ code: "CACHE_UNAVAILABLE", message }]);
  });

  test.each([
    ["an etag", "etag", '"a"', '"b"', true],
    [
      "a date",
      "last-modified",
      "Mon, 1 Jan 2024 00:00:00 GMT",
      "Mon, 1 Jan 2024 00:00:01 GMT",
      true,
    ],
    ["neither", "x-nothing", "a", "b", false],
  ])("of a URL whose server sends %s", async (_, header, first, second, isKept) => {
    let value = first;
    const ranges: string[] = [];
    const server = createServer(({ url, headers }, response) => {
      const path = join(folder, url!.slice(1));
      if (!existsSync(path)) return void response.writeHead(404).end();
      const content = readFileSync(path);
      const [start = 0, end = 0] = (/(\d+)-(\d+)/.exec(headers.range ?? "") ?? [])
        .slice(1)
        .map(Number);
      const part = content.subarray(start, end + 1);
      if (url!.endsWith(".safetensors")) ranges.push(headers.range!);
      const last = start + part.length - 1;
      response.setHeader(header, value);
      response.writeHead(206, { "content-range": `bytes ${start}-${last}/${content.length}` });
      response.end(part);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const requests = async () => {
      ranges.length = 0;
      await logits(url, { packedCache: true });
      return ranges.length;
    };
    const whole = await requests();
    expect(whole).toBeGreaterThan(1);
    expect(await requests()).toBe(isKept ? 1 : whole); // the one that opens the file
    value = second;
    expect(await requests()).toBe(whole);
    expect(copies()).toHaveLength(isKept ? 1 : 0);
    await new Promise((resolve) => server.close(resolve));
  });
});

describe("the load goes on", () => {
  test("where the folder cannot be written, with a warning", async () => {
    writeFileSync(join(root, "own"), "a file");
    const warnings: Warning[] = [];
    const onWarning = (warning: Warning): void => void warnings.push(warning);
    const expected = await logits(folder);
    expect(await logits(folder, { packedCache: true, onWarning })).toEqual(expected);
    expect(warnings).toEqual([
      {
        code: "CACHE_UNAVAILABLE",
        message: expect.stringMatching(/^packed weights are not kept: .*(EEXIST|ENOTDIR)/),
      },
    ]);
  });

  test("where the cache's limit leaves no room: nothing else is removed for it", async () => {
    const options = { packedCache: true, hub: { cacheLimit: 200_000 } };
    await logits(folder, options);
    expect(copies()).toEqual([]);
    await logits(folder, { ...options, hub: { cacheLimit: 50_000_000 } });
    expect(copies()).toHaveLength(1);
  });

  test("several loads at once, on an empty cache and on a damaged one", async () => {
    const expected = await logits(folder);
    const all = () => Promise.all([0, 1, 2].map(() => logits(folder, { packedCache: true })));
    for (const result of await all()) expect(result).toEqual(expected);
    const path = join(root, "own/packed", copies()[0]!, "0");
    writeFileSync(path, readFileSync(path).fill(0));
    for (const result of await all()) expect(result).toEqual(expected);
    expect(await logits(folder, { packedCache: true })).toEqual(expected);
    expect(copies()).toHaveLength(1);
  });
});
