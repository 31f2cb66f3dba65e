// tureen compare: base, adapters and blends on the same questions. Reads what the flags name, and prints a table or JSON.
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import type { Model } from "../api/model.ts";
import { type Comparison, compare } from "../compare/compare.ts";
import { readTask, type Task } from "../compare/evaluate.ts";
import { NORMALIZERS, type NormalizerName } from "../compare/normalizers.ts";
import { TureenError } from "../errors.ts";
import { Random } from "../math/random.ts";
import type { Command } from "./command.ts";
import { KITCHEN_DEFAULTS } from "./compare-kitchen.ts";
import { CONTENDERS_HELP, soupFiles, toContenders } from "./contenders.ts";
import { METHOD_FLAGS, METHOD_HELP, methodOptions } from "./merge-options.ts";
import { MODEL_FLAGS, openModel } from "./options.ts";
import { formatTable, note, print, printJson, round } from "./output.ts";
import { createProgress } from "./progress.ts";
import {
  choiceFlag,
  type Flags,
  integerFlag,
  listFlag,
  numberFlag,
  parsePair,
  parseWeights,
  textFlag,
  UsageError,
} from "./usage.ts";

const NORMALIZER_NAMES = Object.keys(NORMALIZERS) as NormalizerName[];

export const compareCommand: Command = {
  name: "compare",
  summary: "base, adapters and merge methods on the same questions",
  help: `Usage: tureen compare --model DIR --adapter NAME=DIR ... --data FILE ... --methods M,M,...
       tureen compare --kitchen
Greedy answers, and how probable the right ones were.

  --model DIR             the base model
  --adapter NAME=DIR      a PEFT LoRA adapter; may be repeated
  --data FILE             JSONL: {"prompt","completion"} or {"messages"}; {"text"} is scored only; may be repeated
  --methods M,M,...       default base,each,cat; see below
  --weights NAME=W,...    the adapters that are blended, default all with 1
${METHOD_HELP}
  --few FILE              examples of the task that LoRAHub's weights are found on
  --few-count N           draw N of them, by --seed; default all
  --learn FILE            examples to learn a soup from; once for each skill
  --fraction F            share of them that is used, default 1
  --normalizer N          when an answer is right:
${NORMALIZER_NAMES.map((name) => `      ${name.padEnd(12)}${NORMALIZERS[name].summary}`).join("\n")}
                          default exact
  --max-tokens N          of an answer, default 128
  --stop TEXT             ends an answer; may be repeated
  --limit N               only the first N examples of each file
  --backend, --threads, --quantize, --context, --kv-cache   as for generate
  --kitchen               the embedded task: its model, adapters, data and methods, where no other are named
  --json                  print { backend, normalizer, tasks, rows: [{ name, weights, evaluations, … }] }

Methods:
${CONTENDERS_HELP}`,
  flags: {
    ...Object.fromEntries(
      ["model", "adapter", "backend", "build", "threads", "quantize", "context", "kv-cache"].map(
        (name) => [name, MODEL_FLAGS[name]!],
      ),
    ),
    ...METHOD_FLAGS,
    data: { type: "string", multiple: true },
    methods: { type: "string" },
    weights: { type: "string" },
    few: { type: "string" },
    "few-count": { type: "string" },
    learn: { type: "string", multiple: true },
    fraction: { type: "string" },
    normalizer: { type: "string" },
    "max-tokens": { type: "string" },
    stop: { type: "string", multiple: true },
    limit: { type: "string" },
    kitchen: { type: "boolean" },
    json: { type: "boolean" },
  },

  async run(given) {
    const flags: Flags = given.kitchen === true ? { ...KITCHEN_DEFAULTS, ...given } : given;
    const start = performance.now();
    const request = readRequest(flags);
    const texts = await readTexts(request.files);
    const { model, loadMs } = await openModel(request.modelFlags);
    const interrupt = new AbortController();
    const onInterrupt = (): void => interrupt.abort();
    process.once("SIGINT", onInterrupt);
    const progress = createProgress("comparing", "questions");
    try {
      const { backend } = model.info;
      note(
        `${backend.name} ${backend.build}, ${backend.threads} ` +
          `${backend.threads === 1 ? "thread" : "threads"}; loaded in ${loadMs.toFixed(0)} ms`,
      );
      const tasks = request.data.map((file) => loadTask(model, file, texts, request.limit));
      const contenders = listContenders(model, flags, request, texts);
      const rows = await compare(model, contenders, tasks, {
        ...request.evaluation,
        signal: interrupt.signal,
        onProgress: (done, total, name) => progress.update(done, total, ` | ${name}`),
      });
      progress.stop();
      if (flags.json === true) printJson(toJson(model, request, tasks, rows));
      else printTables(request, tasks, rows);
      note(`${((performance.now() - start) / 1000).toFixed(1)} s in all`);
    } finally {
      progress.stop();
      process.removeListener("SIGINT", onInterrupt);
      await model.dispose();
    }
  },
};

interface CompareRequest {
  readonly modelFlags: Flags;
  readonly adapters: readonly string[];
  readonly words: readonly string[];
  readonly data: readonly string[];
  readonly few: string | undefined;
  readonly fewCount: number | undefined;
  readonly learn: readonly string[];
  readonly limit: number | undefined;
  /** All files that are read whole. */
  readonly files: readonly string[];
  readonly evaluation: {
    readonly normalizer: NormalizerName;
    readonly maxTokens: number | undefined;
    readonly stop: readonly string[] | undefined;
  };
}

