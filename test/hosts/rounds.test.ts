// Two models at once; and 50 loaded and disposed of one after the other, each with threads, without growth.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { BUN, CHROMIUM, DENO, type Program } from "./binaries.ts";
import { readResult, withPage } from "./hosts.ts";
import { ISOLATION } from "./server.ts";

const run = promisify(execFile);
const script = fileURLToPath(new URL("rounds-command.mjs", import.meta.url));
const ANSWERS = [" Daxpel carries a ladder.", " Daxpel carries a ladder."];
/** Bytes. A kitchen with its adapters takes 6 MB, so 30 that stayed would take 180. */
const NOISE = 40e6;
/** A machine that runs every other test meanwhile. */
const LONG = { timeout: 180_000 };

const HOSTS: readonly [name: string, program: Program, flags: readonly string[]][] = [
  ["Node", { path: process.execPath }, ["--expose-gc"]],
  ["Deno", DENO, ["run", "--allow-read", "--v8-flags=--expose-gc"]],
  ["Bun", BUN, ["--expose-gc"]],
];

describe("many models", () => {
  for (const [name, program, flags] of HOSTS) {
    const missing = "missing" in program ? program.missing : undefined;
    test.skipIf(missing !== undefined)(
      `${name}${missing ? `: ${missing}` : ""}`,
      LONG,
      async () => {
        if ("missing" in program) throw new Error(program.missing);
        const { stdout } = await run(program.path, [...flags, script], {
          cwd: fileURLToPath(new URL("../..", import.meta.url)),
        });
        const { texts, held } = JSON.parse(stdout);
        expect(texts).toEqual(ANSWERS);
        // The first rounds warm the host up; from the 20th on nothing is added.
        expect(held.at(-1)).toBeLessThan(held[1] + NOISE);
      },
    );
  }

  const noBrowser = "missing" in CHROMIUM ? CHROMIUM.missing : undefined;
  test.skipIf(noBrowser !== undefined)(
    `Chromium${noBrowser ? `: ${noBrowser}` : ""}`,
    LONG,
    async () => {
      const found = await withPage(ISOLATION, "page/rounds.html", readResult);
      expect(found.failure).toBeUndefined();
      expect(found.texts).toEqual(ANSWERS);
      expect(found.held).toHaveLength(5);
    },
  );
});
