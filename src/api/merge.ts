// Merging from the outside: live, into a new adapter of a loaded model, and from files to files, where no weight of the base is
// held. The arithmetic is soup/merge's.
import { listLinears } from "../model/config.ts";
import type { LoadedAdapters } from "../soup/loaded-adapters.ts";
import { type MergeSpec, planSoupMerge } from "../soup/merge/plan-soup.ts";
import { type MergeReport, writeMergedAdapter } from "../soup/merge/write-adapter.ts";
import { writeMergedModel } from "../soup/merge/write-model.ts";
import type { MergeOptions } from "../soup/methods/method.ts";
import type { WrittenDType } from "../soup/peft-writer.ts";
import type { SoupWeight } from "../soup/weights.ts";
import type { FileSetInput } from "../sources/open.ts";
import { createMemorySink, type FileSink, openFileSink } from "../sources/sink.ts";
import type { ReadOptions } from "../sources/source.ts";
import type { AdapterInfo } from "./describe.ts";
import { openWorkbench } from "./workbench.ts";

/** A merged adapter, as it was loaded. */
export type MergedAdapterInfo = AdapterInfo & MergeReport;

/** One adapter of a merge, and its weight. */
export interface AdapterToMerge {
  readonly name: string;
  /** A directory, a URL, or files by name. */
  readonly source: FileSetInput;
  /** Default 1. */
  readonly weight?: SoupWeight | undefined;
}

/** What to merge, how, and where the result goes. */
export interface MergeAdaptersOptions extends ReadOptions {
  /** The base: its config, and the headers of its weights; the weights themselves only for `output: "model"`. */
  readonly model: FileSetInput;
  /** In the order of the merge. */
  readonly adapters: readonly AdapterToMerge[];
  /** A name of the table in docs/merging.md, e.g. `ties` (PEFT's) or `mergekit:ties`. */
  readonly method: string;
  /** The method's. */
  readonly options?: MergeOptions | undefined;
  /** A directory (Node, Deno, Bun) or a sink. */
  readonly target: string | URL | FileSink;
  /** A PEFT adapter (default), or the base with the merge in its weights. */
  readonly output?: "adapter" | "model" | undefined;
  /** Default: F32 for adapters, the base's own types for models. */
  readonly dtype?: WrittenDType | undefined;
  /** Of a model. Default 5 GB (5·10⁹). */
  readonly maxShardBytes?: number | undefined;
  /** Linear layers of an adapter, or bytes of a model: written so far, and in total. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** As transformers writes models. */
export const MAX_SHARD_BYTES = 5e9;

/**
 * Merges PEFT LoRA adapters of one base by any method, reading and writing one linear layer at a time.
 * @throws TureenError `OPTION_INVALID`, `SOUP_INVALID`, `ADAPTER_MISMATCH` (e.g. ranks that the method cannot add),
 *   `ADAPTER_UNSUPPORTED`, `WEIGHTS_NOT_FINITE`, `SOURCE_NOT_FOUND`, `SOURCE_WRITE_FAILED`, `FORMAT_INVALID`, `ABORTED`
 */
export async function mergeAdapters(request: MergeAdaptersOptions): Promise<MergeReport> {
  const { model, adapters, method, options = {}, output = "adapter", dtype, signal } = request;
  const { onProgress, maxShardBytes = MAX_SHARD_BYTES } = request;
  const workbench = await openWorkbench(model, { signal });
  try {
    for (const { name, source } of adapters) await workbench.loadAdapter(source, { name });
    const weights = Object.fromEntries(adapters.map(({ name, weight = 1 }) => [name, weight]));
    const plan = workbench.planMerge({ ...options, method, weights });
    const sink = await openFileSink(request.target);
    const writing = { dtype, signal, onProgress };
    if (output === "model") {
      const { files, checkpoint, config } = workbench;
      const base = { files, checkpoint, tieWordEmbeddings: config.tieWordEmbeddings };
      return await writeMergedModel(plan, base, sink, { ...writing, maxShardBytes });
    }
    const linears = listLinears(workbench.config);
    return await writeMergedAdapter(plan, { ...writing, linears }, sink);
  } finally {
    await workbench.close();
  }
}

/**
 * Merges loaded adapters into a new one's files, for `Model.merge` to load.
 * @throws TureenError see `mergeAdapters`; `OPTION_INVALID` also if the method's result is dense
 */
export async function mergeLoaded(
  adapters: LoadedAdapters,
  spec: MergeSpec,
  name: string,
  { signal }: ReadOptions,
): Promise<{ files: Record<string, Uint8Array>; report: MergeReport }> {
  const sink = createMemorySink(name);
  const plan = planSoupMerge(adapters, spec);
  const linears = adapters.linears.values();
  const report = await writeMergedAdapter(plan, { linears, signal }, sink);
  return { files: sink.files, report };
}
