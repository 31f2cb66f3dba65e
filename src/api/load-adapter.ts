// Opens an adapter for a base model: its files, the check against the base, and a warning if it names another base.
import { type Adapter, openAdapter } from "../adapters/adapter.ts";
import { findOtherBase } from "../adapters/base-name.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { LinearInfo, ModelConfig } from "../model/config.ts";
import { readLinear } from "../model/weights.ts";
import type { HubOptions, OpenOptions, Warning } from "../sources/hub-options.ts";
import { type FileSetInput, openFileSet } from "../sources/open.ts";
import type { FileSet } from "../sources/source.ts";
import { type LoadProgress, reportDownload } from "./load-progress.ts";

/** How to load an adapter. */
export interface LoadAdapterOptions {
  /** What soups call it. Not taken by another loaded adapter; no `=` or `,`. */
  readonly name: string;
  /** How to reach a model hub. Default: as the model was loaded. */
  readonly hub?: HubOptions | undefined;
  /** Told of downloads from a hub. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Told of what does not prevent the work, such as that the adapter names another base (`BASE_MODEL_DIFFERS`). */
  readonly onWarning?: ((warning: Warning) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The base that an adapter is for. */
export interface AdapterBase {
  readonly files: FileSet;
  readonly checkpoint: Checkpoint;
  readonly config: ModelConfig;
  readonly linears: ReadonlyMap<string, LinearInfo>;
  /** How the base was reached. */
  readonly hub?: HubOptions | undefined;
}

/** @throws TureenError what `openFileSet` and `openAdapter` throw */
export async function openAdapterFor(
  base: AdapterBase,
  source: FileSetInput,
  options: LoadAdapterOptions,
): Promise<{ files: FileSet; adapter: Adapter }> {
  const { name, signal, onWarning, onProgress, hub = base.hub } = options;
  const onDownload = reportDownload(onProgress);
  const opening: OpenOptions = { signal, hub, onDownload, onWarning };
  const files = await openFileSet(source, opening);
  const adapter = await openAdapter(files, [...base.linears.values()], {
    signal,
    headDim: base.config.headDim,
    readBase: (path) => readLinear(base.checkpoint, base.config, path),
  });
  const otherBase = findOtherBase(adapter.config.baseModel, base.files.hubId);
  if (otherBase !== undefined) {
    onWarning?.({ code: "BASE_MODEL_DIFFERS", message: `${name}: ${otherBase}` });
  }
  return { files: adapter.files, adapter };
}
