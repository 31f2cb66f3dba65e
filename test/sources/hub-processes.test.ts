// Several loaders at once, in one process and in several, on every host with a disk; and one that is killed.
import { spawn } from "node:child_process";
import { existsSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "vite";
import { describe, expect, test } from "vitest";
import { parseHubReference } from "../../src/sources/hub-reference.ts";
import { BUN, DENO, NODE_22, NODE_24, type Program } from "../hosts/binaries.ts";
import { blobs, cacheDir, folder, hub, open, read, useHub, weights } from "./hub-fixture.ts";
import { etagOf } from "./hub-mock.ts";

useHub();

test("loaders in one process download once", async () => {
  const all = await Promise.all(
    [0, 1, 2, 3].map(async () => read(await open(), "model.safetensors")),
  );
  for (const content of all) expect(content?.equals(weights.content)).toBe(true);
  expect(hub.sent).toBe(weights.content.length);
  expect(blobs()).toEqual([etagOf(weights)]);
});

interface Host {
  readonly name: string;
  readonly program: Program;
  readonly args: readonly string[];
}

const NODE: Host = { name: "this Node", program: { path: process.execPath }, args: [] };
/** `sys`: so that a download of a process that was killed is known to be abandoned at once, and not after 15 s. */
const DENO_ARGS = [
  "run",
  "--no-prompt",
  "--no-config",
  "--allow-sys=hostname",
  "--allow-net",
  "--allow-env",
  "--allow-read",
  "--allow-write",
];
const HOSTS: readonly Host[] = [
  NODE,
  { name: "Node 22", program: NODE_22, args: [] },
  { name: "Node 24", program: NODE_24, args: [] },
  { name: "Deno", program: DENO, args: DENO_ARGS },
  { name: "Bun", program: BUN, args: [] },
];

/** Loads in another process, from bundled sources, since Node 20 runs no TypeScript. Ends with its exit code. */
async function loadElsewhere({ program, args }: Host): Promise<{
  code: Promise<number | null>;
  kill(): void;
}> {
  if ("missing" in program) throw new Error(program.missing);
  const bundle = join(cacheDir(), "bundle");
  const script = join(bundle, "load.mjs");
  if (!existsSync(script)) {
    await build({
      configFile: false,
      logLevel: "silent",
      ssr: { noExternal: true },
      build: {
        ssr: join(import.meta.dirname, "../../src/sources/hub.ts"),
        outDir: bundle,
        rollupOptions: { output: { entryFileNames: "hub.mjs" } },
      },
    });
    const settings = { hub: { endpoint: hub.endpoint, cacheDir: cacheDir(), parallel: 1 } };
    writeFileSync(
      script,
      `import { openHub } from "./hub.mjs";
      const reference = ${JSON.stringify(parseHubReference("org/name"))};
      const internals = { rangeBytes: 65536, transport: { delays: [10, 10] } };
      const files = await openHub(reference, ${JSON.stringify(settings)}, internals);
      const source = await files.open("model.safetensors");
      if (source.size !== ${weights.content.length}) throw new Error("another size");
      await source.close();`,
    );
  }
  const child = spawn(program.path, [...args, script], { stdio: ["ignore", "ignore", "inherit"] });
  const code = new Promise<number | null>((resolve) => child.on("exit", resolve));
  return { code, kill: () => child.kill("SIGKILL") };
}

test("processes leave one good blob", async () => {
  const first = await loadElsewhere(NODE);
  const rest = await Promise.all([loadElsewhere(NODE), loadElsewhere(NODE)]);
  const codes = await Promise.all([first, ...rest].map(({ code }) => code));
  expect(codes).toEqual([0, 0, 0]);
  expect(blobs()).toEqual([etagOf(weights)]);
  const files = await open({ hub: { offline: true } });
  expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
});

describe.each(HOSTS)("$name", (host) => {
  const isMissing = "missing" in host.program && !process.env.CI;

  test.skipIf(isMissing)("killed midway, the next load goes on at once", async () => {
    let stall = (): void => {};
    const stalled = new Promise<void>((resolve) => {
      stall = resolve;
    });
    let ranges = 0;
    hub.intercept = ({ host }) => {
      if (host !== "cdn" || ++ranges < 4) return false;
      stall();
      return true; // never answered
    };
    const victim = await loadElsewhere(host);
    await stalled;
    victim.kill();
    expect(await victim.code).toBeNull();
    expect(blobs()).toEqual([expect.stringMatching(/\.incomplete$/)]);
    hub.intercept = () => false;
    hub.sent = 0;
    const start = performance.now();
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(hub.sent).toBe(weights.content.length - 3 * 65536);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(blobs()).toEqual([etagOf(weights)]);
  });

  test.skipIf(isMissing)("shares the cache", async () => {
    hub.sent = 0;
    expect(await (await loadElsewhere(host)).code).toBe(0);
    expect(blobs()).toEqual([etagOf(weights)]);
    const files = await open({ hub: { offline: true } });
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
    const blob = join(folder(), "blobs", etagOf(weights));
    utimesSync(blob, 1, 1);
    expect(await (await loadElsewhere(host)).code).toBe(0);
    expect(hub.sent).toBe(weights.content.length);
    // Marked as used, for limits of the cache.
    expect(Date.now() - statSync(blob).atimeMs).toBeLessThan(60_000);
    expect(statSync(blob).mtimeMs).toBe(1000);
  });
});
