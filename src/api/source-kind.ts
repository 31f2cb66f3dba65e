// What lies at a source, before anything is loaded: asked by whoever takes files of either kind at one place.
import { findGguf } from "../formats/model-files.ts";
import type { HubOptions } from "../sources/hub-options.ts";
import { type FileSetInput, openFileSet } from "../sources/open.ts";

/** What `loadModel` takes, or what `loadAdapter` takes. */
export type SourceKind = "model" | "adapter";

/** How to look. */
export interface SourceKindOptions {
  /** How to reach a model hub. */
  readonly hub?: HubOptions | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Tells whether files are a model or an adapter: by `adapter_config.json` or `config.json`, or by what a GGUF file says of itself,
 * whatever its name. Reads headers only; whether the model or adapter is one that loads is another question.
 * @param source as for `loadModel`
 * @returns `undefined` if they are neither
 * @throws TureenError what opening the source throws; `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`, `SOURCE_NOT_FOUND` (a missing
 * shard), `OPTION_INVALID` (several GGUF files of which none is named)
 */
export async function findSourceKind(
  source: FileSetInput,
  options: SourceKindOptions = {},
): Promise<SourceKind | undefined> {
  const { signal } = options;
  // a file of a hub is not downloaded for its header
  const files = await openFileSet(source, { signal, hub: { ...options.hub, keep: false } });
  const has = async (path: string): Promise<boolean> => {
    const file = await files.open(path, { signal });
    await file?.close();
    return file !== undefined;
  };
  if (files.named === undefined && (await has("adapter_config.json"))) return "adapter";
  const gguf = await findGguf(files, "config.json", { signal });
  if (gguf.length === 0) return (await has("config.json")) ? "model" : undefined;
  const { isGgufAdapter } = await import("../formats/gguf/adapter.ts");
  return (await isGgufAdapter(files, gguf, { signal })) ? "adapter" : "model";
}
