// Refusals of mergekit's sparsifiers.
import { TureenError } from "../../errors.ts";

/** mergekit asserts this too: a density that keeps nothing is a mistake. */
export function refuseEmpty(count: number, density: number, where: string): void {
  if (count > 0) return;
  throw new TureenError("OPTION_INVALID", "the density keeps no element of a delta", {
    found: `density ${density}`,
    where,
  });
}

/** Keep probabilities density ± epsilon must lie in (0, 1). */
export function checkEpsilon(density: number, epsilon: number, where: string): void {
  if (density + epsilon < 1 && density - epsilon > 0) return;
  throw new TureenError("OPTION_INVALID", "epsilon does not suit the density", {
    expected: "density - epsilon > 0 and density + epsilon < 1",
    found: `density ${density}, epsilon ${epsilon}`,
    where,
  });
}
