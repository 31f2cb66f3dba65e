// Keeping a cache below a size: what was used longest ago goes first, and nothing that is in use. Both kinds of cache know when
// something was last used, since what is open is marked as used again and again, in whatever program it is open.
import { TureenError } from "../../errors.ts";
import type { ByteSource } from "../source.ts";
import type { CachedRepo, CacheTrim } from "./cache.ts";

/** Used within so many ms: in use, perhaps by another program. Several times `MARK_EVERY`, for busy ones. */
const IN_USE = 5 * 60_000;
/** Between marks of what is open, in ms. */
const MARK_EVERY = 60_000;

/** What is asked of a cache. */
interface Trimmable {
  list(): Promise<readonly CachedRepo[]>;
  remove(repo: string, revision?: string): Promise<number>;
}

/** As `HubCache.trim`. */
export async function trimCache(cache: Trimmable, limit: number): Promise<CacheTrim> {
  if (!(limit >= 0)) {
    throw new TureenError("OPTION_INVALID", "the limit of a cache is invalid", {
      expected: "bytes, 0 or more",
      found: String(limit),
    });
  }
  const repos = await cache.list();
  let nBytes = repos.reduce((sum, repo) => sum + repo.nBytes, 0);
  const removed: { repo: string; commit: string | undefined }[] = [];
  let freed = 0;
  for (const { repo, commit, lastUsed } of listCandidates(repos)) {
    if (nBytes <= limit || Date.now() - lastUsed < IN_USE) break;
    const bytes = await cache.remove(repo, commit);
    removed.push({ repo, commit });
    freed += bytes;
    nBytes -= bytes;
  }
  return { nBytes, freed, removed };
}

/** What can be removed; without a commit, a repository in whole. */
interface Candidate {
  readonly repo: string;
  readonly commit: string | undefined;
  readonly lastUsed: number;
}

/** The one used longest ago first. With its last revision, a repository goes with its unfinished downloads. */
function listCandidates(repos: readonly CachedRepo[]): Candidate[] {
  const candidates = repos.flatMap(({ repo, revisions, lastUsed }): Candidate[] => {
    if (revisions.length === 0) return [{ repo, commit: undefined, lastUsed }];
    const last = Math.max(...revisions.map((revision) => revision.lastUsed));
    return revisions.map(({ commit, lastUsed: own }) => {
      return { repo, commit, lastUsed: own === last ? lastUsed : own };
    });
  });
  return candidates.sort((a, b) => a.lastUsed - b.lastUsed);
}

/** Marks what is open as used, until it is closed. */
export class OpenMarks {
  readonly #mark: (id: string) => Promise<void>;
  /** How often each is open. */
  readonly #open = new Map<string, number>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param mark may fail: a cache that cannot be written still serves */
  constructor(mark: (id: string) => Promise<void>) {
    this.#mark = mark;
  }

  /** Resolves when the first mark is set. */
  async add(id: string, source: ByteSource): Promise<ByteSource> {
    await this.#mark(id).catch(() => {});
    this.#open.set(id, (this.#open.get(id) ?? 0) + 1);
    this.#timer ??= this.#start();
    let isOpen = true;
    const close = async (): Promise<void> => {
      if (isOpen) this.#remove(id);
      isOpen = false;
      await source.close();
    };
    return { ...source, close };
  }

  #remove(id: string): void {
    const count = this.#open.get(id)! - 1;
    if (count > 0) this.#open.set(id, count);
    else this.#open.delete(id);
    if (this.#open.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #start(): ReturnType<typeof setInterval> {
    const timer = setInterval(() => {
      for (const id of this.#open.keys()) void this.#mark(id).catch(() => {});
    }, MARK_EVERY);
    // A process that has nothing else to do may end.
    (timer as { unref?: () => void }).unref?.();
    return timer;
  }
}
