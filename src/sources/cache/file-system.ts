// What the cache on a disk shares: which file system calls it makes, and what their failures mean.
import { TureenError } from "../../errors.ts";

/** The calls of `node:fs/promises` that are made. */
export type FileSystem = Pick<
  typeof import("node:fs/promises"),
  | "copyFile"
  | "link"
  | "lstat"
  | "mkdir"
  | "open"
  | "readdir"
  | "readFile"
  | "readlink"
  | "rename"
  | "rm"
  | "rmdir"
  | "stat"
  | "statfs"
  | "symlink"
  | "utimes"
>;

export function codeOf(cause: unknown): string | undefined {
  const { code } = cause as { code?: unknown };
  return typeof code === "string" ? code : undefined;
}

export function isMissing(cause: unknown): boolean {
  return codeOf(cause) === "ENOENT" || codeOf(cause) === "ENOTDIR";
}

/** Full disks, quotas and permissions, said plainly. */
export function writeFailure(path: string, cause: unknown): TureenError {
  if (cause instanceof TureenError) return cause;
  const code = codeOf(cause);
  const found = cause instanceof Error ? cause.message : String(cause);
  const options = { cause };
  if (code === "ENOSPC" || code === "EDQUOT") return noSpace(path, found, options);
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
    const what = "the cache cannot be written";
    const hint = "Point HF_HUB_CACHE or the option hub.cacheDir to a folder that can be.";
    return new TureenError("SOURCE_WRITE_FAILED", what, { found, where: path, hint }, options);
  }
  const what = "a write to the cache failed";
  return new TureenError("SOURCE_WRITE_FAILED", what, { found, where: path }, options);
}

export function noSpace(path: string, found: string, options?: { cause: unknown }): TureenError {
  return new TureenError(
    "SOURCE_WRITE_FAILED",
    "the disk is full",
    {
      found,
      where: path,
      hint: "What has arrived is kept and the next attempt goes on from it. `tureen cache ls` shows what can be removed.",
    },
    options,
  );
}
