// Models and adapters by their names at a hub, from the outside: loadModel, loadAdapter, and `tureen cache`.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type LoadProgress, loadModel, openHubCache } from "../../src/index.ts";
import type { Warning } from "../../src/sources/hub-options.ts";
import { kitchenPath } from "../support/kitchen.ts";
import { COMMIT, MockHub, type MockRepo } from "./hub-mock.ts";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

const hub = new MockHub();
let cacheDir: string;

/** A folder as a repository. */
function repoOf(folder: string, changes: Record<string, string> = {}): MockRepo {
  const files: Record<string, { content: Uint8Array; lfs: boolean }> = {};
  for (const name of readdirSync(folder, { withFileTypes: true })) {
    if (!name.isFile()) continue;
    const content = changes[name.name] ?? readFileSync(join(folder, name.name));
    files[name.name] = {
      content: new Uint8Array(Buffer.from(content)),
      lfs: name.name.endsWith(".safetensors"),
    };
  }
  return { commit: COMMIT, files };
}

function adapterFor(base: string): MockRepo {
  const folder = kitchenPath("adapters/format");
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
  const changed = JSON.stringify({ ...config, base_model_name_or_path: base });
  return repoOf(folder, { "adapter_config.json": changed });
}

beforeAll(() => hub.start());
afterAll(() => hub.stop());
beforeEach(() => {
  cacheDir = mkdtempSync(join(tmpdir(), "tureen-hub-models-"));
  for (const name of ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"]) vi.stubEnv(name, "");
  vi.stubEnv("HF_HOME", cacheDir);
  vi.stubEnv("HF_HUB_CACHE", "");
  vi.stubEnv("TUREEN_CACHE", join(cacheDir, "own"));
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  hub.repos.set("kitchen/base", repoOf(kitchenPath("base")));
  hub.repos.set("kitchen/format", adapterFor("Kitchen/Base"));
  hub.repos.set("kitchen/stranger", adapterFor("other/base"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  hub.reset();
  rmSync(cacheDir, { recursive: true, force: true });
});

test("the same logits as from the folders; the second time without the network", async () => {
  const ids = [1, 5, 99, 200];
  const local = await loadModel(kitchenPath("base"), { backend: "reference" });
  await local.loadAdapter(kitchenPath("adapters/format"), { name: "format" });
  const expected = await local.logits(ids, { soup: { format: 1 } });
  await local.dispose();
  for (const offline of [false, true]) {
    hub.take();
    const progress: LoadProgress[] = [];
    const onProgress = (report: LoadProgress): void => void progress.push(report);
    const model = await loadModel("kitchen/base@main", {
      backend: "reference",
      hub: { offline },
      onProgress,
    });
    const phases = [...new Set(progress.map(({ phase }) => phase))];
    expect(phases).toEqual(offline ? ["load"] : ["download", "load"]);
    const info = await model.loadAdapter("hf://kitchen/format", { name: "format" });
    expect(info.source).toBe("kitchen/format");
    expect(model.info.name).toBe("kitchen/base");
    expect(await model.logits(ids, { soup: { format: 1 } })).toEqual(expected);
    await model.dispose();
    if (offline) expect(hub.take()).toEqual([]);
  }
});

test("an adapter that names another base: a warning", async () => {
  const model = await loadModel("kitchen/base", { backend: "reference" });
  const warnings: Warning[] = [];
  const onWarning = (warning: Warning): void => void warnings.push(warning);
  await model.loadAdapter("kitchen/format", { name: "a", onWarning });
  expect(warnings).toEqual([]);
  await model.loadAdapter("kitchen/stranger", { name: "b", onWarning });
  expect(warnings).toEqual([
    {
      code: "BASE_MODEL_DIFFERS",
      message:
        "b: the adapter says that it was trained for other/base, and the base that is loaded is kitchen/base",
    },
  ]);
  await model.dispose();
});

test("a cache to list, and to pass", async () => {
  const cache = (await openHubCache({ cacheDir: join(cacheDir, "mine") }))!;
  const model = await loadModel("kitchen/base", { backend: "reference", hub: { cache } });
  await model.dispose();
  const [repo] = await cache.list();
  expect(repo).toMatchObject({ repo: "kitchen/base", incompleteBytes: 0 });
  expect(repo!.revisions[0]).toMatchObject({ commit: COMMIT, refs: ["main"] });
  expect(await cache.remove("kitchen/base")).toBe(repo!.nBytes);
  expect(existsSync(join(cacheDir, "hub"))).toBe(false);
});

describe("tureen", () => {
  function tureen(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return new Promise((resolve) => {
      const env = { ...process.env, HF_HUB_CACHE: "" };
      execFile(process.execPath, [MAIN, ...args], { env }, (error, stdout, stderr) => {
        const code = error === null ? 0 : Number(error.code);
        resolve({ code, stdout, stderr: stderr.replaceAll(cacheDir, "HF_HOME") });
      });
    });
  }

  test("generates with what the hub has; lists and removes it", async () => {
    const adapter = ["--adapter", "format=kitchen/stranger", "--max-tokens", "2"];
    const generated = await tureen("generate", "--model", "kitchen/base", ...adapter, "Once");
    expect(generated.code).toBe(0);
    expect(generated.stderr).toContain("warning: format: the adapter says that it was trained for");

    const listed = await tureen("cache", "ls");
    expect(listed.code).toBe(0);
    expect(listed.stdout).toMatch(/kitchen\/base .* c0ffee000000 .* main/);
    expect(listed.stderr).toMatch(/^\d.* MB in HF_HOME\/hub\n$/);
    const { repos, nBytes } = JSON.parse((await tureen("cache", "ls", "--json")).stdout);
    expect(repos.map(({ repo }: { repo: string }) => repo)).toEqual([
      "kitchen/base",
      "kitchen/stranger",
    ]);

    const trimmed = await tureen("cache", "trim", "1kB");
    expect(trimmed.stderr).toMatch(/^0 B freed, .* MB in HF_HOME\/hub\nthe rest is in use\n$/);

    const removed = await tureen(
      "cache",
      "rm",
      "kitchen/stranger@c0ffee0",
      "kitchen/base",
      "--json",
    );
    expect(JSON.parse(removed.stdout)).toMatchObject({ nBytes });
    const empty = await tureen("cache", "ls");
    expect(empty).toEqual({ code: 0, stdout: "", stderr: "0 B in HF_HOME/hub\n" });
  });

  test("packed weights: kept by several programs at once, listed, and gone with their model", async () => {
    const run = (...more: string[]) => {
      const ids = ["--ids", "1,5,99,200", "--threads", "1", "--json"];
      return tureen("logits", "--model", "kitchen/base", "--quantize", "q4", ...ids, ...more);
    };
    const plain = await run("--no-packed-cache");
    expect(plain).toMatchObject({ code: 0, stderr: "" });
    expect(existsSync(join(cacheDir, "own"))).toBe(false);
    for (let round = 0; round < 2; round++) {
      const same = await Promise.all([run(), run(), run()]);
      expect(same).toEqual([plain, plain, plain]);
    }
    const listed = await tureen("cache", "ls");
    expect(listed.stdout).toMatch(/kitchen\/base .* packed .* 806 kB/);
    const { repos } = JSON.parse((await tureen("cache", "ls", "--json")).stdout);
    expect(repos[0].packedBytes).toBeGreaterThan(500_000);
    await tureen("cache", "rm", "kitchen/base");
    expect(readdirSync(join(cacheDir, "own/packed"))).toEqual([]);
  });

  test.each<[number, string[], RegExp]>([
    [2, ["cache"], /expected ls, rm NAME or trim SIZE/],
    [2, ["cache", "rm"], /a NAME is missing/],
    [2, ["cache", "ls", "x"], /expected ls, rm NAME or trim SIZE/],
    [2, ["cache", "trim"], /cache trim: expected one SIZE/],
    [2, ["cache", "trim", "much"], /cache trim: expected a size like 5GB/],
    [1, ["cache", "rm", "a/b"], /SOURCE_NOT_FOUND: a\/b is not in the cache/],
    [
      1,
      ["generate", "--model", "kitchen/missing", "x"],
      /SOURCE_READ_FAILED: kitchen\/missing is private/,
    ],
  ])("exit code %i: %j", async (code, args, message) => {
    const result = await tureen(...args);
    expect(result).toMatchObject({ code, stderr: expect.stringMatching(message) });
  });
});
