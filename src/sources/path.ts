// Paths inside a file set. They come from strangers (a shard index names files), so only plain relative paths pass: nothing
// here or below may reach outside the folder.
import { TureenError } from "../errors.ts";

/** Longest accepted path, in UTF-16 units. */
const MAX_PATH_LENGTH = 1024;

/** Why a path cannot be used inside a file set, or `undefined` if it can. */
export function findPathFault(path: string): string | undefined {
  if (path === "") return "it is empty";
  if (path.length > MAX_PATH_LENGTH) return `it is longer than ${MAX_PATH_LENGTH} characters`;
  if (path.startsWith("/") || /^[A-Za-z][A-Za-z0-9+.-]*:/.test(path)) return "it is absolute";
  if (path.includes("\\") || path.includes("\0")) return "it has a backslash or a NUL character";
  for (const segment of path.split("/")) {
    if (segment === "..") return "it leaves the folder";
    if (segment === "" || segment === ".") return "it has an empty or '.' segment";
  }
  return undefined;
}

/**
 * Refuses every path that is not plainly relative (`..`, absolute, drive letters, backslashes).
 * @throws TureenError `OPTION_INVALID`
 */
export function checkPath(path: string, where: string): void {
  const fault = findPathFault(path);
  if (fault === undefined) return;
  const shown = JSON.stringify(path.length <= 80 ? path : `${path.slice(0, 77)}...`);
  throw new TureenError("OPTION_INVALID", `the path ${shown} is refused: ${fault}`, {
    expected: "a relative path inside the folder",
    where,
  });
}
