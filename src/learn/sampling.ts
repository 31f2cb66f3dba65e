// Which examples are learned from, which are watched, and in what order: all decided by the seed, and the same on every host.
import type { Random } from "../math/random.ts";

/** Indices of one data set's examples. */
export interface Sample {
  readonly training: readonly number[];
  readonly validation: readonly number[];
}

/**
 * Draws from each data set.
 * @param sizes examples of each set
 * @param fraction share of each set that is used; at least one example
 * @param validation share of the used ones that is only watched; at least one where it is not 0 and two are used
 */
export function drawSamples(
  sizes: readonly number[],
  fraction: number,
  validation: number,
  random: Random,
): Sample[] {
  return sizes.map((size) => {
    const order = shuffled(
      Array.from({ length: size }, (_, i) => i),
      random,
    );
    const used = Math.max(1, Math.floor(size * fraction));
    const wanted = validation === 0 ? 0 : Math.max(1, Math.floor(used * validation));
    const held = Math.min(wanted, used - 1);
    const ascending = (a: number, b: number): number => a - b;
    return {
      validation: order.slice(0, held).sort(ascending),
      training: order.slice(held, used).sort(ascending),
    };
  });
}

/** Fisher and Yates: index i is exchanged with one drawn from 0..i, i descending. */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random.nextFloat() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}
