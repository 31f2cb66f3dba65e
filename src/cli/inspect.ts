// tureen inspect: what a folder or soup holds, and what of it is not supported. Reads headers only.
import { readFile, stat } from "node:fs/promises";
import { readConfig } from "../api/read-config.ts";
import { findSourceKind } from "../api/source-kind.ts";
import { loadTextTools } from "../api/text-tools.ts";
import { openModelFiles } from "../formats/model-files.ts";
import { parseRecipe, type SoupRecipe } from "../soup/recipe.ts";
import { openFileSet } from "../sources/open.ts";
import type { FileSet } from "../sources/source.ts";
import type { Command } from "./command.ts";
import { inspectAdapter } from "./inspect-adapter.ts";
import { formatBytes, formatTable, print, printJson } from "./output.ts";
import { describeTensors, HEADERS, type Report, refusal } from "./report.ts";
import { listFlag, parsePair, textFlag, UsageError } from "./usage.ts";

export const inspectCommand: Command = {
  name: "inspect",
  summary: "what a model, adapter or soup is made of",
  help: `Usage: tureen inspect PATH ... [options]
PATH is the folder of a model or adapter, its GGUF file, its name at the Hub, or a soup.json. Only
headers are read.

  --model DIR             the base that adapters are checked against
  --adapter NAME=DIR, --soup FILE   more ways to name what to inspect
  --json                  print an array with one object per PATH`,
  takesArguments: true,
  flags: {
    model: { type: "string" },
    adapter: { type: "string", multiple: true },
    soup: { type: "string" },
    json: { type: "boolean" },
  },

  async run(flags, positionals) {
    const model = textFlag(flags, "model");
    const soup = textFlag(flags, "soup");
    const adapters = listFlag(flags, "adapter").map(
      (text) => parsePair(text, "--adapter", "NAME=DIR")[1],
    );
    const others = [...positionals, ...adapters, ...(soup === undefined ? [] : [soup])];
    const paths = model !== undefined && others.length === 0 ? [model] : others;
    if (paths.length === 0) throw new UsageError("a path is missing");
    const reports: Report[] = [];
    for (const path of paths) reports.push(await inspect(path, model));
    if (flags.json === true) printJson(reports);
    else for (const report of reports) printReport(report);
  },
};

async function inspect(path: string, base: string | undefined): Promise<Report> {
  if ((await isFile(path)) && !/\.gguf$/i.test(path)) return inspectSoup(path);
  const files = await openFileSet(path, HEADERS);
  const isAdapter = (await findSourceKind(files)) === "adapter";
  return isAdapter ? inspectAdapter(path, files, base) : inspectModel(path, files);
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}

async function inspectSoup(path: string): Promise<Report> {
  const recipe: SoupRecipe = parseRecipe(await readFile(path, "utf8"), path);
  const weights = recipe.adapters.map(({ name, weights: hash }) => {
    const weight = recipe.weights[name] ?? 0;
    const values =
      typeof weight === "number"
        ? [weight]
        : [
            ...(weight.default === undefined ? [] : [weight.default]),
            ...Object.values(weight.layers ?? {}),
            ...Object.values(weight.linears ?? {}),
          ];
    const range =
      values.length === 1 ? values[0]! : `${Math.min(...values)} … ${Math.max(...values)}`;
    return { adapter: name, weight: range, numbers: values.length, sha256: hash };
  });
  const { version, method, base, learned } = recipe;
  const facts = {
    version,
    method,
    base: base.fingerprint,
    weights,
    ...(learned ? { learned } : {}),
  };
  return { path, kind: "soup", supported: true, facts };
}

async function inspectModel(path: string, files: FileSet): Promise<Report> {
  const opened = await openModelFiles(files);
  const checkpoint = await opened.openCheckpoint();
  try {
    const tensors = describeTensors(checkpoint);
    try {
      const config = await readConfig(opened.files, {});
      const { tokenizer, chatTemplate } = await loadTextTools(opened.files, {});
      const { layers, kvHeads, headDim } = config;
      const facts = {
        architecture: config.modelType,
        layers,
        "hidden size": config.hiddenSize,
        "intermediate size": config.intermediateSize,
        heads: `${config.heads}, ${kvHeads} for keys and values, of ${headDim}`,
        vocabulary: config.vocabSize,
        positions: config.maxPositions,
        "tied embeddings": config.tieWordEmbeddings,
        "rope scaling": config.ropeScaling?.type ?? "none",
        ...tensors,
        "KV cache per position": formatBytes(8 * layers * kvHeads * headDim),
        tokenizer: tokenizer === undefined ? "none" : `${tokenizer.vocabSize} tokens`,
        "chat template": chatTemplate !== undefined,
      };
      return { path, kind: "model", supported: true, facts };
    } catch (error) {
      return { path, kind: "model", facts: tensors, ...refusal(error) };
    }
  } finally {
    await checkpoint.close();
  }
}

function printReport({ path, kind, supported, problem, facts }: Report): void {
  print(`${path}: ${kind}${supported ? "" : ", not supported"}`);
  if (problem !== undefined) print(`  ${problem.code}: ${problem.message}`);
  for (const [name, value] of Object.entries(facts)) {
    if (Array.isArray(value)) printRows(name, value);
    else if (typeof value === "object") print(`  ${name}: ${JSON.stringify(value)}`);
    else print(`  ${name}: ${value}`);
  }
}

function printRows(name: string, rows: readonly Record<string, unknown>[]): void {
  if (rows.length === 0) return;
  const head = Object.keys(rows[0]!);
  print(`  ${name}:`);
  const cells = rows.map((row) => head.map((key) => String(row[key])));
  print(formatTable(head, cells));
}
