// Blending without running: a base's config and file headers, adapters, soups. No weight of the base is loaded, so a soup of
// a large model can be saved, exported or folded on a small machine.
import type { Segment, SegmentData } from "../backend/backend.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { openModelFiles } from "../formats/model-files.ts";
import { listLinears, type ModelConfig } from "../model/config.ts";
import { checkFoldable } from "../soup/fold.ts";
import { type FoldModelOptions, writeFoldedModel } from "../soup/fold-model.ts";
import { fingerprintBase } from "../soup/identity.ts";
import { type LoadSoupOptions, loadRecipe } from "../soup/load-recipe.ts";
import { LoadedAdapters } from "../soup/loaded-adapters.ts";
import type { MergePlan } from "../soup/merge/plan.ts";
import { type MergeSpec, planSoupMerge } from "../soup/merge/plan-soup.ts";
import { readReleasedCat } from "../soup/released-cat.ts";
import { Soup } from "../soup/soup.ts";
import type { SoupWeights } from "../soup/weights.ts";
import type { OpenOptions } from "../sources/hub-options.ts";
import { type FileSetInput, openFileSet } from "../sources/open.ts";
import { type FileSink, openFileSink } from "../sources/sink.ts";
import type { FileSet } from "../sources/source.ts";
import { type AdapterInfo, describeAdapter } from "./describe.ts";
import { openAdapterFor } from "./load-adapter.ts";
import { readConfig } from "./read-config.ts";

/**
 * Opens a base model's config and headers.
 * @throws TureenError `SOURCE_NOT_FOUND`, `FORMAT_INVALID`, `MODEL_UNSUPPORTED` and others
 */
export async function openWorkbench(
  source: FileSetInput,
  reading: OpenOptions = {},
): Promise<Workbench> {
  const opened = await openModelFiles(await openFileSet(source, reading), reading);
  try {
    const config = await readConfig(opened.files, reading);
    return new Workbench(opened.files, config, await opened.openCheckpoint(reading), reading);
  } catch (error) {
    await opened.close();
    throw error;
  }
}

export class Workbench {
  readonly config: ModelConfig;
  readonly files: FileSet;
  readonly checkpoint: Checkpoint;
  readonly #adapters: LoadedAdapters;
  readonly #opening: OpenOptions;

  constructor(
    files: FileSet,
    config: ModelConfig,
    checkpoint: Checkpoint,
    opening: OpenOptions = {},
  ) {
    this.#opening = opening;
    this.files = files;
    this.config = config;
    this.checkpoint = checkpoint;
    this.#adapters = new LoadedAdapters({
      linears: listLinears(config),
      loadSegment: describeSegment,
      freeSegment: () => {},
      identifyBase: () => fingerprintBase(checkpoint),
    });
  }

  /** As `Model.loadAdapter`: every tensor is read and checked. */
  async loadAdapter(source: FileSetInput, { name }: { name: string }): Promise<AdapterInfo> {
    this.#adapters.checkName(name);
    const { files: own, checkpoint, config } = this;
    const { hub, onWarning } = this.#opening;
    const base = { files: own, checkpoint, config, linears: this.#adapters.linears, hub };
    const { files, adapter } = await openAdapterFor(base, source, { name, onWarning });
    try {
      return describeAdapter(await this.#adapters.add(name, adapter, files));
    } catch (error) {
      await adapter.close();
      throw error;
    }
  }

  get adapters(): LoadedAdapters {
    return this.#adapters;
  }

  /** Lays out a merge of loaded adapters. */
  planMerge(spec: MergeSpec): MergePlan {
    return planSoupMerge(this.#adapters, spec);
  }

  /** As `Model.soup`. */
  soup(weights: SoupWeights = {}): Soup {
    return new Soup(this.#adapters, weights);
  }

  /** As `Model.loadSoup`. */
  loadSoup(recipe: unknown, options: LoadSoupOptions = {}): Promise<Soup> {
    return loadRecipe(recipe, this.#adapters, options);
  }

  /** As `Model.catSoup`. */
  async catSoup(adapters?: readonly string[]): Promise<Soup> {
    const loaded = adapters?.map((name) => this.#adapters.get(name)) ?? this.#adapters.list();
    return new Soup(this.#adapters, await readReleasedCat(loaded));
  }

  /** As `Model.saveFolded`. */
  async saveFolded(
    soup: Soup,
    target: string | URL | FileSink,
    options: FoldModelOptions = {},
  ): Promise<void> {
    const { tieWordEmbeddings } = this.config;
    const changed = checkFoldable(soup, this.#adapters.linears.keys(), tieWordEmbeddings);
    const sink = await openFileSink(target);
    await writeFoldedModel(this.files, this.checkpoint, changed, sink, options);
  }

  async close(): Promise<void> {
    await this.#adapters.close();
    await this.checkpoint.close();
  }
}

/** What a backend would hold, without holding it. */
function describeSegment({ rank, rows, cols, a, b }: SegmentData): Segment {
  return { kind: "segment", type: "f32", rank, rows, cols, nBytes: a.byteLength + b.byteLength };
}
