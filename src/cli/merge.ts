// tureen merge: several adapters become one adapter, or one full model. Says what is merged and where it goes; the work is
// soup/merge's.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { MAX_SHARD_BYTES } from "../api/merge.ts";
import { openWorkbench, type Workbench } from "../api/workbench.ts";
import { TureenError } from "../errors.ts";
import { identifyAdapter } from "../soup/identity.ts";
import { describePlan, type MergePlan } from "../soup/merge/plan.ts";
import { type MergeReport, writeMergedAdapter } from "../soup/merge/write-adapter.ts";
import { writeMergedModel } from "../soup/merge/write-model.ts";
import { parseMergeRecipe } from "../soup/merge-recipe/parse.ts";
import { planRecipeMerge } from "../soup/merge-recipe/plan-recipe.ts";
import type { WrittenDType } from "../soup/peft-writer.ts";
import type { Soup } from "../soup/soup.ts";
import { planShards } from "../soup/write-model.ts";
import { openFileSink } from "../sources/sink.ts";
import type { Command } from "./command.ts";
import { describeMethods, METHOD_FLAGS, METHOD_HELP, methodOptions } from "./merge-options.ts";
import { MergeStore } from "./merge-store.ts";
import { MODEL_FLAGS, openSoup } from "./options.ts";
import { note, printJson } from "./output.ts";
import { createProgress } from "./progress.ts";
import { choiceFlag, type Flags, parseBytes, requiredFlag, textFlag, UsageError } from "./usage.ts";

export const mergeCommand: Command = {
  name: "merge",
  summary: "merge adapters by any method, into one adapter or a full model",
  help: `Usage: tureen merge --model DIR --adapter NAME=DIR ... --weights NAME=W,... --method M --out DIR
       tureen merge RECIPE.yaml --out DIR
Writes adapter_config.json and adapter_model.safetensors, for PEFT and all that read PEFT; with --full a whole model.
A recipe has mergekit's shape, and method names in it mean mergekit's methods (peft:ties is PEFT's).

  --model DIR             the base model
  --adapter NAME=DIR      a PEFT LoRA adapter; may be repeated
  --weights NAME=W,...    weights of the adapters, or the path of a soup.json
  --method M              default cat; all methods are listed below
${METHOD_HELP}
  --out DIR               where to write
  --full                  write the base with the merge in its weights, tensor by tensor, with config and tokenizer;
                          an interrupted run goes on with what it had finished
  --shard-size N          of a full model's files, default 5GB
  --dtype T               float32, float16, bfloat16; default: float32 for adapters, the base's own for full models
  --json                  print { out, method, modules, ranks, relativeError, … }

Methods:
${describeMethods()}`,
  takesArguments: true,
  flags: {
    model: MODEL_FLAGS.model!,
    adapter: MODEL_FLAGS.adapter!,
    "allow-mismatch": MODEL_FLAGS["allow-mismatch"]!,
    weights: { type: "string" },
    soup: { type: "string" },
    method: { type: "string" },
    ...METHOD_FLAGS,
    out: { type: "string" },
    full: { type: "boolean" },
    "shard-size": { type: "string" },
    dtype: { type: "string" },
    json: { type: "boolean" },
  },

  async run(flags, positionals) {
    if (positionals.length > 1) throw new UsageError(`unexpected argument "${positionals[1]}"`);
    const out = requiredFlag(flags, "out", "DIR");
    const dtypes = { float32: "F32", float16: "F16", bfloat16: "BF16" } as const;
    const dtype = choiceFlag(flags, "dtype", ["float32", "float16", "bfloat16"]);
    const [recipe] = positionals;
    const job = recipe === undefined ? await planFlags(flags) : await planRecipe(recipe, flags);
    const target = { ...job, out, dtype: dtype === undefined ? job.dtype : dtypes[dtype] };
    try {
      const report =
        flags.full === true
          ? await writeModel(target, parseBytes(textFlag(flags, "shard-size"), "--shard-size"))
          : await writeAdapter(target);
      const { soup } = job;
      if (flags.json === true) {
        printJson({ out, ...report, ...(soup === undefined ? {} : { soup: soup.weights }) });
      } else {
        noteReport(target, report);
      }
    } finally {
      await job.workbench.close();
    }
  },
};

/** What is to be merged. */
interface MergeJob {
  readonly workbench: Workbench;
  readonly plan: MergePlan;
  /** The adapters' names. */
  readonly adapters: readonly string[];
  readonly dtype: WrittenDType | undefined;
  /** The weights, where they are a soup's. */
  readonly soup: Soup | undefined;
}

interface MergeTarget extends MergeJob {
  readonly out: string;
}

