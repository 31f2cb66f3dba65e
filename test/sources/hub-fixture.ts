// What the hub's tests share: a mock hub, a repository in it, an empty cache for each test, and nobody's own settings.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, vi } from "vitest";
import { type HubInternals, openHub } from "../../src/sources/hub.ts";
import type { OpenOptions } from "../../src/sources/hub-options.ts";
import { type HubReference, parseHubReference } from "../../src/sources/hub-reference.ts";
import type { FileSet } from "../../src/sources/source.ts";
import { failureOf } from "../formats/failure.ts";
import { COMMIT, type MockFile, MockHub, type MockRepo, someBytes } from "./hub-mock.ts";

export const hub: MockHub = new MockHub();
export const weights: MockFile = { content: someBytes(300_000), lfs: true };
export const config: MockFile = { content: new TextEncoder().encode('{"model_type":"llama"}') };
export const model: MockRepo = {
  commit: COMMIT,
  files: { "config.json": config, "model.safetensors": weights, "sub/deep.json": config },
};

let cache: string;
/** The cache's folder, another one in each test. */
export const cacheDir = (): string => cache;

/** To be called at the top of a test file. */
export function useHub(): void {
  beforeAll(() => hub.start());
  afterAll(() => hub.stop());
  beforeEach(() => {
    cache = mkdtempSync(join(tmpdir(), "tureen-hub-"));
    for (const name of ["HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"]) {
      vi.stubEnv(name, "");
    }
    vi.stubEnv("HF_HOME", join(cache, "home"));
    vi.stubEnv("HF_HUB_CACHE", join(cache, "env-cache"));
    vi.stubEnv("TUREEN_CACHE", join(cache, "own"));
    hub.repos.set("org/name", model);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    hub.reset();
    rmSync(cache, { recursive: true, force: true });
  });
}

/** Impatient, with ranges small enough that the weights need several. */
export const internals: HubInternals = {
  transport: { delays: [5, 5, 5], patience: 600, maxRetryAfter: 500 },
  rangeBytes: 64 * 1024,
};

export interface Settings extends OpenOptions {
  readonly name?: string;
}

export function open({
  name = "org/name",
  hub: more,
  ...options
}: Settings = {}): Promise<FileSet> {
  const reference = parseHubReference(name) as HubReference;
  const settings = { endpoint: hub.endpoint, cacheDir: cache, parallel: 2, ...more };
  return openHub(reference, { ...options, hub: settings }, internals);
}

export async function read(files: FileSet, path: string): Promise<Buffer | undefined> {
  const source = await files.open(path);
  if (source === undefined) return undefined;
  try {
    return Buffer.from(await source.read(0, source.size));
  } finally {
    await source.close();
  }
}

/** As `failureOf`, without ports and temporary folders. */
export async function failure(action: () => unknown): Promise<string> {
  const text = await failureOf(action);
  return text
    .replaceAll(cache, "CACHE")
    .replaceAll(hub.endpoint.slice(7), "HUB")
    .replaceAll(hub.cdn.slice(7), "CDN");
}

/** The repository in the cache. */
export const folder = (): string => join(cache, "models--org--name");
export const blobs = (): string[] => readdirSync(join(folder(), "blobs")).sort();