/** All that can be wrong with the command line shows before a model is loaded. */
function readRequest(flags: Flags): CompareRequest {
  const data = listFlag(flags, "data");
  if (data.length === 0) throw new UsageError("--data FILE is missing");
  const pairs = listFlag(flags, "adapter").map((text) => parsePair(text, "--adapter", "NAME=DIR"));
  const adapters = pairs.map(([name]) => name);
  const isBare = adapters.length === 0;
  const methods = textFlag(flags, "methods") ?? (isBare ? "base" : "base,each,cat");
  const words = methods.split(",").map((word) => word.trim());
  const few = textFlag(flags, "few");
  const learn = listFlag(flags, "learn");
  const stop = listFlag(flags, "stop");
  const soup = adapters.map((name) => `${name}=1`).join(",");
  return {
    modelFlags: isBare ? flags : { ...flags, soup }, // several adapters need weights
    adapters,
    words,
    data,
    few,
    fewCount: integerFlag(flags, "few-count", 1),
    learn,
    limit: integerFlag(flags, "limit", 1),
    files: [...data, ...learn, ...soupFiles(words), ...(few === undefined ? [] : [few])],
    evaluation: {
      normalizer: choiceFlag(flags, "normalizer", NORMALIZER_NAMES) ?? "exact",
      maxTokens: integerFlag(flags, "max-tokens", 1),
      stop: stop.length === 0 ? undefined : stop,
    },
  };
}

function listContenders(
  model: Model,
  flags: Flags,
  request: CompareRequest,
  texts: ReadonlyMap<string, string>,
): ReturnType<typeof toContenders> {
  const { adapters, few, fewCount, learn, words } = request;
  const given = textFlag(flags, "weights");
  const weights =
    given === undefined
      ? Object.fromEntries(adapters.map((name) => [name, 1]))
      : parseWeights(given, "--weights");
  const seed = integerFlag(flags, "seed", 0) ?? 0;
  const fraction = numberFlag(flags, "fraction");
  return toContenders(words, {
    adapters,
    weights,
    options: methodOptions(flags),
    few:
      few === undefined ? undefined : draw(loadTask(model, few, texts, undefined), fewCount, seed),
    learning:
      learn.length === 0
        ? undefined
        : {
            adapters: Object.keys(weights),
            data: learn.map((name) => ({ name, examples: texts.get(name)! })),
            seed,
            ...(fraction === undefined ? {} : { fraction }),
          },
    seed,
    recipes: new Map(soupFiles(words).map((file) => [file, texts.get(file)!])),
  });
}

function loadTask(
  model: Model,
  file: string,
  texts: ReadonlyMap<string, string>,
  limit: number | undefined,
): Task {
  const { examples } = readTask(model, file, texts.get(file)!);
  return { name: basename(file, ".jsonl"), examples: examples.slice(0, limit) };
}

/** Some of a task's examples, in their order. */
function draw(task: Task, count: number | undefined, seed: number): Task {
  if (count === undefined || count >= task.examples.length) return task;
  const random = new Random(seed);
  const left = [...task.examples];
  while (left.length > count) left.splice(Math.floor(random.nextFloat() * left.length), 1);
  return { ...task, examples: left };
}

async function readTexts(files: readonly string[]): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const file of files) {
    try {
      texts.set(file, await readFile(file, "utf8"));
    } catch (cause) {
      const found = cause instanceof Error ? cause.message : String(cause);
      const isAbsent = (cause as { code?: string }).code === "ENOENT";
      const code = isAbsent ? "SOURCE_NOT_FOUND" : "SOURCE_READ_FAILED";
      throw new TureenError(code, "cannot read a file", { found, where: file }, { cause });
    }
  }
  return texts;
}

/** The shape of `--json`. */
function toJson(
  model: Model,
  { evaluation }: CompareRequest,
  tasks: readonly Task[],
  rows: readonly Comparison[],
): unknown {
  return {
    backend: model.info.backend,
    normalizer: evaluation.normalizer,
    tasks: tasks.map(({ name, examples }) => ({ name, examples: examples.length })),
    rows,
  };
}

function printTables(
  { evaluation }: CompareRequest,
  tasks: readonly Task[],
  rows: readonly Comparison[],
): void {
  tasks.forEach(({ name, examples }, i) => {
    print(`${name}, ${examples.length} examples, answers compared by ${evaluation.normalizer}`);
    const head = ["", "right", "accuracy", "ln p", "loss", "tokens/s", "made in", "cut off"];
    const cells = rows.map(({ name, evaluations, preparationMs, relativeError }) => {
      const { correct, questions, accuracy, logLikelihood, loss, tokensPerSecond } =
        evaluations[i]!;
      return [
        name,
        `${correct} of ${questions}`,
        accuracy === undefined ? "" : `${accuracy.toFixed(1)} %`,
        logLikelihood.toFixed(3),
        loss.toFixed(4),
        tokensPerSecond === undefined ? "" : String(round(tokensPerSecond)),
        preparationMs < 20 ? "" : `${(preparationMs / 1000).toFixed(1)} s`,
        relativeError === 0 ? "" : `${(100 * relativeError).toFixed(1)} %`,
      ];
    });
    print(formatTable(head, cells));
  });
  print("ln p: of the whole right answer, mean over examples; loss: mean over tokens.");
}
