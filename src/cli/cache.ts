// tureen cache: what of the Hub is on this disk, removing it, and keeping it below a size. The folder is shared with Python's tools.

import { TureenError } from "../errors.ts";
import type { CachedRepo, HubCache } from "../sources/cache/cache.ts";
import { openHubCache } from "../sources/cache/open-cache.ts";
import type { Command } from "./command.ts";
import { formatBytes, formatTable, note, print, printJson } from "./output.ts";
import { parseBytes, textFlag, UsageError } from "./usage.ts";

export const cacheCommand: Command = {
  name: "cache",
  summary: "models of the Hub that are on this disk",
  help: `Usage: tureen cache ls [options]
       tureen cache rm NAME[@REVISION] ... [options]
       tureen cache trim SIZE [options]
ls lists models and adapters with their sizes; rm removes them, or one revision (commit, branch or tag) and what only it
holds; trim removes what was used longest ago until the rest takes at most SIZE (20GB), but nothing that is in use.
Python's Hub tools use the same folder: what is removed here is gone for them, too. Packed weights, which make the next
load faster, lie in TUREEN_CACHE (default: ~/.cache/tureen) and go with their model.

  --cache-dir DIR         default: HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub
  --json                  print one object`,
  takesArguments: true,
  flags: { "cache-dir": { type: "string" }, json: { type: "boolean" } },

  async run(flags, positionals) {
    const [action, ...names] = positionals;
    const cache = await openCache(textFlag(flags, "cache-dir"));
    const json = flags.json === true;
    if (action === "ls" && names.length === 0) return list(cache, json);
    if (action === "rm" && names.length > 0) return remove(cache, names, json);
    if (action === "rm") throw new UsageError("cache rm: a NAME is missing");
    const [size] = names;
    if (action === "trim" && size !== undefined && names.length === 1) {
      return trim(cache, parseBytes(size, "cache trim")!, json);
    }
    if (action === "trim") throw new UsageError("cache trim: expected one SIZE, such as 20GB");
    throw new UsageError("cache: expected ls, rm NAME or trim SIZE");
  },
};

async function openCache(cacheDir: string | undefined): Promise<HubCache> {
  const cache = await openHubCache({ cacheDir });
  if (cache !== undefined) return cache;
  throw new TureenError("SOURCE_NOT_FOUND", "no folder for a cache is known", {
    hint: "Set HF_HUB_CACHE, or give --cache-dir.",
  });
}

async function list(cache: HubCache, json: boolean): Promise<void> {
  const repos = await cache.list();
  const nBytes = repos.reduce((total, repo) => total + repo.nBytes, 0);
  if (json) return printJson({ cache: cache.name, nBytes, repos });
  if (repos.length > 0) {
    const rows = repos.flatMap(rowsOf);
    print(formatTable(["name", "revision", "refs", "used", "files", "size"], rows));
  }
  note(`${formatBytes(nBytes)} in ${cache.name}`);
}

function rowsOf({
  repo,
  revisions,
  incompleteBytes,
  packedBytes,
}: CachedRepo): (string | number)[][] {
  const rows: (string | number)[][] = revisions.map(({ commit, refs, files, nBytes, lastUsed }) => [
    repo,
    commit.slice(0, 12),
    refs.join(", "),
    new Date(lastUsed).toISOString().slice(0, 10),
    files.length,
    formatBytes(nBytes),
  ]);
  if (incompleteBytes > 0) rows.push([repo, "unfinished", "", "", 0, formatBytes(incompleteBytes)]);
  if (packedBytes > 0) rows.push([repo, "packed", "", "", 0, formatBytes(packedBytes)]);
  return rows;
}

async function remove(cache: HubCache, names: readonly string[], json: boolean): Promise<void> {
  let nBytes = 0;
  for (const name of names) {
    const at = name.indexOf("@");
    const repo = at < 0 ? name : name.slice(0, at);
    const revision = at < 0 ? undefined : await fullCommit(cache, repo, name.slice(at + 1));
    nBytes += await cache.remove(repo, revision);
  }
  if (json) return printJson({ cache: cache.name, removed: names, nBytes });
  note(`${formatBytes(nBytes)} freed`);
}

async function trim(cache: HubCache, limit: number, json: boolean): Promise<void> {
  const { nBytes, freed, removed } = await cache.trim(limit);
  if (json) return printJson({ cache: cache.name, nBytes, freed, removed });
  for (const { repo, commit } of removed)
    note(`removed ${repo} ${commit ?? "(without a revision)"}`);
  note(`${formatBytes(freed)} freed, ${formatBytes(nBytes)} in ${cache.name}`);
  if (nBytes > limit) note("the rest is in use");
}

/** `ls` shows the beginning of commits; one that is unambiguous suffices. */
async function fullCommit(cache: HubCache, repo: string, revision: string): Promise<string> {
  if (!/^[0-9a-f]{7,39}$/.test(revision)) return revision;
  const revisions = (await cache.list()).find((found) => found.repo === repo)?.revisions ?? [];
  const matches = revisions.filter(({ commit }) => commit.startsWith(revision));
  return matches.length === 1 ? matches[0]!.commit : revision;
}
