// What a revision of a repository holds, as the hub's API describes it. Checked, since it comes from outside.
import * as v from "valibot";
import { TureenError } from "../errors.ts";
import { isCommit } from "./hub-reference.ts";

/** A file of a revision. */
export interface HubEntry {
  readonly path: string;
  readonly nBytes: number | undefined;
  /** SHA-256 of the content for large files, SHA-1 of the git blob for others; in hexadecimal. Mirrors may have other marks. */
  readonly etag: string | undefined;
}

/** A revision at one moment. */
export interface RevisionListing {
  readonly commit: string;
  /** By path. `undefined` if the server does not list them. */
  readonly files: ReadonlyMap<string, HubEntry> | undefined;
}

const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Sibling = v.object({
  rfilename: v.string(),
  size: v.nullish(size),
  blobId: v.nullish(v.string()),
  lfs: v.nullish(v.object({ sha256: v.nullish(v.string()), size: v.nullish(size) })),
});
const Description = v.object({
  sha: v.pipe(v.string(), v.check(isCommit)),
  siblings: v.nullish(v.array(Sibling)),
});

/** @throws TureenError `FORMAT_INVALID` */
export function parseListing(bytes: Uint8Array, where: string): RevisionListing {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw unusable(where, (cause as Error).message, cause);
  }
  const result = v.safeParse(Description, json);
  if (!result.success) {
    const [issue] = result.issues;
    throw unusable(where, `${v.getDotPath(issue) ?? "the answer"}: ${issue.message}`);
  }
  const { sha, siblings } = result.output;
  const files = siblings?.map(({ rfilename, size, blobId, lfs }): [string, HubEntry] => [
    rfilename,
    {
      path: rfilename,
      nBytes: lfs?.size ?? size ?? undefined,
      // A large file's blob in git is only a pointer to it.
      etag: (lfs ? lfs.sha256 : blobId) ?? undefined,
    },
  ]);
  return { commit: sha, files: files && new Map(files) };
}

function unusable(where: string, found: string, cause?: unknown): TureenError {
  return new TureenError(
    "FORMAT_INVALID",
    "the hub's description of the repository cannot be read",
    { expected: "a commit (sha) and its files (siblings)", found, where },
    { cause },
  );
}
