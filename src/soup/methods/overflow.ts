// Merged weights that leave f32 are refused where they arise: no infinity reaches a decomposition or a file.
import { TureenError } from "../../errors.ts";
import { findNotFinite } from "../../formats/float.ts";

/** @throws TureenError `SOUP_INVALID` */
export function refuseOverflow(values: Float32Array, path: string): void {
  if (findNotFinite(values) < 0) return;
  throw new TureenError("SOUP_INVALID", "the merged weights are too large for f32", {
    where: path,
    hint: "Use smaller weights.",
  });
}
