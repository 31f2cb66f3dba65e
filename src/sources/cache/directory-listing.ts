// What a cache on a disk holds, and removing from it. Only folders of models are touched; datasets and spaces, which other
// tools keep beside them, are not.
import { TureenError } from "../../errors.ts";
import { isCommit } from "../hub-reference.ts";
import type { CachedRepo, CachedRevision } from "./cache.ts";
import { type FileSystem, isMissing, writeFailure } from "./file-system.ts";

const PREFIX = "models--";
const TEMPORARY = /\.\w{1,8}\.tmp$/;

/** By name. A cache that does not exist is empty. */
export async function listRepos(fs: FileSystem, root: string): Promise<CachedRepo[]> {
  const repos: CachedRepo[] = [];
  for (const name of await namesIn(fs, root)) {
    if (!name.startsWith(PREFIX)) continue;
    const scan = await scanRepo(fs, `${root}/${name}`);
    if (scan !== undefined) repos.push(scan.info);
  }
  return repos;
}

/** A repository's folder, with what removing needs to know. */
interface Scan {
  readonly info: CachedRepo;
  /** Of each revision: paths of the files on the disk that hold its content, → bytes. */
  readonly contents: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

async function scanRepo(fs: FileSystem, folder: string): Promise<Scan | undefined> {
  const stat = await fs.stat(folder).catch(() => undefined);
  if (stat?.isDirectory() !== true) return undefined;
  const refs = await readRefs(fs, `${folder}/refs`);
  const contents = new Map<string, Map<string, number>>();
  const revisions: CachedRevision[] = [];
  /** Everything once: by inode, since hard links and copies stand in for symbolic links. */
  const all = new Map<string, number>();
  let lastUsed = 0;
  for (const commit of await namesIn(fs, `${folder}/snapshots`)) {
    if (!isCommit(commit)) continue;
    const snapshot = `${folder}/snapshots/${commit}`;
    const files = (await filesIn(fs, snapshot)).filter((path) => !TEMPORARY.test(path));
    const content = new Map<string, number>();
    let used = 0;
    for (const path of files) {
      const target = await fs.stat(`${snapshot}/${path}`).catch(() => undefined);
      if (target === undefined) continue; // its content was removed
      content.set(`${target.dev}:${target.ino}`, target.size);
      all.set(`${target.dev}:${target.ino}`, target.size);
      used = Math.max(used, target.atimeMs);
    }
    lastUsed = Math.max(lastUsed, used);
    contents.set(commit, content);
    const pointing = [...refs].filter(([, target]) => target === commit).map(([ref]) => ref);
    revisions.push({
      commit,
      refs: pointing,
      files,
      nBytes: sum(content.values()),
      lastUsed: used,
    });
  }
  let incompleteBytes = 0;
  for (const name of await namesIn(fs, `${folder}/blobs`)) {
    const blob = await fs.stat(`${folder}/blobs/${name}`).catch(() => undefined);
    if (blob === undefined || !blob.isFile()) continue;
    all.set(`${blob.dev}:${blob.ino}`, blob.size);
    if (!name.endsWith(".incomplete")) continue;
    incompleteBytes += blob.size;
    lastUsed = Math.max(lastUsed, blob.mtimeMs); // which a download touches
  }
  const repo = folder.slice(folder.lastIndexOf("/") + 1 + PREFIX.length).replace("--", "/");
  const nBytes = sum(all.values());
  const info = { repo, nBytes, incompleteBytes, packedBytes: 0, lastUsed, revisions };
  return { info, contents };
}

/**
 * Removes a repository, or a revision and what only it holds.
 * @returns bytes that became free
 * @throws TureenError `SOURCE_NOT_FOUND`, `SOURCE_WRITE_FAILED`
 */
export async function removeFromCache(
  fs: FileSystem,
  root: string,
  repo: string,
  revision: string | undefined,
): Promise<number> {
  const name = `${PREFIX}${repo.replace("/", "--")}`;
  const folder = `${root}/${name}`;
  const isName = /^[\w.-]+(\/[\w.-]+)?$/.test(repo) && !repo.includes("..");
  const scan = isName ? await scanRepo(fs, folder) : undefined;
  if (scan === undefined) throw notCached(root, repo);
  try {
    if (revision === undefined) {
      await fs.rm(folder, { recursive: true, force: true });
      await fs.rm(`${root}/.locks/${name}`, { recursive: true, force: true });
      return scan.info.nBytes;
    }
    return await removeRevision(fs, folder, scan, revision);
  } catch (cause) {
    throw writeFailure(folder, cause);
  }
}

async function removeRevision(
  fs: FileSystem,
  folder: string,
  { info, contents }: Scan,
  revision: string,
): Promise<number> {
  const found = info.revisions.find(
    ({ commit, refs }) => commit === revision || refs.includes(revision),
  );
  if (found === undefined) throw notCached(folder, `${info.repo}@${revision}`);
  const kept = new Set<string>();
  for (const [commit, content] of contents) {
    if (commit !== found.commit) for (const id of content.keys()) kept.add(id);
  }
  const own = contents.get(found.commit)!;
  // Names go first: an interruption leaves content without a name, never a name without content.
  for (const ref of found.refs) await fs.rm(`${folder}/refs/${ref}`, { force: true });
  for (const part of ["snapshots", ".no_exist"]) {
    await fs.rm(`${folder}/${part}/${found.commit}`, { recursive: true, force: true });
  }
  for (const name of await namesIn(fs, `${folder}/blobs`)) {
    const blob = await fs.stat(`${folder}/blobs/${name}`).catch(() => undefined);
    const id = `${blob?.dev}:${blob?.ino}`;
    if (own.has(id) && !kept.has(id)) await fs.rm(`${folder}/blobs/${name}`, { force: true });
  }
  if (contents.size === 1) await fs.rm(folder, { recursive: true, force: true });
  if (contents.size === 1) return info.nBytes;
  return sum([...own].filter(([id]) => !kept.has(id)).map(([, nBytes]) => nBytes));
}

async function readRefs(fs: FileSystem, folder: string): Promise<Map<string, string>> {
  const refs = new Map<string, string>();
  for (const path of await filesIn(fs, folder)) {
    const text = await fs.readFile(`${folder}/${path}`, "utf8").catch(() => undefined);
    if (text !== undefined && !TEMPORARY.test(path)) refs.set(path, text.trim());
  }
  return refs;
}

/** Paths of all files and links below a folder, sorted. */
export async function filesIn(fs: FileSystem, folder: string): Promise<string[]> {
  const files: string[] = [];
  for (const name of await namesIn(fs, folder)) {
    const stat = await fs.lstat(`${folder}/${name}`).catch(() => undefined);
    if (stat === undefined) continue;
    if (!stat.isDirectory()) files.push(name);
    else for (const inner of await filesIn(fs, `${folder}/${name}`)) files.push(`${name}/${inner}`);
  }
  return files;
}

async function namesIn(fs: FileSystem, folder: string): Promise<string[]> {
  try {
    return (await fs.readdir(folder)).sort();
  } catch (cause) {
    if (isMissing(cause)) return [];
    const found = cause instanceof Error ? cause.message : String(cause);
    const details = { found, where: folder };
    throw new TureenError("SOURCE_READ_FAILED", "the cache cannot be read", details, { cause });
  }
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function notCached(where: string, what: string): TureenError {
  return new TureenError("SOURCE_NOT_FOUND", `${what} is not in the cache`, {
    where,
    hint: "`tureen cache ls` shows what is.",
  });
}
