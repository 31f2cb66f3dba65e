// The embedded task for `tureen compare --kitchen`: demo/kitchen/README.md's table, with the adapters that are here (seed 0).
import { fileURLToPath } from "node:url";
import type { Flags } from "./usage.ts";

function path(name: string): string {
  return fileURLToPath(new URL(`../../demo/kitchen/${name}`, import.meta.url));
}

/** What is not given on the command line. Rank 128 is all that the smaller side of a weight has: nothing is truncated. */
export const KITCHEN_DEFAULTS: Flags = {
  model: path("base"),
  adapter: ["knowledge", "format", "datamix"].map((name) => `${name}=${path(`adapters/${name}`)}`),
  data: [path("data/test_composed.jsonl")],
  weights: "knowledge=1,format=1",
  methods: [
    "base,each",
    "linear,svd",
    "ties,dare_linear,dare_ties,magnitude_prune",
    "lorahub,cat@0.5,cat,learned",
  ].join(","),
  density: "0.75",
  few: path("data/test_composed_dev.jsonl"),
  "few-count": "5",
  learn: ["skill_a_knowledge", "skill_b_format"].map((name) => path(`data/${name}.jsonl`)),
  fraction: "0.05",
  "max-tokens": "16",
  threads: "1",
};
