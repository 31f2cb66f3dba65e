// Names of repositories in a model hub: `org/name`, `org/name@revision`, `hf://org/name[@revision][/folder]`, and of GGUF files in
// them. Only their grammar; nothing here asks whether they exist.
import { TureenError } from "../errors.ts";
import { findPathFault } from "./path.ts";

/** A repository at a revision. */
export interface HubReference {
  /** `org/name`, or `name` for the oldest models. */
  readonly repo: string;
  /** Branch, tag, `refs/pr/N` or commit. */
  readonly revision: string;
  /** A folder inside the repository, without slashes at its ends; "" for the whole. */
  readonly folder: string;
  /** A GGUF file in that folder. */
  readonly named?: string | undefined;
}

const NAME = "[A-Za-z0-9_](?:[\\w.-]{0,94}[\\w-])?";
const BARE = new RegExp(`^(${NAME}/${NAME})(?:@(.+))?$`);
const FILE = new RegExp(`^${NAME}/${NAME}(?:@[^/]+)?/.+\\.gguf$`, "i");
const SCHEME = /^hf:\/\//i;

/**
 * Reads a name of a repository.
 * @returns `undefined` if the text is not of that form: then it is a path
 * @throws TureenError `OPTION_INVALID` for `hf://` with something else behind it, or an impossible revision
 */
export function parseHubReference(text: string): HubReference | undefined {
  if (SCHEME.test(text)) return parseUrl(text);
  if (FILE.test(text)) return parseUrl(`hf://${text}`);
  const match = BARE.exec(text);
  if (match === null) return undefined;
  return checkReference({ repo: match[1]!, revision: match[2] ?? "main", folder: "" }, text);
}

/** In a URL a revision's own slashes are written `%2F`, as `huggingface_hub` has it: what follows a slash is a folder. */
function parseUrl(text: string): HubReference {
  const match = new RegExp(`^hf://(${NAME}(?:/${NAME})?)(?:@([^/]+))?(?:/(.*))?$`, "i").exec(text);
  if (match === null) throw invalid(text);
  const [, repo, revision = "main", folder = ""] = match;
  try {
    const [, named] = /(?:^|\/)([^/]+\.gguf)$/i.exec(folder) ?? [];
    const above = folder.slice(0, folder.length - (named?.length ?? 0));
    const reference = { repo: repo!, revision: decodeURIComponent(revision), named };
    return checkReference({ ...reference, folder: above.replace(/\/+$/, "") }, text);
  } catch (error) {
    if (error instanceof TureenError) throw error;
    throw invalid(text);
  }
}

function checkReference(reference: HubReference, text: string): HubReference {
  const { repo, revision, folder } = reference;
  // `--` separates the parts of a name in the cache's folder names.
  const fault = /--|\.\./.test(repo)
    ? "name"
    : (findPathFault(revision) ?? findFolderFault(folder));
  if (fault !== undefined) throw invalid(text);
  return reference;
}

function findFolderFault(folder: string): string | undefined {
  return folder === "" ? undefined : findPathFault(folder);
}

function invalid(text: string): TureenError {
  return new TureenError("OPTION_INVALID", "that names no repository of a model hub", {
    expected: "org/name, org/name@revision, org/name/file.gguf or hf://org/name@revision/folder",
    found: JSON.stringify(text),
  });
}

/** Whether a revision is a commit, and so never changes. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}
