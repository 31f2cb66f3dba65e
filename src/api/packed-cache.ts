// Loads weights from where an earlier load has kept them packed, or keeps them there. Loaded when it is needed. Whatever goes wrong
// with the cache, the model is loaded.
import type { Backend } from "../backend/backend.ts";
import { packedSize } from "../backend/packing.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { DecoderWeights, PackedWeights, PlannedTensor } from "../model/weights.ts";
import type { HubCache } from "../sources/cache/cache.ts";
import type { PieceStore } from "../sources/cache/key-store.ts";
import { openHubCache } from "../sources/cache/open-cache.ts";
import {
  type PackedContent,
  type PackedName,
  PackedReader,
  PackedUnreadable,
  PackedWriter,
  sha256,
} from "../sources/cache/packed-copy.ts";
import type { HubOptions, Warning } from "../sources/hub-options.ts";
import type { FileSet } from "../sources/source.ts";

/** What decides where packed weights are kept, and whether. */
export interface PackedCacheParts {
  readonly files: FileSet;
  readonly checkpoint: Checkpoint;
  /** All that are loaded, in order. */
  readonly tensors: readonly PlannedTensor[];
  readonly backend: Backend;
  readonly hub: HubOptions | undefined;
  /** Whether the caller wants it, and should hear if it cannot be. */
  readonly isAsked: boolean;
  readonly onWarning: ((warning: Warning) => void) | undefined;
}

/**
 * Loads weights, packed if they are there, else from the checkpoint, and then keeps them packed.
 * @param load loads them from the checkpoint, which is found to be what it should be, or from what is packed
 * @throws what `load` throws
 */
export async function loadThroughCache(
  load: (packed?: PackedWeights) => Promise<DecoderWeights>,
  parts: PackedCacheParts,
): Promise<DecoderWeights> {
  const warn = (cause: unknown): void => {
    const found = cause instanceof Error ? cause.message : String(cause);
    const message = `packed weights are not kept: ${found}`;
    parts.onWarning?.({ code: "CACHE_UNAVAILABLE", message });
  };
  let place: Place;
  try {
    place = await findPlace(parts);
  } catch (cause) {
    if (parts.isAsked) warn(cause);
    return load();
  }
  const { store, name, content } = place;
  const reader = await PackedReader.open(store, name, content);
  if (reader !== undefined) {
    try {
      return await load({ read: (nBytes) => reader.read(nBytes) });
    } catch (error) {
      if (!(error instanceof PackedUnreadable)) throw error;
    }
  }
  const isRoomy = reader !== undefined || (await hasRoom(place, parts.hub?.cacheLimit));
  if (!isRoomy) return load();
  const writer = await PackedWriter.create(store, name, content);
  try {
    const weights = await load({ write: (bytes) => writer.write(bytes) });
    await writer.finish().catch(warn);
    return weights;
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

interface Place {
  readonly cache: HubCache;
  readonly store: PieceStore;
  readonly name: PackedName;
  readonly content: PackedContent;
}

/** @throws Error that says why there is none */
async function findPlace(parts: PackedCacheParts): Promise<Place> {
  const { files, checkpoint, tensors, backend, hub = {} } = parts;
  const { packing } = backend;
  if (packing === undefined) throw new Error(`the ${backend.name} backend packs them anew`);
  const { identity } = checkpoint;
  const { origin } = files;
  if (origin === undefined || identity === undefined) {
    throw new Error("nothing tells whether their files have changed");
  }
  const cache = origin.cache ?? (await chooseCache(hub));
  const store = cache?.packed;
  if (cache === undefined || store === undefined) throw new Error("there is no cache");
  const nBytes = packedSize(packing, tensors);
  const matrices = tensors.filter(({ shape }) => shape.length === 2);
  const layouts = new Set(matrices.map((tensor) => packing.layout(tensor)));
  const layout = [...layouts].sort().join(", ");
  const { name: model, commit, folder } = origin;
  const { version } = packing;
  const made = {
    layout,
    version,
    identity,
    tensors: tensors.map(({ name, shape, type }) => [name, shape, type]),
  };
  return {
    cache,
    store,
    name: { cache: cache.name, model, commit, folder, layout },
    content: { identity: await sha256(new TextEncoder().encode(JSON.stringify(made))), nBytes },
  };
}

async function chooseCache({ cache = "auto", cacheDir, keep }: HubOptions) {
  if (cache === "none" || keep === false) return undefined;
  return cache === "auto" ? openHubCache({ cacheDir }) : cache;
}

/** Nothing is removed for what can be made anew. */
async function hasRoom({ cache, content }: Place, limit: number | undefined): Promise<boolean> {
  if (limit === undefined) return true;
  const repos = await cache.list().catch(() => undefined);
  if (repos === undefined) return false;
  return repos.reduce((sum, { nBytes }) => sum + nBytes, content.nBytes) <= limit;
}
