// Packed weights in the lists of a cache, and removing them with the models that they were made of.
import type { CachedRepo, HubCache } from "./cache.ts";
import { readText } from "./key-store.ts";
import { type PackedName, removeCopy } from "./packed-copy.ts";

interface StoredCopy {
  readonly folder: string;
  /** Empty if nothing tells. */
  readonly name: Partial<PackedName>;
  readonly nBytes: number;
  readonly lastUsed: number;
}

/** Of a cache, what is needed here. */
type Keeper = Pick<HubCache, "name" | "packed" | "list">;

async function listCopies({ packed: store, name: cache }: Keeper): Promise<StoredCopy[]> {
  const keys = (await store?.keys("packed/")) ?? [];
  const copies: StoredCopy[] = [];
  for (const id of new Set(keys.map((key) => key.split("/")[1]!))) {
    const folder = `packed/${id}`;
    let nBytes = 0;
    for (const key of keys) {
      if (key.startsWith(`${folder}/`)) nBytes += (await store!.get(key))?.size ?? 0;
    }
    // Another program may be removing it.
    const read = (key: string) => readText(store!, `${folder}/${key}`).catch(() => undefined);
    const name = parseName(await read("about"));
    const lastUsed = Number(await read("used")) || 0;
    if ((name.cache ?? cache) === cache) copies.push({ folder, name, nBytes, lastUsed });
  }
  return copies;
}

function parseName(text: string | undefined): Partial<PackedName> {
  try {
    return { ...(JSON.parse(text ?? "{}") as PackedName | null) };
  } catch {
    return {}; // cut off, or not ours
  }
}

/** Adds what is packed to the models it was made of; those that are not in the cache come last. */
export async function addPacked(
  repos: readonly CachedRepo[],
  cache: Keeper,
): Promise<CachedRepo[]> {
  const all = new Map(repos.map((repo) => [repo.repo, repo]));
  for (const { folder, name, nBytes, lastUsed } of await listCopies(cache)) {
    const repo = String(name.model ?? folder);
    const none = {
      repo,
      nBytes: 0,
      incompleteBytes: 0,
      packedBytes: 0,
      lastUsed: 0,
      revisions: [],
    };
    const known = all.get(repo) ?? none;
    all.set(repo, {
      ...known,
      nBytes: known.nBytes + nBytes,
      packedBytes: known.packedBytes + nBytes,
      lastUsed: Math.max(known.lastUsed, lastUsed),
    });
  }
  return [...all.values()];
}

/**
 * Removes a model or a revision of it, and first what was packed from it.
 * @param remove removes its files
 * @returns bytes that became free
 */
export async function removeWithPacked(
  cache: Keeper,
  repo: string,
  revision: string | undefined,
  remove: () => Promise<number>,
): Promise<number> {
  const own = (await cache.list()).find((known) => known.repo === repo);
  const commit = own?.revisions.find(({ refs }) => refs.includes(revision ?? ""))?.commit;
  let freed = 0;
  for (const { folder, name, nBytes } of await listCopies(cache)) {
    if (String(name.model ?? folder) !== repo) continue;
    if (revision !== undefined && name.commit !== (commit ?? revision)) continue;
    await removeCopy(cache.packed!, folder);
    freed += nBytes;
  }
  const isPackedOnly = own?.revisions.length === 0 && own.nBytes === own.packedBytes;
  return isPackedOnly && revision === undefined ? freed : freed + (await remove());
}
