// tureen learn: a soup's weights from examples.
import { readFile, rm } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { TureenError } from "../errors.ts";
import type { LearnedSoup, LearnSoupOptions } from "../learn/learn-soup.ts";
import { SCHEDULES } from "../learn/optimizer.ts";
import { GRANULARITIES, PARAMETRIZATIONS } from "../learn/parameters.ts";
import { serializeRecipe } from "../soup/recipe.ts";
import { createDirectorySink } from "../sources/directory-sink.ts";
import { once } from "../sources/sink.ts";
import type { Command } from "./command.ts";
import { MODEL_FLAGS, openModel } from "./options.ts";
import { note, printJson } from "./output.ts";
import { createProgress } from "./progress.ts";
import {
  choiceFlag,
  type Flags,
  integerFlag,
  listFlag,
  numberFlag,
  parsePair,
  textFlag,
  UsageError,
} from "./usage.ts";

export const learnCommand: Command = {
  name: "learn",
  summary: "learn a soup's weights from examples",
  help: `Usage: tureen learn --model DIR --adapter NAME=DIR --adapter NAME=DIR --data FILE ... [--out soup.json]
Base and adapters stay as they are; one weight per adapter and linear layer is learned by gradient descent. Ctrl-C keeps the
best so far.

  --model DIR             the base model
  --adapter NAME=DIR      a PEFT LoRA adapter; two or more
  --data FILE             JSONL: {"prompt","completion"}, {"messages"} or {"text"}; once for each skill
  --fraction F            share of each file that is used (default 1; 0.05 is often enough)
  --out FILE              default soup.json
  --resume                go on where an interrupted run of the same command stopped
  --parametrization P     softmax-k (default: weights sum to the number of adapters), softmax (to 1), free
  --granularity G         linear (default), layer, module-type, global: what has its own weights
  --scored S              completions (default), all: what is predicted
  --average A             example (default), token: what the loss counts alike
  --epochs N              default 1
  --batch-size N          examples per step, default 6
  --learning-rate X       default 0.03 (softmax 0.1)
  --schedule S            linear (default), cosine, constant
  --warmup F              share of the steps, default 0.1
  --weight-decay X        default 0
  --clip-norm X           default 1; 0 for none
  --truncation N          tokens of an example that are kept, default 256
  --validation F          share of the examples that is only watched, default 0.1
  --evaluations N         how often it is looked at, default 10
  --patience N            looks without improvement before stopping, default 5
  --seed N                default 0; the same seed gives the same soup on every host
  --backend B             auto (default), webgpu, wasm, reference
  --threads N             default: chosen by the backend
  --quantize Q            none (default), q8, q4
  --json                  print { out, stopReason, steps, bestStep, losses, evaluations, weights }`,
  flags: {
    ...Object.fromEntries(
      ["model", "adapter", "backend", "build", "threads", "quantize"].map((name) => [
        name,
        MODEL_FLAGS[name]!,
      ]),
    ),
    data: { type: "string", multiple: true },
    out: { type: "string" },
    resume: { type: "boolean" },
    json: { type: "boolean" },
    ...Object.fromEntries(
      [
        "parametrization",
        "granularity",
        "scored",
        "average",
        "schedule",
        "fraction",
        "epochs",
        "batch-size",
        "learning-rate",
        "warmup",
        "weight-decay",
        "clip-norm",
        "truncation",
        "validation",
        "evaluations",
        "patience",
        "seed",
      ].map((name) => [name, { type: "string" as const }]),
    ),
  },

  async run(flags) {
    const options = learningOptions(flags);
    const names = listFlag(flags, "adapter").map(
      (text) => parsePair(text, "--adapter", "NAME=DIR")[0],
    );
    const files = listFlag(flags, "data");
    if (files.length === 0) throw new UsageError("--data FILE is missing");
    const data = await Promise.all(
      files.map(async (name) => ({ name, examples: await readText(name, "the examples") })),
    );
    const out = textFlag(flags, "out") ?? "soup.json";
    const store = new CheckpointStore(out);
    const resume = flags.resume === true ? await store.read() : undefined;
    if (flags.resume === true && resume === undefined) note("nothing to resume; beginning anew");

    const soup = names.map((name) => `${name}=1`).join(","); // several adapters need weights
    const { model } = await openModel(names.length === 0 ? flags : { ...flags, soup });
    const interrupt = new AbortController();
    const onInterrupt = (): void => interrupt.abort();
    process.once("SIGINT", onInterrupt);
    const progress = createProgress("learning", "steps");
    try {
      const learned = await model.learnSoup({
        ...options,
        adapters: names,
        data,
        resume,
        signal: interrupt.signal,
        onCheckpoint: (state) => store.write(JSON.stringify(state)),
        onProgress({ step, steps, loss, validationLoss }) {
          const watched =
            validationLoss === undefined ? "" : `, validation ${validationLoss.toFixed(4)}`;
          progress.update(step, steps, ` | loss ${loss.toFixed(4)}${watched}`);
        },
      });
      progress.stop();
      await writeText(out, serializeRecipe(learned.recipe));
      if (learned.stopReason !== "aborted") await store.remove();
      if (flags.json === true) printJson(toJson(out, learned));
      else noteResult(out, learned);
    } finally {
      progress.stop();
      process.removeListener("SIGINT", onInterrupt);
      await model.dispose();
    }
  },
};

