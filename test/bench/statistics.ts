// What a list of repeated measurements says. Medians, since other work on a machine only ever slows a run down, and by much.

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Of an even number of values, the mean of the two in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return (sorted[Math.ceil(half) - 1]! + sorted[Math.floor(half)]!) / 2;
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * a / b: the ratio of the medians; and, from least to most, the ratios of neighbours in time: a and b were measured in turn, so
 * what slowed one round down slowed both. A shorter list (of a slow peer) is compared with as many rounds of the other.
 */
export function ratioOf(a: readonly number[], b: readonly number[]): Spread {
  const rounds = Math.min(a.length, b.length);
  const pairs = Array.from({ length: rounds }, (_, i) => a[i]! / b[i]!);
  return { ...spreadOf(pairs), median: median(a) / median(b) };
}

/** One subject after another in every round, so that all see the same machine: A B C, A B C, … */
export function* interleave<T>(subjects: readonly T[], rounds: number): Generator<[T, number]> {
  for (let round = 0; round < rounds; round++) {
    for (const subject of subjects) yield [subject, round];
  }
}
