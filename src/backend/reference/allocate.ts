// Memory that may not be there.
import { TureenError } from "../../errors.ts";

/** Runs `create`; hosts answer a typed array that does not fit with `RangeError`. @throws TureenError `OUT_OF_MEMORY` */
export function allocate<T>(what: string, create: () => T): T {
  try {
    return create();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new TureenError("OUT_OF_MEMORY", `no memory for ${what}`, {}, { cause: error });
  }
}
