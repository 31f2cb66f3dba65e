// GGUF files of a hub: named in their repository, or found as the only one; loaded while they arrive, from the cache, without one, and
// packed.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type LoadModelOptions, loadModel, openHubCache } from "../../src/index.ts";
import { parseHubReference } from "../../src/sources/hub-reference.ts";
import { failureOf } from "../formats/failure.ts";
import { GGUF_CONFIG, makeAdapters, makeGgufModel } from "../support/gguf-models.ts";
import { expectSameBits } from "../support/values.ts";
import { COMMIT, MockHub } from "./hub-mock.ts";

const IDS = [1, 17, 250, 3, 99];
const hub = new MockHub();
const { file } = makeGgufModel((name) => (name.includes("v_proj") ? "Q6_K" : "Q4_K"));
const lfs = (content: Uint8Array) => ({ content, lfs: true });
let expected: Float32Array;
let cacheDir: string;

async function logitsOf(
  source: Parameters<typeof loadModel>[0],
  options: LoadModelOptions = {},
): Promise<Float32Array> {
  const model = await loadModel(source, {
    backend: "wasm",
    threads: 1,
    build: "baseline",
    hub: { cacheDir },
    ...options,
  });
  try {
    return await model.logits(IDS);
  } finally {
    await model.dispose();
  }
}

beforeAll(async () => {
  await hub.start();
  expected = await logitsOf({ "model.gguf": file });
});
afterAll(() => hub.stop());
beforeEach(() => {
  cacheDir = mkdtempSync(join(tmpdir(), "tureen-hub-gguf-"));
  for (const name of ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"]) vi.stubEnv(name, "");
  vi.stubEnv("HF_HOME", cacheDir);
  vi.stubEnv("HF_HUB_CACHE", "");
  vi.stubEnv("TUREEN_CACHE", join(cacheDir, "own"));
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  const readme = { content: new TextEncoder().encode("# Tiny") };
  hub.repos.set("tiny/one-GGUF", {
    commit: COMMIT,
    files: { "README.md": readme, "tiny-q4_k_m.gguf": lfs(file) },
  });
  hub.repos.set("tiny/many-GGUF", {
    commit: COMMIT,
    files: {
      "tiny-q4_k_m.gguf": lfs(file),
      "tiny-q8_0.gguf": lfs(file),
      "sub/deep.gguf": lfs(file),
      "lora.gguf": lfs(makeAdapters(GGUF_CONFIG).gguf),
    },
  });
});
afterEach(() => {
  vi.unstubAllEnvs();
  hub.reset();
  rmSync(cacheDir, { recursive: true, force: true });
});

test.each([
  "tiny/many-GGUF/tiny-q4_k_m.gguf",
  "tiny/many-GGUF@main/tiny-q4_k_m.gguf",
  `tiny/many-GGUF@${COMMIT}/sub/deep.gguf`,
  "hf://tiny/many-GGUF/tiny-q8_0.gguf",
  "tiny/one-GGUF",
])("%s, and again offline", async (name) => {
  expectSameBits(await logitsOf(name), expected);
  const asked = hub.seen.length;
  expect(asked).toBeGreaterThan(0);
  expectSameBits(await logitsOf(name, { hub: { cacheDir, offline: true } }), expected);
  expect(hub.seen.length).toBe(asked);
});

test("only the file that is named is fetched, once", async () => {
  await logitsOf("tiny/many-GGUF/tiny-q4_k_m.gguf");
  const paths = hub.seen
    .map(({ url }) => decodeURIComponent(url))
    .filter((url) => /gguf/.test(url));
  expect(paths.some((url) => url.includes("q8_0"))).toBe(false);
  expect(hub.sent).toBeLessThan(file.length * 1.1);
});

test("packed weights are kept for each file apart, and read again", async () => {
  for (let round = 0; round < 2; round++) {
    expectSameBits(await logitsOf("tiny/many-GGUF/tiny-q4_k_m.gguf"), expected);
  }
  expectSameBits(await logitsOf("tiny/many-GGUF/sub/deep.gguf"), expected);
  const cache = await openHubCache({ cacheDir });
  const [repo] = await cache!.list();
  // two copies, each smaller than its file in f32 and larger than none
  expect(repo!.packedBytes).toBeGreaterThan(file.length);
});

test("from the cache while the hub is out of reach, where nothing but the repository is named", async () => {
  await logitsOf("tiny/one-GGUF");
  hub.intercept = (_, response) => {
    response.writeHead(503).end();
    return true;
  };
  expectSameBits(await logitsOf("tiny/one-GGUF", { onWarning: () => {} }), expected);
});

test("without a cache, by range", async () => {
  expectSameBits(await logitsOf("tiny/one-GGUF", { hub: { cache: "none" } }), expected);
});

test("an adapter of a repository", async () => {
  const options: LoadModelOptions = { backend: "wasm", threads: 1, hub: { cacheDir } };
  const model = await loadModel("tiny/one-GGUF", options);
  await model.loadAdapter("tiny/many-GGUF/lora.gguf", { name: "one" });
  expect(model.adapters[0]!.modules).toBe(14);
  await model.dispose();
});

describe("says what is wrong:", () => {
  const cases: Record<string, string> = {
    "a repository with several": "tiny/many-GGUF",
    "a file that is not there": "tiny/many-GGUF/other.gguf",
    "a file that is neither local nor in a repository": "tiny/none/other.gguf",
  };
  test.each(Object.entries(cases))("%s", async (title, name) => {
    const failure = await failureOf(() => logitsOf(name));
    const text = failure.replaceAll(cacheDir, "CACHE").replaceAll(hub.endpoint.slice(7), "HUB");
    expect({ [title]: text }).toMatchSnapshot();
  });
});

test.each([
  ["org/name/a.gguf", { repo: "org/name", revision: "main", folder: "", named: "a.gguf" }],
  ["org/name@v1/s/a.GGUF", { repo: "org/name", revision: "v1", folder: "s", named: "a.GGUF" }],
  [
    "hf://org/name/s/t/a.gguf",
    { repo: "org/name", revision: "main", folder: "s/t", named: "a.gguf" },
  ],
  ["org/a.gguf", { repo: "org/a.gguf", revision: "main", folder: "" }],
  ["org/name/a.bin", undefined],
  ["/org/name/a.gguf", undefined],
  ["./name/x/a.gguf", undefined],
  ["hf://org/name/folder", { repo: "org/name", revision: "main", folder: "folder" }],
])("the name %s", (name, reference) => {
  expect(parseHubReference(name)).toEqual(reference);
});
