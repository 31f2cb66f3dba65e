// The library through a worker, in every host with workers: streaming, abort, errors with their codes, sinks, and a page that
// keeps answering. The pages are under a strict content security policy (hosts.ts).
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { BUN, CHROMIUM, DENO, type Program } from "./binaries.ts";
import { readResult, withPage } from "./hosts.ts";
import { ISOLATION } from "./server.ts";

const run = promisify(execFile);
const script = fileURLToPath(new URL("worker-command.mjs", import.meta.url));

// biome-ignore lint/suspicious/noExplicitAny: the story's own answer
type Story = any;

async function inCommand(
  program: Program,
  flags: string[] = [],
  args: string[] = [],
): Promise<Story> {
  if ("missing" in program) throw new Error(program.missing);
  const { stdout } = await run(program.path, [...flags, script, ...args], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
  });
  return JSON.parse(stdout);
}

const HOSTS = [
  { name: "Node", program: { path: process.execPath }, run: inCommand, threads: true },
  {
    name: "Deno",
    program: DENO,
    run: (it: Program) => inCommand(it, ["run", "--allow-read"]),
    threads: true,
  },
  {
    name: "Deno, TypeScript sources",
    program: DENO,
    run: (it: Program) => inCommand(it, ["run", "--allow-read", "--no-check"], ["sources"]),
    threads: true,
  },
  { name: "Bun", program: BUN, run: inCommand, threads: true },
  {
    name: "Chromium, isolated page",
    program: CHROMIUM,
    run: () => inPage(ISOLATION),
    threads: true,
  },
  { name: "Chromium, plain page", program: CHROMIUM, run: () => inPage({}), threads: false },
] as const;

function inPage(headers: Record<string, unknown>): ReturnType<typeof readResult> {
  return withPage(headers as typeof ISOLATION, "page/remote.html", readResult);
}

describe("the library through a worker", () => {
  for (const { name, program, run: tell, threads } of HOSTS) {
    const missing: string | undefined = "missing" in program ? program.missing : undefined;
    test.skipIf(missing !== undefined)(
      `${name}${missing ? `: ${missing}` : ""}`,
      { timeout: 120_000 },
      async () => {
        const found = await tell(program);
        expect(found.failure).toBeUndefined();
        expect(found).toMatchObject({
          text: " Daxpel carries a ladder.",
          adapters: ["knowledge", "format"],
          weights: { knowledge: 0.4, format: 1 },
          logits: 768,
          cachedTokens: true,
          cache: true,
          saved: ["adapter_config.json", "adapter_model.safetensors"],
          error: {
            name: "TureenError",
            code: "ADAPTER_NOT_FOUND",
            message: 'no adapter is named "nope". Loaded: knowledge, format.',
            details: { hint: "Loaded: knowledge, format." },
          },
          disposed: { code: "DISPOSED" },
          terminated: { code: "DISPOSED" },
          noScript: { code: "BACKEND_FAILED" },
        });
        if ("handle" in found) expect(found.handle).toEqual({ name: "picked", length: 768 });
        expect("handle" in found).toBe(name.startsWith("Chromium"));
        expect(found.progress).toBeGreaterThan(5_000_000);
        expect(found.encoded).toHaveLength(3);
        expect(found.backend.build.endsWith("-threads")).toBe(threads);
        const { aborted } = found;
        expect(aborted.finishReason).toBe("abort");
        expect(aborted.chunks).toBeLessThan(60);
        // A frozen side has no tick at all; a quarter of those possible allows for busy machines.
        expect(aborted.ticks).toBeGreaterThan(aborted.timings.decodeMs / 5 / 4);
      },
    );
  }
});