async function planFlags(flags: Flags): Promise<MergeJob> {
  const options = methodOptions(flags);
  const method = textFlag(flags, "method") ?? "cat";
  const weights = textFlag(flags, "weights") ?? textFlag(flags, "soup");
  if (weights === undefined) throw new UsageError("--weights NAME=WEIGHT,… is missing");
  const { workbench, soup } = await openSoup({ ...flags, soup: weights });
  try {
    const plan = workbench.planMerge({ ...options, method, weights: soup });
    const adapters = soup.parts.map(({ loaded }) => loaded.name);
    return { workbench, plan, adapters, dtype: undefined, soup };
  } catch (error) {
    await workbench.close();
    throw error;
  }
}

async function planRecipe(path: string, flags: Flags): Promise<MergeJob> {
  const options = methodOptions(flags);
  const unwanted = ["model", "adapter", "weights", "soup", "method"].find((name) => name in flags);
  if (unwanted !== undefined) {
    throw new UsageError(`--${unwanted} and a recipe: the recipe says what is merged`);
  }
  const recipe = parseMergeRecipe(await readRecipe(path), path);
  const workbench = await openWorkbench(recipe.base);
  try {
    for (const { name, source } of recipe.models) await workbench.loadAdapter(source, { name });
    const plan = planRecipeMerge(recipe, workbench.adapters, options);
    const adapters = recipe.models.map(({ name }) => name);
    return { workbench, plan, adapters, dtype: recipe.dtype, soup: undefined };
  } catch (error) {
    await workbench.close();
    throw error;
  }
}

async function readRecipe(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    const code = (cause as { code?: string }).code === "ENOENT" ? "NOT_FOUND" : "READ_FAILED";
    throw new TureenError(
      `SOURCE_${code}`,
      "cannot read the merge recipe",
      { found, where: path },
      { cause },
    );
  }
}

async function writeAdapter(target: MergeTarget): Promise<MergeReport> {
  const { workbench, plan, out, dtype, soup } = target;
  const linears = workbench.adapters.linears.values();
  const progress = createProgress("merging", "layers");
  try {
    const options = { linears, dtype, onProgress: progress.update };
    const report = await writeMergedAdapter(plan, options, await openFileSink(out));
    if (soup !== undefined && plan.method.name === "cat") await soup.save(out);
    return report;
  } finally {
    progress.stop();
  }
}

/** Ctrl-C leaves whole shards and a note of them, from which the same command goes on. */
async function writeModel(
  target: MergeTarget,
  maxShardBytes: number = MAX_SHARD_BYTES,
): Promise<MergeReport> {
  const { workbench, plan, out, dtype } = target;
  const { files, checkpoint, config } = workbench;
  const shards = planShards(checkpoint, { maxShardBytes, dtype });
  const store = await MergeStore.open(
    out,
    await identify(target, { maxShardBytes, dtype }),
    shards,
  );
  if (store.finished.size > 0) note(`${store.finished.size} of ${shards.length} files are there`);
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  process.once("SIGINT", onInterrupt);
  const progress = createProgress("merging");
  try {
    const base = { files, checkpoint, tieWordEmbeddings: config.tieWordEmbeddings };
    const report = await writeMergedModel(plan, base, await openFileSink(out), {
      maxShardBytes,
      dtype,
      signal: interrupt.signal,
      finished: store.finished,
      onShard: (file) => store.add(file),
      onProgress: progress.update,
    });
    await store.remove();
    return report;
  } finally {
    progress.stop();
    process.removeListener("SIGINT", onInterrupt);
  }
}

/** Everything that decides the bytes of the result. */
async function identify({ workbench, plan, adapters }: MergeTarget, how: object): Promise<unknown> {
  const identities = [];
  for (const name of adapters) {
    identities.push(await identifyAdapter(name, workbench.adapters.get(name).files));
  }
  const base = await workbench.adapters.identifyBase();
  return { base, adapters: identities, plan: describePlan(plan), ...how };
}

function noteReport({ out }: MergeTarget, report: MergeReport): void {
  const { method, modules, ranks, relativeError, worst } = report;
  const rank = ranks.length === 0 ? "" : `, rank ${ranks.join(", ")}`;
  note(`${method}: ${modules} linear layers${rank}`);
  if (worst !== undefined) {
    const percent = (x: number): string => `${(100 * x).toPrecision(3)} %`;
    note(
      `truncation lost ${percent(relativeError)} of the merged weights' norm ` +
        `(most: ${percent(worst.relativeError)} of ${worst.path})`,
    );
  }
  note(`wrote ${ranks.length === 0 ? out : join(out, "adapter_model.safetensors")}`);
}