/** Options that were given; the library has the defaults. */
function learningOptions(flags: Flags): Omit<LearnSoupOptions, "adapters" | "data"> {
  const given = {
    parametrization: choiceFlag(flags, "parametrization", PARAMETRIZATIONS),
    granularity: choiceFlag(flags, "granularity", GRANULARITIES),
    scored: choiceFlag(flags, "scored", ["completions", "all"]),
    average: choiceFlag(flags, "average", ["token", "example"]),
    schedule: choiceFlag(flags, "schedule", SCHEDULES),
    fraction: numberFlag(flags, "fraction"),
    epochs: integerFlag(flags, "epochs", 1),
    batchSize: integerFlag(flags, "batch-size", 1),
    learningRate: numberFlag(flags, "learning-rate"),
    warmup: numberFlag(flags, "warmup"),
    weightDecay: numberFlag(flags, "weight-decay"),
    clipNorm: numberFlag(flags, "clip-norm"),
    truncation: integerFlag(flags, "truncation", 2),
    validation: numberFlag(flags, "validation"),
    evaluations: integerFlag(flags, "evaluations", 1),
    patience: integerFlag(flags, "patience", 1),
    seed: integerFlag(flags, "seed", 0),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** The state of a run beside its result. Each write replaces the file in one step, so that a kill leaves a whole one. */
class CheckpointStore {
  readonly #path: string;

  constructor(out: string) {
    this.#path = `${out}.progress`;
  }

  async read(): Promise<string | undefined> {
    try {
      return await readText(this.#path, "the checkpoint");
    } catch (error) {
      if (error instanceof TureenError && error.code === "SOURCE_NOT_FOUND") return undefined;
      throw error;
    }
  }

  write(text: string): Promise<void> {
    return writeText(this.#path, text);
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true });
  }
}

async function readText(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    const isAbsent = (cause as { code?: string }).code === "ENOENT";
    const code = isAbsent ? "SOURCE_NOT_FOUND" : "SOURCE_READ_FAILED";
    throw new TureenError(code, `cannot read ${what}`, { found, where: path }, { cause });
  }
}

/** Whole or not at all. */
function writeText(path: string, text: string): Promise<void> {
  const absolute = resolve(path);
  const sink = createDirectorySink(dirname(absolute));
  return sink.write(basename(absolute), once(new TextEncoder().encode(text)));
}

/** The shape of `--json`. */
function toJson(out: string, learned: LearnedSoup): unknown {
  const { soup, stopReason, steps, bestStep, losses, evaluations } = learned;
  return { out, stopReason, steps, bestStep, losses, evaluations, weights: soup.weights };
}

function noteResult(out: string, learned: LearnedSoup): void {
  const { stopReason, steps, bestStep, losses, evaluations } = learned;
  const reasons = {
    done: "",
    patience: "; the validation loss no longer fell",
    aborted: "; interrupted (--resume goes on)",
    "not-finite": "; then the loss was no longer finite: the best before that was kept",
  };
  note(`${steps} steps${reasons[stopReason]}`);
  const best = evaluations.find(({ step }) => step === bestStep);
  if (best !== undefined) {
    const [uniform] = evaluations;
    note(
      `validation loss ${uniform!.loss.toFixed(4)} (uniform) → ${best.loss.toFixed(4)} (step ${bestStep})`,
    );
  } else if (losses.length > 0) {
    note(`loss ${losses[0]!.toFixed(4)} → ${losses.at(-1)!.toFixed(4)}`);
  }
  note(`wrote ${out}`);
}
