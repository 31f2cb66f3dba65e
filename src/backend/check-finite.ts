// What backends say of weights that are no numbers.
import { TureenError } from "../errors.ts";
import { findNotFinite } from "../formats/float.ts";

/**
 * @param firstRow row of the tensor with which `values` begin, for the message
 * @throws TureenError `WEIGHTS_NOT_FINITE`, naming the tensor and the first bad row
 */
export function checkFinite(name: string, values: Float32Array, cols: number, firstRow = 0): void {
  const bad = findNotFinite(values);
  if (bad === -1) return;
  const where = `row ${firstRow + Math.floor(bad / cols)}, column ${bad % cols}`;
  throw notFinite(name, where, String(values[bad]));
}

/** For a tensor that holds NaN or infinity. */
export function notFinite(name: string, where: string, found = "NaN or infinity"): TureenError {
  return new TureenError("WEIGHTS_NOT_FINITE", `tensor ${name} holds a number that is not finite`, {
    found,
    where,
    hint: "The file is damaged, or training diverged; get another copy.",
  });
}
