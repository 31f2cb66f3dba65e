// What a browser's cache holds, and removing from it: the bookkeeping of parts-cache.ts, read backwards from its keys.
import { TureenError } from "../../errors.ts";
import type { CachedRepo, CachedRevision } from "./cache.ts";
import { type KeyStore, readText } from "./key-store.ts";

/** By name. */
export async function listStored(store: KeyStore): Promise<CachedRepo[]> {
  const keys = await store.keys("models/");
  const folders = new Set(keys.map((key) => key.split("/")[1]!));
  const repos: CachedRepo[] = [];
  for (const folder of [...folders].sort()) {
    const prefix = `models/${folder}/`;
    const own = keys.filter((key) => key.startsWith(prefix));
    repos.push((await scan(store, folder, own)).info);
  }
  // What was removed while a tab had it open may still be marked as used.
  return repos.filter(({ nBytes, revisions }) => nBytes + revisions.length > 0);
}

interface Scan {
  readonly info: CachedRepo;
  /** Etags of each commit's files. */
  readonly etags: ReadonlyMap<string, ReadonlySet<string>>;
  /** Bytes of each blob. */
  readonly sizes: ReadonlyMap<string, number>;
}

async function scan(store: KeyStore, folder: string, keys: readonly string[]): Promise<Scan> {
  const sizes = new Map<string, number>();
  const complete = new Set<string>();
  const files = new Map<string, Map<string, string>>();
  const refs = new Map<string, string>();
  const used = new Map<string, number>();
  for (const key of keys) {
    const [, , kind, first = "", ...rest] = key.split("/");
    if (kind === "blobs" && rest[0] === "complete") complete.add(first);
    else if (kind === "blobs")
      sizes.set(first, (sizes.get(first) ?? 0) + (await sizeOf(store, key)));
    else if (kind === "refs") refs.set([first, ...rest].join("/"), await textOf(store, key));
    else if (kind === "used") used.set(first, Number(await textOf(store, key)) || 0);
    else if (kind === "snapshots") {
      const paths = files.get(first) ?? new Map<string, string>();
      paths.set(rest.join("/"), etagIn(await textOf(store, key)));
      files.set(first, paths);
    }
  }
  const etags = new Map<string, Set<string>>();
  const revisions: CachedRevision[] = [...files].map(([commit, paths]) => {
    const own = new Set(paths.values());
    etags.set(commit, own);
    return {
      commit,
      refs: [...refs].filter(([, target]) => target === commit).map(([ref]) => ref),
      files: [...paths.keys()].sort(),
      nBytes: sum([...own].map((etag) => sizes.get(etag) ?? 0)),
      lastUsed: used.get(commit) ?? 0,
    };
  });
  const unfinished = [...sizes].filter(([etag]) => !complete.has(etag)).map(([, size]) => size);
  const info: CachedRepo = {
    repo: folder.replace("--", "/"),
    nBytes: sum(sizes.values()),
    incompleteBytes: sum(unfinished),
    packedBytes: 0,
    lastUsed: Math.max(0, ...used.values()),
    revisions,
  };
  return { info, etags, sizes };
}

/** As `HubCache.remove`. */
export async function removeStored(
  store: KeyStore,
  repo: string,
  revision: string | undefined,
): Promise<number> {
  const folder = repo.replace("/", "--");
  const keys = await store.keys(`models/${folder}/`);
  if (keys.length === 0) throw notCached(store, repo);
  const { info, etags, sizes } = await scan(store, folder, keys);
  const removeAll = async (unwanted: readonly string[]): Promise<void> => {
    // Marks before content, so that an interruption never leaves a mark of content that is gone.
    const marks = unwanted.filter((key) => !key.includes("/blobs/") || key.endsWith("/complete"));
    for (const key of new Set([...marks, ...unwanted])) await store.delete(key);
  };
  if (revision === undefined) {
    await removeAll(keys);
    return info.nBytes;
  }
  const found = info.revisions.find(
    ({ commit, refs }) => commit === revision || refs.includes(revision),
  );
  if (found === undefined) throw notCached(store, `${repo}@${revision}`);
  if (info.revisions.length === 1) {
    await removeAll(keys);
    return info.nBytes;
  }
  const kept = new Set<string>();
  for (const [commit, own] of etags) {
    if (commit !== found.commit) for (const etag of own) kept.add(etag);
  }
  const gone = [...etags.get(found.commit)!].filter((etag) => !kept.has(etag));
  const prefix = `models/${folder}`;
  const isUnwanted = (key: string): boolean =>
    found.refs.some((ref) => key === `${prefix}/refs/${ref}`) ||
    key === `${prefix}/used/${found.commit}` ||
    key.startsWith(`${prefix}/snapshots/${found.commit}/`) ||
    key.startsWith(`${prefix}/absent/${found.commit}/`) ||
    gone.some((etag) => key.startsWith(`${prefix}/blobs/${etag}/`));
  await removeAll(keys.filter(isUnwanted));
  return sum(gone.map((etag) => sizes.get(etag) ?? 0));
}

async function sizeOf(store: KeyStore, key: string): Promise<number> {
  return (await store.get(key))?.size ?? 0;
}

async function textOf(store: KeyStore, key: string): Promise<string> {
  return (await readText(store, key)) ?? "";
}

function etagIn(text: string): string {
  try {
    return String((JSON.parse(text) as { etag?: unknown }).etag);
  } catch {
    return "";
  }
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function notCached(store: KeyStore, what: string): TureenError {
  return new TureenError("SOURCE_NOT_FOUND", `${what} is not in the cache`, { where: store.name });
}
