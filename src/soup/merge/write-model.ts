// Writes a merge into the base's weights, as a full model: W + ΔW, tensor by tensor.
import { TureenError } from "../../errors.ts";
import type { Checkpoint } from "../../formats/checkpoint.ts";
import type { FileSink } from "../../sources/sink.ts";
import type { FileSet, ReadOptions } from "../../sources/source.ts";
import { foldRows } from "../fold.ts";
import type { MergedModule } from "../methods/method.ts";
import { type AddRows, type WriteModelOptions, writeModel } from "../write-model.ts";
import { type MergePlan, mergePlanned, type PlannedModule } from "./plan.ts";
import { type MergeReport, TruncationErrors } from "./write-adapter.ts";

/**
 * Dense results are merged whole: nothing is truncated unless the method's options say so.
 * @throws TureenError `SOUP_INVALID` if the merge changes an `lm_head` that is the embedding; `ADAPTER_UNSUPPORTED` for biases;
 *   `SOURCE_WRITE_FAILED`, `ABORTED`, and what merging throws
 */
export async function writeMergedModel(
  plan: MergePlan,
  base: {
    readonly files: FileSet;
    readonly checkpoint: Checkpoint;
    readonly tieWordEmbeddings: boolean;
  },
  sink: FileSink,
  options: WriteModelOptions = {},
): Promise<MergeReport> {
  checkMergeable(plan, base.tieWordEmbeddings);
  const errors = new TruncationErrors();
  const changes = plan.modules.map((module) => {
    const read = () => readChange(plan, module, errors, options);
    return [module.linear.path, read] as const;
  });
  await writeModel(base.files, base.checkpoint, new Map(changes), sink, options);
  const { method, modules } = plan;
  return { method: method.name, modules: modules.length, ranks: [], ...errors.summary() };
}

function checkMergeable({ modules, hasBias }: MergePlan, tieWordEmbeddings: boolean): void {
  if (hasBias) {
    throw new TureenError("ADAPTER_UNSUPPORTED", "biases cannot be merged into a full model", {
      found: "lora_bias",
      hint: "Write an adapter instead.",
    });
  }
  if (!tieWordEmbeddings || !modules.some(({ linear }) => linear.path === "lm_head")) return;
  throw new TureenError("SOUP_INVALID", "a merge of lm_head cannot be written into this model", {
    found: "lm_head and the embedding are one tensor (tie_word_embeddings)",
    hint: "Write an adapter instead, or give lm_head weight 0.",
  });
}

async function readChange(
  plan: MergePlan,
  module: PlannedModule,
  errors: TruncationErrors,
  { signal }: ReadOptions,
): Promise<AddRows> {
  const { merged } = await mergePlanned(plan, module, { signal });
  if (merged.kind === "low-rank") errors.add(module.linear, merged);
  return addMerged(merged, module.linear.cols);
}

/** Adds ΔW with one rounding to f32. */
function addMerged(merged: MergedModule, cols: number): AddRows {
  if (merged.kind === "low-rank") {
    const parts = [{ m: 1, rank: merged.rank, a: merged.a, b: merged.b }];
    return (weight, rowStart) => foldRows(weight, rowStart, cols, parts);
  }
  let block = new Float32Array(0);
  return (weight, rowStart) => {
    if (block.length < weight.length) block = new Float32Array(weight.length);
    merged.delta.read(rowStart, weight.length / cols, block);
    for (let i = 0; i < weight.length; i++) weight[i] = weight[i]! + block[i]!;
  };
}
