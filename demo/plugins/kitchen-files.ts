// Puts the kitchen beside the page: model and adapters as they are, and of the data only what the page shows. A module lists
// the files with their sizes and a version, so that the page can show progress and keep them until they change.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

const MODULE = "virtual:kitchen";
/** Examples of each skill that the page learns from. */
const EXAMPLES = 32;

const AS_THEY_ARE = [
  "base/config.json",
  "base/generation_config.json",
  "base/tokenizer.json",
  "base/tokenizer_config.json",
  "base/model.safetensors",
  "adapters/knowledge/adapter_config.json",
  "adapters/knowledge/adapter_model.safetensors",
  "adapters/format/adapter_config.json",
  "adapters/format/adapter_model.safetensors",
  "soups/learned.json",
];

type Json = Readonly<Record<string, unknown>>;

export function kitchenFiles(folder: string): Plugin {
  const files = collect(folder);
  const hash = createHash("sha256");
  for (const [path, content] of files) hash.update(path).update(content);
  const version = hash.digest("hex").slice(0, 12);
  const listing = [...files].map(([path, content]) => ({ path, nBytes: content.length }));
  return {
    name: "kitchen-files",
    resolveId: (id) => (id === MODULE ? `\0${MODULE}` : undefined),
    load: (id) =>
      id === `\0${MODULE}`
        ? `export const version = "${version}"; export const files = ${JSON.stringify(listing)};`
        : undefined,
    generateBundle() {
      for (const [path, source] of files) {
        this.emitFile({ type: "asset", fileName: `kitchen/${path}`, source });
      }
    },
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const path = /^\/kitchen\/([\w./-]+)$/.exec(request.url ?? "")?.[1];
        const content = path === undefined ? undefined : files.get(path);
        if (content === undefined) return next();
        response.setHeader("content-type", "application/octet-stream");
        response.end(content);
      });
    },
  };
}

function collect(folder: string): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (const path of AS_THEY_ARE) files.set(path, readFileSync(join(folder, path)));
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const questions = readLines(folder, "test_composed").map(({ prompt, answer, value }) => ({
    prompt,
    answer,
    value,
  }));
  const facts = readLines(folder, "skill_a_knowledge")
    .filter(({ kind }) => kind === "new")
    .map(({ text }) => ({ text }));
  const answers = readLines(folder, "skill_b_format").map(({ prompt, answer }) => ({
    prompt,
    completion: answer,
  }));
  files.set("questions.json", json(questions));
  files.set("examples.json", json({ facts: pick(facts), answers: pick(answers) }));
  return files;
}

function readLines(folder: string, name: string): Json[] {
  const text = readFileSync(join(folder, `data/${name}.jsonl`), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Json);
}

/** Evenly over the list. */
function pick<T>(list: readonly T[]): T[] {
  return Array.from({ length: EXAMPLES }, (_, i) => {
    return list[Math.floor(((i + 0.5) * list.length) / EXAMPLES)]!;
  });
}
