// The command line of run.mjs.
import { parseArgs } from "node:util";

export const HELP = `npm run bench:peers -- [options]
Measures Tureen beside other engines on this machine. Nothing else should be running.

  --shape NAME      smollm2-135m (default) or llama-3.2-1b, with random weights
  --types A,B       of f32, q8, q4 (default q8,q4,f32)
  --threads A,B     default 1,2
  --peers A,B       of llama.cpp, wllama-2, wllama-3, onnxruntime-node, onnxruntime-web, or none (default all)
  --hosts A,B       where Tureen runs too: baseline (Node, that build), deno, chromium, or none (default all)
  --sections A,B    of generation, context, batch, kernels, products, soup, load, download (default all)
  --rounds N        measurements to take the median of, after one that is not counted (default 5)
  --dist DIR        the build of Tureen to measure (default dist)
  --json FILE       where all values go (default test/bench/build/results.json)
  --render A,B      no measurements: print the report of such files, of runs of the same shape
  --docs            put the report into docs/benchmarks.md, in place of the last one of the shape
  --quick           one round of small prompts, q8, one thread: to see that everything runs`;

export const SECTIONS = [
  "generation",
  "context",
  "batch",
  "kernels",
  "products",
  "soup",
  "load",
  "download",
];
export const PEERS = ["llama.cpp", "wllama-2", "wllama-3", "onnxruntime-node", "onnxruntime-web"];
export const HOSTS = ["baseline", "deno", "chromium"];

/** @throws Error with a text for the user */
export function parseOptions(args) {
  const text = { type: "string" };
  const { values } = parseArgs({
    args,
    options: {
      shape: { ...text, default: "smollm2-135m" },
      types: text,
      threads: text,
      peers: text,
      hosts: text,
      sections: text,
      rounds: text,
      dist: text,
      json: text,
      render: text,
      docs: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const { quick } = values;
  return {
    ...values,
    types: list(values.types ?? (quick ? "q8" : "q8,q4,f32"), ["f32", "q8", "q4"]),
    threads: list(values.threads ?? (quick ? "1" : "1,2")).map(count),
    peers: list(values.peers ?? PEERS.join(), PEERS),
    hosts: list(values.hosts ?? HOSTS.join(), HOSTS),
    sections: list(values.sections ?? SECTIONS.join(), SECTIONS),
    rounds: count(values.rounds ?? (quick ? 1 : 5)),
  };
}

function list(text, choices) {
  const items = text === "none" ? [] : text.split(",");
  for (const item of items) {
    if (choices !== undefined && !choices.includes(item)) {
      throw new Error(`${item} is not one of ${choices.join(", ")}`);
    }
  }
  return items;
}

function count(text) {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new Error(`${text} is no count`);
  return number;
}
