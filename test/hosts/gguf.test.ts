// GGUF in every kind of host: the bits that Node computes from the same files, by address (read by range, or whole where a server
// ignores ranges) and as files that a person picked, on a page's main thread and in a worker, with threads and without.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeKitchenAdapter, makeKitchenGguf, makeKitchenShards } from "../support/gguf-kitchen.ts";
import { makeGgufModel } from "../support/gguf-models.ts";
import { BUN, CHROMIUM, DENO, FIREFOX, type Program, WORKERD } from "./binaries.ts";
import { edgeModules, postedFromFirefox, readResult, withPage } from "./hosts.ts";
import { ISOLATION, serveFiles, WHOLE } from "./server.ts";
import { startWorkerd } from "./workerd.ts";

const run = promisify(execFile);
const LONG = { timeout: 180_000 };
const mustRun = process.env.CI !== undefined;

let folder: string;
let files: Record<string, Uint8Array>;
/** Of Node: text, ids, hashes. */
let expected: unknown;

async function command(program: string, flags: readonly string[] = []) {
  const script = fileURLToPath(new URL("gguf-command.mjs", import.meta.url));
  const { stdout } = await run(program, [...flags, script, folder]);
  return JSON.parse(stdout);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tureen-gguf-"));
  const mixed = (name: string): string => (name.includes("v_proj") ? "Q6_K" : "Q4_K");
  files = {
    "b.gguf": makeKitchenGguf(),
    ...makeKitchenShards("kitchen"),
    "knowledge.gguf": makeKitchenAdapter("knowledge"),
    "format.gguf": makeKitchenAdapter("format"),
    "mixed.gguf": makeGgufModel(mixed).file,
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  writeFileSync(join(folder, "names.json"), JSON.stringify(Object.keys(files)));
  expected = (await command(process.execPath)).bits;
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function host(name: string, program: Program, task: (path: string) => Promise<void>): void {
  const missing = "missing" in program ? program.missing : undefined;
  const title = missing === undefined ? name : `${name}: ${missing}`;
  test.skipIf(missing !== undefined && !mustRun)(title, LONG, () =>
    task("path" in program ? program.path : ""),
  );
}

test("Node answers from them", () => {
  expect(expected).toMatchObject({
    text: " Daxpel carries a ladder.",
    weightType: "mixed",
    otherType: "mixed",
    logits: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
});

describe("the same bits in", () => {
  host("Deno", DENO, async (deno) => {
    expect((await command(deno, ["run", "--allow-read"])).bits).toEqual(expected);
  });
  host("Bun", BUN, async (bun) => {
    expect((await command(bun)).bits).toEqual(expected);
  });

  /** What a page found in all its ways to the files. */
  function check(found: Record<string, unknown>, build: string): void {
    expect(found.failure).toBeUndefined();
    const { error, ...ways } = found;
    const same = { bits: expected, build };
    expect(ways).toEqual({ ranges: same, whole: same, picked: same });
    expect(error).toMatch(/^FORMAT_INVALID: the file is truncated.*\(cut\.gguf\)/);
  }
  const folders = () => ({ "/gguf/": folder, [WHOLE]: folder });

  const pages = [
    ["an isolated page, in a worker", ISOLATION, "#worker", "relaxed-threads"],
    ["a plain page, in a worker", {}, "#worker", "relaxed"],
    ["a plain page, on its main thread", {}, "", "relaxed"],
  ] as const;
  for (const [where, headers, hash, build] of pages) {
    host(`Chromium, ${where}`, CHROMIUM, async () => {
      const picked = Object.keys(files).map((name) => join(folder, name));
      const path = `page/gguf.html${hash}`;
      const { found, seen } = await withPage(
        headers,
        path,
        async (tab, server) => {
          await tab.locator("input").setInputFiles(picked);
          return { found: await readResult(tab), seen: server.take() };
        },
        folders(),
      );
      check(found, build);
      const requests = (name: string) => seen.filter((it) => it === name).length;
      expect(requests("/gguf/b.gguf")).toBeGreaterThan(2);
      expect(requests(`${WHOLE}b.gguf`)).toBe(1);
    });
  }
  host("Firefox, an isolated page, in a worker", FIREFOX, async () => {
    const path = "page/gguf.html?post#worker";
    check(await postedFromFirefox(ISOLATION, path, folders()), "relaxed-threads");
  });
  host("Firefox, a plain page, on its main thread", FIREFOX, async () => {
    check(await postedFromFirefox({}, "page/gguf.html?post", folders()), "relaxed");
  });

  host("workerd", WORKERD, async (program) => {
    const server = await serveFiles(folders());
    const workerd = await startWorkerd(program, edgeModules());
    try {
      for (const at of ["gguf/", "whole/"]) {
        const asked = `${workerd.url}?gguf=${encodeURIComponent(server.url + at)}`;
        const found = await (await fetch(asked)).json();
        expect(found).toEqual({ bits: expected, build: "relaxed" });
      }
    } finally {
      await workerd.close();
      await server.close();
    }
  });
});
