// `tureen merge` as a person uses it, in this process: a folder to write to, and what was said.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, vi } from "vitest";
import { mergeCommand } from "../../src/cli/merge.ts";
import type { Flags } from "../../src/cli/usage.ts";
import { kitchenPath } from "../support/kitchen.ts";

export interface Scratch {
  /** A path in a folder that is removed at the end. */
  path(name: string): string;
  /** What went to stderr, in this test. */
  notes(): string;
  /** What went to stdout, in this test. */
  output(): string;
}

/** For the whole file. */
export function useScratch(): Scratch {
  let folder = "";
  let notes = "";
  let output = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "tureen-merge-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  beforeEach(() => {
    notes = "";
    output = "";
    vi.spyOn(process.stderr, "write").mockImplementation((text) => {
      notes += text;
      return true;
    });
    vi.spyOn(process.stdout, "write").mockImplementation((text) => {
      output += text;
      return true;
    });
  });
  afterEach(() => vi.restoreAllMocks());
  return { path: (name) => join(folder, name), notes: () => notes, output: () => output };
}

/** Kitchen's base and its two adapters, weighing 1 and 0.5. */
export const KITCHEN: Flags = {
  model: kitchenPath("base"),
  adapter: ["knowledge", "format"].map((name) => `${name}=${kitchenPath(`adapters/${name}`)}`),
  weights: "knowledge=1,format=0.5",
};

export function merge(flags: Flags, positionals: readonly string[] = []): Promise<void> {
  return mergeCommand.run(flags, positionals);
}
